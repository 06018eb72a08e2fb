"""What objectives with critic steps share: their schedules, and a critic's output as a tensor."""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from gramtune.components import CriticSpec, Objective, View


class Alternating(Objective):
    """Critic steps and generator steps in turn, as many critic steps each time. One output, unless it says more."""

    joint: ClassVar[bool] = False
    name: str
    critic_iterations: PositiveInt = 5
    """Critic steps per generator step."""

    def critic(self) -> CriticSpec:
        """One output."""
        return CriticSpec(1)

    def critic_steps(self, generator_step: int) -> int:
        """Always as many."""
        return self.critic_iterations


class Boosted(Alternating):
    """Many critic steps at the start and now and then, so that the critic is near its optimum; else few."""

    name: str
    boosted_critic_iterations: PositiveInt = 100
    """Critic steps before each of the first `boosted_steps` generator steps, and at every `boost_every`-th."""
    boosted_steps: NonNegativeInt = 25
    """Generator steps at the start that are boosted."""
    boost_every: PositiveInt | None = 500
    """Generator steps 0, 500, 1000, … are boosted too; null for none."""

    def critic_steps(self, generator_step: int) -> int:
        """As the fields say."""
        boosted = generator_step < self.boosted_steps or (
            self.boost_every is not None and generator_step % self.boost_every == 0
        )
        return self.boosted_critic_iterations if boosted else self.critic_iterations


def features(view: View) -> Tensor:
    """The critic's output [..., B, K] of an objective that has a critic."""
    assert view.features is not None
    return view.features


def outputs(view: View) -> Tensor:
    """The output of a critic that has one: [..., B]."""
    return features(view).squeeze(-1)
