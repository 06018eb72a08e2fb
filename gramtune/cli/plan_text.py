"""What `--dry-run` says."""

from __future__ import annotations

from gramtune.cli.text import duration
from gramtune.paths import data_root
from gramtune.sweep.capacity import Capacity, at_once, grant
from gramtune.sweep.plan import Plan, estimate, separable_gap


def plan_lines(plan: Plan, max_concurrent: int | None, capacity: Capacity) -> list[str]:
    """What would run, how much at once, how long, and which differences the replicates could tell apart."""
    sweep, training, share = plan.sweep, plan.config.training, grant(plan.sweep.resources, capacity)
    together = at_once(plan.size, share, capacity, max_concurrent)
    guess = estimate(plan, data_root())
    total = -(-plan.size // together) * guess.seconds_per_trial
    facts = [
        ("trials", f"{plan.size} × {sweep.replicates} replicates, {training.steps} steps each"),
        ("", f"evaluated {training.schedule_text} with {training.eval_samples} samples"),
        ("metric", f"{plan.metric} ({plan.config.directions[plan.metric]}imised)"),
        ("search", f"{sweep.search.name}; pruner: {sweep.pruner.name}; scheduler: {sweep.scheduler.name}"),
        ("resources", f"{share.cpu} CPU and {share.gpu:g} GPU per trial, {together} at once on {_machines(capacity)}"),
        *([("", share.note)] if share.note else []),
        ("time", f"about {duration(guess.seconds_per_trial)} per trial, {duration(total)} in all, without start-up"),
        ("", f"measured: {guess.measured_steps} CPU steps of the first and the last trial"),
        ("resolution", f"{sweep.replicates} replicates tell two trials apart if their means differ by more than"),
        ("", f"{separable_gap(sweep.replicates):.2f} standard deviations over seeds (two-sided 5 %, power 80 %)"),
        *(("warning", warning) for warning in plan.warnings),
    ]
    return [
        f"{sweep.name}: {sweep.about}".removesuffix(": "),
        *_aligned([(key, domain.describe()) for key, domain in sweep.space.items()], indent="  "),
        *_aligned(facts),
    ]


def _machines(capacity: Capacity) -> str:
    """`2 cores`, `3 nodes, 24 cores and 4 GPUs`, or that nobody knows beforehand."""
    if not capacity.nodes:
        return "as many nodes as the autoscaler starts"
    nodes, cpu = sum(n.number for n in capacity.nodes), sum(n.number * n.cpu for n in capacity.nodes)
    gpu = sum(n.number * n.gpu for n in capacity.nodes)
    return ("" if capacity.local else f"{nodes} nodes, ") + f"{cpu} cores" + (f" and {gpu} GPUs" if gpu else "")


def _aligned(facts: list[tuple[str, str]], indent: str = "") -> list[str]:
    """`label: text`, all texts at the same column; an empty label goes on with the text above."""
    width = max(len(label) for label, _ in facts) + 1
    return [f"{indent}{f'{label}:' if label else '':<{width}} {text}" for label, text in facts]
