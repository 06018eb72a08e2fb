"""Optuna in a sweep: the proposals, the contents of the study, and the resume of an interrupted search."""

import math

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sweeps import SPACE, write_space

from gramtune.backends.optuna.search import STUDY_FILE, OptunaProposer
from gramtune.record.journal import load_state
from gramtune.record.report import Report, Status
from gramtune.run.driver import Driver
from gramtune.run.in_process import InProcessRunner
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

SAMPLED = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "\n  ".join([
    "objective.critic_dim: {logint: [1, 64]}",
    "optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}",
    "training.batch_size: {choice: [8, 16]}",
])) + "search: {name: tpe, samples: 6, seed: 3}\n"  # fmt: skip


def sweep_state(folder, space=SAMPLED):
    folder.mkdir(exist_ok=True)
    path = write_space(folder, space)
    return load_state(folder, make_plan(load_sweep(path), folder))


def run(folder, space=SAMPLED, stop_after=None):
    """Runs, or goes on with, a sampled sweep; an interruption comes after so many reports."""
    state = sweep_state(folder, space)
    driver = Driver(state, folder, OptunaProposer(state, folder))
    if stop_after is not None:
        reported, count = driver.reported, 0

        def interrupted(name, report):
            nonlocal count
            count += 1
            if count > stop_after:
                raise KeyboardInterrupt
            return reported(name, report)

        driver.reported = interrupted
    InProcessRunner().run(driver)
    return state


def study(folder):
    return optuna.load_study(study_name="axis", storage=JournalStorage(JournalFileBackend(str(folder / STUDY_FILE))))


def numbers(state):
    return {
        name: (dict(r.trial.assignment), r.status, [(s, p.metrics) for s, p in r.reports.items()])
        for name, r in state.records.items()
    }


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "gp", "qmc"])
def test_every_sampler_fills_the_sweep_and_the_study_tells_the_same(sampler, tmp_path):
    space = SAMPLED.replace("name: tpe", f"name: {sampler}")
    if sampler == "cmaes":  # it has no place for categories beside numbers
        space = "\n".join(line for line in space.splitlines() if "choice" not in line)
    state = run(tmp_path, space)
    assert len(state.records) == 6
    assert all(r.status == Status.COMPLETED for r in state.records.values())
    stored = {t.user_attrs["trial"]: t for t in study(tmp_path).trials if "trial" in t.user_attrs}
    assert set(stored) == set(state.records)
    for name, record in state.records.items():
        assert stored[name].state == TrialState.COMPLETE
        assert stored[name].value == record.summary("fid_digits").mean
        assert stored[name].params == dict(record.trial.assignment)
        assert list(stored[name].intermediate_values) == [0, 3, 6]


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
@pytest.mark.parametrize("stop_after", [1, 4, 9])
def test_an_interrupted_search_goes_on_as_if_nothing_had_been(sampler, stop_after, tmp_path):
    space = SAMPLED.replace("name: tpe", f"name: {sampler}")
    undisturbed = run(tmp_path / "whole", space)
    run(tmp_path / "cut", space, stop_after=stop_after)
    assert numbers(run(tmp_path / "cut", space)) == numbers(undisturbed)


def test_pruned_and_diverged_trials_are_told_as_what_they_are(tmp_path):
    space = SAMPLED.replace("[1e-4, 1e-2]", "[1e-4, 1e25]").replace("samples: 6", "samples: 3, points: [A, B, C]")
    space = space.replace("C]", "{optimizer.learning_rate: 1e25}]")
    rest = "optimizer.learning_rate: 1e-2, training.batch_size: 16}"  # what is left open changes with the order
    points = [f"{{objective.critic_dim: {k}, {rest}" for k in (16, 1)]
    free = run(tmp_path / "free", space.replace("A", points[0]).replace("B", points[1]))
    first, second = (r.reports[3].metrics["fid_digits"] for r in list(free.records.values())[:2])
    better_first = points if sum(first) < sum(second) else points[::-1]
    space = space.replace("A", better_first[0]).replace("B", better_first[1])
    state = run(tmp_path / "pruned", space + "pruner: {name: asha, min_steps: 3, min_trials: 2}\n")
    statuses = [r.status for r in state.records.values()]
    assert statuses[:3] == [Status.COMPLETED, Status.PRUNED, Status.DIVERGED]
    stored = {t.user_attrs["trial"]: t for t in study(tmp_path / "pruned").trials if "trial" in t.user_attrs}
    told = dict.fromkeys(Status, TrialState.COMPLETE) | {Status.PRUNED: TrialState.PRUNED}
    for name, record in state.records.items():
        assert stored[name].state == told[record.status]
        assert stored[name].user_attrs["status"] == record.status
        assert stored[name].user_attrs["reason"] == record.reason
    worst = max(r.summary("fid_digits").mean for r in state.records.values() if r.status == Status.COMPLETED)
    assert all(stored[n].value > worst for n, r in state.records.items() if r.status == Status.DIVERGED)
    pruned = next(r for r in state.records.values() if r.status == Status.PRUNED)
    assert "asha at step 3" in pruned.reason
    assert list(stored[pruned.trial.name].intermediate_values) == [0, 3]


def test_a_configuration_is_never_trained_twice(tmp_path):
    space = SPACE.replace("grid: [1, 4, 16]", "choice: [1, 4, 16]") + "search: {name: random, samples: 10}\n"
    state = run(tmp_path, space)
    assert sorted(r.trial.assignment["objective.critic_dim"] for r in state.records.values()) == [1, 4, 16]
    repeats = [t for t in study(tmp_path).trials if "repeats" in t.user_attrs]
    assert repeats
    assert all(t.value == state.records[t.user_attrs["repeats"]].summary("fid_digits").mean for t in repeats)


def test_a_crash_between_journal_and_study_is_made_good(tmp_path):
    state = run(tmp_path, stop_after=7)
    (tmp_path / STUDY_FILE).unlink()  # the worst case: the study is gone, the journal is there
    done = run(tmp_path)
    assert len(done.records) == 6
    for name, record in state.records.items():
        if record.status.final:
            assert done.records[name].reports == record.reports
    assert sum(t.state == TrialState.COMPLETE for t in study(tmp_path).trials) == 6


def test_proposals_that_have_not_begun_count(tmp_path):
    points = "points: [{optimizer.learning_rate: 1e-3}, {optimizer.learning_rate: 2e-3}]"
    state = sweep_state(tmp_path, SAMPLED.replace("samples: 6", f"samples: 4, {points}"))
    proposer = OptunaProposer(state, tmp_path)
    proposals = [proposer.propose() for _ in range(6)]  # Tune asks ahead: a sweep of 1,000 trials had 1,001
    assert proposals[4:] == [None, None]
    assert len({proposal.name for proposal in proposals[:4]}) == 4
    assert [p.assignment["optimizer.learning_rate"] for p in proposals[:2]] == [1e-3, 2e-3]


def test_a_configuration_is_not_handed_out_twice_before_it_begins(tmp_path):
    space = SPACE.replace("grid: [1, 4, 16]", "choice: [1, 4]") + "search: {name: random, samples: 10}\n"
    proposer = OptunaProposer(sweep_state(tmp_path, space), tmp_path)
    names = [p.name for p in iter(proposer.propose, None)]
    assert sorted(names) == ["critic_dim=1", "critic_dim=4"]


def test_a_driver_killed_while_it_wrote_the_study_does_not_lock_it_for_ever(tmp_path):
    """Optuna's lock is a link that its owner removes; half a line would run into the next."""
    run(tmp_path, stop_after=3)
    whole = (tmp_path / STUDY_FILE).read_bytes()
    (tmp_path / STUDY_FILE).write_bytes(whole + b'{"op_code": 4, "wor')
    (tmp_path / f"{STUDY_FILE}.lock").symlink_to(tmp_path / STUDY_FILE)
    state = sweep_state(tmp_path)
    OptunaProposer(state, tmp_path)
    assert (tmp_path / STUDY_FILE).read_bytes().startswith(whole)
    assert b'"wor{' not in (tmp_path / STUDY_FILE).read_bytes()
    assert not (tmp_path / f"{STUDY_FILE}.lock").is_symlink()


def fed(folder, space, value):
    """A sampled sweep without training: `value` gives each assignment its metric, None where it diverges."""
    state = sweep_state(folder, space)
    driver = Driver(state, folder, OptunaProposer(state, folder))
    while trial := driver.next():
        driver.started(trial)
        found = value(trial.assignment)
        replicates, config = trial.config.training.replicates, trial.config
        driver.reported(trial.name, Report.from_json({
            "step": config.training.steps, "metrics": {} if found is None else {config.metric: [found] * replicates},
            "traces": {}, "samples": 10, "seconds": 1.0, "joules": None, "timestamp": 0, "first": 0,
            "status": "DIVERGED" if found is None else "COMPLETED", "reason": "loss is nan" if found is None else "",
            "diverged": ["loss is nan" if found is None else None] * replicates,
        }))  # fmt: skip
    return list(state.records.values())


CONDITIONAL = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "\n  ".join([
    "network.noise_dim: {choice: [2, 3]}",
    "objective.critic_dim: {int: [1, 64], when: {network.noise_dim: 2}}",
    "optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}",
]))  # fmt: skip
WIDE = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "optimizer.learning_rate: {loguniform: [1e-4, 1e8]}")


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_a_sampler_learns_where_trials_diverge(sampler, tmp_path):
    """NamedSweep as failed, diverged trials are ignored: of the last 40 proposals of TPE, 40 diverged."""

    def value(assignment):
        rate = math.log10(assignment["optimizer.learning_rate"])
        return None if rate > 0 else 100 + (rate + 3) ** 2

    late = {}
    for name in (sampler, "random"):
        records = fed(tmp_path / name, WIDE + f"search: {{name: {name}, samples: 60, seed: 1}}\n", value)
        assert len(records) == 60
        late[name] = sum(record.status == Status.DIVERGED for record in records[20:])
        assert all(record.summary("fid_digits") is None for record in records if record.status == Status.DIVERGED)
    assert late[sampler] <= late["random"] / 3


def test_only_diverged_trials_wait_for_a_first_value(tmp_path):
    values = iter([None, None, 5.0, None, 7.0])
    fed(tmp_path, WIDE + "search: {name: tpe, samples: 5}\n", lambda assignment: next(values))
    told = [trial.value for trial in study(tmp_path).trials]
    assert (told[2], told[4]) == (5.0, 7.0)
    assert all(value > 5 for value in told[:2] + told[3:4])


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "gp", "qmc", "nsga2"])
def test_every_seed_is_taken(sampler, tmp_path):
    records = fed(tmp_path, WIDE + f"search: {{name: {sampler}, samples: 3, seed: 5000000000}}\n", lambda a: 1.0)
    assert len({record.trial.name for record in records}) == 3


def test_a_conditional_key_varies_under_qmc(tmp_path):
    """Its sampler was made again with one seed for each trial: 12 in 5 of 5 trials."""
    space = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "\n  ".join([
        "network.noise_dim: {choice: [2, 3]}",
        "objective.critic_dim: {int: [1, 64], when: {network.noise_dim: [2, 3]}}",
        "optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}",
    ])) + "search: {name: qmc, samples: 8}\n"  # fmt: skip
    records = fed(tmp_path, space, lambda assignment: float(assignment["objective.critic_dim"]))
    assert len({record.trial.assignment["objective.critic_dim"] for record in records}) >= 4


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("search: {name: cmaes, samples: 3}", "cmaes draws objective.critic_dim at random"),
        ("search: {name: tpe, samples: 9}", "the space holds 3 configurations; samples = 9 cannot be reached"),
        ("replicates: 1\npruner: {false_prune_rate: 0.2}", "one replicate has no spread, so no trial is ever pruned"),
        (
            "search: {name: random, samples: 3, synchronous: true}",
            "search.synchronous has no effect: random does not learn from results, and no trial is pruned",
        ),
        ("pruner: asha", "pruner asha needs 4 trials at a rung; the sweep has 3, so the pruner never decides"),
        ("pruner: {min_steps: 100}", "pruner asha begins after the last of 6 steps, so the pruner never decides"),
    ],
)
def test_limits_of_a_search_are_reported_before_it_starts(lines, said, tmp_path):
    space = SPACE.replace("replicates: 2\n", "") + lines + "\n"
    if "search" in lines:
        space = space.replace("grid:", "choice:")
    path = write_space(tmp_path, space)
    assert any(said in warning for warning in make_plan(load_sweep(path), tmp_path).warnings)


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ("cmaes", "cmaes draws network.noise_dim, objective.critic_dim at random"),
        ("gp", "gp draws objective.critic_dim at random"),
        ("nsga2", "nsga2 draws objective.critic_dim at random"),
        ("qmc", "qmc may draw objective.critic_dim at random"),
        ("tpe", None),
        ("random", None),
    ],
)
def test_keys_that_a_sampler_draws_at_random_are_reported(sampler, said, tmp_path):
    """Optuna's own warning is off by default: optuna#1656 for CMA-ES; GP, NSGA-II and QMC do the same for `when`."""
    path = write_space(tmp_path, CONDITIONAL + f"search: {{name: {sampler}, samples: 8}}\n")
    found = [warning for warning in make_plan(load_sweep(path), tmp_path).warnings if "at random" in warning]
    assert [warning.split(":")[0] for warning in found] == ([said] if said else [])
