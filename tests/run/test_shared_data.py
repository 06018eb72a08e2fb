"""Lent data sets: not read from disk, not copied, not written to; one copy per node with Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import cifar_files
from sweeps import BASE, write_space
from torch import Tensor
from torchvision.datasets import CIFAR10

from gramtune.components import Dataset, Metric, Unavailable
from gramtune.data.cifar10 import Cifar10
from gramtune.data.digits import Digits
from gramtune.data.ring import Ring
from gramtune.errors import SpecError
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.registry import classes
from gramtune.run.datasets import MOST, datasets
from gramtune.run.driver import Driver, NothingNew
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan
from gramtune.training.config import TrialConfig
from gramtune.training.real_data import RealData
from gramtune.training.samples import Library, Samples
from gramtune.training.trainer import Trainer

CPU = torch.device("cpu")
Settings = dict[str, Any]


def refuse(*_: object) -> Tensor:
    raise AssertionError("read from disk")


def trained(settings: Settings, root: Path, real: RealData | None = None) -> tuple[Any, ...]:
    trainer = Trainer(TrialConfig.model_validate(settings), root, CPU, real)
    return trainer.evaluate(), trainer.advance(3), trainer.evaluate()


@pytest.mark.parametrize("base", ["digits_config", "ring_config"])
def test_lent_data_are_used_unread_uncopied_and_unchanged(
    base: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same numbers; no file is looked for. A step or metric that wrote in place would end a process under Ray."""
    settings = request.getfixturevalue(base)
    extractor = {"digits_config": "digits_cnn", "ring_config": "identity"}[base]
    metrics = [name for name, cls in classes(Metric).items() if cls.extractor == extractor and cls.needs_samples]
    assert len(metrics) >= 2
    settings = settings | {"metrics": metrics}
    dataset = TrialConfig.model_validate(settings).data
    expected = trained(settings, tmp_path / "one")
    own = Samples(
        dataset.fingerprint(tmp_path), *(part(tmp_path).clone() for part in (dataset.train, dataset.held_out))
    )
    for name in ("train", "held_out", "fingerprint"):
        monkeypatch.setattr(type(dataset), name, refuse)
    real = RealData()
    real.library.lend(dataset, own)
    before = own.train.clone(), own.held_out.clone()
    assert trained(settings, tmp_path / "two", real) == expected
    assert real.library.train(dataset, tmp_path, CPU).data_ptr() == own.train.data_ptr(), "a copy"
    assert torch.equal(before[0], own.train)
    assert torch.equal(before[1], own.held_out)


# Which data sets a sweep needs


def state_of(folder: Path, space: str, search: str = "", base: str = BASE) -> SweepState:
    text = f"name: axis\nbase: base/tiny.yaml\nspace:\n{space}\nreplicates: 1\n{search}\n"
    path = write_space(folder, text, base)
    return SweepState(make_plan(load_sweep(path), folder))


RING_BASE = (
    BASE.replace("{name: digits}", "{name: ring, n_train: 100, n_held_out: 100}")
    .replace("{name: dcgan, noise_dim: 4, width: 4}", "{name: mlp, hidden: [4], critic_hidden: [4]}")
    .replace("fid_digits", "sliced_wasserstein")
)
TWO_RINGS = "  data.radius: {grid: [1.0, 2.0]}\n  objective.critic_dim: {grid: [2, 4]}"


def test_each_data_set_of_a_sweep_is_known_once(tmp_path: Path) -> None:
    assert datasets(state_of(tmp_path, "  objective.critic_dim: {grid: [1, 4]}")) == [Digits()]
    state = state_of(tmp_path, TWO_RINGS, base=RING_BASE)
    rings = [Ring(radius=radius, n_train=100, n_held_out=100) for radius in (1.0, 2.0)]
    assert datasets(state) == rings
    for record in list(state.records.values())[:2]:
        state.ended(record.trial.name, Status.FAILED)
    assert datasets(state) == rings[1:], "what no trial needs any more is not loaded"


def test_sampled_data_are_known_where_they_are_few(tmp_path: Path) -> None:
    search = "search: {name: random, samples: 4}"
    few = state_of(tmp_path, "  data.radius: {choice: [1.0, 2.0]}", search, RING_BASE)
    assert {ring.radius for ring in datasets(few) if isinstance(ring, Ring)} == {1.0, 2.0}
    many = state_of(tmp_path, "  data.radius: {uniform: [1.0, 2.0]}", search, RING_BASE)
    assert datasets(many) == []
    assert MOST >= 8


# Under Ray


def run(runner: Any, state: SweepState, folder: Path) -> SweepState:
    (folder / "run").mkdir(parents=True)
    runner.run(Driver(state, folder / "run", NothingNew()))
    return state


@pytest.fixture
def ray_runner(local_ray: None) -> Any:
    from gramtune.backends.ray.runner import RayRunner

    return RayRunner(lambda _: None)


def counting(monkeypatch: pytest.MonkeyPatch, dataset: type[Dataset]) -> list[str]:
    """The name of each part that this process, the driver, reads."""
    read: list[str] = []
    for part in ("train", "held_out"):
        original = getattr(dataset, part)

        def counted(self: Dataset, root: Path, part: str = part, original: Any = original) -> Tensor:
            read.append(part)
            result: Tensor = original(self, root)
            return result

        monkeypatch.setattr(dataset, part, counted)
    return read


def test_workers_train_on_data_that_the_driver_alone_can_read(
    ray_runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve images stand for CIFAR-10 in the driver alone: a worker that opened the files would find them damaged.

    Its memory for them is Ray's: read-only, so that a step or metric that writes in place fails here too.
    """
    monkeypatch.setenv("GRAMTUNE_DATA", str(tmp_path))
    checksums = cifar_files(tmp_path)
    with pytest.raises(Unavailable):
        Cifar10().train(tmp_path)  # as a worker would
    for name, value in checksums.items():
        monkeypatch.setattr(CIFAR10, name, value)
    read = counting(monkeypatch, Cifar10)
    base = BASE.replace("{name: digits}", "{name: cifar10}").replace("fid_digits", "sliced_wasserstein")
    state = state_of(tmp_path, "  objective.critic_dim: {grid: [1, 2, 4]}", base=base)
    run(ray_runner, state, tmp_path)
    assert {r.status: r.reason for r in state.records.values()} == {Status.COMPLETED: ""}
    assert len(state.records) == 3
    assert sorted(read) == ["held_out", "train"], "one read per sweep, not per trial"


@pytest.mark.slow
def test_data_that_vary_are_each_lent(ray_runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those of a process that reads for itself; a reused actor takes the data of its next trial."""
    from gramtune.run.in_process import InProcessRunner

    def values(runner: Any, folder: Path) -> dict[str, Any]:
        folder.mkdir()
        state = run(runner, state_of(folder, TWO_RINGS, base=RING_BASE), folder)
        return {name: [r.metrics for r in record.reports.values()] for name, record in state.records.items()}

    plain = values(InProcessRunner(), tmp_path / "plain")
    read = counting(monkeypatch, Ring)
    assert values(ray_runner, tmp_path / "ray") == plain
    assert sorted(read) == ["held_out", "held_out", "train", "train"]


def test_data_that_vanish_after_the_check_are_one_line(
    ray_runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> Tensor:
        raise Unavailable("data set digits: gone")

    state = state_of(tmp_path, "  objective.critic_dim: {grid: [1, 4]}")
    monkeypatch.setattr(Digits, "train", gone)
    with pytest.raises(SpecError, match=r"^data: data set digits: gone$"):
        run(ray_runner, state, tmp_path)


def test_ray_s_arrays_become_tensors_without_a_copy(
    local_ray: None, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    from gramtune.backends.ray.data import borrow, put
    from gramtune.backends.ray.quiet import ray

    ring = Ring(n_train=1 << 17)  # Ray copies what is small
    refs = put([ring], tmp_path)
    library = Library()
    borrow(ring, refs, library)
    _, array, _ = ray.get(refs[ring.model_dump_json()])
    assert not array.flags.writeable
    assert library.train(ring, tmp_path, CPU).data_ptr() == array.ctypes.data
    assert not recwarn.list, "torch warns that the memory is read-only, which is the point"
