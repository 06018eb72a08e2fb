"""Figures and summary of known results show the reported values."""

import math
import warnings

import pytest
from states import METHODS, begin, complete, report, sweep_state
from sweeps import BASE

from gramtune.analysis.labels import number, spread_text, value_text
from gramtune.analysis.paired_difference import paired_difference, ranked
from gramtune.components import Metric
from gramtune.record.report import Status, Summary
from gramtune.registry import create
from gramtune.report.figures.catalogue import write_figures
from gramtune.report.figures.learning_curves import learning_curves
from gramtune.report.figures.sensitivity import sensitivity_figure
from gramtune.report.text.summary import summary_lines, trial_tables

K = "objective.critic_dim"
RATE = "  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}\n"
T_AT_2 = 12.7062  # Student's t at one degree of freedom, 97.5 %
NAN = pytest.approx(math.nan, nan_ok=True)


def lines(figure, gid):
    """x and y of every drawn line of that kind, in the order of drawing."""
    (axes, *_) = figure.axes
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in axes.lines
        if line.get_gid() == gid
    ]


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def ticks(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def grid(folder, values=((3.0, 5.0), (1.0, 2.0), (8.0, 8.5))):
    """Three values of K, complete."""
    state = sweep_state(folder)
    for name, final in zip(state.records, values, strict=True):
        complete(state, name, [20.0, 30.0], list(final))
    return state


def test_the_axis_shows_means_spreads_and_every_replicate(tmp_path):
    figure = sensitivity_figure(grid(tmp_path), K)
    (axes,) = figure.axes
    assert lines(figure, "mean") == [([1, 4, 16], [4.0, 1.5, 8.25])]
    assert lines(figure, "replicates") == [([1, 1, 4, 4, 16, 16], [3.0, 5.0, 1.0, 2.0, 8.0, 8.5])]
    for band, scale in zip(axes.collections, (T_AT_2 / 2**0.5, 1), strict=True):
        assert band.get_gid() == ("std" if scale == 1 else "interval")
        corners = {tuple(map(float, corner)) for corner in band.get_paths()[0].vertices}
        for x, mean, std in ((1, 4.0, 2**0.5), (4, 1.5, 0.5**0.5), (16, 8.25, 0.125**0.5)):
            ends = sorted(y for at, y in corners if at == x)
            assert ends == pytest.approx([mean - scale * std, mean + scale * std])
    low, high = axes.get_ylim()
    assert low < 1.5 - 0.5**0.5
    assert 8.5 < high < 10, "an interval at n = 2 hides everything else"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert ticks(figure) == ["1", "4", "16"]
    assert axes.get_ylabel() == "fid_digits (lower is better)"
    assert "n = 2 replicates, 100 generated samples each" in axes.get_title(loc="left")
    assert legend(figure) == ["mean", "replicate"]


@pytest.mark.parametrize(
    ("values", "scale"), [("[1, 10]", "linear"), ("[1, 11]", "log"), ("[100, 101, 102]", "linear")]
)
def test_x_is_logarithmic_beyond_a_decade(values, scale, tmp_path):
    state = sweep_state(tmp_path, f"  {K}: {{grid: {values}}}\n")
    assert sensitivity_figure(state, K).axes[0].get_xscale() == scale


def test_y_is_logarithmic_beyond_a_decade_and_a_half(tmp_path):
    assert sensitivity_figure(grid(tmp_path), K).axes[0].get_yscale() == "linear"
    wide = grid(tmp_path, ((3.0, 5.0), (0.1, 0.2), (8.0, 800.0)))
    assert sensitivity_figure(wide, K).axes[0].get_yscale() == "log"
    assert learning_curves(wide).axes[0].get_yscale() == "log"
    negative = grid(tmp_path, ((3.0, 5.0), (-0.1, 0.2), (8.0, 800.0)))
    assert sensitivity_figure(negative, K).axes[0].get_yscale() == "linear"


def test_lost_trials_are_marked_and_enter_no_mean(tmp_path):
    state = sweep_state(tmp_path, f"  {K}: {{grid: [1, 2, 4, 8, 16]}}\n")
    names = list(state.records)
    complete(state, names[0], [3.0, 5.0])
    state.reported(names[1], report(3, [0.5, None], Status.DIVERGED, "1 of 2"))
    state.reported(names[2], report(3, [0.1, 0.1]))
    state.ended(names[2], Status.PRUNED, "asha")
    state.ended(names[3], Status.FAILED, "OSError")
    complete(state, names[4], [2.0, 4.0])
    figure = sensitivity_figure(state, K)
    ((x, mean),) = lines(figure, "mean")
    assert (x, mean) == ([1, 2, 4, 8, 16], [4.0, NAN, NAN, NAN, 3.0])
    ((x, dots),) = lines(figure, "replicates")
    assert list(zip(x, dots, strict=True)) == [(1, 3.0), (1, 5.0), (2, 0.5), (16, 2.0), (16, 4.0)]
    assert {s: lines(figure, s) for s in ("DIVERGED", "PRUNED", "FAILED")} == {
        "DIVERGED": [([2], [1])],
        "PRUNED": [([4], [1])],
        "FAILED": [([8], [1])],
    }
    assert legend(figure) == ["mean", "replicate", "DIVERGED", "FAILED", "PRUNED"]


def test_curves_end_with_a_mark_where_a_trial_was_lost(tmp_path):
    state = grid(tmp_path)
    one, four, _ = state.records
    state.reported(one, report(6, [1.0, None], Status.DIVERGED, "1 of 2"))
    state.ended(four, Status.PRUNED, "asha")
    figure = learning_curves(state)
    assert [lines(figure, name) for name in state.records] == [
        [([0, 3], [25.0, 4.0])],  # the mean of the survivor at step 6 would be another quantity
        [([0, 3], [25.0, 1.5])],
        [([0, 3], [25.0, 8.25])],
    ]
    assert lines(figure, "DIVERGED") == [([3], [4.0])]
    assert lines(figure, "PRUNED") == [([3], [1.5])]
    assert legend(figure) == ["1", "4", "16", "DIVERGED", "PRUNED"]


def test_a_method_comparison_has_one_line_per_method(tmp_path):
    domains = """\
  method: {cases: {"gram, α": {}, "mmd $net$": {objective.bandwidths: [1]}, fixed: {objective.critic_dim: 3}}}
  objective.critic_dim: {grid: [1, 4, 16], when: {method: ["gram, α", "mmd $net$"]}}
  objective.ridge: {grid: [1e-3, 1e-2], when: {method: "mmd $net$"}}
"""
    state = sweep_state(tmp_path, domains)
    for i, name in enumerate(state.records):
        complete(state, name, [float(i), i + 1.0])
    figure = sensitivity_figure(state, K)
    assert lines(figure, "mean") == [
        ([1, 4, 16], [0.5, 1.5, 2.5]),
        ([1, 4, 16], [3.5, 5.5, 7.5]),
        ([1, 4, 16], [4.5, 6.5, 8.5]),
    ]
    net = r"method = mmd \$net\$, ridge = "
    assert legend(figure) == ["method = gram, α", net + "0.001", net + "0.01", "replicate"]
    ridge = sensitivity_figure(state, "objective.ridge")
    assert lines(ridge, "mean") == [([0.001, 0.01], [i + 3.5, i + 4.5]) for i in (0, 2, 4)]
    assert ticks(sensitivity_figure(state, "method")) == ["gram, α", r"mmd \$net\$", "fixed"]


def test_methods_are_compared_at_each_value_of_what_they_share(tmp_path):
    state = sweep_state(
        tmp_path, METHODS.replace("method: gram}", "method: [gram, gan]}").replace(K, "training.batch_size")
    )
    for i, name in enumerate(state.records):
        complete(state, name, [float(i), i + 1.0])
    figure = sensitivity_figure(state, "method")
    assert legend(figure) == ["without batch_size", *(f"batch_size = {b}" for b in (1, 4, 16)), "replicate"]
    assert lines(figure, "mean") == [([1], [3.5]), ([0, 2], [0.5, 4.5]), ([0, 2], [1.5, 5.5]), ([0, 2], [2.5, 6.5])]


def test_methods_as_the_only_key_are_categories(tmp_path):
    state = sweep_state(tmp_path, METHODS.split("  objective.critic_dim")[0])
    for i, name in enumerate(state.records):
        complete(state, name, [float(i), i + 1.0])
    figure = sensitivity_figure(state, "method")
    ((x, mean),) = lines(figure, "mean")
    assert (x, mean) == ([0, 1, 2], [0.5, 1.5, 2.5])
    (drawn,) = (line for line in figure.axes[0].lines if line.get_gid() == "mean")
    assert drawn.get_linestyle() == "None"  # nothing lies between two methods
    curves = learning_curves(state)
    assert legend(curves) == ["gram", "mmd_net", "gan"]
    assert len({line.get_color() for line in curves.axes[0].lines}) == 3


def test_curves_of_many_trials_still_tell_the_methods_apart(tmp_path):
    domains = """\
  method: {cases: {gram: {}, wide: {objective.bandwidths: [9]}}}
  objective.critic_dim: {grid: [1, 2, 3, 4, 5, 6, 7]}
"""
    state = sweep_state(tmp_path, domains)
    for i, name in enumerate(state.records):
        complete(state, name, [float(i), i + 1.0])
    figure = learning_curves(state)
    colours = {line.get_gid(): line.get_color() for line in figure.axes[0].lines}
    assert len(colours) == 14
    for method in ("gram", "wide"):
        assert len({colour for name, colour in colours.items() if f"method={method}" in name}) == 1
    assert len(set(colours.values())) == 2
    assert legend(figure) == ["gram", "wide"]


def test_more_combinations_than_lines_are_dots_alone(tmp_path):
    state = sweep_state(
        tmp_path, f"  {K}: {{grid: [1, 4]}}\n  training.batch_size: {{grid: [2, 3, 4, 5, 6, 7, 8, 9, 10]}}\n"
    )
    for name in state.records:
        complete(state, name, [1.0, 2.0])
    figure = sensitivity_figure(state, K)
    assert lines(figure, "mean") == []
    assert sum(len(x) for x, _ in lines(figure, "replicates")) == 36
    assert legend(figure) == ["replicate"]


def test_sampled_neighbours_that_differ_in_more_are_not_connected(tmp_path):
    state = sweep_state(tmp_path, RATE + f"  {K}: {{choice: [1, 4, 16]}}\n", sampled=True)
    for i, (rate, k) in enumerate(((1e-3, 4), (2e-4, 1), (5e-3, 4), (1e-4, 16))):
        complete(state, begin(state, optimizer__learning_rate=rate, objective__critic_dim=k), [float(i), i + 1.0])
    figure = sensitivity_figure(state, K)
    (drawn,) = (line for line in figure.axes[0].lines if line.get_gid() == "mean")
    assert drawn.get_linestyle() == "None"
    assert list(zip(*lines(figure, "mean")[0], strict=True)) == [(1, 1.5), (4, 0.5), (4, 2.5), (16, 3.5)]
    rates = sensitivity_figure(state, "optimizer.learning_rate")
    assert [mean for mean in lines(rates, "mean") if mean[0]] == [
        ([2e-4], [1.5]),
        ([1e-3, 5e-3], [0.5, 2.5]),
        ([1e-4], [3.5]),
    ]
    assert rates.axes[0].get_xscale() == "log"
    assert legend(rates) == ["critic_dim = 1", "critic_dim = 4", "critic_dim = 16", "replicate"]


@pytest.mark.parametrize(
    ("domain", "scale"),
    [("{loguniform: [2e-4, 9e-4]}", "log"), ("{uniform: [1e-5, 1e-2]}", "linear"), (None, "log")],
)
def test_a_sampled_range_is_drawn_on_the_scale_that_it_is_sampled_on(domain, scale, tmp_path):
    key, values = ("optimizer.learning_rate", (3e-4, 8e-4)) if domain else (K, (2, 3))
    state = sweep_state(tmp_path, f"  {key}: {domain or '{logint: [1, 64]}'}\n", sampled=True)
    for value in reversed(values):
        complete(state, begin(state, **{key.replace(".", "__"): value}), [value * 2.0, value * 4.0])
    figure = sensitivity_figure(state, key)
    assert figure.axes[0].get_xscale() == scale
    assert lines(figure, "mean") == [(list(values), [pytest.approx(3 * value) for value in values])]


def test_few_decades_of_a_sampled_range_have_plain_labels(tmp_path):
    state = sweep_state(tmp_path, RATE, sampled=True)
    for i in range(14):
        complete(state, begin(state, optimizer__learning_rate=1e-4 * 1.3**i), [1.0, 2.0])
    for figure in (sensitivity_figure(state, "optimizer.learning_rate"), learning_curves(state)):
        figure.draw_without_rendering()
    axis, bar = sensitivity_figure(state, "optimizer.learning_rate").axes[0].xaxis, figure.axes[1].yaxis
    for one in (axis, bar):
        assert [t.get_text() for t in one.get_ticklabels()][-5:-1] == ["0.0002", "0.0005", "0.001", "0.002"]
        assert not any(t.get_text() for t in one.get_ticklabels(minor=True))


def test_a_long_legend_does_not_take_the_room_of_the_curves(tmp_path):
    domains = "  method: {cases: {a rather long name of a method: {}, another method with a long name: {}}}\n"
    state = sweep_state(tmp_path, domains + f"  {K}: {{grid: [1, 2, 3, 4, 5, 6]}}\n")
    for i, name in enumerate(state.records):
        complete(state, name, [1.0, 2.0], [float(i), i + 1.0])
    figure = learning_curves(state)
    figure.draw_without_rendering()
    assert len(legend(figure)) == 12
    assert figure.axes[0].get_window_extent().height / figure.dpi > 1.2  # inches


def hostile(kind, folder):
    """States in which something is missing, by name."""
    if kind == "no trial":
        return sweep_state(folder, RATE + f"  {K}: {{choice: [1, 4]}}\n", sampled=True)
    if kind == "no trial has the key":
        state = sweep_state(folder, METHODS.replace("grid: [1, 4, 16]", "logint: [1, 16]"), sampled=True)
        complete(state, begin(state, method="gan"), [1.0, 2.0])
        return state
    state = sweep_state(folder, replicates=1 if kind == "one replicate" else 2)
    for name in state.records:
        if kind == "diverged":
            state.reported(name, report(3, [None, None], Status.DIVERGED, "2 of 2 replicates diverged: größer als ∞"))
        elif kind == "one replicate":
            complete(state, name, [4.0], [3.0])
        elif kind == "huge":
            complete(state, name, [1e25, 2e25])
        elif kind == "equal":
            complete(state, name, [0.0, 0.0])
    return state


JOINT = "\n".join([
    "  objective.critic_dim: {logint: [1, 64]}", "  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}",
    "  training.batch_size: {choice: [8, 16]}\n",
])  # fmt: skip


@pytest.mark.parametrize("values", [[4.0, 5.0], [4.0, 4.0], [4.0]], ids=["spread", "tie", "n = 1"])
@pytest.mark.parametrize("trials", [0, 1, 2])
def test_a_joint_sweep_with_few_trials_draws_what_there_is_without_a_warning(trials, values, tmp_path):
    state = sweep_state(tmp_path, JOINT, sampled=True, replicates=len(values))
    for batch in (8, 16)[:trials]:  # equal in both logarithmic keys
        name = begin(state, objective__critic_dim=3, optimizer__learning_rate=1e-3, training__batch_size=batch)
        complete(state, name, [9.0] * len(values), values, values)
    failed = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = {path.stem for path in write_figures(state, tmp_path, failed)}
    assert failed == []
    assert ("parallel_coordinates" in names) == (trials > 0)
    assert {"learning_rate", "learning_curves"} <= names
    assert "nan" not in "\n".join(summary_lines(state))


FOUR = "method: {cases: {gram: {objective.name: gram}, a: {network.width: 5}, b: {network.width: 6}, c: {}}}"


@pytest.mark.parametrize("first", ["objective.critic_dim: {grid: [1, 2, 3, 4]}", FOUR], ids=["bar", "categories"])
def test_the_legend_of_learning_curves_has_the_line_styles_of_the_plot(first, tmp_path):
    state = sweep_state(tmp_path, f"  {first}\n  training.batch_size: {{grid: [8, 16, 32, 64]}}\n")
    for i, name in enumerate(list(state.records)):
        complete(state, name, [9.0, 9.1], [8.0 + i, 8.5 + i])
    figure = learning_curves(state)
    plotted = {line.get_linestyle() for line in figure.axes[0].lines if line.get_gid() in state.records}
    entries = {h.get_linestyle(): t.get_text() for h, t in zip(figure.legends[0].legend_handles,
               figure.legends[0].get_texts(), strict=True)}  # fmt: skip
    assert len(plotted) >= 2
    assert plotted <= entries.keys()
    assert "batch_size = 8" in entries["-"]


HOSTILE = ("no trial", "no trial has the key", "diverged", "one replicate", "nothing", "huge", "equal")


@pytest.mark.parametrize("kind", HOSTILE)
def test_figures_and_summary_stand_whatever_is_missing(kind, tmp_path):
    state = hostile(kind, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = write_figures(state, tmp_path)
    names = [key.rsplit(".", 1)[-1] for key in state.plan.sweep.space] + ["learning_curves"]
    names += ["parallel_coordinates"] if len(state.plan.sweep.space) > 1 and state.completed else []
    assert [path.name for path in paths] == [f"{name}.{suffix}" for name in names for suffix in ("png", "svg")]
    assert all(path.stat().st_size > 1000 for path in paths)
    text = "\n".join(summary_lines(state))
    empty = kind in ("no trial", "diverged", "nothing")
    assert ("Best: none, because no trial has completed." in text) == empty
    said = [text.get_text() for text in sensitivity_figure(state, K).axes[0].texts]
    assert (said == ["no trial has a value"]) == (empty or kind == "no trial has the key")
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_one_replicate_has_a_mean_and_no_spread(tmp_path):
    state = hostile("one replicate", tmp_path)
    figure = sensitivity_figure(state, K)
    assert lines(figure, "mean") == [([1, 4, 16], [3.0, 3.0, 3.0])]
    text = "\n".join(summary_lines(state))
    assert "n = 1 replicate, 100 generated samples each" in text
    assert "Lowest mean: critic_dim = 1\n  fid_digits 3, n = 1 replicate\n" in text
    assert "\n    unknown: fewer than two seeds have a value in both trials (--replicates 3)" in text
    assert "Student" not in text


@pytest.mark.parametrize("domains", [None, METHODS], ids=["axis", "methods"])
def test_equal_sweeps_give_equal_bytes(domains, tmp_path):
    written = []
    for folder in ("a", "ü b"):
        (tmp_path / folder).mkdir()
        state = sweep_state(tmp_path / folder, domains)
        for i, name in enumerate(state.records):
            complete(state, name, [float(i), i + 1.0], [i + 0.5, i + 0.25])
        written.append({path.name: path.read_bytes() for path in write_figures(state, tmp_path / folder)})
    assert len(written[0]) == (4 if domains is None else 6)
    assert written[0] == written[1]


def test_a_key_with_cases_may_be_called_anything(tmp_path):
    cases = '{cases: {größe: {}, "b/$c$": {objective.critic_dim: 3}}}'
    state = sweep_state(tmp_path, f'  "../../méthode": {cases}\n  learning_curves: {cases}\n  "": {cases}\n')
    for i, name in enumerate(state.records):
        complete(state, name, [float(i), i + 1.0])
    paths = write_figures(state, tmp_path)
    assert {path.parent for path in paths} == {tmp_path / "figures"}
    assert len(set(paths)) == 10
    assert len(list(tmp_path.rglob("*.svg"))) == 5
    assert summary_lines(state)[4].split()[1:3] == ["../../méthode", "learning_curves"]


# Seeds 0, 1, 2; a − b = 2, 3, 4: mean 3, std 1, t₀.₉₇₅,₂ = 4.302653, half width 4.302653/√3 = 2.484138.
A, B = (12.0, 23.0, 34.0), (10.0, 20.0, 30.0)
HALF = 2.484138


def three(folder, finals, base=BASE):
    state = sweep_state(folder, replicates=3, base=base)
    for name, values in zip(state.records, finals, strict=True):
        complete(state, name, list(values))
    return state


def test_the_paired_difference_is_students(tmp_path):
    a, b, c = three(tmp_path, (A, B, (11.0, 30.0, None))).records.values()
    difference = paired_difference(a, b, "fid_digits")
    assert (difference.mean, difference.low, difference.high) == pytest.approx((3.0, 3 - HALF, 3 + HALF), rel=1e-5)
    assert difference.n == 3
    assert difference.separated
    # seeds 0 and 1 alone: 1 and 10, mean 5.5, std 9/√2, t₀.₉₇₅,₁ = 12.7062
    two = paired_difference(c, b, "fid_digits")
    assert (two.mean, two.low, two.high, two.n) == (
        5.5,
        pytest.approx(5.5 - 12.7062 * 4.5, rel=1e-4),
        pytest.approx(5.5 + 12.7062 * 4.5, rel=1e-4),
        2,
    )
    assert not two.separated
    assert paired_difference(a, b, "kid") is None


def test_pairs_are_by_seed_not_by_position(tmp_path):
    state = sweep_state(tmp_path, "  training.seed: {grid: [0, 1, 9]}\n", replicates=3)
    for name, values in zip(state.records, ((1.0, 2.0, 4.0), (7.0, 9.0, 5.0), (1.0, 1.0, 1.0)), strict=True):
        complete(state, name, list(values))
    first, second, far = state.records.values()
    paired = paired_difference(second, first, "fid_digits")
    assert (paired.mean, paired.n) == (5.0, 2)  # seeds 1 and 2: 7 − 2 and 9 − 4
    assert paired_difference(far, first, "fid_digits") is None


def test_verdicts_in_words(tmp_path):
    state = three(tmp_path, (A, B, (10.5, 19.0, 31.0)))
    text = "\n".join(summary_lines(state))
    assert "Lowest mean: critic_dim = 4\n  fid_digits 20 ± 10, n = 3 replicates\n" in text
    assert "Verdict on critic_dim: UNDECIDED within 10 %: critic_dim ∈ {1, 4, 16} is open" in text
    assert "  critic_dim ∈ {1, 4, 16} may be the best; no value is shown to be worse" in text
    assert "3 replicates of each value, geometric means of fid_digits, lower is better" in text


def test_below_three_replicates_pairs_are_compared(tmp_path):
    state = three(tmp_path, (A[:2], B[:2], (10.5, 19.0)))
    text = "\n".join(summary_lines(state))
    assert "Verdict: none, because it needs 3 replicates of every value, and there are 2 (--replicates 3)." in text
    assert "  against the runner-up, " in text
    assert "NOT separated, may be chance" in text
    told = (
        "Student's t over 2 seeds, corrected for all pairs of 3 trials (Bonferroni), which makes them wide (t = 38.19)."
    )
    assert told in " ".join(text.split())


def test_a_maximised_metric_reverses_the_ranking(tmp_path):
    key = next(key for key, direction in create(Metric, "modes").directions.items() if direction == "max")
    base = BASE.replace("metrics: [fid_digits]\nmetric: fid_digits", f"metrics: [modes]\nmetric: {key}")
    base = base.replace("data: {name: digits}", "data: {name: ring}")
    state = sweep_state(tmp_path, base=base.replace("{name: dcgan, noise_dim: 4, width: 4}", "{name: mlp}"))
    for name, values in zip(state.records, ([0.1, 0.2], [0.7, 0.9], [0.4, 0.5]), strict=True):
        state.reported(name, report(6, values, Status.COMPLETED, metric=key))
    assert [r.trial.name for r in ranked(state)] == ["critic_dim=4", "critic_dim=16", "critic_dim=1"]
    assert ranked(state)[0] is state.best
    text = "\n".join(summary_lines(state))
    assert "higher is better" in text
    assert "Highest mean: critic_dim = 4\n" in text
    assert "runner-up, critic_dim = 16" in text


def test_only_completed_trials_are_ranked(tmp_path):
    state = three(tmp_path, (A, B, A))
    state.ended("critic_dim=4", Status.PRUNED, "asha")
    assert [record.trial.name for record in ranked(state)] == ["critic_dim=1", "critic_dim=16"]
    text = "\n".join(summary_lines(state))
    assert "3 trials: 2 COMPLETED, 1 PRUNED" in text
    assert "PRUNED at step 0 of 6" in text


def ten(folder):
    state = sweep_state(folder, f"  {K}: {{grid: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]}}\n", replicates=3)
    for i, name in enumerate(state.records):
        complete(state, name, [30.0, 31.0, 32.0], *[[9.0] * 3] * 1, [24.1 + i**1.5, 25.0 + i, 26.3 + i])
    return state


def test_the_summary_of_ten_trials_is_one_screen(tmp_path):
    lines = summary_lines(ten(tmp_path))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert lines[0] == "axis: Does K matter?"
    assert lines[1] == "10 trials: 10 COMPLETED"
    table = lines[lines.index("") + 1 :][:11]
    assert table[0].split() == ["trial", "critic_dim", "fid_digits", "n", "status"]
    assert [row.split()[1] for row in table[1:]] == [str(2**i) for i in range(10)]
    assert table[1].endswith("lowest mean")
    assert sum(row.endswith("lowest mean") for row in table) == 1
    assert len({row.index("COMPLETED") for row in table[1:]}) == 1


def test_a_long_sweep_shows_the_best_and_says_where_the_others_are(tmp_path):
    state = sweep_state(tmp_path, f"  {K}: {{grid: {list(range(1, 41))}}}\n")
    for i, name in enumerate(reversed(state.records)):
        complete(state, name, [float(i), i + 1.0])
    lines = summary_lines(state)
    table = lines[lines.index("") + 1 :]
    assert table[1].split()[:2] == ["39", "40"]
    assert table[25] == "… and 16 more trials: see trials.csv"


def test_reasons_are_said_and_words_stay_whole(tmp_path):
    state = grid(tmp_path)
    path = "/some/where/" + "very-long-name-" * 9 + "end.pt"
    state.ended("critic_dim=16", Status.FAILED, f"OSError: cannot write\nthe checkpoint {path}")
    text = "\n".join(summary_lines(state))
    assert "FAILED critic_dim = 16: OSError: cannot write the checkpoint" in text
    assert path in text


def test_different_sample_counts_are_not_ranked_against_each_other(tmp_path):
    """A caveat below the best was all; the best itself was named across 100 and 2,000 samples."""
    state = grid(tmp_path)
    state.reported("critic_dim=1", report(3, [3.0, 5.0], Status.COMPLETED, samples=2000))
    complete(state, "critic_dim=4", [1.0, 2.0])
    lines = summary_lines(state)
    assert state.best is None
    assert "2,000 generated samples:" in lines
    assert "100 generated samples:" in lines
    assert any(line.startswith("Best of all: none") for line in lines)
    assert not any(line.endswith("  best") for line in lines)


@pytest.mark.parametrize(
    ("domain", "name"),
    [("data.radius: {grid: [0.5, 1.0]}", "data.radius = 0.5"), ("training.steps: {grid: [6, 9]}", "6 steps")],
)
def test_trials_on_different_data_or_lengths_have_a_best_each(domain, name, tmp_path):
    base = BASE.replace("{name: digits}", "{name: ring}").replace("fid_digits", "sliced_wasserstein")
    base = base.replace("name: dcgan, noise_dim: 4, width: 4", "name: mlp")
    state = sweep_state(tmp_path, f"  {domain}\n", base=base)
    for i, trial in enumerate(state.records):
        state.reported(trial, report(6, [1.0 + i, 2.0 + i], Status.COMPLETED, metric="sliced_wasserstein"))
    lines = summary_lines(state)
    assert state.best is None
    assert f"{name}:" in lines
    assert sum(line.startswith("Lowest mean with ") for line in lines) == 2
    assert next(heading for heading, _ in trial_tables(state)) == name


def test_the_trials_of_the_page_are_sorted_by_the_primary_metric(tmp_path):
    ((heading, rows),) = trial_tables(grid(tmp_path))
    assert heading == ""
    assert [row[:2] for row in rows[1:]] == [["1", "4"], ["0", "1"], ["2", "16"]]


def test_a_key_that_a_trial_lacks_is_a_dash(tmp_path):
    state = sweep_state(tmp_path, METHODS)
    lines = summary_lines(state)
    table = [line.split() for line in lines if "PENDING" in line][1:]
    assert [row[1:3] for row in table] == [["gram", "1"], ["gram", "4"], ["gram", "16"], ["mmd_net", "–"], ["gan", "–"]]


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (Summary(24.853, 0.9421, 3), "24.85 ± 0.94"),
        (Summary(-0.00012, 0.00034, 3), "−0.00012 ± 0.00034"),
        (Summary(12345.6, 2345.0, 3), "12346 ± 2345"),
        (Summary(1.5e25, 2.3e24, 3), "1.5e+25 ± 2.3e+24"),
        (Summary(1e-9, 1e-12, 2), "1e−09 ± 1e−12"),
        (Summary(3.0, 0.0, 2), "3 ± 0"),
        (Summary(3.14159, None, 1), "3.142"),
        (None, "–"),
    ],
)
def test_spreads_in_words(summary, text):
    assert spread_text(summary) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (16, "16"),
        (1e-5, "1e-05"),
        (0.123456789, "0.1235"),
        (0.12345, "0.12345"),
        (True, "true"),
        ("gräm", "gräm"),
        ([1, 0.5], "[1, 0.5]"),
        (None, "null"),
    ],
)
def test_values_in_words(value, text):
    assert value_text(value) == text


def test_numbers_have_a_true_minus_sign():
    assert number(-3.14159, 1) == "−3.1"
    assert number(-1234567.0, 0) == "−1234567"


def test_names_that_become_one_file_name_keep_their_figures(tmp_path, monkeypatch):
    """Two methods, GRAM α and GRAM β, had one file, and the figure of the first was lost."""
    state = grid(tmp_path)
    figure = learning_curves(state)
    drawn = {f"samples_training-GRAM {letter}": lambda: figure for letter in "αβ"}
    monkeypatch.setattr("gramtune.report.figures.catalogue.sample_draws", lambda state, folder: drawn)
    names = {path.stem for path in write_figures(state, tmp_path)}
    assert {"samples_training-GRAM__", "samples_training-GRAM___2"} <= names


def test_a_figure_that_cannot_be_drawn_is_a_line_and_stops_nothing(tmp_path, monkeypatch):
    """With two held-out images there is no third neighbour; the whole report ended there."""

    def broken():
        raise ValueError("3 nearest neighbours need at least 3 points, got 2")

    failed = []
    monkeypatch.setattr("gramtune.report.figures.catalogue.sample_draws", lambda *given: {"samples_nearest": broken})
    names = {path.stem for path in write_figures(grid(tmp_path), tmp_path, failed)}
    assert names == {"critic_dim", "learning_curves"}
    assert failed == [
        "figure samples_nearest is not drawn: ValueError: 3 nearest neighbours need at least 3 points, got 2"
    ]
