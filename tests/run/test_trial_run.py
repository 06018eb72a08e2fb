import json

import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist

from gramtune.components import Objective
from gramtune.record.layout import checkpoints, sample_grids
from gramtune.record.point_samples import point_samples, read_points
from gramtune.run import trial_runner as trial
from gramtune.run.trial_runner import TrialRun
from gramtune.training.config import TrialConfig
from gramtune.training.energy import EnergyMeter
from gramtune.training.trainer import Trainer


@pytest.fixture
def config(digits_config):
    return TrialConfig.model_validate(digits_config)


def run_for(config, folder, count=None):
    run = TrialRun(config, folder, folder, torch.device("cpu"))
    reports = []
    while count is None or len(reports) < count:
        reports.append(run.step().to_json())
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
def test_a_truncated_checkpoint_is_skipped_for_the_one_before(config, tmp_path, keep):
    whole = run_for(config, tmp_path)
    newest = checkpoints(tmp_path)[0]
    content = newest.read_bytes()
    newest.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    run = TrialRun(config, tmp_path, tmp_path, torch.device("cpu"))
    assert len(run.damaged) == 1
    assert newest.name in run.damaged[0]
    assert numbers([run.step().to_json(), run.step().to_json()]) == numbers(whole[1:])


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


@pytest.mark.parametrize("objective", ["gram", "gan", "mmd_net"])
def test_points_are_kept_of_every_replicate_with_their_features(objective, ring_config, small, tmp_path):
    ring_config["objective"] = small(Objective, objective)
    config = TrialConfig.model_validate(ring_config)
    run_for(config, tmp_path)
    files = point_samples(tmp_path)
    assert list(files) == [0, 4, 8]
    kept = read_points(files[8])
    assert kept.real.shape == kept.fake.shape == (2, 400, 2)
    critic = config.objective.critic()
    if critic is None:
        assert kept.real_features is kept.fake_features is None
    else:
        assert kept.real_features.shape == kept.fake_features.shape == (2, 400, critic.output_dim)
    last = Trainer(config, tmp_path, torch.device("cpu"))
    last.load(checkpoints(tmp_path)[0])
    centres = config.data.centres().numpy()
    for i in range(2):
        assert cdist(kept.real[i], centres).min(axis=1).max() < 0.1
        for points, features in ((kept.real, kept.real_features), (kept.fake, kept.fake_features)) if critic else ():
            seen = last.replicates.network("critic", i)(torch.from_numpy(points[i])).detach()
            assert features[i] == pytest.approx(seen.numpy(), abs=1e-5)


def test_a_resumed_trial_keeps_the_same_points(ring_config, tmp_path):
    config = TrialConfig.model_validate(ring_config)
    run_for(config, tmp_path / "whole")
    run_for(config, tmp_path / "cut", count=2)
    point_samples(tmp_path / "cut")[4].unlink()
    checkpoints(tmp_path / "cut")[0].unlink()  # died between the two files
    run_for(config, tmp_path / "cut")
    whole, cut = (point_samples(tmp_path / name) for name in ("whole", "cut"))
    assert [path.read_bytes() for path in cut.values()] == [path.read_bytes() for path in whole.values()]
    assert len(whole) == 3


def test_a_damaged_file_of_points_is_none(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    assert read_points(tmp_path / "cut.safetensors") is None


def test_a_trial_is_also_evaluated_where_it_is_asked_to(ring_config, tmp_path):
    """And trains no differently for it."""
    whole = run_for(TrialConfig.model_validate(ring_config), tmp_path / "whole")
    ring_config["training"]["eval_at"] = [1, 6]
    config = TrialConfig.model_validate(ring_config)
    reports = run_for(config, tmp_path / "more")
    assert [r["step"] for r in reports] == [0, 1, 4, 6, 8] == list(config.training.evaluations)
    assert reports[-1]["metrics"] == whole[-1]["metrics"]
    cut = run_for(config, tmp_path / "cut", count=2) + run_for(config, tmp_path / "cut")[1:]
    assert numbers(cut) == numbers(reports)


def test_energy_adds_up_over_interruptions_as_the_meter_counts_it(config, tmp_path, monkeypatch):
    """No GPU here: a stand-in counts ten joules per look. Where nobody counts, there is no number."""
    assert [r["joules"] for r in run_for(config, tmp_path / "cpu")] == [None, None, None]

    class Meter:
        def __init__(self, device):
            self.used = 0.0

        @property
        def joules(self):
            self.used += 10.0
            return self.used

    monkeypatch.setattr(trial, "EnergyMeter", Meter)
    assert [r["joules"] for r in run_for(config, tmp_path / "gpu", count=2)] == [10.0, 20.0]
    assert [r["joules"] for r in run_for(config, tmp_path / "gpu")] == [20.0, 30.0]


def test_a_meter_without_a_gpu_counts_nothing():
    assert EnergyMeter(torch.device("cpu")).joules is None
