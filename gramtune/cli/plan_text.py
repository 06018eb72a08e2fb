"""The text that `--dry-run` prints."""

from __future__ import annotations

from contextlib import suppress

from gramtune.analysis.labels import judge_text
from gramtune.cli.text import duration, size
from gramtune.components import Unavailable
from gramtune.errors import count
from gramtune.io import data_root
from gramtune.record.pruning import Rungs
from gramtune.run.capacity import Capacity, at_once, grant
from gramtune.run.cost_estimate import SweepEstimate
from gramtune.run.machine import free_memory
from gramtune.space.plan import Plan, sampled, separable_gap
from gramtune.space.validate_space import CORNERS

Facts = list[tuple[str, str]]


def plan_lines(plan: Plan, max_concurrent: int | None, capacity: Capacity, guess: SweepEstimate) -> list[str]:
    """The planned trials, their concurrency and time, and the smallest difference that the replicates can detect."""
    sweep, share = plan.sweep, grant(plan.sweep.resources, capacity)
    together = at_once(plan.size, share, capacity, max_concurrent)
    facts = [
        *_work(plan),
        *_data(plan),
        ("metric", f"{plan.metric} ({plan.config.directions[plan.metric]}imised)"),
        *([("judge", text)] if (text := judge_text(sweep.judge)) else []),
        ("search", f"{sweep.search.name}; scheduler: {sweep.scheduler.name}"),
        *_rungs(plan),
        ("resources", f"{share.cpu} CPU and {share.gpu:g} GPU per trial, {together} at once on {_machines(capacity)}"),
        *([("", share.note)] if share.note else []),
        *_costs(plan, guess, together, capacity),
        *_resolution(sweep.min_replicates),
        *(("warning", warning) for warning in plan.warnings),
    ]
    return [
        f"{sweep.name}: {sweep.about}".removesuffix(": "),
        *_aligned([(key, domain.describe()) for key, domain in sweep.space.items()], indent="  "),
        *_aligned(facts),
    ]


def _resolution(replicates: int) -> list[tuple[str, str]]:
    if replicates < 2:
        return [("resolution", "one replicate has no spread: no two trials can be told apart")]
    return [
        ("resolution", f"{replicates} replicates tell two trials apart if their means differ by more than"),
        ("", f"{separable_gap(replicates):.2f} standard deviations over seeds (paired t, two-sided 5 %, power 80 %)"),
    ]


def _work(plan: Plan) -> Facts:
    trainings = [trial.config.training for trial in plan.trials or sampled(plan.sweep, CORNERS)]
    steps = _range([training.steps for training in trainings])
    samples = _range([training.eval_samples for training in trainings])
    schedules = " or ".join(dict.fromkeys(training.schedule_text for training in trainings))
    return [
        ("trials", f"{plan.size} × {plan.sweep.replicates_text}, {steps} steps each"),
        ("", f"evaluated {schedules} with {samples} samples"),
    ]


def _data(plan: Plan) -> Facts:
    """The sizes of each data set; nothing if its files were deleted after the check."""
    data = dict.fromkeys(trial.config.data for trial in plan.trials or sampled(plan.sweep, CORNERS))
    lines = []
    for each in data:
        with suppress(Unavailable):
            train, held_out = each.train_size(data_root()), each.held_out_size(data_root())
            lines.append(f"{each.name}: {train:,} training and {held_out:,} {each.held_out_name} samples")
    return [("data" if i == 0 else "", line) for i, line in enumerate(dict.fromkeys(lines))]


def _range(values: list[int]) -> str:
    """`6`, or `6 to 12` if trials differ."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def _rungs(plan: Plan) -> Facts:
    """The pruner and its rungs: the steps at which it decides. With Hyperband trials have different first rungs."""
    pruner, config = plan.sweep.pruner, plan.config
    rungs = Rungs(pruner, config.training.steps, config.judged_every, config.directions[plan.metric])
    names = [trial.name for trial in plan.trials or sampled(plan.sweep, CORNERS)]
    ladders = sorted({tuple(rungs.steps(name)) for name in names}, reverse=True)
    lines = [f"{pruner.rule} after {', '.join(map(str, rungs))} steps{pruner.waits}" for rungs in ladders if rungs]
    if lines and pruner.false_prune_rate is not None:
        lines += [f"noise-aware: the truly best trial is stopped with probability at most {pruner.false_prune_rate:g},"]
        lines += ["if earlier trials have shown how much seeds vary (docs/pruning.md)"]
    return [("pruner", pruner.name), *(("", line) for line in lines)]


def _costs(plan: Plan, guess: SweepEstimate, together: int, capacity: Capacity) -> Facts:
    total = -(-plan.size // together) * guess.seconds_per_trial
    facts = [
        ("time", f"about {duration(guess.seconds_per_trial)} per trial, {duration(total)} in all, without start-up")
    ]
    if (limit := plan.sweep.budget.seconds) is not None and limit < total:
        facts.append(("", f"the budget ends the sweep after {duration(limit)}"))
    each, memory, free = guess.memory_per_trial, together * guess.memory_per_trial, free_memory()
    facts.append(("memory", f"about {size(each)} per trial, {size(memory)} in all; {size(free)} free on this machine"))
    facts.append(("", f"measured: {count(guess.passes, 'update')} of {count(guess.trials, 'trial')}"))
    if capacity.local and memory > free:
        facts.append(("warning", f"{count(together, 'trial')} at once may run out of memory (--max-concurrent)"))
    return facts


def _machines(capacity: Capacity) -> str:
    """`2 cores`, `3 nodes, 24 cores and 4 GPUs`; with an autoscaler the number of nodes is unknown."""
    if not capacity.nodes:
        return "as many nodes as the autoscaler starts"
    nodes, cpu = sum(n.number for n in capacity.nodes), sum(n.number * n.cpu for n in capacity.nodes)
    gpu = sum(n.number * n.gpu for n in capacity.nodes)
    return ("" if capacity.local else f"{nodes} nodes, ") + f"{cpu} cores" + (f" and {gpu} GPUs" if gpu else "")


def _aligned(facts: Facts, indent: str = "") -> list[str]:
    """Lines `label: text` with all texts in one column; an empty label continues the text above."""
    width = max(len(label) for label, _ in facts) + 1
    return [f"{indent}{f'{label}:' if label else '':<{width}} {text}" for label, text in facts]
