"""Figures of samples show the stored samples and the true nearest images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from states import begin, complete, report, sweep_state
from sweeps import BASE

from gramtune.analysis.nearest_images import nearest_images
from gramtune.components import View
from gramtune.data.digits import Digits
from gramtune.record.layout import checkpoints, read_strip, sample_grids, trial_folder
from gramtune.record.point_samples import write_points
from gramtune.record.report import Status
from gramtune.report.figures.catalogue import file_names, write_figures
from gramtune.report.figures.nearest import nearest_figure
from gramtune.report.figures.plane import in_plane
from gramtune.report.figures.samples import sample_figures
from gramtune.report.figures.selection import evenly_spaced, one_per_method
from gramtune.run.trial_runner import TrialRun
from gramtune.training.trainer import Trainer

RING = """\
data: {name: ring}
objective: {name: gram, critic_dim: 3, bandwidths: [1]}
network: {name: mlp, hidden: [8], critic_hidden: [8]}
optimizer: {name: adam, learning_rate: 1e-3}
training: {batch_size: 16, steps: 1000, eval_every: 1000, eval_at: [10, 100], eval_samples: 100}
metrics: [modes, sliced_wasserstein]
metric: sliced_wasserstein
"""
METHODS = """\
  method:
    cases:
      GRAM: {objective.name: gram}
      MMD-net: {objective.name: mmd_net}
  network.noise_dim: {grid: [2, 4]}
"""
CPU = torch.device("cpu")


def ring_report(step, loss=0.5, status=Status.RUNNING, modes=(8.0, 7.0)):
    traces = (
        {"trace/mmd2": [1.0 / step, 3.0 / step], "trace/d_star": [0.5, None]} if step else {"trace/d_star": [9.0, 9.0]}
    )
    metrics = {"sliced_wasserstein": [loss, loss], "modes": list(modes)}
    return replace(report(step, [], status), metrics=metrics, traces=traces)


def keep(folder, name, step, k=3, seed=0):
    """Stores random points as a trial does; returns them."""
    rng = torch.Generator().manual_seed(1000 * seed + step)
    points = [torch.randn(2, 20, d, generator=rng) for d in (2, 2, *((k, k) if k else ()))]
    features = points[2:] or [None, None]
    path = trial_folder(folder, name) / "samples" / f"step-{step:08d}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_points(path, View(points[0], features[0]), View(points[1], features[1]))
    return [p.numpy() for p in points]


def ring_sweep(folder, losses=(0.4, 0.3, 0.2, 0.1), domains=METHODS):
    """Every trial evaluated after 0, 10, 100 and 1,000 steps; the points that it kept, by trial and step."""
    state, kept = sweep_state(folder, domains, base=RING), {}
    for i, (name, loss) in enumerate(zip(state.records, losses, strict=True)):
        k = 3 if "GRAM" in name or "method" not in name else 0
        for step in (0, 10, 100, 1000):
            kept[name, step] = keep(folder, name, step, k, seed=i)
            state.reported(name, ring_report(step, loss, Status.COMPLETED if step == 1000 else Status.RUNNING))
    return state, kept


def drawn(axes, gid):
    """The points of a scatter plot."""
    (collection,) = [c for c in axes.collections if c.get_gid() == gid]
    return np.asarray(collection.get_offsets())


def texts(axes, gid):
    return [text.get_text() for text in axes.texts if text.get_gid() == gid]


# Which trials, which steps


def test_steps_are_spread_over_what_was_recorded():
    assert evenly_spaced([10, 20, 50, 100, 500, 1000, 5000, 10_000], 4, log=True) == [10, 100, 1000, 10_000]
    assert evenly_spaced([0, 250, 500, 750, 1000], 3, log=False) == [0, 500, 1000]
    assert evenly_spaced([0, 3, 6], 8, log=False) == [0, 3, 6]
    assert evenly_spaced([1, 2, 1000], 2, log=True) == [1, 1000]


def test_one_trial_per_method_is_shown_the_best_first(tmp_path):
    state, _ = ring_sweep(tmp_path, (0.4, 0.3, 0.1, 0.2))
    shown = one_per_method(state, lambda record: True)
    assert [(method, record.trial.assignment["network.noise_dim"]) for method, record in shown.items()] == [
        ("MMD-net", 2),
        ("GRAM", 4),
    ]
    assert list(one_per_method(state, lambda record: record.trial.assignment["method"] == "GRAM")) == ["GRAM"]


def test_a_method_that_only_diverges_is_shown_as_far_as_it_came(tmp_path):
    state = sweep_state(tmp_path, METHODS, base=RING)
    first, second, *_ = state.records
    state.reported(first, ring_report(10, 0.1))
    state.ended(first, Status.DIVERGED, "all of it")
    state.reported(second, ring_report(100, 0.9))
    state.ended(second, Status.DIVERGED, "all of it")
    assert one_per_method(state, lambda record: record.last is not None)["GRAM"] is state.records[second]


def test_of_numbers_the_best_alone_is_shown(tmp_path):
    state, _ = ring_sweep(tmp_path, (0.4, 0.1, 0.2), domains="  network.noise_dim: {grid: [2, 4, 8]}\n")
    ((name, record),) = one_per_method(state, lambda record: True).items()
    assert (name, record.trial.name) == ("", "noise_dim=4")


# Fig. 1


def test_points_and_features_are_drawn_as_they_were_kept(tmp_path):
    state, _ = ring_sweep(tmp_path, domains="  objective.critic_dim: {grid: [2]}\n", losses=(0.1,))
    (name,) = state.records
    stored = {step: keep(tmp_path, name, step, k=2, seed=9) for step in (0, 10, 100, 1000)}
    figure = sample_figures(state, tmp_path)["samples_projection"]
    *panels, traces = figure.axes
    assert [axes.get_title() for axes in panels if axes.get_title()] == ["step 10", "step 100", "step 1,000"]
    assert len(panels) == 6
    for step, above, below in zip((10, 100, 1000), panels[::2], panels[1::2], strict=True):
        real, fake, real_features, fake_features = stored[step]
        assert drawn(above, "data") == pytest.approx(real[0])
        assert drawn(above, "samples") == pytest.approx(fake[0])
        assert drawn(below, "data") == pytest.approx(real_features[0])
        assert drawn(below, "samples") == pytest.approx(fake_features[0])
        (left, right), (low, high) = above.get_xlim(), above.get_ylim()
        beyond = sum(not (left <= x <= right and low <= y <= high) for x, y in fake[0])
        assert texts(above, "corner") == ([f"{beyond} outside"] if beyond else [])
    lines = {line.get_gid(): (list(line.get_xdata()), list(line.get_ydata())) for line in traces.lines}
    assert lines["trace/mmd2"] == ([10, 100, 1000], pytest.approx([0.2, 0.02, 0.002]))
    assert lines["trace/d_star"] == ([10, 100, 1000], [0.5, 0.5, 0.5])
    assert (traces.get_xscale(), traces.get_yscale()) == ("log", "log")
    title = figure.get_suptitle()
    assert "replicate 0 of 2 replicates" in title
    assert "20 points each" in title


def test_an_objective_without_critic_has_no_projected_space(tmp_path):
    state, _ = ring_sweep(tmp_path)
    figures = sample_figures(state, tmp_path)
    assert len(figures["samples_projection-MMD-net"].axes) == 3 + 1
    assert len(figures["samples_projection-GRAM"].axes) == 2 * 3 + 1
    title = figures["samples_projection-GRAM"].get_suptitle().replace("\n", " ")
    assert "projected to K = 3 (first two principal components of 3 dimensions)" in title


def test_principal_components_keep_what_varies_most():
    """A plane in five dimensions is drawn undistorted; the third direction is the one that is lost."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    plane = rng.normal(size=(40, 2)) * (9, 3)
    there = np.concatenate((plane, 1e-6 * rng.normal(size=(40, 3))), axis=1) @ turn + 7
    real, fake = in_plane(there[:25], there[25:])
    assert pdist(np.concatenate((real, fake))) == pytest.approx(pdist(plane), abs=1e-4)
    assert np.concatenate((real, fake))[:, 0].std() > np.concatenate((real, fake))[:, 1].std()


def test_one_dimension_is_two_rows_and_what_is_not_finite_is_left_out():
    real, fake = in_plane(np.array([[1.0], [2.0]]), np.array([[3.0], [np.nan], [5.0]]))
    assert real.tolist() == [[1, 0], [2, 0]]
    assert fake.tolist() == [[3, 1], [5, 1]]


def test_a_critic_that_overflows_costs_no_figure(tmp_path):
    """A diverged trial keeps its last networks: their features may be infinite, all of them or some."""
    state, _ = ring_sweep(tmp_path, (0.1,), "  network.noise_dim: {grid: [2]}\n")
    (name,) = state.records
    views = [View(torch.randn(2, 20, 2), torch.full((2, 20, 3), torch.inf)) for _ in range(2)]
    write_points(trial_folder(tmp_path, name) / "samples" / "step-00000100.safetensors", *views)
    views[0].features[:, 0] = 1.0
    write_points(trial_folder(tmp_path, name) / "samples" / "step-00001000.safetensors", *views)
    *panels, _ = sample_figures(state, tmp_path)["samples_projection"].axes
    assert [texts(axes, "corner") for axes in panels[1::2]] == [[], ["40 not finite"], ["39 not finite"]]


def test_rounding_below_zero_leaves_the_traces_logarithmic(tmp_path):
    state, _ = ring_sweep(tmp_path, (0.1,), "  network.noise_dim: {grid: [2]}\n")
    (name,) = state.records
    last = state.records[name].last
    state.reported(name, replace(last, traces={"trace/mmd2": [-1e-9, -1e-9]}))
    traces = sample_figures(state, tmp_path)["samples_projection"].axes[-1]
    assert traces.get_yscale() == "log"
    assert "up to 2 replicates" in traces.get_xlabel()  # D* of one has no value


# Fig. 2


def test_every_trial_has_its_panel_with_its_newest_points(tmp_path):
    state, kept = ring_sweep(tmp_path)
    gram2, gram4, net2, net4 = state.records
    state.ended(gram4, Status.DIVERGED, "gone")
    keep_none = trial_folder(tmp_path, net2) / "samples"
    for file in keep_none.iterdir():
        file.unlink()
    state.ended(net2, Status.FAILED, "killed")
    figure = sample_figures(state, tmp_path)["samples_grid"]
    panels = {axes.get_gid(): axes for axes in figure.axes}
    assert list(panels) == [gram2, gram4, net2, net4]
    for name in (gram2, gram4, net4):
        assert drawn(panels[name], "data") == pytest.approx(kept[name, 1000][0][0])
        assert drawn(panels[name], "samples") == pytest.approx(kept[name, 1000][1][0])
        assert texts(panels[name], "corner") == ["7.5/8"]
    assert not panels[net2].collections
    assert [texts(axes, "status") for axes in figure.axes] == [[], ["DIVERGED"], ["FAILED"], []]
    assert [axes.get_title() for axes in figure.axes] == ["noise_dim = 2", "noise_dim = 4"] * 2
    assert [part.get_suptitle() for part in figure.subfigs] == ["GRAM", "MMD-net"]
    assert "modes captured, mean over 2 replicates" in figure.get_suptitle()


def test_a_third_key_makes_the_rows(tmp_path):
    domains = METHODS.replace("  network.noise", "  network.prior: {grid: [normal, uniform]}\n  network.noise")
    state, kept = ring_sweep(tmp_path, (0.1,) * 8, domains)
    figure = sample_figures(state, tmp_path)["samples_grid"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["prior = normal", "", "prior = uniform", ""] * 2
    for axes in figure.axes:
        assert drawn(axes, "samples") == pytest.approx(kept[axes.get_gid(), 1000][1][0])


def test_no_grid_where_there_is_one_trial_or_values_are_sampled(tmp_path):
    state, _ = ring_sweep(tmp_path, (0.1,), "  network.noise_dim: {grid: [2]}\n")
    assert list(sample_figures(state, tmp_path)) == ["samples_projection"]
    rate = "  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}\n"
    sampled = sweep_state(tmp_path, rate, sampled=True, base=RING)
    for value in (1e-3, 2e-3):
        keep(tmp_path, begin(sampled, optimizer__learning_rate=value), 10)
    assert list(sample_figures(sampled, tmp_path)) == ["samples_projection"]


def test_a_damaged_file_costs_only_its_panel(tmp_path):
    state, _ = ring_sweep(tmp_path)
    name = next(iter(state.records))
    (trial_folder(tmp_path, name) / "samples" / "step-00001000.safetensors").write_bytes(b"half")
    figures = sample_figures(state, tmp_path)
    assert not figures["samples_grid"].axes[0].collections
    assert figures["samples_grid"].axes[1].collections


# Fig. 4 and 7


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A sweep of two methods on digits, two replicates each, trained for six steps."""
    folder = tmp_path_factory.mktemp("images")
    domains = "  method:\n    cases:\n      GRAM: {objective.name: gram}\n      MMD-net: {objective.name: mmd_net}\n"
    state = sweep_state(folder, domains, base=BASE)
    for name, record in state.records.items():
        run = TrialRun(record.trial.config, trial_folder(folder, name), folder, CPU)
        for _ in range(3):
            run.step()
        complete(state, name, [9.0, 9.0], [8.0, 8.0], [7.0, 5.0])
    return state, folder


def best_samples(state, folder):
    """What the best replicate of the first trial generates from the noise of the previews."""
    name, record = next(iter(state.records.items()))
    trainer = Trainer(record.trial.config, folder, CPU)
    trainer.load(checkpoints(trial_folder(folder, name))[0])
    return trainer.preview(16).unflatten(0, (2, 16))


def test_nearest_images_are_nearest(images):
    state, folder = images
    record = next(iter(state.records.values()))
    found = nearest_images(record, folder, folder, n=6, k=3)
    assert (found.replicate, found.step) == (1, 6)  # 5.0 beats 7.0
    samples = best_samples(state, folder)[1, :6]
    assert np.array_equal(found.samples, samples.squeeze(1).numpy())
    for side, real in ((found.train, Digits().train(folder)), (found.held_out, Digits().held_out(folder))):
        distances = cdist(samples.flatten(1).double().numpy(), real.flatten(1).double().numpy()) / 8
        assert side.of == len(real)
        assert side.distances == pytest.approx(np.sort(distances, axis=1)[:, :3])
        assert np.array_equal(side.images[:, 0], real.squeeze(1).numpy()[distances.argmin(axis=1)])


def test_the_nearest_images_are_drawn_below_their_sample(images):
    state, folder = images
    record = next(iter(state.records.values()))
    found = nearest_images(record, folder, folder, n=4, k=2)
    figure = nearest_figure(record, found, "digits")
    assert [axes.get_gid() for axes in figure.axes] == ["sample", *["training"] * 2, *["held-out"] * 2]
    assert [axes.get_ylabel() for axes in figure.axes] == [axes.get_gid() for axes in figure.axes]
    shown = [[np.asarray(axes.images[0].get_array())[:, 9 * i : 9 * i + 8] for i in range(4)] for axes in figure.axes]
    assert np.array_equal(shown[0], found.samples)
    assert np.array_equal(shown[2], found.train.images[:, 1])
    assert np.array_equal(shown[3], found.held_out.images[:, 0])
    below = figure.axes[1]
    assert [label.get_text() for label in below.get_xticklabels()] == [f"{d:.1f}" for d in found.train.distances[:, 0]]
    assert list(below.get_xticks()) == [3.5, 12.5, 21.5, 30.5]
    closer = sum(found.train.distances[:, 0] < found.held_out.distances[:, 0])
    title = figure.get_suptitle().replace("\n", " ")
    share = 4 * found.train.of / (found.train.of + found.held_out.of)
    assert f"{closer} of 4 samples are nearer to one of the" in title
    assert f"{share:.1f} expected without memorisation" in title


def test_without_checkpoint_or_data_there_is_no_nearest_image(images, tmp_path):
    state, folder = images
    record = next(iter(state.records.values()))
    assert nearest_images(record, tmp_path, folder) is None
    damaged = trial_folder(tmp_path, record.trial.name)
    damaged.mkdir(parents=True)
    (damaged / "checkpoint-00000006.pt").write_bytes(b"half")
    assert nearest_images(record, tmp_path, folder) is None
    grid = tmp_path / "half.png"
    grid.write_bytes(b"half")
    assert read_strip(grid, (1, 8, 8)) is None


def test_rows_of_samples_are_those_of_the_first_replicate(images):
    state, folder = images
    figures = sample_figures(state, folder)
    assert {"samples_training-GRAM", "samples_training-MMD-net", "samples_nearest"} == set(figures)
    *strips, _ = figures["samples_training-GRAM"].axes
    assert [axes.get_ylabel() for axes in strips] == ["0", "3", "6"]
    strip = np.asarray(strips[-1].images[0].get_array())
    name = next(iter(state.records))
    assert list(sample_grids(trial_folder(folder, name))) == [0, 3, 6]
    for i, image in enumerate(best_samples(state, folder)[0, :8].squeeze(1).numpy()):
        assert np.array_equal(strip[1:9, 1 + 9 * i : 9 + 9 * i], image)
    assert strip.shape == (10, 8 * 9 + 1)


# Files


def test_figures_of_samples_are_written_beside_the_others(tmp_path):
    state, _ = ring_sweep(tmp_path, (0.1,), "  network.noise_dim: {grid: [2]}\n")
    names = {path.name for path in write_figures(state, tmp_path)}
    assert {"samples_projection.png", "samples_projection.svg", "noise_dim.png"} <= names


def test_a_key_that_is_called_like_a_figure_of_samples_overwrites_none():
    names = file_names(["samples_grid", "critic_dim"])
    assert names == {"samples_grid": "_samples_grid", "critic_dim": "critic_dim"}
