"""What `--dry-run` says."""

from __future__ import annotations

from gramtune.cli.text import duration
from gramtune.paths import data_root
from gramtune.sweep.local_resources import at_once, cores, grant
from gramtune.sweep.plan import Plan, estimate, separable_gap


def plan_lines(plan: Plan, max_concurrent: int | None) -> list[str]:
    """What would run, how much at once, how long, and which differences the replicates could tell apart."""
    sweep, training, share = plan.sweep, plan.config.training, grant(plan.sweep.resources)
    together = at_once(plan.size, share, max_concurrent)
    guess = estimate(plan, data_root())
    total = -(-plan.size // together) * guess.seconds_per_trial
    facts = [
        ("trials", f"{plan.size} × {sweep.replicates} replicates, {training.steps} steps each"),
        ("", f"evaluated every {training.eval_every} steps with {training.eval_samples} samples"),
        ("metric", f"{plan.metric} ({plan.config.directions[plan.metric]}imised)"),
        ("search", f"{sweep.search.name}; pruner: {sweep.pruner.name}"),
        ("resources", f"{share.cpu} CPU and {share.gpu:g} GPU per trial, {together} at once on {cores()} cores"),
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


def _aligned(facts: list[tuple[str, str]], indent: str = "") -> list[str]:
    """`label: text`, all texts at the same column; an empty label goes on with the text above."""
    width = max(len(label) for label, _ in facts) + 1
    return [f"{indent}{f'{label}:' if label else '':<{width}} {text}" for label, text in facts]
