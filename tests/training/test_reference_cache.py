"""Statistics of the data are computed once per machine; a damaged cache file is not used."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gramtune.components import Metric
from gramtune.data.digits import Digits
from gramtune.metrics.kid import KidDigits
from gramtune.pixels import to_float
from gramtune.registry import classes
from gramtune.training import real_data
from gramtune.training.config import TrialConfig
from gramtune.training.evaluator import Evaluator
from gramtune.training.reference_cache import FOLDER, cached

CPU = torch.device("cpu")
ON_DIGITS = [name for name, cls in classes(Metric).items() if cls.extractor == "digits_cnn"]
Compute = Callable[[], dict[str, Tensor]]


class Counted:
    """Returns the same tensors at every call, and counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        time.sleep(0.05)  # long enough for the others to come
        return {"mean": torch.arange(3.0), "empty": torch.empty(0, 4), "count": torch.tensor(7)}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_eight_that_start_at_once_compute_once(tmp_path: Path) -> None:
    compute = Counted()
    with ThreadPoolExecutor(8) as pool:  # the lock is one of open files, so threads stand for processes
        found = list(pool.map(lambda _: cached(tmp_path / "new" / "a.safetensors", compute), range(8)))
    assert compute.calls == 1
    assert all(equal(each, Counted()()) for each in found)


@pytest.mark.parametrize("damage", ["cut off", "empty", "noise", "a folder"])
def test_a_damaged_file_is_made_again(damage: str, tmp_path: Path) -> None:
    path, compute = tmp_path / "a.safetensors", Counted()
    cached(path, compute)
    whole = path.read_bytes()
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"cut off": whole[:-5], "empty": b"", "noise": bytes(range(256)) * 4}[damage])
    assert equal(cached(path, compute), Counted()())
    assert compute.calls == 2
    assert damage == "a folder" or path.read_bytes() == whole, "not written again"


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    compute = Counted()
    for _ in range(2):
        assert equal(cached(tmp_path / "file" / "a.safetensors", compute), Counted()())
    assert compute.calls == 2


def test_an_error_of_the_computation_is_no_cache_miss(tmp_path: Path) -> None:
    def fail() -> dict[str, Tensor]:
        raise OSError("the data are gone")

    with pytest.raises(OSError, match="the data are gone"):
        cached(tmp_path / "a.safetensors", fail)
    assert equal(cached(tmp_path / "a.safetensors", Counted()), Counted()()), "the lock is still held"


# Through the evaluator


def scores(settings: dict[str, Any], root: Path, *metrics: Any) -> dict[str, float]:
    """As a new process would compute them: nothing in memory, the files of earlier ones on disk."""
    named = [{"name": m} if isinstance(m, str) else m for m in metrics]
    primary = next(iter(classes(Metric)[named[0]["name"]].model_validate(named[0]).directions))
    config = TrialConfig.model_validate(settings | {"metrics": named, "metric": primary})
    return Evaluator(config, root, CPU).scores(to_float(Digits().train(root)[:200]))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """One entry per time that the held-out digits are read."""
    seen: list[Path] = []
    original = Digits.held_out
    monkeypatch.setattr(Digits, "held_out", lambda self, root: seen.append(root) or original(self, root))
    return seen


def test_a_second_process_reads_no_data_and_scores_the_same(
    digits_config: dict[str, Any], tmp_path: Path, reads: list[Path]
) -> None:
    assert len(ON_DIGITS) >= 3
    first = scores(digits_config, tmp_path, *ON_DIGITS)
    assert len(reads) == 1
    assert scores(digits_config, tmp_path, *ON_DIGITS) == first, "not bit for bit"
    assert len(reads) == 1
    files = list((tmp_path / FOLDER).glob("*.safetensors"))
    assert len(files) == 1 + len(ON_DIGITS), "the features, and what each metric makes of them"
    assert scores(digits_config, tmp_path / "not there", *ON_DIGITS) == first
    assert not (tmp_path / "not there").exists()


def test_lies_under_the_right_name_are_seen_through_by_name_alone(
    digits_config: dict[str, Any], tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other fields, data, weights or code: another file. Guards against scores relative to yesterday's data."""
    scores(digits_config, tmp_path, "precision_recall_digits")

    def new_files() -> int:
        before = set((tmp_path / FOLDER).glob("*.safetensors"))
        scores(digits_config, tmp_path, {"name": "precision_recall_digits", "neighbours": neighbours})
        return len(set((tmp_path / FOLDER).glob("*.safetensors")) - before)

    neighbours = 3
    assert new_files() == 0
    neighbours = 5
    assert new_files() == 1
    monkeypatch.setattr(Digits, "fingerprint", lambda self, root: "digits of another split")
    assert new_files() == 2
    monkeypatch.setattr(real_data, "code_of", lambda module: b"a later version")
    assert new_files() == 2


def test_the_file_is_what_is_used(digits_config: dict[str, Any], tmp_path: Path) -> None:
    honest = scores(digits_config, tmp_path, "kid_digits")
    (file,) = (tmp_path / FOLDER).glob(f"*{KidDigits().name}*.safetensors")
    tensors = load_file(file)
    save_file({**tensors, "rows": tensors["rows"] + 1}, file)
    assert scores(digits_config, tmp_path, "kid_digits")["kid_digits"] == pytest.approx(honest["kid_digits"] + 1)
