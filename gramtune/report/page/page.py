"""Writes the report of a sweep as one HTML page that needs no server, no network and no other file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from gramtune.analysis.cost import cost_of
from gramtune.analysis.importance import Importances
from gramtune.analysis.labels import assignment_text, basis_text, count, direction_text, duration, percent, spread_text
from gramtune.analysis.pruning_audit import audit
from gramtune.analysis.robustness import DRAWS, TOLERANCES, robustness
from gramtune.errors import SpecError
from gramtune.io import command
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.record.tables import SWEEP_FILE, read_versions
from gramtune.report.figures.captions import caption, captions
from gramtune.report.figures.catalogue import BOUNDS, CURVES, FRONT, PARALLEL, file_names
from gramtune.report.figures.samples import PREFIX
from gramtune.report.page.embed import Picture, by_stem, data_uri
from gramtune.report.page.explore import as_script, explore_data, library
from gramtune.report.text.score import score_cells
from gramtune.report.text.summary import best_lines, heading


def page(
    state: SweepState, folder: Path, figures: Sequence[Path], importances: Importances, refresh: int | None = None
) -> str:
    """The page of the sweep in `folder`; `figures` are the files of its figures, PNG and SVG.

    `refresh`: seconds after which a browser loads the page again, for a sweep that is running.
    """
    title, *facts = heading(state)
    explored = explore_data(state, folder)
    scores = [score_cells(row) for row in robustness(state)]
    return template("report.html").render(
        title=state.plan.sweep.name,
        question=title,
        facts=facts,
        verdict=[(len(line) - len(line.lstrip()), line.strip()) for line in best_lines(state)],
        unfinished=len(state.unfinished),
        **_pictures(state, figures),
        varied=[(key, domain.describe()) for key, domain in state.plan.sweep.space.items()],
        settings=_settings(state),
        scores=scores,
        rivals=any(row.get("of_all") for row in scores),
        tolerances=[percent(tolerance) for tolerance in TOLERANCES],
        draws=DRAWS,
        worse="above" if state.plan.config.directions[state.plan.metric] == "min" else "below",
        importances=importances,
        tables=explored["tables"],
        audit=audit(state),
        issues=_issues(state),
        cost=cost_of(state),
        counts=len(state.records),
        explore=as_script(explored),
        grids=explored["grids"],
        best=explored["best"],
        library=library(),
        refresh=refresh,
        **_provenance(folder),
    )


def template(name: str) -> Template:
    """A template of this package; inserted values are HTML-escaped."""
    environment = Environment(
        loader=PackageLoader("gramtune.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"spread": spread_text, "duration": duration, "count": count, "percent": percent}
    found: Template = environment.get_template(name)
    return found


def _pictures(state: SweepState, figures: Sequence[Path]) -> dict[str, list[Picture]]:
    """The figures, by section of the page."""
    known = captions(state)
    pictures = [Picture(stem, data_uri(files), caption(stem, known)) for stem, files in by_stem(figures).items()]
    axes = set(file_names(state.plan.sweep.space).values())
    return {
        "sensitivity": [p for p in pictures if p.name in axes or p.name.startswith(BOUNDS)],
        "curves": [p for p in pictures if p.name == CURVES],
        "samples": [p for p in pictures if p.name.startswith(PREFIX)],
        "joint": [p for p in pictures if p.name in (PARALLEL, FRONT)],
    }


def _settings(state: SweepState) -> list[tuple[str, str]]:
    sweep, config = state.plan.sweep, state.plan.config
    sampled = "" if sweep.search.name == "grid" else f", {count(state.plan.size, 'trial')}, seed {sweep.search.seed}"
    metrics = ", ".join(f"{metric} ({direction_text(state, metric)})" for metric in state.plan.metrics)
    return [
        ("metric", f"{metrics}; features: {', '.join(config.extractors)}"),
        ("basis", basis_text(state)),
        ("search", f"{sweep.search.name}{sampled}"),
        ("pruner", sweep.pruner.name),
        ("data", config.data.name),
        ("length", f"{config.training.steps:,} steps, evaluated every {config.training.eval_every:,}"),
    ]


def _issues(state: SweepState) -> list[tuple[str, str, str]]:
    bad = [r for r in state.records.values() if r.status in (Status.DIVERGED, Status.FAILED)]
    return [(assignment_text(record.assignment), record.status.value, record.reason) for record in bad]


def _provenance(folder: Path) -> dict[str, Any]:
    """What is needed to reproduce the sweep: its resolved file and the versions; both may be missing."""
    space = folder / SWEEP_FILE
    try:
        versions = read_versions(folder)
    except SpecError:  # `resume` reports the damaged file
        versions = {}
    packages = versions.get("packages", {})
    told = {key: value for key, value in versions.items() if key != "packages" and value not in (None, [], {})}
    return {
        "command": command("sweep", folder / SWEEP_FILE, "--name", "again"),
        "space_file": space.read_text(encoding="utf-8") if space.is_file() else "",
        "versions": [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in told.items()],
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
    }
