"""Requests from another terminal to a running sweep: one trial is stopped, one is added; both survive a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sweeps import SPACE, write_space

from gramtune.backends.optuna.search import OptunaProposer
from gramtune.errors import SpecError
from gramtune.record.journal import load_state
from gramtune.record.report import Status
from gramtune.record.tables import write_sweep
from gramtune.run.driver import Driver, NothingNew
from gramtune.run.in_process import InProcessRunner
from gramtune.run.messages import Reported
from gramtune.run.requests import ask_for, ask_to_stop, consume
from gramtune.space.load import load_sweep
from gramtune.space.plan import Plan, make_plan

SAMPLED = (
    SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "objective.critic_dim: {int: [1, 64]}")
    + "search: {name: tpe, samples: 2}\n"
)


def plan_in(folder: Path, space: str = SPACE) -> Plan:
    path = write_space(folder, space)
    plan = make_plan(load_sweep(path), folder)
    write_sweep(plan.sweep, folder)
    return plan


class Watching(InProcessRunner):
    """Acts as another terminal would, after a report of a trial."""

    def __init__(self, after: tuple[str, int], act: Callable[[], object]) -> None:
        super().__init__(lambda line: None)
        self._after, self._act = after, act

    def run(self, driver: Driver) -> None:
        heard = driver.heard

        def hearing(message, say):  # type: ignore[no-untyped-def]
            if isinstance(message, Reported) and (message.trial, message.report.step) == self._after:
                self._act()
            return heard(message, say)

        driver.heard = hearing  # type: ignore[method-assign]
        super().run(driver)


def run(folder: Path, plan: Plan, after: tuple[str, int], act: Callable[[], object]) -> Driver:
    driver = Driver(load_state(folder, plan), folder, NothingNew())
    Watching(after, act).run(driver)
    return driver


def test_a_running_trial_stops_at_its_next_report_and_a_waiting_one_at_once(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    first, last = plan.trials[0].name, plan.trials[2].name

    def act() -> None:
        state = load_state(tmp_path, plan)
        assert ask_to_stop(state, tmp_path, first) == first
        assert ask_to_stop(state, tmp_path, str(state.records[last].number)) == last

    driver = run(tmp_path, plan, (first, 3), act)
    records = driver.state.records
    assert [record.status for record in records.values()] == [Status.STOPPED, Status.COMPLETED, Status.STOPPED]
    assert records[first].reason == "stopped on request"
    assert max(records[first].reports) == 3
    assert not records[last].reports
    assert driver.exhausted
    again = load_state(tmp_path, plan)  # as a resume would find it: they stay stopped
    assert not again.unfinished
    with pytest.raises(SpecError, match="has ended: STOPPED"):
        ask_to_stop(again, tmp_path, first)


def test_a_grid_has_all_its_trials(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    with pytest.raises(SpecError, match="gramtune resume --add"):
        ask_for(load_state(tmp_path, plan), tmp_path, ["objective.critic_dim=16"])


def test_an_enqueued_trial_is_trained_and_told_to_the_sampler(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, SAMPLED)
    state = load_state(tmp_path, plan)
    driver = Driver(state, tmp_path, OptunaProposer(state, tmp_path))
    assert ask_for(state, tmp_path, ["objective.critic_dim=33"]) == "critic_dim=33"
    InProcessRunner(lambda line: None).run(driver)
    assert state.records["critic_dim=33"].status == Status.COMPLETED
    assert not list(consume(tmp_path))
    import optuna

    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    trials = optuna.load_study(study_name="axis", storage=storage).trials
    (told,) = [trial for trial in trials if trial.user_attrs.get("trial") == "critic_dim=33"]
    assert told.state.name == "COMPLETE"
    assert told.params == {"objective.critic_dim": 33}


def test_an_enqueued_trial_survives_the_death_of_its_driver(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, SAMPLED)
    state = load_state(tmp_path, plan)
    driver = Driver(state, tmp_path, OptunaProposer(state, tmp_path))
    ask_for(state, tmp_path, ["objective.critic_dim=33"])
    assert driver.next() is not None  # the request is taken, and then the driver dies
    again = load_state(tmp_path, plan)
    assert [record.trial.name for record in again.unfinished] == ["critic_dim=33"]


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ([], "needs a value"),
        (["objective.critic_dim=99"], "should be a whole number from 1 to 64"),
        (["objective.critic_dm=9", "objective.critic_dim=9"], "did you mean 'objective.critic_dim'"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(settings: list[str], rule: str, tmp_path: Path) -> None:
    plan = plan_in(tmp_path, SAMPLED)
    with pytest.raises(SpecError, match=rule):
        ask_for(load_state(tmp_path, plan), tmp_path, settings)
    with pytest.raises(SpecError, match="is not a trial of this sweep"):
        ask_to_stop(load_state(tmp_path, plan), tmp_path, "7")
    assert not list(consume(tmp_path))
