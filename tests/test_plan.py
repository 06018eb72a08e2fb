import math

import pytest
from sweeps import BASE, SPACE, write_space

from gramtune.data.cifar10 import Cifar10
from gramtune.sweep.faults import SpecError
from gramtune.sweep.load import Overrides, load_sweep
from gramtune.sweep.plan import estimate, make_plan, separable_gap, trial_name
from gramtune.sweep.space import grid_assignments


def plan(folder, space=SPACE, base=BASE, **overrides):
    path = write_space(folder, space, base)
    return make_plan(load_sweep(path, Overrides(**overrides)), folder / "data", path)


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
    assert len(caught.value.faults) == 1
    with pytest.raises(SpecError, match="network dcgan needs square images"):
        plan(tmp_path, set=("data={name: ring}",))


def test_missing_data_and_weights_are_one_line_each(tmp_path, offline):
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, set=("data={name: cifar10}", "metrics=[fid]", "metric=fid"))
    lines = [str(fault) for fault in caught.value.faults]
    assert len(lines) == 2
    assert all(str(tmp_path / "data") in line and "\n" not in line for line in lines)


def test_too_few_samples_for_the_features_are_said(tmp_path):
    assert plan(tmp_path).warnings == ()
    (warning,) = plan(tmp_path, set=("training.eval_samples=64",)).warnings
    assert "64 generated samples for 64 features" in warning


def test_the_order_of_trials_is_that_of_the_file(tmp_path):
    sweep = load_sweep(write_space(tmp_path, SPACE.replace("[1, 4, 16]", "[16, 1, 4]")))
    found = grid_assignments(sweep.space, sweep.inline_base)
    assert [a["objective.critic_dim"] for a in found] == [16, 1, 4]


def test_separable_gap_is_that_of_the_paper_note():
    # GRAM.md: with a seed std of 0.94, three seeds separate gaps above 2.15 FID, five 1.67, ten 1.18
    assert [round(0.94 * separable_gap(r), 2) for r in (3, 5, 10)] == [2.15, 1.67, 1.18]


def test_the_estimate_scales_with_the_work(tmp_path):
    short, long = (estimate(plan(tmp_path, set=(f"training.steps={n}",)), tmp_path, steps=5) for n in (100, 10_000))
    ratio = long.seconds_per_trial / short.seconds_per_trial
    assert 10 < ratio < 1000
    assert math.isfinite(ratio)


def test_the_estimate_knows_that_the_first_steps_are_not_like_the_others(tmp_path):
    # MMD-GAN's first 25 steps have 100 critic steps each, the others 5: timed alone they would cost all 4,000 times
    mmd_gan = ("objective={name: mmd_gan, critic_dim: 4}", "training.eval_every=100000")
    short, long = (
        estimate(plan(tmp_path, set=(*mmd_gan, f"training.steps={n}")), tmp_path, steps=300) for n in (25, 100_000)
    )
    assert 50 < long.seconds_per_trial / short.seconds_per_trial < 1500


def test_files_are_checked_once_however_many_trials_need_them(tmp_path, offline, monkeypatch):
    checked, check = [], Cifar10.check

    def counted(self, root):
        checked.append(root)
        check(self, root)

    monkeypatch.setattr(Cifar10, "check", counted)
    with pytest.raises(SpecError, match="data set cifar10 is not on disk"):
        plan(tmp_path, set=("data={name: cifar10}", "metrics=[fid]", "metric=fid"))
    assert checked == [tmp_path / "data"]
