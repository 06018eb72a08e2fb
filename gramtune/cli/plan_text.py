"""The text that `--dry-run` prints."""

from __future__ import annotations

from contextlib import suppress

from gramtune.analysis.labels import joined, judge_text, leaves
from gramtune.analysis.planning import SIMULATED, Forecast, Outlook, Pilot, outlook
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


def plan_lines(
    plan: Plan, max_concurrent: int | None, capacity: Capacity, guess: SweepEstimate, pilot: Pilot | None = None
) -> list[str]:
    """The planned trials, their concurrency and time, and the smallest difference that the replicates can detect.

    With a pilot also which verdicts are to be expected, and after how many replicates.
    """
    sweep, share = plan.sweep, grant(plan.sweep.resources, capacity)
    together = at_once(plan.size, share, capacity, max_concurrent)
    facts = [
        *_work(plan),
        *_data(plan),
        ("metric", joined([f"{metric} ({plan.config.directions[metric]}imised)" for metric in plan.metrics])),
        *([("judge", text)] if (text := judge_text(sweep.judge)) else []),
        ("search", f"{sweep.search.name}; scheduler: {sweep.scheduler.name}"),
        *_rungs(plan),
        ("resources", f"{share.cpu} CPU and {share.gpu:g} GPU per trial, {together} at once on {_machines(capacity)}"),
        *([("", share.note)] if share.note else []),
        *_costs(plan, guess, together, capacity),
        *_resolution(sweep.min_replicates),
        *(_expected(plan, guess, together, pilot) if pilot else []),
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


def _expected(plan: Plan, guess: SweepEstimate, together: int, pilot: Pilot) -> Facts:
    """The verdicts to be expected, the replicates, time and money until they come."""
    found = outlook(plan, pilot.state, guess.seconds_per_trial, together)
    return [
        ("forecast", f"{SIMULATED:,} simulated sweeps with the means and spreads of {pilot.where}"),
        *(("", line) for line in _unlike(plan, pilot)),
        *(("", _forecast_text(plan, each)) for each in found.forecasts),
        ("", _replicates_text(plan, found)),
        ("", f"about {duration(found.seconds)} in all{_money(plan, found.seconds)}"),
    ]


def _forecast_text(plan: Plan, each: Forecast) -> str:
    name = leaves(plan.sweep.space)[each.key]
    none = 1 - each.insensitive - each.sensitive
    said = f"INSENSITIVE {_chance(each.insensitive)}, SENSITIVE {_chance(each.sensitive)}, UNDECIDED {_chance(none)}"
    note = ", if all values are equally good: it did not vary this key" if each.flat else ""
    return f"{name}{f' ({each.method})' if each.method else ''}: {said}{note}"


def _chance(share: float) -> str:
    """`62 %`; a thousand sweeps do not tell 0 from 0.3 %."""
    return "below 1 %" if share < 0.005 else "above 99 %" if share > 0.995 else f"{100 * share:.0f} %"


def _replicates_text(plan: Plan, found: Outlook) -> str:
    if plan.sweep.max_replicates is None:
        return f"{found.replicates:,.0f} replicates of all trials together"
    often = f"; one sweep in ten takes {found.most:,.0f} or more" if found.most > found.replicates else ""
    return f"about {found.replicates:,.0f} replicates of all trials together{often}"


def _unlike(plan: Plan, pilot: Pilot) -> list[str]:
    """What the pilot has that the planned sweep has not, if it is likely to change the spread."""
    ours, theirs = plan.config, pilot.state.plan.config
    pairs = {
        "training.steps": (ours.training.steps, theirs.training.steps),
        "training.eval_samples": (ours.training.eval_samples, theirs.training.eval_samples),
        "data": (ours.data.name, theirs.data.name),
    }
    return [
        f"it has {key} = {their}, not {our}: the spread may differ"
        for key, (our, their) in pairs.items()
        if our != their
    ]


def _money(plan: Plan, seconds: float) -> str:
    price = plan.sweep.resources.price_per_hour
    return f", for about {price * seconds / 3600:.3g} at {price:g} an hour" if price else ""


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
    each_text, all_text = duration(guess.seconds_per_trial), duration(total)
    facts = [("time", f"about {each_text} per trial, {all_text} in all{_money(plan, total)}, without start-up")]
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
