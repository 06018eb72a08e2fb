import json

import pytest
import torch
from PIL import Image

from gramtune.sweep.trial import TrialRun, checkpoints, sample_grids
from gramtune.training.config import TrialConfig


@pytest.fixture
def config(digits_config):
    return TrialConfig.model_validate(digits_config)


def run_for(config, folder, count=None):
    run = TrialRun(config, folder, folder, torch.device("cpu"))
    reports = []
    while count is None or len(reports) < count:
        reports.append(run.step())
        if reports[-1]["status"] != "RUNNING":
            break
    return reports


def numbers(reports):
    return [{key: r[key] for key in ("step", "metrics", "traces", "status", "reason")} for r in reports]


def test_reports_start_at_step_0_and_end_with_a_status(config, tmp_path):
    reports = run_for(config, tmp_path)
    assert [r["step"] for r in reports] == [0, 4, 8]
    assert [r["status"] for r in reports] == ["RUNNING", "RUNNING", "COMPLETED"]
    assert json.loads(json.dumps(reports, allow_nan=False)) == reports
    assert reports[0]["traces"] == {}
    assert {"loss/critic", "loss/generator", "trace/mmd2"} <= set(reports[1]["traces"])


def test_point_sets_are_monitored_at_every_evaluation(ring_config, tmp_path):
    reports = run_for(TrialConfig.model_validate(ring_config), tmp_path)
    assert list(reports[0]["traces"]) == ["trace/d_star", "trace/data_pearson_divergence"]
    assert all(len(r["traces"]["trace/d_star"]) == 2 and r["traces"]["trace/d_star"][0] > 0 for r in reports)
    json.dumps(reports, allow_nan=False)


def test_sample_grids_are_pictures_of_every_replicate(config, tmp_path):
    run_for(config, tmp_path)
    grids = sample_grids(tmp_path)
    assert list(grids) == [0, 4, 8]
    assert Image.open(grids[8]).size == (8 * 9 + 1, config.training.replicates * 2 * 9 + 1)


def test_an_interrupted_trial_repeats_its_last_report_and_goes_on_identically(config, tmp_path):
    whole = run_for(config, tmp_path / "whole")
    first = run_for(config, tmp_path / "cut", count=2)
    second = run_for(config, tmp_path / "cut")
    assert second[0] == first[-1]  # its first delivery may have been lost with the process
    assert numbers(first + second[1:]) == numbers(whole)


def test_a_finished_trial_only_repeats_its_last_report(config, tmp_path):
    whole = run_for(config, tmp_path)
    assert run_for(config, tmp_path) == whole[-1:]


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_truncated_checkpoint_is_passed_over_for_the_one_before(config, tmp_path, keep):
    whole = run_for(config, tmp_path)
    newest = checkpoints(tmp_path)[0]
    content = newest.read_bytes()
    newest.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    run = TrialRun(config, tmp_path, tmp_path, torch.device("cpu"))
    assert len(run.damaged) == 1
    assert newest.name in run.damaged[0]
    assert numbers([run.step(), run.step()]) == numbers(whole[1:])


def test_two_checkpoints_are_kept(config, tmp_path):
    run_for(config, tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000008.pt", "checkpoint-00000004.pt"]


def test_a_diverged_trial_says_which_replicate_when_and_why(digits_config, tmp_path):
    digits_config["optimizer"]["learning_rate"] = 1e30
    reports = run_for(TrialConfig.model_validate(digits_config), tmp_path)
    assert reports[-1]["status"] == "DIVERGED"
    assert reports[-1]["reason"].startswith("2 of 2 replicates diverged; replicate 0: ")
    assert " at step " in reports[-1]["reason"]
    json.dumps(reports, allow_nan=False)
