import math

import numpy as np
import pytest
import torch
from scipy import stats
from sweeps import BASE, SPACE, write_space

from gramtune.cli.plan_text import plan_lines
from gramtune.data.cifar10 import Cifar10
from gramtune.data.digits import Digits
from gramtune.errors import SpecError
from gramtune.run.capacity import Capacity, Node, here
from gramtune.run.cost_estimate import SweepEstimate, estimate
from gramtune.space.domain import grid_assignments
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import make_plan, separable_gap, trial_name

TWO_CORES = Capacity((Node(2),))


def plan(folder, space=SPACE, base=BASE, **overrides):
    path, options = write_space(folder, space, base), Overrides(**overrides)
    return make_plan(load_sweep(path, options), folder / "data")


def measured(folder, passes, *settings):
    """The estimate for a sweep of two trials."""
    return estimate(plan(folder, SPACE.replace("[1, 4, 16]", "[1, 4]"), set=settings), here(), folder, passes)


def test_a_grid_of_two_axes_is_their_product(tmp_path):
    space = SPACE.replace("replicates", "  training.batch_size: {grid: [8, 16]}\nreplicates")
    trials = plan(tmp_path, space).trials
    assert [t.name for t in trials] == [f"critic_dim={k},batch_size={b}" for k in (1, 4, 16) for b in (8, 16)]
    assert [(t.config.objective.critic_dim, t.config.training.batch_size) for t in trials][:3] == [
        (1, 8),
        (1, 16),
        (4, 8),
    ]


def test_trial_names_are_stable_legal_and_distinct():
    assert trial_name({"optimizer.learning_rate": 1e-4}) == "learning_rate=0.0001"
    assert trial_name({"a.x": 1, "b.x": 2}) == "a.x=1,b.x=2"
    lists = [trial_name({"objective.bandwidths": value}) for value in ([1, 2], [1, 3])]
    assert len(set(lists)) == 2
    assert all("/" not in name and " " not in name for name in [*lists, trial_name({"x": "../ü"})])
    assert len(trial_name({f"k{i}": "v" * 30 for i in range(9)})) <= 100
    assert trial_name({"lr": 0.1 + 0.2}) != trial_name({"lr": 0.3})


def test_misfits_are_found_before_anything_starts(tmp_path):
    with pytest.raises(SpecError, match="digits_cnn reads 1×8×8 images, not 2") as caught:
        plan(tmp_path, set=("data={name: ring}", "network={name: mlp}"))
    assert len(caught.value.issues) == 1
    with pytest.raises(SpecError, match="network dcgan needs square images"):
        plan(tmp_path, set=("data={name: ring}",))


POINTS = (
    BASE.replace("{name: digits}", "{name: ring}")
    .replace("{name: dcgan, noise_dim: 4, width: 4}", "{name: mlp}")
    .replace("fid_digits", "modes")
)


@pytest.mark.parametrize(
    ("base", "settings", "place"),
    [
        (POINTS.replace("mlp", "dcgan"), (), "base/tiny.yaml:3"),
        (POINTS, ("network={name: dcgan}",), "--set network"),
        (POINTS, ("network.name=dcgan",), "--set network.name"),
        (BASE.replace("[fid_digits]", "[fid_digits, modes]"), (), "base/tiny.yaml:6"),
        (BASE.replace("name: digits", "name: cifar10"), (), "base/tiny.yaml:1"),
    ],
)
def test_a_misfit_has_the_place_of_what_does_not_fit(base, settings, place, tmp_path, offline):
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, base=base, set=settings)
    wanted = place if place.startswith("--") else str(tmp_path / place)
    assert wanted in {issue.where for issue in caught.value.issues}, caught.value


def test_a_batch_that_is_larger_than_an_epoch_is_found_before_anything_starts(tmp_path):
    small = ("data={name: ring, n_train: 100}", "network={name: mlp}", "metrics=[modes]", "metric=modes")
    assert plan(tmp_path, set=(*small, "training.batch_size=101")).size
    assert plan(tmp_path, set=(*small, "training.batch_size=100", "training.sampling=epochs")).size
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, set=(*small, "training.batch_size=101", "training.sampling=epochs"))
    (issue,) = caught.value.issues
    assert str(issue) == (
        "--set training.batch_size: training.batch_size = 101 should be at most the 100 training samples where "
        "training.sampling is epochs"
    )
    with pytest.raises(SpecError, match=r"training.sampling = 'epoch' is not legal"):
        plan(tmp_path, set=(*small, "training.sampling=epoch"))


def test_missing_files_are_not_said_again_because_of_epochs(tmp_path, offline):
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, set=("data={name: cifar10}", "training.sampling=epochs"))
    assert not any("training" in issue.message for issue in caught.value.issues)


def test_a_misfit_of_a_varied_value_has_its_line(tmp_path):
    space = SPACE.replace("  objective.critic_dim: {grid: [1, 4, 16]}", "  network.name: {grid: [mlp, dcgan]}")
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, space, POINTS)
    (issue,) = caught.value.issues
    assert issue.where == f"{tmp_path / 'axis.yaml'}:5"
    assert issue.message.startswith("network dcgan needs square images")


def test_missing_data_and_weights_are_one_line_each(tmp_path, offline):
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, set=("data={name: cifar10}", "metrics=[fid]", "metric=fid"))
    lines = [str(issue) for issue in caught.value.issues]
    assert len(lines) == 2
    assert all(str(tmp_path / "data") in line and "\n" not in line for line in lines)


def test_too_few_samples_for_the_features_are_reported(tmp_path):
    assert plan(tmp_path).warnings == ()
    (warning,) = plan(tmp_path, set=("training.eval_samples=64",)).warnings
    assert "64 generated samples for 64 features" in warning


@pytest.mark.parametrize(
    ("metrics", "samples", "needed"),
    [
        ("fid_digits", 1, "fid_digits needs 2"),
        ("kid_digits", 1, "kid_digits needs 2"),
        ("{name: precision_recall_digits, neighbours: 7}", 7, "precision_recall_digits needs 8"),
    ],
)
def test_a_metric_without_a_value_is_refused_before_the_start(metrics, samples, needed, tmp_path):
    """A warning was all: the Fréchet distance then failed in every trial, and KID diverged with exit code 0."""
    metric = {"{": "precision_digits"}.get(metrics[0], metrics)
    base = BASE.replace("metrics: [fid_digits]", f"metrics: [{metrics}]").replace("metric: fid", f"metric: {metric} #")
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, base=base.replace("eval_samples: 100", f"eval_samples: {samples}"))
    (issue,) = caught.value.issues
    assert issue.where == f"{tmp_path / 'base' / 'tiny.yaml'}:5"
    assert issue.message == f"training.eval_samples is {samples}: metric {needed} or more generated samples"


def test_too_few_samples_are_found_in_every_trial_of_a_grid(tmp_path):
    """Of a long grid 64 trials alone are tried on networks; the numbers of samples are compared in all of them."""
    values = ", ".join(map(str, [*range(100, 200), 1, *range(200, 300)]))
    space = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", f"training.eval_samples: {{grid: [{values}]}}")
    with pytest.raises(SpecError, match=r"axis.yaml:5: training.eval_samples is 1: metric fid_digits"):
        plan(tmp_path, space)


@pytest.mark.parametrize(("k", "n", "issue"), [(1, 1, "fid_digits needs 2"), (3, 3, "precision_recall_digits needs 4")])
def test_too_few_held_out_samples_for_a_metric_are_refused(k, n, issue, tmp_path, monkeypatch):
    monkeypatch.setattr(Digits, "held_out", lambda self, root: torch.zeros(n, 1, 8, 8, dtype=torch.uint8))
    extra = f"{{name: precision_recall_digits, neighbours: {k}}}"
    base = BASE.replace("metrics: [fid_digits]", f"metrics: [fid_digits, {extra}]")
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, base=base)
    (found,) = caught.value.issues
    assert found.where == f"{tmp_path / 'base' / 'tiny.yaml'}:1"
    assert found.message.startswith(f"data set digits holds out {n} samples: metric ")
    assert issue in found.message


def test_the_order_of_trials_is_that_of_the_file(tmp_path):
    sweep = load_sweep(write_space(tmp_path, SPACE.replace("[1, 4, 16]", "[16, 1, 4]")))
    found = grid_assignments(sweep.space, sweep.base)
    assert [a["objective.critic_dim"] for a in found] == [16, 1, 4]


def test_separable_gap_has_the_power_that_it_states():
    """Normal quantiles said 2.29 for three replicates, where the paired t test has a power of 40 %."""
    rng = np.random.default_rng(0)
    for replicates, gap in ((2, 16.33), (3, 4.62), (5, 2.38), (10, 1.41)):
        assert separable_gap(replicates) == pytest.approx(gap, abs=0.01)
        differences = rng.normal(gap, math.sqrt(2), size=(200_000, replicates))
        power = np.mean(stats.ttest_1samp(differences, 0.0, axis=1).pvalue < 0.05)
        assert power == pytest.approx(0.8, abs=0.005)
    assert separable_gap(1) == math.inf


def test_the_estimate_scales_with_the_work(tmp_path):
    short, long = (measured(tmp_path, 5, f"training.steps={n}") for n in (100, 10_000))
    ratio = long.seconds_per_trial / short.seconds_per_trial
    assert 10 < ratio < 1000
    assert math.isfinite(ratio)


def test_the_estimate_knows_that_the_first_steps_are_not_like_the_others(tmp_path):
    # MMD-GAN's first 25 steps have 100 critic steps each, the others 5: timed alone they would cost all 4,000 times
    mmd_gan = ("objective={name: mmd_gan, critic_dim: 4}", "training.eval_every=100000")
    short, long = (measured(tmp_path, 300, *mmd_gan, f"training.steps={n}") for n in (25, 100_000))
    assert 50 < long.seconds_per_trial / short.seconds_per_trial < 1500


@pytest.mark.slow
def test_memory_is_that_of_a_trial_alone(tmp_path):
    """Measured in this process, a trial would have all that the test run holds; a larger batch has to cost more."""
    hoard = torch.ones(200_000_000)  # 800 MB here
    small, large = (measured(tmp_path, 3, f"training.batch_size={n}") for n in (16, 2048))
    assert 50e6 < small.memory_per_trial < hoard.nbytes
    assert large.memory_per_trial > small.memory_per_trial + 30e6


def test_a_trial_that_cannot_be_measured_is_one_line(tmp_path):
    giant = ("training.batch_size=1000000000000",)
    with pytest.raises(SpecError, match="warm-up: a trial cannot be measured: out of memory: it asked for"):
        measured(tmp_path, 3, *giant)


def facts(folder, space=SPACE, together=None, seconds=60.0, **overrides):
    """What the plan says of two cores, by label; continued lines joined."""
    guess = SweepEstimate(seconds, 400_000_000, 40, 2)
    said: dict[str, str] = {}
    label = ""
    for line in plan_lines(plan(folder, space, **overrides), together, TWO_CORES, guess)[2:]:
        label = line.partition(":")[0] if line[0] != " " else label
        said[label] = f"{said.get(label, '')} | {line[12:].strip()}".removeprefix(" | ")
    return said


def test_every_line_of_the_plan_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr("gramtune.cli.plan_text.free_memory", lambda: 700_000_000)
    assert facts(tmp_path) == {
        "trials": "3 × 2 replicates, 6 steps each | evaluated every 3 steps with 100 samples",
        "data": "digits: 1,198 training and 599 held-out samples",
        "metric": "fid_digits (minimised)",
        "search": "grid; scheduler: none",
        "pruner": "none",
        "resources": "1 CPU and 0 GPU per trial, 2 at once on 2 cores",
        "time": "about 1:00 per trial, 2:00 in all, without start-up",
        "memory": "about 400 MB per trial, 800 MB in all; 700 MB free on this machine "
        "| measured: 40 updates of 2 trials",
        "warning": "2 trials at once may run out of memory (--max-concurrent)",
        "resolution": "2 replicates tell two trials apart if their means differ by more than | "
        "16.33 standard deviations over seeds (paired t, two-sided 5 %, power 80 %)",
    }
    pruned = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "training.batch_size: {int: [8, 16]}")
    pruned += "search: {name: random, samples: 7}\nbudget: {seconds: 90}\n"
    pruned += "pruner: {name: asha, min_steps: 3, reduction_factor: 2}\n"
    other = facts(tmp_path, pruned, 1, 30.0, replicates=8, set=("training.steps=24",))
    assert other["trials"].startswith("7 × 8 replicates, 24 steps each")
    assert other["search"] == "random; scheduler: none"
    assert other["pruner"] == "asha | the best 1/2 continues after 3, 6, 12 steps, once 2 trials have reached them"
    assert other["resources"] == "1 CPU and 0 GPU per trial, 1 at once on 2 cores"
    assert other["time"] == "about 0:30 per trial, 3:30 in all, without start-up | the budget ends the sweep after 1:30"
    assert other["memory"].startswith("about 400 MB per trial, 400 MB in all")
    assert "1.63 standard deviations" in other["resolution"]
    assert "warning" not in other
    lengths = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "training.steps: {grid: [6, 9]}")
    assert facts(tmp_path, lengths)["trials"].startswith("2 × 2 replicates, 6 to 9 steps each")


def test_files_are_checked_once_however_many_trials_need_them(tmp_path, offline, monkeypatch):
    checked, check = [], Cifar10.check

    def counted(self, root):
        checked.append(root)
        check(self, root)

    monkeypatch.setattr(Cifar10, "check", counted)
    with pytest.raises(SpecError, match="data set cifar10 is not on disk"):
        plan(tmp_path, set=("data={name: cifar10}", "metrics=[fid]", "metric=fid"))
    assert checked == [tmp_path / "data"]
