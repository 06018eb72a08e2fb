"""Replays of replicates until decided: the cost of giving replicates only to open values of a recorded sweep."""

from pathlib import Path

import numpy as np
import pytest
from states import complete, sweep_state

from gramtune.analysis.paired_difference import paired_difference
from gramtune.analysis.replicates_replay import replay_replicates
from gramtune.analysis.verdict import Verdict
from gramtune.errors import SpecError
from gramtune.run.run_directory import recorded_state


def recorded(tmp_path, means, noise, replicates=10):
    state, rng = sweep_state(tmp_path, replicates=replicates), np.random.default_rng(0)
    for name, mean in zip(state.records, means, strict=True):
        complete(state, name, *[(mean * np.exp(noise * rng.standard_normal(replicates))).tolist()] * 3)
    return state


def test_a_cliff_needs_three_replicates_of_ten(tmp_path):
    (result,) = replay_replicates(recorded(tmp_path, (100, 100, 300), 0.03), "here", None, 40, 0)
    assert (result.verdict.finding.verdict, result.same, result.share) == (Verdict.SENSITIVE, 40, 0.3)
    assert result.interval.high == 1.0


def test_only_the_noisy_neighbourhood_of_the_tolerance_costs_more(tmp_path):
    (result,) = replay_replicates(recorded(tmp_path, (100, 118, 100), 0.06), "here", None, 60, 0)
    assert result.orders == sum(result.said.values()) == 60
    assert 0.3 < result.share <= 1.0
    (capped,) = replay_replicates(recorded(tmp_path, (100, 118, 100), 0.06), "here", 3, 60, 0)
    assert capped.share == pytest.approx(0.3)
    assert capped.said[Verdict.UNDECIDED] >= result.said[Verdict.UNDECIDED]


def test_the_same_seed_gives_the_same_orders(tmp_path):
    state = recorded(tmp_path, (100, 118, 100), 0.06)
    assert (
        replay_replicates(state, "here", None, 20, 3)[0].share == replay_replicates(state, "here", None, 20, 3)[0].share
    )


def test_a_sweep_without_a_verdict_cannot_be_replayed(tmp_path):
    with pytest.raises(SpecError, match="here: a replay needs a verdict, but there is none: it needs 3 replicates"):
        replay_replicates(recorded(tmp_path, (100, 100, 300), 0.03, replicates=2), "here", None, 10, 0)


def test_an_interval_for_several_pairs_is_wider(tmp_path):
    a, b, _ = recorded(tmp_path, (100, 118, 100), 0.06).records.values()
    one, three = (paired_difference(a, b, "fid_digits", pairs) for pairs in (1, 3))
    assert three.low < one.low < one.high < three.high
    assert (one.mean, one.n) == (three.mean, three.n)


@pytest.mark.parametrize("name", ["critic-dim", "learning-rate"])
def test_recorded_sweeps_of_ten_seeds_come_to_the_verdict_of_the_whole_with_half_of_the_replicates(name):
    """Real sweeps on digits, 40 steps long; tests/analysis/recorded/<name>/sweep.yaml is what trained them."""
    (result,) = replay_replicates(recorded_state(Path(__file__).parent / "recorded" / name), name, None, 200, 0)
    assert set(result.verdict.replicates) == {10}
    assert result.same >= 190
    assert result.share <= 0.5
