"""Summarises the result of a sweep in one screen of plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise

from gramtune.analysis.key_verdicts import verdicts
from gramtune.analysis.labels import (
    assignment_text,
    basis_text,
    count,
    decimals_for,
    direction_text,
    joined,
    leaves,
    number,
    spread_text,
    status_counts,
    value_text,
)
from gramtune.analysis.method_comparison import method_comparisons
from gramtune.analysis.paired_difference import Difference, paired_difference, ranked
from gramtune.record.lineage import lineage
from gramtune.record.report import Status
from gramtune.record.state import Basis, SweepState, TrialRecord
from gramtune.record.student_t import t_quantile
from gramtune.report.text.verdict_text import comparison_lines, verdict_text

_ROWS = 24
"""Most trials in the table; a longer sweep shows its best trials and the name of the file with all others."""
_REASONS = 6
_WIDTH = 100
_FEW = 5
"""With fewer replicates than this the summary warns that intervals are wide."""


def summary_lines(state: SweepState) -> list[str]:
    """Counts by status, the table of trials, the best trial, comparisons and verdicts, and failures with reasons."""
    sections = [_wrapped(heading(state)), _table(state), _wrapped(best_lines(state)), _wrapped(_problems(state))]
    lines = [line for section in sections if section for line in ("", *section)]
    return lines[1:]


def summary_text(state: SweepState) -> str:
    """`summary_lines` as the text of a file."""
    return "\n".join(summary_lines(state)) + "\n"


def heading(state: SweepState) -> list[str]:
    """Name and question of the sweep, trials by status, the metric, and the numbers of replicates and samples."""
    sweep = state.plan.sweep
    counts = ", ".join(f"{n} {status}" for status, n in status_counts(state).items())
    metrics = joined([f"{metric} ({direction_text(state, metric)})" for metric in state.plan.metrics])
    return [
        f"{sweep.name}: {sweep.about}".removesuffix(": "),
        f"{count(len(state.records), 'trial')}: {counts}",
        f"{metrics}, mean ± std; {basis_text(state)}",
    ]


def _table(state: SweepState) -> list[str]:
    """One table; if trials are not comparable, one per comparable group."""
    groups = state.groups
    if state.comparable:
        return _one_table(state, list(state.records.values()))
    tables = [[f"{group_text(basis, groups)}:", *_one_table(state, group)] for basis, group in groups.items()]
    return [line for table in tables for line in ("", *table)][1:]


def group_text(basis: Basis, groups: Iterable[Basis]) -> str:
    """How a group of comparable trials differs from the other groups: `data.radius = 0.5, 1,500 steps`."""
    groups = list(groups)
    data, metrics = [g.data.model_dump(mode="json") for g in groups], [g.metrics for g in groups]
    own = basis.data.model_dump(mode="json")
    parts = [f"data.{key} = {value_text(own[key])}" for key in own if any(d.get(key) != own[key] for d in data)]
    if len(set(metrics)) > 1:
        parts.append(", ".join(metric.model_dump_json() for metric in basis.metrics))
    if len({g.samples for g in groups}) > 1:
        parts.append(f"{basis.samples:,} generated samples")
    if len({g.steps for g in groups}) > 1:
        parts.append(f"{basis.steps:,} steps")
    return ", ".join(parts)


def trial_tables(state: SweepState) -> list[tuple[str, list[list[str]]]]:
    """The tables of all trials, best first, with titles; if trials are not comparable, one per group."""
    groups = {"": list(state.records.values())}
    if not state.comparable:
        groups = {group_text(basis, state.groups): group for basis, group in state.groups.items()}
    tables = []
    for name, group in groups.items():
        first = ranked(state, group)
        known = {record.trial.name for record in first}
        others = [record for record in group if record.trial.name not in known]
        tables.append((name, trial_rows(state, [*first, *others])))
    return tables


def _one_table(state: SweepState, shown: list[TrialRecord]) -> list[str]:
    ranking = ranked(state, shown) if len(state.plan.metrics) == 1 else state.front
    total = len(shown)
    if len(shown) > _ROWS:
        first = {record.trial.name for record in ranking}
        shown = [*ranking, *(record for record in shown if record.trial.name not in first)][:_ROWS]
    hidden = total - len(shown)
    return aligned(trial_rows(state, shown)) + (
        [f"… and {count(hidden, 'more trial')}: see trials.csv"] if hidden else []
    )


def trial_rows(state: SweepState, records: Sequence[TrialRecord]) -> list[list[str]]:
    """A heading and one row per trial: number, values, mean ± std of each metric, n, status, a mark for the best."""
    notes = (
        {state.best.trial.name: _best_mean(state).lower()}
        if state.best
        else {r.trial.name: "front" for r in state.front}
    )
    header = ["trial", *leaves(state.plan.sweep.space).values(), *state.plan.metrics, "n", "status", ""]
    return [header, *(_row(record, state, notes.get(record.trial.name, "")) for record in records)]


def _row(record: TrialRecord, state: SweepState, note: str) -> list[str]:
    summary = record.summary(state.plan.metric)
    values = [value_text(record.assignment.get(key, "–")) for key in state.plan.sweep.space]
    spreads = [spread_text(record.summary(metric)) for metric in state.plan.metrics]
    return [str(record.number), *values, *spreads, str(summary.n) if summary else "0", _status(record), note]


def _status(record: TrialRecord) -> str:
    total = record.trial.config.training.steps
    if record.status == Status.COMPLETED or record.last is None or record.last.step >= total:
        return record.status.value
    return f"{record.status} at step {record.last.step:,} of {total:,}"


def aligned(rows: list[list[str]]) -> list[str]:
    """Pads the columns to equal width. The last two columns are words and left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = len(widths) - 2
    return [
        "  ".join(
            cell.ljust(width) if i >= words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _wrapped(lines: list[str]) -> list[str]:
    """Wraps long lines, such as an error's text, between words; continuation lines are indented by four."""
    return [
        part
        for line in lines
        for part in textwrap.wrap(
            line, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    ]


def best_lines(state: SweepState) -> list[str]:
    """The best trial, or the Pareto front, and its comparisons; details are indented."""
    if not state.comparable:
        return _by_group(state)
    ranking = ranked(state)
    if not ranking:
        return ["Best: none, because no trial has completed."]
    if len(state.plan.metrics) > 1:
        return _front(state)
    best, summary = ranking[0], ranking[0].summary(state.plan.metric)
    assert summary is not None
    return [
        *_how(state, best),
        f"  {state.plan.metric} {spread_text(summary)}, n = {count(summary.n, 'replicate')}",
        *verdict_lines(state, _comparisons(state, ranking)),
    ]


def verdict_lines(state: SweepState, instead: Sequence[str] = ()) -> list[str]:
    """The verdicts on the varied keys. Without any verdict: the reasons, followed by the lines `instead`."""
    rows = verdicts(state)
    if not any(row.finding for row in rows):
        return [*(f"Verdict: none, because {why}." for why in dict.fromkeys(row.why for row in rows)), *instead]
    texts = [verdict_text(row, state) for row in rows]
    for text, following in pairwise(texts):
        if text[-1] == following[-1]:
            text.pop()  # the sentence on replicates and metric, once for all verdicts that share it
    return [line for text in texts for line in text] + comparison_lines(method_comparisons(state), state)


def _by_group(state: SweepState) -> list[str]:
    """The best of each group of comparable trials, and the note that there is no overall best."""
    groups = state.groups
    lines = ["Best of all: none, because values on different data, metrics, samples or lengths are not comparable."]
    for basis, group in groups.items():
        if (ranking := ranked(state, group)) and len(state.plan.metrics) == 1:
            summary = ranking[0].summary(state.plan.metric)
            best = f"{assignment_text(ranking[0].assignment)}: {state.plan.metric} {spread_text(summary)}"
            lines += [f"{_best_mean(state)} with {group_text(basis, groups)}: {best}", *_comparisons(state, ranking)]
    return lines


def _how(state: SweepState, best: TrialRecord) -> list[str]:
    """The values of the best trial; for population-based training, its schedule."""
    past = lineage(state, best.trial.name)
    if len(past) == 1:
        return [f"{_best_mean(state)}: {assignment_text(best.assignment)}"]
    stretches = [f"  from step {s.step:,}: {assignment_text(s.assignment)} (by {s.trial})" for s in past]
    return [f"{_best_mean(state)}: {best.trial.name}, by a schedule of values", *stretches]


def _best_mean(state: SweepState) -> str:
    """The name of the best trial's role: best mean. The verdict says which values may truly be the best."""
    return "Lowest mean" if state.plan.config.directions[state.plan.metric] == "min" else "Highest mean"


def _front(state: SweepState) -> list[str]:
    """The Pareto front of several metrics; none of its trials is the single best."""
    spreads = {r.trial.name: [f"{m} {spread_text(r.summary(m))}" for m in state.plan.metrics] for r in state.front}
    return [
        f"Pareto front of {joined(state.plan.metrics)}: {count(len(spreads), 'trial')} of "
        f"{len(state.completed)} completed",
        *(f"  {assignment_text(r.trial.assignment)}: {', '.join(spreads[r.trial.name])}" for r in state.front),
        "  The front compares means: which of two similar trials is on it may be chance.",
    ]


def _comparisons(state: SweepState, ranking: list[TrialRecord]) -> list[str]:
    """Compares the best with the runner-up and the worst, with confidence intervals."""
    best, *others = ranking
    if not others:
        return ["No other trial has completed: nothing to compare it with."]
    rivals = (
        {"runner-up": others[0], "worst completed": others[-1]}
        if len(others) > 1
        else {"only other completed": others[0]}
    )
    pairs = len(ranking) * (len(ranking) - 1) // 2  # correct for all pairs: the data decide which two are printed
    differences = [paired_difference(rival, best, state.plan.metric, pairs) for rival in rivals.values()]
    lines = [
        line
        for (role, rival), difference in zip(rivals.items(), differences, strict=True)
        for line in (
            f"  against the {role}, {assignment_text(rival.assignment)}:",
            f"    {paired_text(difference)}",
        )
    ]
    known = [difference for difference in differences if difference]
    return lines + _caveats(len(ranking), min((d.n for d in known), default=0), pairs)


def paired_text(difference: Difference | None) -> str:
    """Whether two trials are separated, with the difference and its interval."""
    if difference is None:
        return "unknown: fewer than two seeds have a value in both trials (--replicates 3)"
    decimals = decimals_for(max(difference.high - difference.low, 0) / 4)
    mean, low, high = (number(value, decimals) for value in (difference.mean, difference.low, difference.high))
    words = "separated" if difference.separated else "NOT separated, may be chance"
    together = f" of {difference.pairs} pairs together" if difference.pairs > 1 else ""
    return f"{words}; difference {mean}, 95 % interval{together} {low} to {high} (paired, n = {difference.n})"


def _caveats(trials: int, n: int, pairs: int) -> list[str]:
    if not n:
        return []
    few = f", which makes them wide (t = {t_quantile(n - 1, 1 - 0.05 / pairs):.2f})" if n < _FEW else ""
    corrected = f", corrected for all pairs of {trials} trials (Bonferroni)" if pairs > 1 else ""
    return [f"  The intervals are Student's t over {count(n, 'seed')}{corrected}{few}."]


def _problems(state: SweepState) -> list[str]:
    """Diverged and failed trials with reasons, and the number of stopped and unfinished ones."""
    bad = [r for r in state.records.values() if r.status in (Status.DIVERGED, Status.FAILED)]
    lines = [f"{r.status} {assignment_text(r.assignment)}: {r.reason}" for r in bad[:_REASONS]]
    if len(bad) > _REASONS:
        lines.append(f"… and {len(bad) - _REASONS} more DIVERGED or FAILED: see trials.csv")
    stopped = [record for record in state.records.values() if record.status == Status.STOPPED]
    if stopped:
        lines.append(
            f"STOPPED {count(len(stopped), 'trial')}: {stopped[0].reason}; resume with a larger budget to continue them"
        )
    if left := state.unfinished:
        lines.append(f"Unfinished: {count(len(left), 'trial')}")
    return lines
