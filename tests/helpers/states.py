"""States of sweeps without training: reports are written by hand, so that every drawn or written number is known."""

from __future__ import annotations

from sweeps import BASE, SPACE, write_space

from gramtune.record.journal import JOURNAL, Journal
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState
from gramtune.record.tables import write_sweep, write_versions
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan, planned

K, RATE = "objective.critic_dim", "optimizer.learning_rate"
METHODS = """\
  method:
    cases:
      gram: {objective.name: gram}
      mmd_net: {objective.name: mmd_net}
      gan: {objective.name: gan}
  objective.critic_dim: {grid: [1, 4, 16], when: {method: gram}}
"""
TWO = "metric: [fid_digits, kid_digits]\nsearch: {name: nsga2, samples: 9, population_size: 3}\n"


def sweep_state(folder, domains=None, *, sampled=False, base=BASE, replicates=2):
    """The state of a sweep that has not begun; `domains` are the lines of its space."""
    head, tail = SPACE.split("  objective.critic_dim: {grid: [1, 4, 16]}\n")
    grid = "  objective.critic_dim: {grid: [1, 4, 16]}\n"
    search = "search: {name: random, samples: 6}\n" if sampled else ""
    space = head + (domains or grid) + tail.replace("replicates: 2", f"replicates: {replicates}") + search
    path = write_space(folder, space, base)
    return SweepState(make_plan(load_sweep(path), folder))


def report(step, values, status=Status.RUNNING, reason="", metric="fid_digits", samples=100):
    return Report(step, {metric: values}, {}, samples, 1.5 * step, 1_700_000_000 + step, Status(status), reason)


def begin(state, **assignment):
    """Starts the trial with these values (double underscores stand for dots), planned or not; returns its name."""
    trial = planned(state.plan.sweep, {key.replace("__", "."): value for key, value in assignment.items()})
    state.started(trial)
    return trial.name


def complete(state, name, *curve):
    """Reports one list of replicates per evaluation (every 3 steps from 0); the last one completes the trial."""
    for i, values in enumerate(curve):
        state.reported(name, report(3 * i, values, Status.COMPLETED if i == len(curve) - 1 else Status.RUNNING))


def two_metric_state(folder, points):
    """A sampled sweep of fid_digits and kid_digits, one completed trial per (fid, kid), with two replicates each."""
    base = BASE.replace("metrics: [fid_digits]", "metrics: [fid_digits, kid_digits]")
    space = SPACE.replace("grid: [1, 4, 16]", "int: [1, 64]") + TWO
    path = write_space(folder, space, base)
    state = SweepState(make_plan(load_sweep(path), folder))
    for i, (fid, kid) in enumerate(points, start=1):
        name = begin(state, objective__critic_dim=i)
        metrics = {"fid_digits": [fid - 1, fid + 1], "kid_digits": [kid - 1, kid + 1]}
        state.reported(name, Report(6, metrics, {}, 100, 9.0, 1_700_000_006, Status.COMPLETED, ""))
    return state


def recorded_sweep(folder, space, trials):
    """A sweep's folder as its driver leaves it, for a space file and each trial's assignment, reports and end.

    `trials` are (assignment, reports, end): reports in the order of steps; end is (status, reason) or None.
    """
    path = write_space(folder, space)
    plan = make_plan(load_sweep(path), folder)
    target = folder / "runs" / plan.sweep.name
    target.mkdir(parents=True)
    write_sweep(plan.sweep, target)
    write_versions(plan, target)
    journal = Journal(target, SweepState(plan))
    for assignment, reports, end in trials:
        trial = planned(plan.sweep, assignment)
        journal.started(trial)
        for each in reports:
            journal.reported(trial.name, each)
        if end:
            journal.ended(trial.name, *end)
    return target


def interrupted(folder):
    """Three trials: one complete, one pruned, one whose driver was killed in the middle of a line."""
    target = recorded_sweep(
        folder,
        SPACE,
        [
            ({K: 1}, [report(0, [20.0, 30.0]), report(6, [3.0, 5.0], Status.COMPLETED)], None),
            ({K: 4}, [report(0, [20.0, 30.0]), report(3, [9.0, 9.5])], (Status.PRUNED, "asha at step 3")),
            ({K: 16}, [report(0, [20.0, 30.0])], None),
        ],
    )
    with (target / JOURNAL).open("a") as journal:
        journal.write('{"trial": "critic_dim=16", "step": 3, "met')
    return target


def hostile_state(folder):
    cases = '{cases: {"<script>alert(\'ü\')</script> & co": {}, "naïve Ω {{ 7*7 }}": {objective.bandwidths: [1]}}}'
    state = sweep_state(folder, f"  '<img src=x onerror=alert(1)>': {cases}\n  {K}: {{grid: [1, 4]}}\n")
    for name in list(state.records)[:3]:
        complete(state, name, [9.0, 8.0], [1.0, 2.0])
    state.ended(list(state.records)[3], Status.FAILED, 'OSError: "</table><script>alert(2)</script>" & more')
    return state


def joint(folder, n):
    """A sampled sweep of n trials with three keys, through a real journal."""
    space = SPACE.replace(
        f"  {K}: {{grid: [1, 4, 16]}}\n",
        f"  {K}: {{logint: [1, 512]}}\n  {RATE}: {{loguniform: [1e-5, 1e-2]}}\n"
        "  training.batch_size: {choice: [8, 16]}\n",
    )
    trials = []
    for i in range(n):
        rate, batch = 1e-5 * 10 ** (3 * (i * 0.618 % 1)), 8 * (1 + i % 2)
        values = {K: 1 + i * 37 % 512, RATE: rate, "training.batch_size": batch}
        end = 100.0 + 400 * abs(i * 37 % 512 / 512 - 0.5) + i % 7
        if i % 10 == 9:
            trials.append((values, [report(0, [900.0, 950.0]), report(3, [800.0, 850.0])], (Status.PRUNED, "asha")))
        else:
            last = report(6, [end, end + 5], Status.COMPLETED)
            trials.append((values, [report(0, [900.0, 950.0]), report(3, [500.0, 520.0]), last], None))
    return recorded_sweep(folder, space + f"search: {{name: random, samples: {n}}}\n", trials)
