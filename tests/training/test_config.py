"""Trial configurations: everything is checked, nothing is converted silently, unknown keys are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gramtune.components import Dataset, Metric, Network, Objective
from gramtune.objectives.gram import Gram
from gramtune.optimizers.adam import Adam
from gramtune.registry import classes
from gramtune.training.config import TrialConfig

Settings = dict[str, Any]


def changed(config: Settings, path: str, value: Any) -> Settings:
    """A copy with one dotted path set."""
    result = copy.deepcopy(config)
    *sections, key = path.split(".")
    inner = result
    for section in sections:
        inner = inner[section]
    inner[key] = value
    return result


def test_a_complete_trial_is_accepted(ring_config: Settings, digits_config: Settings) -> None:
    for settings in (ring_config, digits_config):
        config = TrialConfig.model_validate(settings)
        assert isinstance(config.objective, Gram)
        assert isinstance(config.optimizer, Adam)


@pytest.mark.parametrize(
    "through", [lambda d: json.loads(json.dumps(d)), lambda d: yaml.safe_load(yaml.safe_dump(d))], ids=["json", "yaml"]
)
def test_what_is_written_reads_back_equal(through: Callable[[Settings], Settings], digits_config: Settings) -> None:
    config = TrialConfig.model_validate(digits_config)
    assert TrialConfig.model_validate(through(config.model_dump(mode="json"))) == config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("optimizer.learning_rate", "1e-3"),  # what PyYAML makes of 1e-3
        ("optimizer.learning_rate", 0),
        ("optimizer.learning_rate", -1e-3),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.learning_rate", float("inf")),
        ("optimizer.learning_rate", True),
        ("optimizer.beta1", 1.0),
        ("optimizer.beta2", -0.1),
        ("optimizer.critic_learning_rate", 0),
        ("objective.critic_dim", 0),
        ("objective.critic_dim", -3),
        ("objective.critic_dim", 2.0),
        ("objective.critic_dim", "16"),
        ("objective.critic_dim", True),
        ("objective.bandwidths", []),
        ("objective.bandwidths", [1, 0]),
        ("objective.bandwidths", 1.0),
        ("objective.ridge", -1e-3),
        ("objective.divergence", "kl"),
        ("objective.sqrt_mmd", 1),
        ("network.noise_dim", 0),
        ("network.hidden", []),
        ("training.batch_size", 0),
        ("training.steps", 1.5),
        ("training.replicates", 0),
        ("training.seed", -1),
        ("training.eval_every", None),
        ("training.eval_at", [0]),
        ("training.eval_at", [2, 1]),
        ("training.eval_at", [2, 2]),
        ("training.eval_at", [1, 9]),
        ("data.std", 0.0),
        ("data.modes", 1),
        ("metrics", []),
    ],
)
def test_illegal_values_are_refused_where_they_stand(path: str, value: Any, ring_config: Settings) -> None:
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate(changed(ring_config, path, value))
    places = [".".join(map(str, error["loc"])) for error in caught.value.errors()]
    section, *key = path.split(".")
    assert places[0].startswith(section)
    assert not key or key[0] in places[0].split(".")


def test_an_evaluation_beyond_the_end_is_refused(ring_config: Settings) -> None:
    with pytest.raises(ValidationError, match="100, 1000 is never reached: steps is 8"):
        TrialConfig.model_validate(changed(ring_config, "training.eval_at", [2, 100, 1000]))


def test_whole_numbers_are_legal_where_a_float_belongs(ring_config: Settings) -> None:
    config = TrialConfig.model_validate(changed(ring_config, "optimizer.learning_rate", 1))
    assert type(config.optimizer.learning_rate) is float


@pytest.mark.parametrize("section", ["data", "objective", "network", "optimizer", "training"])
def test_unknown_keys_are_refused_in_every_section(section: str, ring_config: Settings) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TrialConfig.model_validate(changed(ring_config, f"{section}.learning_rat", 1))
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TrialConfig.model_validate({**ring_config, "trainnig": {}})


@pytest.mark.parametrize("section", ["data", "objective", "network", "optimizer", "training", "metrics", "metric"])
def test_no_section_can_be_left_out(section: str, ring_config: Settings) -> None:
    del ring_config[section]
    with pytest.raises(ValidationError, match=f"{section}\n.*Field required"):
        TrialConfig.model_validate(ring_config)


@pytest.mark.parametrize(
    ("section", "kind"), [("data", Dataset), ("objective", Objective), ("network", Network), ("metrics", Metric)]
)
def test_legal_names_are_those_of_the_registry(section: str, kind: Any, ring_config: Settings) -> None:
    illegal = {"name": "nonesuch"}
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate(ring_config | {section: [illegal] if section == "metrics" else illegal})
    expected = {error["ctx"]["expected_tags"] for error in caught.value.errors() if "expected_tags" in error["ctx"]}
    assert expected == {", ".join(repr(name) for name in classes(kind))}


def test_issues_of_several_sections_come_together(ring_config: Settings) -> None:
    broken = changed(changed(ring_config, "objective.critic_dim", 0), "training.steps", 0)
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate(broken)
    assert caught.value.error_count() == 2


def test_a_primary_metric_must_be_computed(ring_config: Settings) -> None:
    with pytest.raises(ValidationError, match="'fid' is not computed; the metrics here compute sliced_wasserstein"):
        TrialConfig.model_validate(ring_config | {"metric": "fid"})


def test_a_metric_is_named_once(ring_config: Settings) -> None:
    twice = ["sliced_wasserstein", {"name": "sliced_wasserstein", "quantiles": 10}]
    with pytest.raises(ValidationError, match="sliced_wasserstein is repeated"):
        TrialConfig.model_validate(ring_config | {"metrics": twice})


def test_a_metric_s_name_is_short_for_its_defaults(ring_config: Settings) -> None:
    long = TrialConfig.model_validate(ring_config | {"metrics": [{"name": "sliced_wasserstein"}]})
    assert TrialConfig.model_validate(ring_config) == long


def test_directions_and_extractors_follow_from_the_metrics(digits_config: Settings) -> None:
    config = TrialConfig.model_validate(digits_config | {"metrics": ["fid_digits", "sliced_wasserstein"]})
    assert config.directions == {"fid_digits": "min", "sliced_wasserstein": "min"}
    assert list(config.extractors) == ["digits_cnn", "identity"]


def test_configurations_are_values(ring_config: Settings) -> None:
    config = TrialConfig.model_validate(ring_config)
    assert hash(config) == hash(TrialConfig.model_validate(copy.deepcopy(ring_config)))
    with pytest.raises(ValidationError, match="frozen"):
        config.training.seed = 1
