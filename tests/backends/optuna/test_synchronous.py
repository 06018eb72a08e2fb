"""`search: {synchronous: true}`: the whole sweep is the same at any concurrency, at any speed of trials, interrupted or
not. Trials are made up and take made-up times, so that many workers can be tried; the driver and Optuna are real."""

import heapq
import random
import zlib

import pytest
from sweeps import BASE, SPACE, write_space

from gramtune.backends.optuna.search import OptunaProposer
from gramtune.errors import SpecError
from gramtune.record.journal import load_state
from gramtune.record.report import Report, Status
from gramtune.run.driver import Driver, NothingNew
from gramtune.run.in_process import InProcessRunner
from gramtune.run.messages import Reported
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

STEPS = 24
NUMBERS = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "\n  ".join([
    "objective.critic_dim: {logint: [1, 64]}",
    "optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}",
])).replace("replicates: 2", "replicates: 3")  # fmt: skip
GRID = SPACE.replace("[1, 4, 16]", f"{list(range(1, 13))}").replace("replicates: 2", "replicates: 3")
ASHA = "pruner: {name: asha, min_steps: 3, reduction_factor: 2}\n"
NOISE_AWARE = "pruner: {name: asha, min_steps: 3, reduction_factor: 2, false_prune_rate: 0.4}\n"


def sampled(name, pruner, *, synchronous=True, more=""):
    return NUMBERS + f"search: {{name: {name}, samples: 14, synchronous: {str(synchronous).lower()}{more}}}\n" + pruner


def opened(folder, space):
    folder.mkdir(exist_ok=True)
    path = write_space(folder, space, base=BASE.replace("steps: 6, eval_every: 3", f"steps: {STEPS}, eval_every: 3"))
    state = load_state(folder, make_plan(load_sweep(path), folder))
    proposer = NothingNew() if state.plan.sweep.search.name == "grid" else OptunaProposer(state, folder)
    return Driver(state, folder, proposer)


def report(trial, step):
    """Numbers that follow from the trial and the step; some trials lose a replicate on their way."""
    rng = random.Random(zlib.crc32(trial.name.encode()))
    level, lost_at = rng.uniform(1, 9), rng.choice([None, None, None, None, 9])
    values = [level * 30 / (30 + step) * rng.gauss(1, 0.1) for _ in range(3)]
    lost = lost_at is not None and step >= lost_at
    values[0] = None if lost else values[0]
    final = ("DIVERGED" if lost else "COMPLETED") if step == STEPS else "RUNNING"
    return Reported(trial.name, Report.from_json({"step": step, "metrics": {"fid_digits": values}, "traces": {},
            "samples": 10, "seconds": 1.0, "timestamp": 0, "status": final, "reason": "",
            "diverged": ["lost" if v is None else None for v in values], "first": 0}))  # fmt: skip


def run(folder, space, workers, speeds, stop_after=None):
    """Runs a sweep on virtual workers; returns what it was, and when it ended. It may be interrupted and resumed."""
    driver, count, now = opened(folder, space), 0, 0.0
    rng, events, checkpoints = random.Random(speeds), [], {}
    idle = list(range(workers))

    def hand_out():
        while idle and (trial := driver.next()):
            driver.started(trial)
            pace = rng.lognormvariate(0, 0.7)
            heapq.heappush(events, (now + pace, idle.pop(), trial.name, pace, trial, checkpoints.get(trial.name, 0)))

    hand_out()
    while events:
        now, worker, name, pace, trial, step = heapq.heappop(events)
        checkpoints[name] = step
        count += 1
        if count == stop_after:
            driver, events, idle = opened(folder, space), [], list(range(workers))
        elif driver.heard(report(trial, step), print) and step < STEPS:
            heapq.heappush(events, (now + pace, worker, name, pace, trial, step + 3))
        else:
            idle.append(worker)
        hand_out()
    assert driver.exhausted
    assert not driver.state.unfinished
    return [(n, r.status, r.last.step, r.reason) for n, r in driver.state.records.items()], now


SWEEPS = {
    "tpe": sampled("tpe", NOISE_AWARE),
    "tpe and hyperband": sampled("tpe", ASHA.replace("asha", "hyperband"), more=", batch: 4"),
    "gp": sampled("gp", ""),
    "cmaes": sampled("cmaes", ASHA),
    "nsga2": sampled("nsga2", ASHA),
    "random and median": sampled("random", "pruner: {name: median, min_steps: 6}\n"),
    "grid": GRID + "search: {synchronous: true}\n" + ASHA,
}


@pytest.mark.parametrize("space", SWEEPS.values(), ids=SWEEPS)
def test_a_synchronous_sweep_is_the_same_however_it_runs(space, tmp_path):
    alone, _ = run(tmp_path / "alone", space, workers=1, speeds=0)
    assert len(alone) >= 12
    if "pruner" in space:
        assert {Status.PRUNED, Status.COMPLETED} <= {status for _, status, _, _ in alone}
    for workers, speeds in ((2, 1), (5, 2), (9, 3)):
        assert run(tmp_path / f"{workers}", space, workers, speeds)[0] == alone
    for stop_after in (4, 23, 41):
        assert run(tmp_path / f"cut {stop_after}", space, 3, stop_after, stop_after)[0] == alone


def test_without_it_the_order_of_results_decides(tmp_path):
    """The same trials have the same numbers, but others are proposed and stopped."""
    space = sampled("tpe", NOISE_AWARE, synchronous=False)
    alone, five = run(tmp_path / "1", space, 1, 0)[0], run(tmp_path / "5", space, 5, 2)[0]
    assert alone != five
    assert Status.PRUNED in {status for _, status, _, _ in alone} & {status for _, status, _, _ in five}


def test_ray_and_one_process_give_the_same_sweep(tmp_path, local_ray):
    from gramtune.backends.ray import runner as ray_runner

    space = sampled("tpe", ASHA, more=", batch: 3").replace("samples: 14", "samples: 6")
    debug, ray = opened(tmp_path / "debug", space), opened(tmp_path / "ray", space)
    InProcessRunner().run(debug)
    ray_runner.RayRunner(print, max_concurrent=2).run(ray)
    numbers = [
        [(n, r.status, r.reason, {s: p.metrics for s, p in r.reports.items()}) for n, r in d.state.records.items()]
        for d in (debug, ray)
    ]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 6


def test_a_batch_needs_a_synchronous_search_that_learns(tmp_path):
    for search in ("{name: tpe, batch: 4}", "{name: random, synchronous: true, batch: 4}"):
        with pytest.raises(SpecError, match="batch belongs to a synchronous search by tpe, cmaes, gp or nsga2"):
            load_sweep(write_space(tmp_path, NUMBERS + f"search: {search}\n"))
