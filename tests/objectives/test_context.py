"""The context of an objective: other points, uniform draws, generated batches, noise, state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

from gramtune.components import Context, CriticSpec, Losses, Objective, View, losses_function
from gramtune.objectives.gram import Gram
from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks
from gramtune.training.replicates import Replicates
from gramtune.training.trainer import Trainer

Settings = dict[str, Any]
CPU = torch.device("cpu")


class Everything(Objective):
    """Uses all of the context: a penalty at mixed points, a second batch, the noise, a number kept between steps."""

    joint: ClassVar[bool] = False
    name: Literal["everything"] = "everything"
    asked: ClassVar[list[tuple[bool, bool]]] = []
    draws: ClassVar[list[Tensor]] = []

    @property
    def state(self) -> Mapping[str, float]:
        return {"multiplier": 0.25}

    def critic(self) -> CriticSpec:
        return CriticSpec(1)

    def losses(self, real: View, fake: View, context: Context) -> Losses:
        assert real.features is not None
        assert fake.features is not None
        self.asked.append((context.for_critic, context.for_generator))
        another, multiplier = context.generated(), context.state["multiplier"]
        assert another.features is not None
        generator = -fake.features.mean(dim=(-2, -1)) - another.features.mean(dim=(-2, -1))
        if not context.for_critic:
            return Losses(None, generator + context.noise.mean(dim=(-2, -1)), {})
        mix = context.uniform(real.samples.shape[-2], 1)
        self.draws.append(mix)
        points = (mix * real.samples + (1 - mix) * fake.samples.detach()).requires_grad_()
        (slopes,) = torch.autograd.grad(context.critic(points).sum(), points, create_graph=True)
        penalty = slopes.square().sum(dim=-1).mean(dim=-1)
        critic = -generator - real.features.mean(dim=(-2, -1)) + (1 + multiplier) * penalty
        return Losses(critic, None, {"penalty": penalty}, {"multiplier": multiplier + penalty})


class TwoArguments(Everything):
    def losses(self, real: View, fake: View) -> Losses:  # type: ignore[override]
        assert real.features is not None
        assert fake.features is not None
        gap = (real.features.mean(dim=-2) - fake.features.mean(dim=-2)).square().sum(dim=-1)
        return Losses(-gap, gap, {})


class OneArgument(Everything):
    def losses(self, real: View) -> Losses:  # type: ignore[override]
        raise NotImplementedError


def trained(settings: Settings, objective: Objective, replicates: int = 2, seed: int = 5, steps: int = 3) -> Trainer:
    config = TrialConfig.model_validate(settings)
    training = config.training.model_copy(update={"replicates": replicates, "seed": seed})
    found = Trainer(config.model_copy(update={"objective": objective, "training": training}), Path("unused"), CPU)
    found.advance(steps)
    assert found.replicates.diverged == [None] * replicates
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


def test_a_replicate_equals_its_solo_run(ring_config: Settings) -> None:
    """Bit for bit: penalty, draws, second batch and kept number are its own."""
    together = trained(ring_config, Everything(), replicates=3)
    for i in range(3):
        alone = trained(ring_config, Everything(), replicates=1, seed=5 + i)
        assert same(alone.replicates.state_dict(0), together.replicates.state_dict(i))


def test_resumed_equals_uninterrupted(ring_config: Settings, tmp_path: Path) -> None:
    whole, first = trained(ring_config, Everything(), steps=5), trained(ring_config, Everything(), steps=2)
    first.save(tmp_path / "x.ckpt")
    resumed = trained(ring_config, Everything(), steps=0)
    resumed.load(tmp_path / "x.ckpt")
    resumed.advance(3)
    for i in range(2):
        assert same(resumed.replicates.state_dict(i), whole.replicates.state_dict(i))
    assert whole.replicates.state_dict(0)["state"]["multiplier"] > 0.25


def test_a_diverged_replicate_keeps_its_number(ring_config: Settings) -> None:
    found = trained(ring_config, Everything(), steps=2)
    before = [found.replicates.state_dict(i)["state"]["multiplier"].item() for i in range(2)]
    found.replicates.end(1, "for the test")
    found.advance(2)
    after = [found.replicates.state_dict(i)["state"]["multiplier"].item() for i in range(2)]
    assert (before[0] != after[0], before[1] == after[1]) == (True, True)


def test_each_step_says_which_loss_it_uses(ring_config: Settings) -> None:
    Everything.asked.clear()
    trained(ring_config, Everything(), steps=2)
    assert Everything.asked == [(True, False), (False, True)] * 2


def test_uniform_draws_differ_by_step_and_replicate(ring_config: Settings) -> None:
    Everything.draws.clear()
    trained(ring_config, Everything(), steps=2)
    first, second = Everything.draws
    assert first.shape == (2, 16, 1)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert 0 <= min(first.min(), second.min()) < max(first.max(), second.max()) < 1


class Looking(Gram):
    """Asks the context for further points, and remembers BatchNorm's averages before and after."""

    averages: ClassVar[Callable[[], list[Tensor]]]
    seen: ClassVar[list[list[Tensor]]] = []

    def losses(self, real: View, fake: View, context: Context) -> Losses:  # type: ignore[override]
        self.seen.append(type(self).averages())
        assert context.critic(torch.rand(2, 16, 64)).shape == (2, 16, 3)
        assert context.generated().samples.shape == (2, 16, 64)
        self.seen.append(type(self).averages())
        return super().losses(real, fake)


def test_further_points_leave_batch_norm_s_averages_alone(digits_config: Settings) -> None:
    """Witness: the batches of the step itself move them."""
    looking = Looking.model_validate({"critic_dim": 3, "bandwidths": [1.0]})
    config = TrialConfig.model_validate(digits_config).model_copy(update={"objective": looking})
    found = Replicates(config, [0, 1], config.data.train(Path("unused")), CPU)

    def averages() -> list[Tensor]:
        buffers = [b for label in ("generator", "critic") for b in found.network(label, 1).buffers()]
        return [buffer.clone() for buffer in buffers]

    Looking.averages, start = averages, averages()
    Looking.seen.clear()
    found.advance(1)
    before, after = Looking.seen
    assert before
    assert same(after, before)
    assert not same(before, start)


def test_an_objective_without_context_trains(ring_config: Settings) -> None:
    trained(ring_config, TwoArguments())


def test_losses_of_another_signature_are_one_line_before_anything_starts(ring_config: Settings) -> None:
    config = TrialConfig.model_validate(ring_config).model_copy(update={"objective": OneArgument()})
    with pytest.raises(
        ValueError, match=r"losses\(real.*\) of objective everything should take real and fake"
    ) as caught:
        build_networks(config, config.data.shape)
    assert len(str(caught.value).splitlines()) == 1
    assert callable(losses_function(TwoArguments()))
