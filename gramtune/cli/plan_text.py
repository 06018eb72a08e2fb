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
    return [
        f"{sweep.name}: {sweep.about}",
        *(f"  {key}: {domain.describe()}" for key, domain in sweep.space.items()),
        f"trials:    {plan.size} × {sweep.replicates} replicates, {training.steps} steps each, evaluated every "
        f"{training.eval_every} with {training.eval_samples} samples",
        f"metric:    {plan.metric} ({plan.config.directions[plan.metric]}imised)",
        f"search:    {sweep.search.name}; pruner: {sweep.pruner.name}",
        f"resources: {share.cpu} CPU and {share.gpu:g} GPU per trial, {together} at once on {cores()} cores",
        *([share.note] if share.note else []),
        f"time:      about {duration(guess.seconds_per_trial)} per trial, {duration(total)} in all, without start-up "
        f"(measured: {guess.measured_steps} CPU steps of the first and the last trial)",
        f"resolution: {sweep.replicates} replicates tell two trials apart if their means differ by more than "
        f"{separable_gap(sweep.replicates):.2f} standard deviations over seeds (two-sided 5 %, power 80 %)",
        *(f"warning: {warning}" for warning in plan.warnings),
    ]
