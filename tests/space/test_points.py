"""The points that a search tries first: they are checked like any value, and never end the sweep."""

import pytest
from sweeps import SPACE, write_space

from gramtune.api import run_sweep
from gramtune.errors import SpecError
from gramtune.space.load import load_sweep

SAMPLED = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "\n  ".join([
    "method: {cases: {gram: {objective.name: gram}, gan: {objective.name: gan}}}",
    "objective.critic_dim: {int: [1, 9], step: 2, when: {method: gram}}",
    "optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}",
]))  # fmt: skip


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("{optimizer.learning_rate: '1e-3'}", "learning_rate = '1e-3' should be a number .* in quotes is a string"),
        ("{optimizer.learning_rate: 1}", "learning_rate = 1 should be a number from 0.0001 to 0.01"),
        ("{optimizer.lerning_rate: 1e-3}", "unknown key .*did you mean 'optimizer.learning_rate'"),
        ("{method: grm}", "method = 'grm' should be one of the key's values; legal: gram, gan"),
        ("{method: gram, objective.critic_dim: 4}", "= 4 should be a whole number from 1 to 9 in steps of 2"),
        ("{method: gan, objective.critic_dim: 3}", "exists only where method is gram; leave it out"),
        ("{method: gan, optimizer.learning_rate: 1e-3}, {optimizer.learning_rate: 0.001, method: gan}",
         "it repeats search.points.0."),
    ],
)  # fmt: skip
def test_a_point_is_checked_as_any_value(points, message, tmp_path):
    path = write_space(tmp_path, SAMPLED + f"search: {{name: tpe, samples: 3, points: [{points}]}}\n")
    with pytest.raises(SpecError, match=f"axis.yaml:10: search.points.*{message}"):
        load_sweep(path)


def test_equal_points_that_leave_a_key_open_do_not_end_the_sweep(tmp_path):
    space = SPACE.replace("grid: [1, 4, 16]", "choice: [1, 4, 16]").replace("replicates: 2", "replicates: 1")
    path = write_space(tmp_path, space + "search: {name: random, samples: 3, seed: 1, points: [{}, {}, {}]}\n")
    result = run_sweep(path, tmp_path / "runs", debug=True, say=lambda line: None)
    assert result.complete
    assert len(result.state.records) == 3


def test_an_exhausted_space_is_reported(tmp_path):
    space = SPACE.replace("grid: [1, 4, 16]", "choice: [1, 4]").replace("replicates: 2", "replicates: 1")
    path, lines = write_space(tmp_path, space + "search: {name: random, samples: 6}\n"), []
    result = run_sweep(path, tmp_path / "runs", debug=True, say=lines.append)
    assert result.complete
    assert any("has only 2 configurations, and all were tried" in line for line in lines)


def test_a_search_that_finds_nothing_new_does_not_finish_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr("gramtune.backends.optuna.search.OptunaProposer.propose", lambda self: None)
    path, lines = write_space(tmp_path, SAMPLED + "search: {name: random, samples: 6}\n"), []
    result = run_sweep(path, tmp_path / "runs", debug=True, say=lines.append)
    assert not result.complete
    assert "no further configuration after 0 of 6 trials" in result.problem
