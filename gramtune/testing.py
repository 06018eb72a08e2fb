"""Contract tests for components of your own: `pytest -p gramtune.testing my_gan.py`.

Every component that the file registers is tested: its configuration survives JSON, it trains, it resumes bit for bit,
and a replicate has the same numbers alone and together with others. A field without a default needs an example:
`weight: Annotated[float, Field(examples=[0.5])]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from gramtune.components import (
    Component,
    Course,
    Dataset,
    FeatureExtractor,
    Metric,
    Network,
    Objective,
    Optimizer,
    Pruner,
    Rung,
)
from gramtune.plugins import read_plugin
from gramtune.registry import classes, registered_in
from gramtune.training.config import SECTIONS, TrialConfig
from gramtune.training.trainer import Trainer

Contract = Callable[[type[Component], "list[type[Component]]", Path], None]
_STEPS = 4
_POINTS = {
    "data": {"name": "ring", "n_train": 200, "n_held_out": 100},
    "objective": {"name": "gram", "critic_dim": 2, "bandwidths": [1.0]},
    "network": {"name": "mlp", "noise_dim": 2, "hidden": [8], "critic_hidden": [8]},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {"batch_size": 16, "steps": _STEPS, "eval_every": 2, "eval_samples": 100, "replicates": 2, "seed": 5},
    "metrics": ["sliced_wasserstein"],
    "metric": "sliced_wasserstein",
}
_IMAGES = _POINTS | {
    "data": {"name": "digits"},
    "network": {"name": "dcgan", "noise_dim": 4, "width": 4},
    "metrics": ["fid_digits"],
    "metric": "fid_digits",
}


def example(cls: type[Component]) -> dict[str, Any]:
    """The smallest configuration of a component: its name, and an example value for each field without a default."""
    fields = {key: field for key, field in cls.model_fields.items() if field.is_required()}
    if missing := [key for key, field in fields.items() if not field.examples]:
        raise AssertionError(f"{cls.__name__}: give an example for {', '.join(missing)}: Field(examples=[…])")
    values = {key: (field.examples or [None])[0] for key, field in fields.items()}
    return {"name": cls.model_fields["name"].default, **values}


def trial(cls: type[Component], beside: list[type[Component]], **training: Any) -> TrialConfig:
    """A small trial with the component. Other sections use components of the same file if they fit together.

    Raises AssertionError with the error of each attempt if no combination fits.
    """
    said = []
    own = {section: example(c) for section, kind in SECTIONS.items() for c in beside if issubclass(c, kind)}
    mine = {section: example(cls) for section, kind in SECTIONS.items() if issubclass(cls, kind)}
    for base in (_POINTS | own, _POINTS, _IMAGES | own, _IMAGES):
        raw: dict[str, Any] = {**base, **mine, "training": {**_POINTS["training"], **training}}  # type: ignore[dict-item]
        if isinstance(raw["metrics"], dict):
            raw["metrics"] = [raw["metrics"]]
            (given,) = raw["metrics"]
            raw["metric"] = next(iter(classes(Metric)[given["name"]].model_validate(given).directions))
        try:
            config = TrialConfig.model_validate(raw)
            with TemporaryDirectory() as root:
                Trainer(config, Path(root), torch.device("cpu"))
            return config
        except ValueError as error:
            said.append(str(error).splitlines()[0])
    raise AssertionError(f"{cls.__name__} fits no network and data set of this package or its file: {'; '.join(said)}")


def is_its_configuration(cls: type[Component], beside: list[type[Component]], folder: Path) -> None:
    """Checks that the component has a docstring, survives JSON, and refuses unknown fields and changes."""
    assert cls.__doc__, f"{cls.__name__} has no docstring"
    component = cls.model_validate(example(cls))
    assert cls.model_validate_json(component.model_dump_json()) == component
    with pytest.raises(ValueError, match="no_such_field"):
        cls.model_validate({**example(cls), "no_such_field": 1})
    with pytest.raises(ValueError, match="frozen"):
        component.name = "other"  # type: ignore[attr-defined]


def trains(cls: type[Component], beside: list[type[Component]], folder: Path) -> None:
    """Checks that a few steps give finite losses and every metric of every replicate, and change the generator."""
    trainer = Trainer(trial(cls, beside), folder, torch.device("cpu"))
    before = _weights(trainer)
    traces = trainer.advance(_STEPS)
    values = trainer.evaluate()
    for name, replicates in {**traces, **values}.items():
        assert all(value is not None for value in replicates), f"{name} is not finite: {replicates}"
    assert trainer.config.metric in values
    after = _weights(trainer)
    assert any(not torch.equal(before[key], after[key]) for key in before), "no parameter has changed"


def resumes_bit_for_bit(cls: type[Component], beside: list[type[Component]], folder: Path) -> None:
    """Checks that saving and restoring in the middle changes no number."""
    config, device, file = trial(cls, beside), torch.device("cpu"), folder / "checkpoint"
    whole, first, second = (Trainer(config, folder, device) for _ in range(3))
    whole.advance(_STEPS)
    first.advance(_STEPS // 2)
    first.save(file)
    second.load(file)
    second.advance(_STEPS - _STEPS // 2)
    ours, theirs = _weights(second), _weights(whole)
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), f"{key} differs after a resume"


def is_the_same_alone(cls: type[Component], beside: list[type[Component]], folder: Path) -> None:
    """Checks that replicate 1 has the same losses and metrics alone and beside replicate 0, up to rounding."""
    together = trial(cls, beside)
    alone = trial(cls, beside, replicates=1, seed=together.training.seed + 1)
    values = []
    for config in (together, alone):
        trainer = Trainer(config, folder, torch.device("cpu"))
        reported = {**trainer.advance(_STEPS), **trainer.evaluate()}
        values.append({name: replicates[-1] for name, replicates in reported.items()})
    assert values[1] == pytest.approx(values[0], rel=1e-3), "a replicate depends on those beside it"


def gives_the_same_samples(cls: type[Component], beside: list[type[Component]], folder: Path) -> None:
    """Checks that both sets of a data set have the declared shape, a legal type, and the same values at each call."""
    data = cls.model_validate(example(cls))
    assert isinstance(data, Dataset)
    assert data.fingerprint(folder) == data.fingerprint(folder)
    for draw in (data.train, data.held_out):
        samples = draw(folder)
        assert tuple(samples.shape[1:]) == data.shape
        assert samples.dtype == (torch.uint8 if data.kind == "image" else torch.float32)
        assert torch.equal(samples, draw(folder))


def judges_at_its_steps(cls: type[Component], beside: list[type[Component]], folder: Path) -> None:
    """Checks that a pruner decides before the last evaluation, repeatably, and never stops the only or best trial."""
    pruner = cls.model_validate(example(cls))
    assert isinstance(pruner, Pruner)
    for course in (Course(1000, 10), Course(30, 7)):
        steps = list(pruner.steps("a", course))
        assert steps == sorted(set(steps)), f"{steps} is not ascending"
        assert set(steps) <= set(course.evaluations()), f"{steps} are not all evaluations before step {course.steps}"
        for step in steps:
            for others in (0, 1, 20):
                race = {f"{i}": [float(i), i + 1.0] for i in range(1, others + 1)}
                best, worst = _rung(race, step, -1.0), _rung(race, step, others + 1.0)
                assert pruner.stops(best) == "", f"the best of {others + 1} is stopped at step {step}"
                assert pruner.stops(worst) == pruner.stops(worst), "two answers to one question"


def _rung(others: Mapping[str, list[float]], step: int, score: float) -> Rung:
    """A rung with trial `a`, whose two replicates have this score and one more, and with other trials."""
    race = {**others, "a": [score, score + 1]}
    return Rung("a", step, "m", "min", race, {name: {step: scores} for name, scores in race.items()})


def contracts(cls: type[Component]) -> Iterator[Contract]:
    """The contracts for the component's kind."""
    yield is_its_configuration
    if issubclass(cls, Dataset):
        yield gives_the_same_samples
    if issubclass(cls, Pruner):
        yield judges_at_its_steps
    elif not issubclass(cls, FeatureExtractor):
        yield trains
    if issubclass(cls, Objective | Network | Optimizer):
        yield resumes_bit_for_bit
        yield is_the_same_alone


def _weights(trainer: Trainer) -> Mapping[str, torch.Tensor]:
    """Every tensor of the trainer's state, by its path."""
    return dict(_tensors(trainer.state_dict(), ""))


def _tensors(state: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(state, torch.Tensor):
        yield path, state.clone()
    elif isinstance(state, Mapping | list | tuple):
        for key, value in state.items() if isinstance(state, Mapping) else enumerate(state):
            yield from _tensors(value, f"{path}.{key}")


class _PluginFile(pytest.File):
    """A file that registers components: one test per component and contract."""

    def collect(self) -> Iterator[pytest.Item]:
        """Registers the components and yields their tests."""
        module = read_plugin(self.path.name, self.path.parent).load()
        components = registered_in(module.__name__)
        for cls in components:
            for contract in contracts(cls):
                yield _ContractTest.from_parent(
                    self,
                    name=f"{cls.__name__}-{contract.__name__}",
                    component=cls,
                    beside=components,
                    contract=contract,
                )


class _ContractTest(pytest.Item):
    """One contract of one component."""

    def __init__(
        self, *, component: type[Component], beside: list[type[Component]], contract: Contract, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._component, self._beside, self._contract = component, beside, contract

    def runtest(self) -> None:
        """Runs the contract in a new temporary folder."""
        with TemporaryDirectory() as folder:
            self._contract(self._component, self._beside, Path(folder))


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Collects files that register components; leaves all others to pytest."""
    text = module_path.read_text(encoding="utf-8")
    if "gramtune" not in text or "@register" not in text:
        return None
    file: pytest.File = _PluginFile.from_parent(parent, path=module_path)
    return file
