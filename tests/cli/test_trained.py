"""`gramtune sample` and `gramtune evaluate`: any checkpoint of a sweep or of train, and every wrong request."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sweeps import BASE, write_space
from typer.testing import CliRunner

from gramtune.analysis.checkpoints import of_sweep
from gramtune.analysis.nearest_images import nearest_images
from gramtune.analysis.reevaluate import lines, store
from gramtune.api import resume_sweep, run_sweep
from gramtune.cli.main import app
from gramtune.errors import SpecError
from gramtune.io import data_root
from gramtune.record.layout import checkpoints
from gramtune.run.run_directory import recorded_state
from gramtune.space.load import load_sweep


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of three trials with two replicates each."""
    folder = tmp_path_factory.mktemp("a sweep, ünïcode")
    run_sweep(load_sweep(write_space(folder)), folder, debug=True, say=lambda _: None)
    return folder / "axis"


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> list[str]:
    """The lines of the issues."""
    result = invoke(*arguments)
    assert isinstance(result.exception, SpecError), result.output
    return str(result.exception).splitlines()


def test_the_command_says_so_and_ends_with_2(finished: Path) -> None:
    """The real command: no traceback."""
    command = [sys.executable, "-m", "gramtune.cli.main", "sample", str(finished), "--trial", "critic_dim=5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "--trial: 'critic_dim=5' is not a trial of axis; legal numbers: 0 to 2; did you mean 'critic_dim=4'? "
        "legal: best, critic_dim=1, critic_dim=4, critic_dim=16"
    ]


# sample


def test_samples_as_picture_folder_and_tensor_are_the_same(finished: Path, tmp_path: Path) -> None:
    out = [tmp_path / "new" / "grid.png", tmp_path / "pictures", tmp_path / "tensor.safetensors"]
    for target in out:
        result = invoke("sample", finished, "--trial", "critic_dim=4", "-n", 9, "--out", target)
        assert result.exit_code == 0, result.output
        assert f"9 samples of critic_dim=4, replicate 0, step 6: {target}" in result.output
    tensor = load_file(out[2])["samples"]
    assert (tensor.shape, tensor.dtype) == ((9, 1, 8, 8), torch.uint8)
    files = sorted(out[1].iterdir())
    assert [file.name for file in files] == [f"{i:05d}.png" for i in range(9)]
    assert [np.array(Image.open(file)).tolist() for file in files] == tensor[:, 0].tolist()
    with Image.open(out[0]) as grid:
        assert grid.size == (3 * 9 + 1, 3 * 9 + 1)
        assert np.array(grid)[1:9, 1:9].tolist() == tensor[0, 0].tolist()


def test_replicate_seed_and_trial_matter_and_repetition_does_not(finished: Path, tmp_path: Path) -> None:
    def drawn(*options: object) -> bytes:
        assert invoke("sample", finished, "--out", tmp_path / "s.safetensors", *options).exit_code == 0
        return load_file(tmp_path / "s.safetensors")["samples"].numpy().tobytes()

    first = drawn()
    assert drawn() == first
    best = recorded_state(finished).best
    assert best is not None
    assert drawn("--trial", best.trial.name) == drawn("--trial", best.number) == first
    others = [drawn("--replicate", 1), drawn("--seed", 1), drawn("--trial", "critic_dim=1", "--seed", 2)]
    assert len({first, *others}) == 4


def test_issues_of_sample(finished: Path, tmp_path: Path) -> None:
    (line,) = refused("sample", finished, "--replicate", 2, "--trial", "critic_dim=4")
    assert line == "--replicate: 2 of critic_dim=4: no such replicate; legal: 0, 1"
    (line,) = refused("sample", finished, "--out", tmp_path / "x.jpg")
    assert "should be grid.png, a folder for one PNG each, or samples.safetensors" in line
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (line,) = refused("sample", finished, "--out", tmp_path / "full")
    assert "choose a new one" in line
    (line,) = refused("sample", finished, "--out", tmp_path / "full" / "file" / "x.png")
    assert "cannot be written" in line
    (line,) = refused("sample", tmp_path)
    assert "holds no sweep" in line


def test_points_are_no_pictures(ring_config: dict[str, Any], tmp_path: Path) -> None:
    base = tmp_path / "ring.yaml"
    base.write_text(json.dumps(ring_config))
    assert invoke("train", base, "--runs", tmp_path).exit_code == 0
    folder = tmp_path / "train-ring"
    (line,) = refused("sample", folder)
    assert line == "default of --out: samples.png: points are not images; write samples.safetensors"
    assert invoke("sample", folder, "-n", 7, "--out", tmp_path / "p.safetensors").exit_code == 0
    points = load_file(tmp_path / "p.safetensors")["samples"]
    assert (points.shape, points.dtype) == ((7, 2), torch.float32)
    result = invoke("evaluate", folder, "--samples", 50)
    assert result.exit_code == 0, result.output
    assert set(pd.read_csv(folder / "evaluations.csv")["trial"]) == {"train-ring"}


def test_a_sweep_that_has_only_begun(finished: Path, tmp_path: Path) -> None:
    """What is there can be used while the sweep runs; a damaged newest checkpoint costs its steps alone."""
    begun = tmp_path / "begun"
    (begun / "trials" / "critic_dim=4").mkdir(parents=True)
    (begun / "sweep.yaml").write_bytes((finished / "sweep.yaml").read_bytes())
    journal = (finished / "journal.jsonl").read_text().splitlines(keepends=True)
    (begun / "journal.jsonl").write_text(journal[0])
    (line,) = refused("sample", begun)
    assert (
        line
        == "default of --trial best: no trial is completed yet; name one of critic_dim=1, critic_dim=4, critic_dim=16"
    )
    (line,) = refused("sample", begun, "--trial", "critic_dim=4")
    assert line.startswith("--trial: critic_dim=4: no checkpoint under")
    new, old = checkpoints(finished / "trials" / "critic_dim=4")
    (begun / "trials" / "critic_dim=4" / new.name).write_bytes(new.read_bytes()[:-100])
    (line,) = refused("sample", begun, "--trial", "critic_dim=4", "--out", tmp_path / "a.png")
    assert line.startswith("critic_dim=4: checkpoint ")
    (begun / "trials" / "critic_dim=4" / old.name).write_bytes(old.read_bytes())
    result = invoke("sample", begun, "--trial", "critic_dim=4", "--out", tmp_path / "a.png")
    assert "step 3" in result.output
    (only,) = of_sweep(recorded_state(begun), begun, "all")
    assert only.name == "critic_dim=4"


def test_a_diverged_replicate_is_reported(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "axis"
    (folder / "trials" / "critic_dim=4").mkdir(parents=True)
    for name in ("sweep.yaml", "journal.jsonl"):
        (folder / name).write_bytes((finished / name).read_bytes())
    content = torch.load(checkpoints(finished / "trials" / "critic_dim=4")[0], weights_only=True)
    content["trainer"]["replicates"][0]["diverged"] = "critic loss is nan at step 5"
    torch.save(content, folder / "trials" / "critic_dim=4" / "checkpoint-00000006.pt")
    (line,) = refused("sample", folder, "--trial", "critic_dim=4")
    assert line == "default of --replicate: 0 of critic_dim=4: critic loss is nan at step 5; legal: 1"
    assert invoke("evaluate", folder, "--trial", "critic_dim=4", "--samples", 100).exit_code == 0
    assert pd.read_csv(folder / "evaluations.csv")["replicate"].tolist() == [1]


# evaluate


def test_the_sweeps_own_numbers_come_out_again_and_are_left_alone(finished: Path) -> None:
    """With the sweep's own number of samples the first draw of noise is the sweep's own."""
    before = {p.name: p.read_bytes() for p in finished.iterdir() if p.is_file() and p.name != "evaluations.csv"}
    result = invoke("evaluate", finished, "--trial", "all", "--samples", 100)
    assert result.exit_code == 0, result.output
    frame = pd.read_csv(finished / "evaluations.csv", dtype={"trial": "str"})
    assert len(frame) == 3 * 2
    state = recorded_state(finished)
    for row in frame.itertuples():
        last = state.records[row.trial].last
        assert last is not None
        assert row.value == pytest.approx(last.metrics[row.metric][row.replicate], rel=1e-4)
        assert (row.step, row.seed, row.noise) == (6, row.replicate, 0)
    after = {p.name: p.read_bytes() for p in finished.iterdir() if p.is_file() and p.name != "evaluations.csv"}
    assert after == before


def test_other_metrics_and_draws_are_added_and_repetition_replaces(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "axis"
    folder.symlink_to(finished)
    arguments = ["evaluate", folder, "--trial", "critic_dim=4", "--samples", 120, "--noise-seeds", 3]
    arguments += ["--metrics", "kid_digits,precision_recall_digits"]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    first = pd.read_csv(finished / "evaluations.csv")
    mine = first[first["samples"] == 120]
    assert set(mine["metric"]) == {"kid_digits", "kid_digits_se", "precision_digits", "recall_digits"}
    assert len(mine) == 4 * 2 * 3
    kids = mine[mine["metric"] == "kid_digits"]
    assert kids["value"].nunique() == 6, "every draw of noise is another"
    noise_std = float(kids.groupby("replicate")["value"].var().mean() ** 0.5)
    means = kids.groupby("replicate")["value"].mean()
    (line,) = [text for text in result.output.splitlines() if " kid_digits " in text]
    assert f"± {noise_std:.2g} over 3 draws of noise" in line
    (summary,) = lines(_rows(kids))
    assert summary.summary.mean == pytest.approx(means.mean())
    assert summary.summary.std == pytest.approx(means.std())
    assert summary.summary.n == 2
    assert invoke(*arguments).exit_code == 0
    again = pd.read_csv(finished / "evaluations.csv")
    assert len(again) == len(first)
    pd.testing.assert_frame_equal(again[again["samples"] == 120].reset_index(drop=True), mine.reset_index(drop=True))


def _rows(frame: pd.DataFrame) -> Any:
    return list(frame.itertuples(index=False, name="Row"))


def test_issues_of_evaluate(finished: Path, tmp_path: Path) -> None:
    lines = refused("evaluate", finished, "--metrics", "kid_digit,fud")
    assert len(lines) == 2
    assert lines[0].startswith("--metrics: 'kid_digit' does not exist; did you mean 'kid_digits'? legal: ")
    (line,) = refused("evaluate", finished, "--metrics", "modes")
    assert line.startswith("--metrics: metric modes needs data whose modes are known")
    (line,) = refused("evaluate", finished, "--metrics", "precision_recall_digits", "--samples", 3)
    assert line.startswith("--samples: ")
    assert invoke("evaluate", finished, "--samples", 1).exit_code == 2


def test_a_file_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "evaluations.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SpecError, match="cannot be extended: its columns should be trial, replicate"):
        store([], tmp_path)
    assert (tmp_path / "evaluations.csv").read_text() == "a,b\n1,2\n"


def test_few_samples_are_said(finished: Path) -> None:
    result = invoke("evaluate", finished, "--trial", "critic_dim=4", "--samples", 50)
    assert "warning: fid_digits: 50 generated samples for 64 features" in result.stderr
    assert BASE.count("eval_samples: 100") == 1, "which is not the sweep's own number"


# replicates that were added later


def test_added_replicates_are_sampled_evaluated_and_compared_like_the_first(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "axis", ignore=shutil.ignore_patterns("evaluations.csv")))
    state = resume_sweep(folder, replicates=4, debug=True, say=lambda _: None).state
    result = invoke("evaluate", folder, "--trial", "critic_dim=4", "--samples", 100)
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(folder / "evaluations.csv").set_index("replicate")
    recorded = state.records["critic_dim=4"].last.metrics["fid_digits"]
    assert list(rows["value"]) == pytest.approx(recorded, rel=1e-4)
    assert list(rows["seed"]) == [0, 1, 2, 3]
    out = tmp_path / "tensor.safetensors"
    result = invoke("sample", folder, "--trial", "critic_dim=4", "--replicate", 3, "-n", 9, "--out", out)
    assert result.exit_code == 0, result.output
    assert "replicate 3, step 6" in result.output
    assert "legal: 0, 1, 2, 3" in refused("sample", folder, "--replicate", 4, "--out", out)[0]
    record = state.records["critic_dim=4"]
    record.add(replace(record.parts[2][6], metrics={"fid_digits": [9.0, 1.0]}))  # the last added one is the best
    found = nearest_images(record, folder, data_root(), n=4, k=1)
    assert (found.replicate, found.step) == (3, 6)
