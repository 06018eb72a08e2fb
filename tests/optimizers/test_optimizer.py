"""Optimisers as configuration, and that a restore keeps a changed hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from gramtune.components import Optimizer, Schedule
from gramtune.errors import SpecError
from gramtune.optimizers.adam import Adam
from gramtune.optimizers.adamw import AdamW
from gramtune.optimizers.rmsprop import RMSprop
from gramtune.optimizers.sgd import SGD
from gramtune.registry import classes
from gramtune.space.load import load_config
from gramtune.space.plan import all_trials
from gramtune.space.sweep import Sweep
from gramtune.training.config import TrialConfig
from gramtune.training.optimizer_state import load_rows, row, set_rate
from gramtune.training.trainer import Trainer

KINDS: list[tuple[type[Optimizer], dict[str, Any], dict[str, Any]]] = [
    (
        Adam,
        {"beta1": 0.3, "beta2": 0.9, "eps": 1e-4, "weight_decay": 0.1},
        {"betas": (0.3, 0.9), "eps": 1e-4, "weight_decay": 0.1},
    ),
    (
        AdamW,
        {"beta1": 0.3, "beta2": 0.9, "eps": 1e-4, "weight_decay": 0.1},
        {"betas": (0.3, 0.9), "eps": 1e-4, "weight_decay": 0.1},
    ),
    (
        RMSprop,
        {"alpha": 0.7, "eps": 1e-4, "weight_decay": 0.1, "momentum": 0.3},
        {"alpha": 0.7, "eps": 1e-4, "weight_decay": 0.1, "momentum": 0.3},
    ),
    (
        SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
]


def test_every_registered_optimizer_is_tested_here() -> None:
    assert {cls for cls, _, _ in KINDS} == set(classes(Optimizer).values())


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
    assert set(fields) == set(cls.model_fields) - set(Optimizer.model_fields)
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


def test_decoupled_weight_decay_shrinks_the_weights_and_not_the_moments() -> None:
    """x ← x − ηλx, then Adam's step on the gradient alone."""
    values = parameters()
    step(AdamW(learning_rate=0.05, weight_decay=0.2, beta1=0.5, beta2=0.9).for_generator(values), values)
    for value, start in zip(values, parameters(), strict=True):
        x, g = start.detach(), 2 * start.detach() + 0.1
        moved = x * (1 - 0.05 * 0.2) - 0.05 * g / (g.abs() + 1e-8)
        torch.testing.assert_close(value.detach(), moved)


def plain_sgd(x: Tensor, steps: int, rate: float, momentum: float) -> Tensor:
    v = torch.zeros_like(x)
    for _ in range(steps):
        v = momentum * v + 2 * x + 0.1
        x = x - rate * v
    return x


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_the_published_rule(momentum: float) -> None:
    values = parameters()
    step(SGD(learning_rate=0.05, momentum=momentum).for_generator(values), values, times=4)
    for value, start in zip(values, parameters(), strict=True):
        torch.testing.assert_close(value.detach(), plain_sgd(start.detach(), 4, 0.05, momentum))


# Schedules


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), [1.0, 1.0, 1.0, 1.0, 1.0]),
        (Schedule(warmup=2), [0.5, 1.0, 1.0, 1.0, 1.0]),
        (Schedule(name="linear"), [1.0, 0.75, 0.5, 0.25, 0.0]),
        (Schedule(name="linear", final=0.2, steps=2), [1.0, 0.6, 0.2, 0.2, 0.2]),
        (Schedule(name="cosine"), [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0.0]),
        (Schedule(name="cosine", warmup=2), [0.5, 1.0, 1.0, 0.5, 0.0]),
        (Schedule(name="exponential", final=0.0625), [1.0, 0.5, 0.25, 0.125, 0.0625]),
        (Schedule(name="exponential"), [1.0, 0.01**0.25, 0.1, 0.01**0.75, 0.01]),
    ],
)
def test_a_schedule_is_its_formula(schedule: Schedule, expected: list[float]) -> None:
    assert [schedule.factor(step, 4) for step in range(5)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"name": "exponential", "final": 0.0}, "above 0 for exponential"),
        ({"final": 0.5}, "constant has no final"),
        ({"name": "cosine", "warmup": 10, "steps": 10}, "below steps"),
        ({"name": "cosine", "final": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        Schedule(**fields)


@pytest.mark.parametrize(("cls", "fields", "_settings"), KINDS)
def test_a_rate_in_a_tensor_steps_like_a_number(
    cls: type[Optimizer], fields: dict[str, Any], _settings: dict[str, Any]
) -> None:
    """On a GPU a recorded graph reads the rate from a tensor, which keeps its place while its value changes."""
    numbers, tensors = parameters(), parameters()
    optimizer = cls(learning_rate=0.5, **fields)
    by_number, held = optimizer.build(numbers, 0.5), torch.tensor(0.5)
    by_tensor = optimizer.build(tensors, held)
    if cls is RMSprop:  # `foreach` takes a tensor on a GPU only; the loop has the same formula
        by_tensor.param_groups[0]["foreach"] = False
    for rate in (0.25, 0.125, 0.0625):
        for each, values in ((by_number, numbers), (by_tensor, tensors)):
            set_rate(each, rate)
            step(each, values)
    assert by_tensor.param_groups[0]["lr"] is held
    for a, b in zip(numbers, tensors, strict=True):
        torch.testing.assert_close(a, b)


def trained(settings: dict[str, Any], steps: int) -> list[Tensor]:
    trainer = Trainer(TrialConfig.model_validate(settings), Path("unused"), torch.device("cpu"))
    trainer.advance(steps)
    networks = (trainer.replicates.network(label, i) for label in ("generator", "critic") for i in range(2))
    return [p.detach().clone() for network in networks for p in network.parameters()]


def with_schedules(ring_config: dict[str, Any], schedule: Any, critic_schedule: Any = None) -> dict[str, Any]:
    optimizer = {"name": "sgd", "learning_rate": 1e-2, "schedule": schedule, "critic_schedule": critic_schedule}
    return ring_config | {"optimizer": optimizer}


def moved(a: list[Tensor], b: list[Tensor]) -> float:
    return sum(float((x - y).norm()) for x, y in zip(a, b, strict=True))


def test_a_schedule_reaches_the_networks_one_by_one(ring_config: dict[str, Any]) -> None:
    """With the rate at 0 from step 1 on, the network stays where one step has brought it; the other goes on."""
    still = {"name": "linear", "steps": 1}
    half = len(trained(with_schedules(ring_config, still), 0)) // 2
    first, third = (trained(with_schedules(ring_config, still, "constant"), steps) for steps in (1, 3))
    assert moved(first[:half], third[:half]) == 0 < moved(first[half:], third[half:])
    first, third = (trained(with_schedules(ring_config, still), steps) for steps in (1, 3))
    assert moved(first, third) == 0 < moved(first, trained(with_schedules(ring_config, still), 0))


def test_constant_is_no_schedule_bit_for_bit(ring_config: dict[str, Any]) -> None:
    assert (
        moved(trained(with_schedules(ring_config, None), 4), trained(with_schedules(ring_config, "constant"), 4)) == 0
    )


@pytest.mark.parametrize("name", list(classes(Optimizer)))
@pytest.mark.parametrize("schedule", [None, {"name": "cosine", "warmup": 2}])
@pytest.mark.parametrize("objective", ["gram", "mmd_gan"])
def test_a_resumed_trial_has_the_rates_of_an_uninterrupted_one(
    name: str, schedule: Any, objective: str, fitting: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    optimizer: dict[str, Any] = {"name": name, "learning_rate": 1e-3, "schedule": schedule}
    if name in ("sgd", "rmsprop"):
        optimizer["momentum"] = 0.9
    config = TrialConfig.model_validate(fitting(objective).model_dump() | {"optimizer": optimizer})
    whole, resumed = (Trainer(config, Path("unused"), torch.device("cpu")) for _ in range(2))
    whole.advance(3)
    whole.save(tmp_path / "trainer.pt")
    resumed.load(tmp_path / "trainer.pt")
    assert resumed.advance(4) == whole.advance(4)
    assert resumed.evaluate() == whole.evaluate()


def test_a_replicate_with_a_schedule_equals_its_solo_run(ring_config: dict[str, Any]) -> None:
    settings = ring_config | {"optimizer": {"name": "adamw", "learning_rate": 1e-2, "schedule": "cosine"}}
    solo = settings | {"training": settings["training"] | {"replicates": 1, "seed": 6}}
    both = Trainer(TrialConfig.model_validate(settings), Path("unused"), torch.device("cpu"))
    alone = Trainer(TrialConfig.model_validate(solo), Path("unused"), torch.device("cpu"))
    both.advance(5)
    alone.advance(5)
    own = [p.detach() for p in both.replicates.network("generator", 1).parameters()]
    other = [p.detach() for p in alone.replicates.network("generator", 0).parameters()]
    assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True))


def test_a_warm_up_is_shorter_than_the_training(ring_config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"optimizer.schedule.warmup = 8 should be below training.steps \(8\)"):
        TrialConfig.model_validate(with_schedules(ring_config, {"warmup": 8}))


def test_schedules_are_swept_whole_and_field_by_field(ring_config: dict[str, Any], tmp_path: Path) -> None:
    """Whichever key stands first: a schedule by its name alone keeps the name beside its fields."""
    base = ring_config | {"optimizer": {"name": "sgd", "learning_rate": 0.01, "critic_schedule": "cosine"}}
    space = {
        "optimizer.schedule.warmup": {"grid": [0, 2]},
        "optimizer.schedule": {"grid": ["constant", "linear"]},
        "optimizer.critic_schedule.final": {"grid": [0.1]},
    }
    sweep = Sweep.model_validate({"name": "s", "base": base, "space": space})
    found = [(o.schedule, o.critic_schedule) for o in (trial.config.optimizer for trial in all_trials(sweep))]
    critic = Schedule(name="cosine", final=0.1)
    expected = [Schedule(name=name, warmup=w) for w in (0, 2) for name in ("constant", "linear")]
    assert found == [(schedule, critic) for schedule in expected]


def test_a_wrong_field_of_a_schedule_is_one_line_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text("optimizer:\n  name: adam\n  learning_rate: 1e-3\n  schedule: {name: cosin, warm: 3}\n")
    with pytest.raises(SpecError) as caught:
        load_config(file)
    lines = [str(issue) for issue in caught.value.issues if "schedule" in issue.message]
    assert len(lines) == 2
    assert all("base.yaml:4" in line for line in lines)
    assert any("'cosin' is not legal; legal: 'constant', 'linear', 'cosine' or 'exponential'" in line for line in lines)
    assert any("did you mean 'warmup'" in line for line in lines)


@pytest.mark.parametrize(("cls", "fields", "settings"), KINDS)
def test_a_restore_brings_moments_but_not_the_old_hyperparameters(
    cls: type[Optimizer], fields: dict[str, Any], settings: dict[str, Any]
) -> None:
    """torch's own `load_state_dict` brings the old learning rate back; the witness below shows it."""
    values = parameters()
    old = cls(learning_rate=0.02, **({"momentum": 0.5} if cls in (SGD, RMSprop) else {})).for_generator(values)
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
