"""One contract for every registered component: a new file in a component folder is tested without an edit here."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

import pytest
import yaml
from pydantic import ValidationError

from gramtune.components import Component, CriticSpec, Losses, Objective, View
from gramtune.objectives.gan import Gan
from gramtune.registry import KINDS, classes, create, register
from gramtune.training.config import TrialConfig

Small = Callable[[type[Component], str], dict[str, Any]]
ALL = [(kind, name) for kind in KINDS for name in classes(kind)]


def by_name(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def test_every_kind_has_components() -> None:
    found = {kind.__name__: set(classes(kind)) for kind in KINDS}
    assert found["Objective"] >= {"gram", "gan", "mmd_net"}
    assert found["Network"] >= {"mlp", "dcgan"}
    assert found["Dataset"] >= {"digits", "ring", "cifar10"}
    assert found["FeatureExtractor"] >= {"digits_cnn", "identity", "inception"}
    assert found["Metric"] >= {"fid", "fid_digits", "sliced_wasserstein"}


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
def test_names_are_sorted_and_are_what_yaml_says(kind: type[Component]) -> None:
    names = list(classes(kind))
    assert names == sorted(names)
    assert all(cls.model_fields["name"].default == name for name, cls in classes(kind).items())


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
def test_every_file_of_a_folder_holds_a_component(kind: type[Component]) -> None:
    """A file that forgets `@register` would be silently illegal in YAML; helpers begin with an underscore."""
    package = import_module(f"gramtune.{KINDS[kind]}")
    modules = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
    files = {f"{package.__name__}.{module}" for module in modules}
    assert files == {cls.__module__ for cls in classes(kind).values() if cls.__module__.startswith(package.__name__)}


@pytest.mark.parametrize(("kind", "name"), ALL, ids=by_name)
def test_components_are_values(kind: type[Component], name: str, small: Small) -> None:
    """Frozen and hashable (they are cache keys), equal to what their JSON and their YAML read back to."""
    cls = classes(kind)[name]
    component = cls.model_validate(small(kind, name))
    assert cls.model_validate_json(component.model_dump_json()) == component
    assert cls.model_validate(json.loads(component.model_dump_json())) == component
    assert cls.model_validate(yaml.safe_load(yaml.safe_dump(component.model_dump(mode="json")))) == component
    assert hash(component) == hash(cls.model_validate(small(kind, name)))
    with pytest.raises(ValidationError, match="frozen"):
        component.name = "other"


@pytest.mark.parametrize(("kind", "name"), ALL, ids=by_name)
def test_unknown_keys_are_refused(kind: type[Component], name: str, small: Small) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        classes(kind)[name].model_validate({**small(kind, name), "learning_rat": 1})


@pytest.mark.parametrize(("kind", "name"), ALL, ids=by_name)
def test_every_field_is_explained(kind: type[Component], name: str) -> None:
    assert (classes(kind)[name].__doc__ or "").strip()


def test_create_gives_defaults_and_refuses_unknown_names() -> None:
    assert create(Objective, "gan") == Gan()
    with pytest.raises(KeyError):
        create(Objective, "gann")


def test_a_name_can_be_taken_once() -> None:

    class Impostor(Gan):
        pass

    with pytest.raises(ValueError, match=r"Objective 'gan' is already gramtune\.objectives\.gan\.Gan"):
        register(Impostor)
    assert classes(Objective)["gan"] is Gan
    assert register(Gan) is Gan  # the same class again, as a module reload does


def test_a_new_class_is_found_by_its_name() -> None:

    @register
    class Constant(Objective):
        name: Literal["constant"] = "constant"

        def critic(self) -> CriticSpec | None:
            return None

        def losses(self, real: View, fake: View) -> Losses:
            return Losses(None, fake.samples.sum() * 0, {})

    assert classes(Objective)["constant"] is Constant


def test_a_class_of_no_kind_is_refused() -> None:
    class Stray(Component):
        name: Literal["stray"] = "stray"

    with pytest.raises(ValueError, match="Stray is none of Objective, Network, Optimizer, Dataset"):
        register(Stray)


def test_a_name_is_resolved_when_a_configuration_is_validated(ring_config: dict[str, Any]) -> None:
    """Registered after the models were made, as in a notebook, where a union fixed at import would be too old."""
    ring_config["objective"] = {"name": "late"}
    with pytest.raises(ValidationError, match=r"expected tags: .*'gan'"):
        TrialConfig.model_validate(ring_config)

    @register
    class Late(Gan):
        name: Literal["late"] = "late"  # type: ignore[assignment]

    config = TrialConfig.model_validate(ring_config)
    assert isinstance(config.objective, Late)
    assert config.model_dump()["objective"]["name"] == "late"
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config


def test_restoring_forgets_a_plug_in_and_keeps_a_librarys_components() -> None:
    """In a new process: the first test that needs a library imports it, and the next test needs it too."""
    code = """if True:
        from typing import Literal
        from gramtune.components import Pruner
        from gramtune.pruners.median import Median
        from gramtune.registry import classes, component, register, restored

        with restored():
            component(Pruner, {"name": "optuna.ThresholdPruner", "upper": 1})

            @register
            class Late(Median):
                name: Literal["late"] = "late"
        with restored():
            component(Pruner, {"name": "optuna.ThresholdPruner", "upper": 1})
            assert "late" not in classes(Pruner)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
