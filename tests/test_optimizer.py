"""Optimisers as configuration, and the restore that keeps a changed hyperparameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gramtune.components import Optimizer
from gramtune.optimizers.adam import Adam
from gramtune.optimizers.rmsprop import RMSprop
from gramtune.training.optimizer_state import load_rows, row

KINDS: list[tuple[type[Optimizer], dict[str, Any], dict[str, Any]]] = [
    (Adam, {"beta1": 0.3, "beta2": 0.9}, {"betas": (0.3, 0.9)}),
    (RMSprop, {"alpha": 0.7}, {"alpha": 0.7}),
]


def parameters() -> list[nn.Parameter]:
    """The rows of two networks, of two replicates each."""
    return [nn.Parameter(torch.tensor(row)) for row in ([1.0], [-2.0], [3.0, 0.5], [0.1, 4.0])]


def step(optimizer: torch.optim.Optimizer, values: list[nn.Parameter], times: int = 1) -> None:
    for _ in range(times):
        for value in values:
            value.grad = 2 * value.detach() + 0.1
        optimizer.step()


@pytest.mark.parametrize(("cls", "fields", "settings"), KINDS)
def test_every_field_reaches_torch(cls: type[Optimizer], fields: dict[str, Any], settings: dict[str, Any]) -> None:
    assert set(fields) == set(cls.model_fields) - {"name", "learning_rate", "critic_learning_rate"}
    group = cls(learning_rate=0.02, **fields).for_generator(parameters()).param_groups[0]
    assert {"lr": 0.02, **settings}.items() <= group.items()


@pytest.mark.parametrize(("cls", "_fields", "_settings"), KINDS)
def test_the_critic_may_have_a_rate_of_its_own(cls: type[Optimizer], _fields: object, _settings: object) -> None:
    def rates(optimizer: Optimizer) -> list[float]:
        built = (optimizer.for_generator(parameters()), optimizer.for_critic(parameters()))
        return [each.param_groups[0]["lr"] for each in built]

    assert rates(cls(learning_rate=0.1)) == [0.1, 0.1]
    assert rates(cls(learning_rate=0.1, critic_learning_rate=0.3)) == [0.1, 0.3]


def plain_adam(x: Tensor, steps: int, rate: float, beta1: float, beta2: float) -> Tensor:
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    for t in range(1, steps + 1):
        g = 2 * x + 0.1
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        x = x - rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + 1e-8)
    return x


def test_adam_is_the_published_rule() -> None:
    values = parameters()
    step(Adam(learning_rate=0.05, beta1=0.5, beta2=0.9).for_generator(values), values, times=4)
    for value, start in zip(values, parameters(), strict=True):
        torch.testing.assert_close(value.detach(), plain_adam(start.detach(), 4, 0.05, 0.5, 0.9))


def plain_rmsprop(x: Tensor, steps: int, rate: float, alpha: float) -> Tensor:
    v = torch.zeros_like(x)
    for _ in range(steps):
        g = 2 * x + 0.1
        v = alpha * v + (1 - alpha) * g**2
        x = x - rate * g / (v.sqrt() + 1e-8)
    return x


def test_rmsprop_is_the_published_rule() -> None:
    values = parameters()
    step(RMSprop(learning_rate=0.05, alpha=0.8).for_generator(values), values, times=4)
    for value, start in zip(values, parameters(), strict=True):
        torch.testing.assert_close(value.detach(), plain_rmsprop(start.detach(), 4, 0.05, 0.8))


@pytest.mark.parametrize(("cls", "fields", "settings"), KINDS)
def test_a_restore_brings_moments_but_not_the_old_hyperparameters(
    cls: type[Optimizer], fields: dict[str, Any], settings: dict[str, Any]
) -> None:
    """torch's own `load_state_dict` brings the old learning rate back; the witness below shows it."""
    values = parameters()
    old = cls(learning_rate=0.02).for_generator(values)
    step(old, values, times=3)

    witness = cls(learning_rate=0.5, **fields).for_generator(values)
    witness.load_state_dict(old.state_dict())
    assert witness.param_groups[0]["lr"] == 0.02

    new = cls(learning_rate=0.5, **fields).for_generator(values)
    load_rows(new, [row(old, i, 2) for i in range(2)])
    assert {"lr": 0.5, **settings}.items() <= new.param_groups[0].items()
    for parameter in values:
        assert old.state[parameter], "nothing to restore"
        for key, moment in old.state[parameter].items():
            assert torch.equal(new.state[parameter][key], moment)


def test_a_state_of_other_parameters_is_refused() -> None:
    old = Adam(learning_rate=0.1).for_generator(parameters())
    with pytest.raises(ValueError, match="steps 2 networks, this one 1"):
        load_rows(Adam(learning_rate=0.1).for_generator(parameters()[:2]), [row(old, i, 2) for i in range(2)])


def test_a_replicate_that_never_stepped_starts_from_zeros() -> None:
    """It has diverged at once; the others have moments, which are theirs alone."""
    values = parameters()
    old = Adam(learning_rate=0.1).for_generator(values)
    step(old, values, times=2)
    assert row(Adam(learning_rate=0.1).for_generator(parameters()), 0, 2) == [{}, {}]
    new = Adam(learning_rate=0.1).for_generator(values)
    load_rows(new, [[{}, {}], row(old, 1, 2)])
    assert [new.state[value].get("step") for value in values] == [None, 2, None, 2]
    step(new, values)
    assert [int(new.state[value]["step"]) for value in values] == [1, 3, 1, 3]
