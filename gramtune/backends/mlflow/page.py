"""Stores the files of a sweep's own run: data set, plan, tables, figures, the best generator."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from gramtune.backends.mlflow.model import MODEL, NotExportable, best_generator, log_generator, register_generator
from gramtune.backends.mlflow.run_contents import plan_text
from gramtune.backends.mlflow.runs import StoredRun, SweepRuns
from gramtune.backends.mlflow.store import translated
from gramtune.components import Dataset, Unavailable
from gramtune.io import data_root
from gramtune.record.state import SweepState
from gramtune.training.trainer import CheckpointError

_TABLES = ("*.parquet", "*.csv", "*.yaml", "*.json", "*.diff", "*.txt", "*.html")
_PLAN_FILE = "plan.txt"
_PREVIEW, _PREVIEW_SIZE = "preview", (560, 560)


def store_files(runs: SweepRuns, parent: StoredRun, state: SweepState, folder: Path) -> None:
    """Stores the plan, and the tables, pages and figures of the sweep's folder; each replaces its earlier version."""
    if not (folder / _PLAN_FILE).exists():
        runs.log_text(parent, plan_text(state.plan), _PLAN_FILE)
    for file in _files(folder, _TABLES):
        runs.log_file(parent, file)
    for file in _files(folder / "figures", ("*",)):
        runs.log_file(parent, file, "figures")


def store_preview(runs: SweepRuns, parent: StoredRun, state: SweepState, folder: Path) -> str:
    """Stores the figure of the first varied key, small, and returns the Markdown that shows it in the description.

    If that figure is missing, another one is used; without any figure the result is empty. The figure is small, so that
    the rest of the page stays visible.
    """
    pictures = {file.stem: file for file in _files(folder / "figures", ("*.png",))}
    keys = [name for key in state.plan.sweep.space for name in (key, key.rpartition(".")[2])]
    stem = next((name for name in (*keys, *pictures) if name in pictures), None)
    if stem is None:
        return ""
    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / pictures[stem].name
        try:
            with Image.open(pictures[stem]) as image:
                image.thumbnail(_PREVIEW_SIZE)
                image.save(small)
        except (OSError, SyntaxError):  # what Pillow raises for a damaged PNG
            runs.reject(parent, small.name)
            return ""
        runs.log_file(parent, small, _PREVIEW)
    return f"![{stem}](get-artifact?path={_PREVIEW}/{quote(small.name)}&run_uuid={parent.run_id})"


def store_datasets(runs: SweepRuns, parent: StoredRun, state: SweepState) -> None:
    """Logs the data sets that the sweep trains on, each once, as MLflow datasets."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    with translated(runs.uri):
        inputs = runs.client.get_run(parent.run_id).inputs
        known = {entry.dataset.digest for entry in inputs.dataset_inputs}
        new = [entity for entity in map(_entity, _datasets(state)) if entity["digest"] not in known]
        if new:
            context = [InputTag("mlflow.data.context", "training")]
            runs.client.log_inputs(parent.run_id, [DatasetInput(Entity(**entity), context) for entity in new])


def store_model(runs: SweepRuns, parent: StoredRun, state: SweepState, folder: Path, register: str | None) -> None:
    """Stores the best generator as a model of the parent run, and in the registry if a name for it is given."""
    best = best_generator(state, folder)
    trial = runs.get(best.record.trial.name) if best else None
    if best is None or trial is None:
        return
    try:
        model_id = log_generator(runs, parent, trial, best)
    except (CheckpointError, NotExportable):
        runs.reject(parent, MODEL)
        return
    if register is not None:
        register_generator(runs, parent, model_id, register)


def _datasets(state: SweepState) -> Iterator[Dataset]:
    configs = [state.plan.config, *(record.trial.config for record in state.records.values())]
    yield from {config.data.model_dump_json(): config.data for config in configs}.values()


def _entity(data: Dataset) -> dict[str, str]:
    """The fields of an MLflow dataset: name, digest of its contents, configuration and shape."""
    try:
        fingerprint = data.fingerprint(data_root())
    except Unavailable:  # this machine does not have the data
        fingerprint = data.model_dump_json()
    kind = "uint8" if data.kind == "image" else "float32"
    tensor = {"type": "tensor", "tensor-spec": {"dtype": kind, "shape": [-1, *data.shape]}}
    return {
        "name": data.name,
        "digest": hashlib.sha256(fingerprint.encode()).hexdigest()[:16],
        "source_type": "gramtune",
        "source": data.model_dump_json(),
        "schema": json.dumps({"mlflow_tensorspec": {"features": json.dumps([tensor]), "targets": None}}),
        "profile": json.dumps({"fingerprint": fingerprint, "shape": data.shape}),
    }


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files directly in `folder`; names with a leading dot are files that are still being written."""
    found = (file for pattern in patterns for file in folder.glob(pattern))
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))
