"""The average of the weights, clipped gradients and mirrored images, for single and for several replicates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from gramtune.run.trial_runner import TrialRun
from gramtune.training.config import TrialConfig
from gramtune.training.generator import draw_samples, load_generator
from gramtune.training.trainer import CheckpointError, Trainer

Settings = dict[str, Any]
CPU = torch.device("cpu")
OPTIONS: list[Settings] = [
    {"ema": 0.9},
    {"ema": 0.9, "ema_metrics": "both"},
    {"clip_norm": 0.01},
    {"horizontal_flips": True},
    {"ema": 0.99, "clip_norm": 0.05, "horizontal_flips": True},
]


def having(settings: Settings, **training: Any) -> Settings:
    return settings | {"training": settings["training"] | training}


def trainer(settings: Settings) -> Trainer:
    return Trainer(TrialConfig.model_validate(settings), Path("unused"), CPU)


def weights(trained: Trainer, i: int = 0, label: str = "generator") -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in trained.replicates.network(label, i).state_dict().items()}


def average(trained: Trainer, i: int = 0) -> dict[str, Tensor]:
    found: dict[str, Tensor] = trained.replicates.state_dict(i)["average"]
    return found


def test_the_average_is_the_recursion_of_the_weights(digits_config: Settings) -> None:
    """Of parameters and of BatchNorm's running statistics; counters are copied."""
    trained = trainer(having(digits_config, ema=0.2))
    expected = weights(trained)
    for step in range(4):
        trained.advance(1)
        decay = min(0.2, (1 + step) / (10 + step))
        for key, value in weights(trained).items():
            floating = value.is_floating_point()
            expected[key] = decay * expected[key] + (1 - decay) * value if floating else value
    for key, value in average(trained).items():
        torch.testing.assert_close(value, expected[key])
    assert any("running_mean" in key for key in expected)
    assert not torch.equal(*(next(iter(each.values())) for each in (expected, weights(trained))))


@pytest.mark.parametrize("options", [{"ema": 0.9}, {"ema_metrics": "last"}, {"ema": 0.9, "ema_metrics": "both"}])
@pytest.mark.parametrize("base", ["ring_config", "digits_config"])
def test_averaging_does_not_disturb_the_training(options: Settings, base: str, request: pytest.FixtureRequest) -> None:
    settings = request.getfixturevalue(base)
    plain, averaging = trainer(settings), trainer(having(settings, **options))
    for trained in (plain, averaging):
        trained.advance(2)
        trained.evaluate()
    assert plain.advance(3) == averaging.advance(3)
    assert all(torch.equal(a, b) for a, b in zip(weights(plain).values(), weights(averaging).values(), strict=True))


def test_metrics_are_of_the_average_the_last_weights_or_both(ring_config: Settings) -> None:
    found = {}
    for option in ("average", "last", "both"):
        trained = trainer(having(ring_config, ema=0.9, ema_metrics=option))
        trained.advance(5)
        found[option] = trained.evaluate()
    key = "sliced_wasserstein"
    assert found["average"] != found["last"]
    assert found["both"] == {key: found["average"][key], f"{key}_last": found["last"][key]}
    plain = trainer(ring_config)
    plain.advance(5)
    assert plain.evaluate() == found["last"]


def test_both_names_can_be_the_primary_metric_and_neither_without_being_computed(ring_config: Settings) -> None:
    both = having(ring_config, ema=0.9, ema_metrics="both") | {"metric": "sliced_wasserstein_last"}
    config = TrialConfig.model_validate(both)
    assert config.directions == {"sliced_wasserstein": "min", "sliced_wasserstein_last": "min"}
    assert config.computing(["sliced_wasserstein_last"]) == config.metrics
    with pytest.raises(ValidationError, match="is not computed"):
        TrialConfig.model_validate(having(both, ema_metrics="average"))


def test_a_checkpoint_gives_the_generator_that_was_judged(digits_config: Settings, tmp_path: Path) -> None:
    """Samples, exported models and re-evaluations are of the averaged weights, as the trial's metrics are."""
    settings = having(digits_config, ema=0.9)
    trained = trainer(settings)
    trained.advance(4)
    trained.save(tmp_path / "c.pt")
    samples = {}
    for option in ("average", "last"):
        config = TrialConfig.model_validate(having(settings, ema_metrics=option))
        generator = load_generator(config, tmp_path / "c.pt", 1)
        samples[option] = draw_samples(config, generator, 20, 6, "evaluate", CPU)
    torch.testing.assert_close(samples["average"], trained.replicates.sample(20, average=True)[1])
    torch.testing.assert_close(samples["last"], trained.replicates.sample(20)[1])
    assert not torch.equal(samples["average"], samples["last"])


def test_a_checkpoint_without_an_average_is_refused_where_one_is_wanted(ring_config: Settings, tmp_path: Path) -> None:
    trainer(ring_config).save(tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"training\.ema"):
        trainer(having(ring_config, ema=0.9)).load(tmp_path / "c.pt")


def test_a_diverged_replicate_keeps_its_average(ring_config: Settings) -> None:
    trained = trainer(having(ring_config, ema=0.9))
    trained.advance(2)
    before = average(trained, 1)
    trained.replicates.end(1, "told to")
    other = average(trained, 0)
    trained.advance(2)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), average(trained, 1).values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(other.values(), average(trained, 0).values(), strict=True))
    assert trained.evaluate()["sliced_wasserstein"][1] is None


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_resumed_equals_uninterrupted(options: Settings, digits_config: Settings, tmp_path: Path) -> None:
    settings = having(digits_config, **options)
    whole, resumed = trainer(settings), trainer(settings)
    whole.advance(2)
    whole.save(tmp_path / "c.pt")
    resumed.load(tmp_path / "c.pt")
    assert resumed.advance(3) == whole.advance(3)
    assert resumed.evaluate() == whole.evaluate()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_replicate_equals_its_solo_run(options: Settings, digits_config: Settings) -> None:
    both, alone = (trainer(having(digits_config, **options, **own)) for own in ({}, {"replicates": 1, "seed": 6}))
    for trained in (both, alone):
        trained.advance(3)
    assert [row[1] for row in both.evaluate().values()] == [row[0] for row in alone.evaluate().values()]


# Clipping


def test_no_gradient_is_longer_than_the_limit_and_shorter_ones_stay(ring_config: Settings) -> None:
    """With SGD at rate 1 a step is the gradient, so it is as long as the limit; each network has a limit of its own."""
    settings = ring_config | {"optimizer": {"name": "sgd", "learning_rate": 1.0}}
    steps: dict[float | None, list[float]] = {}
    for limit in (None, 1e-3, 1e6):
        trained = trainer(having(settings, clip_norm=limit))
        before = [weights(trained, i, label) for label in ("generator", "critic") for i in range(2)]
        trained.advance(1)
        after = [weights(trained, i, label) for label in ("generator", "critic") for i in range(2)]
        steps[limit] = [
            math.sqrt(sum(float((a[key] - b[key]).square().sum()) for key in a))
            for a, b in zip(before, after, strict=True)
        ]
    assert min(steps[None]) > 2e-3
    assert steps[1e-3] == pytest.approx([1e-3] * 4, rel=2e-2)
    assert steps[1e6] == steps[None]


def test_a_limit_that_is_never_reached_changes_no_bit(ring_config: Settings) -> None:
    plain, clipped = trainer(ring_config), trainer(having(ring_config, clip_norm=1e6))
    assert plain.advance(4) == clipped.advance(4)
    assert all(torch.equal(a, b) for a, b in zip(weights(plain).values(), weights(clipped).values(), strict=True))


# Flips


def test_half_of_the_images_are_mirrored_and_nothing_else_is_changed(
    digits_config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the objective sees: the batches of a run without the option, each image as it is or mirrored."""
    seen: dict[bool, list[Tensor]] = {False: [], True: []}
    for flips in seen:
        config = TrialConfig.model_validate(having(digits_config, horizontal_flips=flips, batch_size=64))
        losses = type(config.objective).losses

        def spying(self: Any, real: Any, *rest: Any, flips: bool = flips, losses: Any = losses) -> Any:
            seen[flips].append(real.samples.detach().clone())
            return losses(self, real, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(type(config.objective), "losses", spying)
            Trainer(config, Path("unused"), CPU).advance(2)
    plain, mirrored = (torch.cat(seen[flips]).unflatten(2, config.data.shape) for flips in (False, True))
    same = (plain == mirrored).all(-1).all(-1).all(-1)
    flipped = (plain.flip(-1) == mirrored).all(-1).all(-1).all(-1)
    assert bool((same | flipped).all())
    assert 0.35 < float(flipped.float().mean()) < 0.65
    assert not torch.equal(flipped[0], flipped[1])  # a stream per replicate


def test_points_cannot_be_mirrored(ring_config: Settings) -> None:
    with pytest.raises(ValidationError, match="horizontal_flips = true needs images; data set ring has points"):
        TrialConfig.model_validate(having(ring_config, horizontal_flips=True))


# A trial as a runner drives it


def test_a_trial_reports_both_and_goes_on_from_its_checkpoint(digits_config: Settings, tmp_path: Path) -> None:
    config = TrialConfig.model_validate(having(digits_config, ema=0.9, ema_metrics="both", steps=4, eval_every=2))

    def reports(folder: Path, runs: list[int]) -> list[dict[str, Any]]:
        found = []
        for steps in runs:
            run = TrialRun(config, folder, Path("unused"), CPU)
            found += [run.step().to_json() for _ in range(steps)]
        return found

    whole, pieces = reports(tmp_path / "whole", [3]), reports(tmp_path / "pieces", [2, 2])
    assert pieces[2]["metrics"] == pieces[1]["metrics"]  # the report of the checkpoint, repeated
    assert pieces[3]["metrics"] == whole[2]["metrics"]
    assert whole[2]["metrics"].keys() == config.directions.keys()
