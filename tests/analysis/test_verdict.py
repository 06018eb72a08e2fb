"""Verdicts: claims on data with known truth, the rules of looks and divergence, and the texts."""

import math
from itertools import pairwise

import numpy as np
import pytest
from states import complete, report, sweep_state

from gramtune.analysis.key_verdicts import verdict_bounds, verdict_tags, verdicts
from gramtune.analysis.pair_bounds import moderated
from gramtune.analysis.replicates_needed import until_decided
from gramtune.analysis.verdict import ALPHA, Verdict, batch_findings, decide, findings, level, looks
from gramtune.record.report import Status
from gramtune.report.figures.bounds import bounds_figure
from gramtune.report.text.latex import latex_table
from gramtune.report.text.verdict_text import verdict_text


def drawn(means, noise, n, seed=0):
    rng = np.random.default_rng(seed)
    return [[mean + noise * rng.standard_normal() for _ in range(n)] for mean in means]


def test_the_looks_together_spend_alpha():
    assert looks(20) == [3, 4, 5, 6, 8, 10, 12, 15, 20]
    spent = [level(look) for look in looks(100_000)]
    assert sum(spent) < ALPHA
    assert sum(spent) == pytest.approx(ALPHA, rel=0.01)


def test_a_flat_curve_is_insensitive_and_a_cliff_sensitive():
    flat = decide(drawn([5.0] * 5, 0.01, 5), 0.1)
    assert (flat.verdict, flat.may_be_best, flat.open, flat.more) == (Verdict.INSENSITIVE, (0, 1, 2, 3, 4), (), None)
    cliff = decide(drawn([5.0, 5.0, 5.0, 6.0], 0.03, 3), 0.1)
    assert (cliff.verdict, cliff.may_be_best, cliff.look) == (Verdict.SENSITIVE, (0, 1, 2), 3)
    assert 0.5 < cliff.low[3] < 1.0 < cliff.high[3]


def test_the_tolerance_moves_the_verdict():
    values = drawn([0.0, 0.2], 0.01, 5)
    assert decide(values, 0.1).verdict == Verdict.SENSITIVE
    assert decide(values, 0.3).verdict == Verdict.INSENSITIVE


def test_below_three_replicates_there_is_no_verdict():
    assert decide([[1.0, 1.1, 1.2], [1.0, 1.1]], 0.1) is None
    assert decide([[1.0, 1.1, 1.2]], 0.1) is None


def test_between_declared_looks_nothing_changes():
    values = drawn([0.0] * 4, 0.15, 9)
    assert decide([v[:8] for v in values], 0.1).low == pytest.approx(decide(values, 0.1).low)


def test_a_decided_verdict_stands_whatever_comes_later():
    early = drawn([0.0, 1.0], 0.01, 3)
    later = [[*early[0], *[0.0, 0.01] * 10], [*early[1], *[0.0, 0.01] * 10]]
    assert decide(later, 0.1).verdict == Verdict.SENSITIVE
    assert decide(later, 0.1).look == 3


def test_a_diverged_replicate_forbids_insensitive():
    values = drawn([0.0] * 4, 0.001, 5)
    values[2][4] = math.inf
    found = decide(values, 0.1)
    assert found.verdict != Verdict.INSENSITIVE
    assert found.high[2] == math.inf


def test_a_value_that_always_diverges_is_worse():
    found = decide([*drawn([0.0] * 3, 0.01, 5), [math.inf] * 5], 0.1)
    assert found.verdict == Verdict.SENSITIVE
    assert found.may_be_best == (0, 1, 2)


def test_undecided_says_how_many_more():
    values = drawn([0.0, 0.0, 0.0], 0.05, 4, seed=3)
    found = decide(values, 0.1)
    assert found.verdict == Verdict.UNDECIDED
    assert found.open
    assert 4 + found.more in looks(400)


def test_alike_variances_are_pooled_and_unlike_ones_are_not():
    rng = np.random.default_rng(0)
    degrees = np.full(400, 4.0)
    alike, freedom = moderated(rng.chisquare(4, 400) / 4, degrees, degrees > 0)
    assert np.median(alike) == pytest.approx(1.0, abs=0.15)
    assert np.median(freedom) > 20
    scales = np.repeat([1.0, 100.0], 200)
    unlike, freedom = moderated(scales * rng.chisquare(4, 400) / 4, degrees, degrees > 0)
    assert np.median(unlike[200:]) > 40
    assert np.median(freedom) < 12


@pytest.mark.parametrize(("beyond", "wrong"), [(0.0, Verdict.SENSITIVE), (1e-9, Verdict.INSENSITIVE)])
def test_a_false_verdict_is_rare_at_the_edge(beyond, wrong):
    # 200 sweeps, five looks each. P(more than 20 wrong) is below 0.001 at a rate of 5 %.
    means = [0.0, 0.0, 0.0, math.log(1.1) + beyond]
    said = [decide(drawn(means, 0.05, 8, seed=seed), 0.1).verdict for seed in range(200)]
    assert said.count(wrong) <= 20


def test_many_sweeps_are_judged_as_each_alone():
    """The benchmark, the replay and the plan judge thousands at once; what they say is what a sweep would say."""
    rng = np.random.default_rng(0)
    losses = rng.choice([0.0, 0.05, 0.4], (60, 4, 1)) + rng.choice([0.01, 0.05], (60, 1, 1)) * rng.standard_normal(
        (60, 4, 10)
    )
    losses[rng.random(losses.shape) < 0.01] = np.inf
    losses[:20] = 0.01 * rng.standard_normal((20, 4, 10))
    counts = rng.integers(0, 11, (60, 4))
    counts[:20] = 10
    *_, together = batch_findings(losses, counts, 0.1)
    verdicts_seen = set()
    for i in range(60):
        alone = decide([loss[:n] for loss, n in zip(losses[i], counts[i], strict=True)], 0.1)
        if alone is None:
            assert together.look[i] == 0
            continue
        one = together.finding(i)
        verdicts_seen.add(one.verdict)
        assert (one.verdict, one.look, one.may_be_best, one.open) == (
            *(alone.verdict, alone.look),
            *(alone.may_be_best, alone.open),
        )
        np.testing.assert_allclose(one.pairs, alone.pairs, rtol=1e-9)
    assert verdicts_seen == set(Verdict)


def test_replicates_until_decided_of_many_sweeps_are_those_of_each_alone():
    rng = np.random.default_rng(1)
    losses = rng.choice([0.0, 0.05, 0.4], (30, 4, 1)) + 0.05 * rng.standard_normal((30, 4, 10))
    *_, (together, counts) = until_decided(losses, np.full((30, 4), 3), np.full(4, 10), 10, 0.1)
    assert any(len(set(row)) > 1 for row in counts.tolist())  # some values were given more than others
    for i in range(30):
        (*_, (alone, own)) = until_decided(losses[i : i + 1], np.full((1, 4), 3), np.full(4, 10), 10, 0.1)
        assert own[0].tolist() == counts[i].tolist()
        assert alone.finding(0).verdict == together.finding(i).verdict


def finished(tmp_path, values, replicates=3):
    state = sweep_state(tmp_path, replicates=replicates)
    for name, one in zip(state.records, values, strict=True):
        complete(state, name, list(one))
    return state


def test_the_words_and_tags_of_a_sweep(tmp_path):
    state = finished(tmp_path, [(100.0, 101.0, 99.0), (100.0, 102.0, 101.0), (300.0, 310.0, 305.0)])
    (row,) = verdicts(state)
    text = "\n".join(verdict_text(row, state))
    assert "Verdict on critic_dim: SENSITIVE: critic_dim = 16 is worse than the best by at least" in text
    assert "critic_dim ∈ {1, 4} may be the best; the other is worse (probability of any error ≤ 5 %)" in text
    assert verdict_tags(state) == {"gramtune.verdict.critic_dim": "SENSITIVE"}


def test_a_diverged_trial_counts_against_its_value(tmp_path):
    state = sweep_state(tmp_path, replicates=3)
    names = list(state.records)
    for name in names[:2]:
        complete(state, name, [100.0, 101.0, 99.0])
    state.reported(names[2], report(6, [100.0, None, None], Status.DIVERGED, "2 of 3 replicates diverged"))
    (row,) = verdicts(state)
    assert row.finding.verdict != Verdict.INSENSITIVE
    assert row.diverged == ("", "", "2 of 3 replicates diverged")
    assert "16 (2 of 3 replicates diverged)" in "\n".join(verdict_text(row, state))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([(1.0, 2.0, 3.0), (1.0, -2.0, 3.0), (1.0, 2.0, 3.0)], "needs values above zero"),
        ([(8.0, 8.0, 8.0)] * 3, "no value has a spread"),
        ([(1.0, 2.0)] * 3, "needs 3 replicates"),
    ],
)
def test_why_there_is_none(tmp_path, values, why):
    (row,) = verdicts(finished(tmp_path, values, len(values[0])))
    assert row.finding is None
    assert why in row.why


def test_a_pruned_value_cannot_be_insensitive(tmp_path):
    state = finished(tmp_path, [(100.0, 101.0, 99.0), (100.0, 101.0, 99.5), (100.0, 101.0, 99.0)])
    (row,) = verdicts(state)
    assert row.finding.verdict == Verdict.INSENSITIVE
    next(iter(state.records.values())).status = Status.PRUNED
    (row,) = verdicts(state)
    assert (row.finding.verdict, row.replicates) == (Verdict.UNDECIDED, (0, 3, 3))
    assert "critic_dim = 1 was pruned or failed" in "\n".join(verdict_text(row, state))


def test_a_cliff_among_the_others_is_sensitive_though_a_value_was_pruned(tmp_path):
    state = finished(tmp_path, [(100.0, 101.0, 99.0), (100.0, 101.0, 99.5), (300.0, 301.0, 299.0)])
    next(iter(state.records.values())).status = Status.PRUNED
    (row,) = verdicts(state)
    assert (row.finding.verdict, row.finding.may_be_best) == (Verdict.SENSITIVE, (0, 1))


def test_values_may_have_unequal_numbers_of_replicates():
    """What was clear after three replicates stays so, and a pair is compared at the looks that both have."""
    few, many = drawn([0.0, 1.0], 0.01, 3), drawn([0.0, 0.02], 0.05, 12, seed=1)
    found = decide([*few, *many], 0.1)
    assert found.verdict == Verdict.SENSITIVE
    assert found.look == 3
    longer = decide([few[0], *many], 0.1)
    assert longer.pairs[0, 1] == decide([few[0], *[value[:3] for value in many]], 0.1).pairs[0, 1]


def test_a_bound_never_loosens():
    values = drawn([0.0, 0.05, 0.1], 0.05, 12)
    seen = list(findings(values, 0.1))
    assert len(seen) == len(looks(12))
    for before, after in pairwise(seen):
        assert (after.pairs >= before.pairs).all()
        assert (after.high <= before.high).all()


def test_nothing_is_worse_than_a_value_that_diverged():
    values = drawn([0.0, 1.0, 1.0], 0.01, 5)
    values[0][4] = math.inf
    found = decide(values, 0.1)
    assert found.verdict == Verdict.UNDECIDED
    assert not found.separated(1, 0)


def test_insensitive_falls_with_the_first_divergence():
    values = drawn([0.0] * 3, 0.005, 8)
    assert decide(values, 0.1).verdict == Verdict.INSENSITIVE
    values[1][7] = math.inf
    assert decide(values, 0.1).verdict == Verdict.UNDECIDED


def test_the_figure_and_the_latex_table_say_the_verdict(tmp_path):
    state = finished(tmp_path, [(100.0, 101.0, 99.0), (100.0, 120.0, 101.0), (100.0, 101.0, 102.0)])
    figure = bounds_figure(state, "objective.critic_dim")
    (axes,) = figure.axes
    dots = [line for line in axes.get_lines() if line.get_gid() == "mean"]
    (row,) = verdicts(state)
    assert [line.get_markerfacecolor() == "white" for line in dots] == [i in row.finding.open for i in range(3)]
    assert "UNDECIDED within 10\\%" in latex_table(state).replace(" \\%", "\\%")
    assert "∈" not in latex_table(state)
    two = finished(tmp_path, [(1.0, 2.0)] * 3, 2)
    assert bounds_figure(two, "objective.critic_dim") is None


def test_sweeps_can_be_filtered_by_bounds(tmp_path):
    state = finished(tmp_path, [(100.0, 101.0, 99.0), (100.0, 102.0, 101.0), (300.0, 310.0, 305.0)])
    bounds = verdict_bounds(state)
    assert 1.5 < bounds["worst_loss_at_least/critic_dim"] < 2.0 < bounds["worst_loss_at_most/critic_dim"] < 2.5
