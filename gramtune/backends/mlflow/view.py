"""Saves a view of a sweep's trials for MLflow's interface, whose own first page shows no metric.

The format is that of the interface's "Share" button. MLflow does not document it, so nothing depends on it: a later
interface that cannot read it shows its usual page.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gramtune.backends.mlflow.runs import StoredRun, SweepRuns, legal_key
from gramtune.backends.mlflow.store import runs_url, translated
from gramtune.record.state import SweepState

IMAGES = "samples/fixed_noise"
"""Key of the sample grids, which use the same noise at every step."""
_TAG = "mlflow.sharedViewState."
_OURS = f"{_TAG}gramtune-"
_NOTE, _KIND = "mlflow.note.content", "mlflow.experimentKind"
"""Tags of an experiment: its description, and the one of MLflow's two sidebars that its pages use."""
_INTRODUCTION = "Sweeps, with metric, varied keys and status as columns:"
_LINKS = 100
"""Most sweeps in the description, because MLflow cuts tags of an experiment at 20,000 characters."""
_SHOWN_KEYS = 8
"""Most varied keys with a column and an axis."""
_SECTIONS = ("overview", "samples", "losses")


def view_key(sweep_id: str) -> str:
    """The name of the sweep's saved view in MLflow URLs: `gramtune-<id>`."""
    return f"{_OURS.removeprefix(_TAG)}{sweep_id[:16]}"


@dataclass(frozen=True)
class SavedView:
    """A saved view: its name in addresses and its displayed name."""

    key: str
    name: str


def newest_view(tags: Mapping[str, str]) -> SavedView | None:
    """The view of the sweep that began last, from the tags of the experiment."""
    views = [(key.removeprefix(_TAG), json.loads(value)) for key, value in tags.items() if key.startswith(_OURS)]
    if not views:
        return None
    key, newest = max(views, key=lambda view: (view[1]["createdAt"], view[0]))
    return SavedView(key, newest["name"])


def store_view(runs: SweepRuns, parent: StoredRun, state: SweepState) -> None:
    """Saves the view in the experiment, once, and links it in the experiment's description."""
    key = f"{_TAG}{view_key(runs.sweep_id)}"
    content = json.dumps(_state(state, parent.run_id), sort_keys=True, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(content.encode())).decode()
    view = {"name": state.plan.sweep.name, "createdAt": parent.started, "updatedAt": parent.started}
    value = json.dumps({**view, "state": f"deflate;{packed}"})
    with translated(runs.uri):
        tags = dict(runs.client.get_experiment(runs.experiment_id).tags)
    wanted = {key: value, _KIND: "custom_model_development"}
    if tags.get(_NOTE, _INTRODUCTION).startswith(_INTRODUCTION):  # otherwise the user has written a description
        wanted[_NOTE] = _note(runs.experiment_id, {**tags, key: value})
    with translated(runs.uri):
        for name, text in wanted.items():
            if tags.get(name) != text:
                runs.client.set_experiment_tag(runs.experiment_id, name, text)


def _note(experiment_id: str, tags: Mapping[str, str]) -> str:
    """Markdown for the top of the list of runs: a link to the view of each sweep, the newest first.

    In a new browser MLflow's own list has fixed columns, which no setting of an experiment changes.
    """
    views = [(json.loads(text), key.removeprefix(_TAG)) for key, text in tags.items() if key.startswith(_OURS)]
    newest = sorted(views, key=lambda view: (-view[0]["createdAt"], view[1]))[:_LINKS]
    links = [f"[{view['name']}]({runs_url('', experiment_id, key).lstrip('/')})" for view, key in newest]
    return f"{_INTRODUCTION} {' · '.join(links)}"  # one line, because MLflow first shows only one


def _state(state: SweepState, parent_run: str) -> dict[str, Any]:
    """The view's state: trials, best first, with metric, varied keys and status, and their charts."""
    metric = legal_key(state.plan.metric)
    params = [legal_key(key) for key in state.plan.sweep.space][:_SHOWN_KEYS]
    columns = [f"metrics.`{metric}`", f"metrics.`{metric}_std`", *(f"params.`{key}`" for key in params)]
    return {
        "searchFilter": f"tags.mlflow.parentRunId = '{parent_run}'",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": state.plan.config.directions[state.plan.metric] == "min",
        "selectedColumns": [*columns, "tags.`gramtune.status`", "tags.`gramtune.reason`"],
        "isAccordionReordered": True,  # keep the order of sections
        "compareRunCharts": _charts(metric, params, state.plan.config.training.steps),
        "globalLineChartConfig": {"lineSmoothness": 0},  # by default its curve shows 170 where the value is 107
        "compareRunSections": [{"uuid": n, "name": n, "display": True, "isReordered": False} for n in _SECTIONS],
    }


def _charts(metric: str, params: list[str], steps: int) -> list[dict[str, Any]]:
    """MLflow's chart settings: titles, no smoothing; the image slider starts at the last step.

    The axes of the parallel coordinates are linear, because MLflow has no logarithmic ones.
    """
    lines = [("overview", metric), ("losses", "loss/generator"), ("losses", "loss/critic")]
    parallel = {"selectedParams": params, "selectedMetrics": [metric], "showAllRuns": True}
    raw = {"lineSmoothness": 0, "useGlobalLineSmoothing": False}
    return [
        _chart("PARALLEL", "overview", f"{metric} and what was varied", runsCountToCompare=1000, **parallel),
        *(_chart("LINE", section, key, metricKey=key, selectedMetricKeys=[key], **raw) for section, key in lines),
        _chart("IMAGE", "samples", "samples of the same noise", imageKeys=[IMAGES], step=steps),
    ]


def _chart(kind: str, section: str, title: str, **settings: Any) -> dict[str, Any]:
    name = f"{kind}-{settings.get('metricKey', section)}"
    common = {"type": kind, "uuid": name, "metricSectionId": section, "deleted": False, "isGenerated": False}
    return {"runsCountToCompare": 10, "displayName": title, **common, **settings}
