import json

import pytest
from sweeps import write_space

from gramtune.record.journal import JOURNAL, Journal, load_state
from gramtune.record.report import Report, Status, Summary
from gramtune.record.state import SweepState
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan


@pytest.fixture
def plan(tmp_path):
    path = write_space(tmp_path)
    return make_plan(load_sweep(path), tmp_path)


def report(step, values, status="RUNNING", reason=""):
    return Report.from_json({
        "step": step,
        "metrics": {"fid_digits": values},
        "traces": {},
        "samples": 100,
        "seconds": 1.5,
        "timestamp": 1_700_000_000 + step,
        "status": status,
        "reason": reason,
        "pid": 7,  # other versions may have keys of their own
    })  # fmt: skip


def fill(folder, plan):
    state = SweepState(plan)
    journal = Journal(folder, state)
    journal.started(state.records["critic_dim=1"].trial)
    journal.reported("critic_dim=1", report(0, [3.0, 4.0]))
    journal.reported("critic_dim=1", report(6, [2.0, None]))
    journal.reported("critic_dim=1", report(6, [1.0, 2.0], "COMPLETED"))
    journal.started(state.records["critic_dim=4"].trial)
    journal.ended("critic_dim=4", Status.FAILED, "OSError: no")
    journal.started(state.records["critic_dim=16"].trial)
    return state


def test_the_state_is_rebuilt_as_it_was(tmp_path, plan):
    state = fill(tmp_path, plan)
    again = load_state(tmp_path, plan)
    assert {name: vars(r) for name, r in again.records.items()} == {name: vars(r) for name, r in state.records.items()}
    assert [r.status for r in again.records.values()] == [Status.COMPLETED, Status.FAILED, Status.RUNNING]
    assert [r.trial.name for r in again.unfinished] == ["critic_dim=16"]
    assert again.best.summary("fid_digits") == Summary(1.5, pytest.approx(0.5**0.5), 2)


def test_a_repeated_step_replaces_the_first(tmp_path, plan):
    fill(tmp_path, plan)
    record = load_state(tmp_path, plan).records["critic_dim=1"]
    assert list(record.reports) == [0, 6]
    assert record.last.metrics["fid_digits"] == [1.0, 2.0]


def test_a_line_cut_off_by_a_kill_costs_itself_alone(tmp_path, plan):
    fill(tmp_path, plan)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    for cut in range(1, 60):
        path.write_bytes(whole[:-cut])
        expected = whole[:-cut].count(b"\n")
        state = load_state(tmp_path, plan)
        Journal(tmp_path, state).started(state.records["critic_dim=16"].trial)
        assert len(path.read_text().splitlines()) == expected + 1
        assert all(json.loads(line) for line in path.read_text().splitlines())
        assert load_state(tmp_path, plan).records["critic_dim=16"].status == Status.RUNNING


def test_a_nan_never_enters_the_journal(tmp_path, plan):
    journal = Journal(tmp_path, SweepState(plan))
    with pytest.raises(ValueError, match="Out of range float"):
        journal.reported("critic_dim=1", report(0, [float("nan"), 1.0]))
    assert load_state(tmp_path, plan).records["critic_dim=1"].reports == {}


def test_only_a_completed_trial_can_win(tmp_path, plan):
    state = SweepState(plan)
    journal = Journal(tmp_path, state)
    journal.reported("critic_dim=1", report(6, [1.0, 1.0], "DIVERGED", "1 of 2"))
    journal.reported("critic_dim=4", report(3, [2.0, 2.0]))
    assert state.best is None
    journal.reported("critic_dim=16", report(6, [9.0, 9.0], "COMPLETED"))
    assert state.best.trial.name == "critic_dim=16"
