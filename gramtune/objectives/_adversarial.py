"""Shared code of objectives with critic steps: their schedules, and access to the critic's output."""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from gramtune.components import CriticSpec, Objective, View


class Alternating(Objective):
    """Alternates a fixed number of critic steps with one generator step. The critic has one output by default."""

    joint: ClassVar[bool] = False
    name: str
    critic_iterations: PositiveInt = 5
    """Critic steps per generator step."""

    def critic(self) -> CriticSpec:
        """One output."""
        return CriticSpec(1)

    def critic_steps(self, generator_step: int) -> int:
        """The same number before every generator step."""
        return self.critic_iterations


class Boosted(Alternating):
    """Takes many critic steps at the start and periodically later, so that the critic stays near its optimum."""

    name: str
    boosted_critic_iterations: PositiveInt = 100
    """Critic steps before each of the first `boosted_steps` generator steps, and before every `boost_every`-th one."""
    boosted_steps: NonNegativeInt = 25
    """Number of boosted generator steps at the start."""
    boost_every: PositiveInt | None = 500
    """Every `boost_every`-th generator step (with 500: steps 0, 500, 1000, …) is boosted too; null for none."""

    def critic_steps(self, generator_step: int) -> int:
        """`boosted_critic_iterations` for a boosted step, else `critic_iterations`."""
        boosted = generator_step < self.boosted_steps or (
            self.boost_every is not None and generator_step % self.boost_every == 0
        )
        return self.boosted_critic_iterations if boosted else self.critic_iterations


def features(view: View) -> Tensor:
    """The critic's output [..., B, K] of an objective that has a critic."""
    assert view.features is not None
    return view.features


def outputs(view: View) -> Tensor:
    """The output of a critic with a single output: [..., B]."""
    return features(view).squeeze(-1)
