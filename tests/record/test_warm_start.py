"""Earlier trials as observations: what is read, what is left out and reported, and that the sampler uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from states import begin, complete, sweep_state
from sweeps import BASE, SPACE, write_space

from gramtune import api, load_sweep, run_sweep
from gramtune.backends.optuna.search import OptunaProposer
from gramtune.errors import SpecError
from gramtune.record.state import SweepState
from gramtune.record.tables import trials_frame, write_sweep, write_tables
from gramtune.record.warm_start import read_warm_start, store_warm_start, stored_warm_start
from gramtune.space.plan import make_plan
from gramtune.space.sweep import Sweep

RATE, K = "optimizer.learning_rate", "objective.critic_dim"
DOMAINS = f"{RATE}: {{loguniform: [1e-4, 1e-2]}}\n  {K}: {{int: [1, 64]}}\n"


def space(*sources: str, name: str = "tpe", samples: int = 1) -> str:
    search = f"search: {{name: {name}, samples: {samples}, warm_start: [{', '.join(sources)}]}}\n"
    return SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}\n", DOMAINS) + search


def wanted(folder: Path, *sources: Path | str) -> Sweep:
    return load_sweep(write_space(folder, space(*map(str, sources))))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A hundred trials, of which those near a rate of 1e-3 are by far the best; two are outside the space."""
    rows: list[dict[str, Any]] = [
        {RATE: 10 ** (-4 + 2 * i / 99), K: 1 + i % 64, "fid_digits": 100.0 * abs(i - 49.5) + 1} for i in range(100)
    ]
    rows += [{RATE: 1.0, K: 4, "fid_digits": 1.0}, {RATE: 1e-3, K: 4.5, "fid_digits": 1.0}]
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_a_table_is_read_and_what_does_not_fit_is_left_out_and_counted(tmp_path: Path, table: Path) -> None:
    found = read_warm_start(wanted(tmp_path, table), "fid_digits")
    assert len(found.observations) == 100
    assert found.observations[0].assignment == {RATE: pytest.approx(1e-4), K: 1}
    assert type(found.observations[0].assignment[K]) is int
    assert found.observations[0].value == 4951.0
    assert found.notes == (f"warm start: 100 trials of {table}, 2 left out: outside the space of this sweep",)
    store_warm_start(found, tmp_path)
    table.unlink()
    assert stored_warm_start(tmp_path) == found.observations


def test_an_earlier_sweep_is_read_with_its_base_and_its_noise_is_told(tmp_path: Path) -> None:
    """A key that it did not vary has the value of its base; a trial that did not complete is no observation."""
    state = sweep_state(tmp_path, f"  {K}: {{int: [1, 64]}}\n", sampled=True)
    for k in (3, 5):
        complete(state, begin(state, objective__critic_dim=k), [9.0, 9.0], [8.0, 8.0], [k + 0.0, k + 1.0])
    begin(state, objective__critic_dim=7)
    earlier = tmp_path / "runs" / "earlier"
    earlier.mkdir(parents=True)
    write_sweep(state.plan.sweep, earlier)
    write_tables(state, earlier, trials_frame(state))
    sweep = load_sweep(write_space(tmp_path, space(str(earlier)).replace("replicates: 2", "replicates: 5")))
    found = read_warm_start(sweep, "fid_digits")
    assert [(o.assignment, o.value) for o in found.observations] == [
        ({RATE: 1e-3, K: 3}, 3.5),
        ({RATE: 1e-3, K: 5}, 5.5),
    ]
    assert found.notes[1] == f"warm start: {earlier} has 2 replicates (here 5)"


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        (None, "cannot be read"),
        ([RATE, "fid_digits"], f"has no column '{K}'"),
        ([RATE, K], "has no column 'fid_digits'"),
        ([RATE, K, "metric", "mean"], "holds 1.0, this sweep optimises fid_digits"),
    ],
)
def test_a_source_that_cannot_be_used_is_one_line(columns: list[str] | None, rule: str, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    if columns:
        pd.DataFrame([dict.fromkeys(columns, 1.0)]).to_csv(file, index=False)
    with pytest.raises(SpecError, match=rule) as caught:
        read_warm_start(wanted(tmp_path, file), "fid_digits")
    assert len(str(caught.value).splitlines()) == 1
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["grid", "random", "qmc", "cmaes", "nsga2"])
def test_a_search_that_does_not_learn_takes_no_warm_start(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"{name} learns nothing from warm_start; tpe and gp do"):
        load_sweep(write_space(tmp_path, space("table.csv", name=name)))


def proposals(folder: Path, warm: bool, table: Path, count: int) -> list[float]:
    folder.mkdir()
    path = write_space(folder, space(*([str(table)] if warm else []), samples=count))
    plan = make_plan(load_sweep(path), folder)
    if warm:
        store_warm_start(read_warm_start(plan.sweep, "fid_digits"), folder)
    proposer = OptunaProposer(SweepState(plan), folder)
    found = [proposer.propose() for _ in range(count)]
    return [trial.assignment[RATE] for trial in found if trial]


def test_the_sampler_begins_where_the_observations_were_good(tmp_path: Path, table: Path) -> None:
    """Good rates are 0.5e-3 to 2e-3, under a third of the range: without observations the first are spread over it."""

    def near(rates: list[float]) -> int:
        return sum(5e-4 < rate < 2e-3 for rate in rates)

    cold, warm = (proposals(tmp_path / str(each), each, table, 8) for each in (False, True))
    assert len(cold) == len(warm) == 8
    assert near(warm) >= 6 > near(cold)


def test_the_observations_are_no_trials_of_the_sweep(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "rewrite", lambda *_: "")  # figures take longer than the trials
    said: list[str] = []
    path = write_space(tmp_path, space(str(table), samples=2), BASE)
    result = run_sweep(load_sweep(path), tmp_path / "runs", debug=True, say=said.append)
    assert result.complete
    assert len(result.trials) == 2
    assert any(line.startswith("warm start: 100 trials of ") for line in said)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(result.folder / "study.journal"))
    )
    trials = optuna.load_study(study_name="axis", storage=storage).trials
    assert sum("warm_start" in trial.user_attrs for trial in trials) == 100
    assert sum("trial" in trial.user_attrs for trial in trials) == 2
