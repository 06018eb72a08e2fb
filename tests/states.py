"""States of sweeps that nothing has trained: reports by hand, so that every drawn or written number is known."""

from __future__ import annotations

from sweeps import BASE, SPACE, write_space

from gramtune.sweep.load import load_sweep
from gramtune.sweep.plan import make_plan, planned
from gramtune.sweep.state import Report, Status, SweepState

METHODS = """\
  method:
    cases:
      gram: {objective.name: gram}
      mmd_net: {objective.name: mmd_net}
      gan: {objective.name: gan}
  objective.critic_dim: {grid: [1, 4, 16], when: {method: gram}}
"""


def sweep_state(folder, domains=None, *, sampled=False, base=BASE, replicates=2):
    """The state of a sweep that has not begun; `domains` are the lines of its space."""
    head, tail = SPACE.split("  objective.critic_dim: {grid: [1, 4, 16]}\n")
    grid = "  objective.critic_dim: {grid: [1, 4, 16]}\n"
    search = "search: {name: random, samples: 6}\n" if sampled else ""
    space = head + (domains or grid) + tail.replace("replicates: 2", f"replicates: {replicates}") + search
    path = write_space(folder, space, base)
    return SweepState(make_plan(load_sweep(path), folder, path))


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
