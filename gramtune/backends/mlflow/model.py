"""Stores the best generator of a sweep as an MLflow model: an exported graph that needs torch but not gramtune."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gramtune.analysis.checkpoints import best_replicate
from gramtune.backends.mlflow.runs import SWEEP_ID, TRIAL_ID, StoredRun, SweepRuns
from gramtune.backends.mlflow.store import RunGone, translated
from gramtune.errors import Issue, SpecError
from gramtune.record.layout import newest_checkpoint
from gramtune.record.state import SweepState, TrialRecord
from gramtune.training.config import TrialConfig
from gramtune.training.generator import load_generator
from gramtune.training.seeds import stream

MODEL = "generator"
"""Name of the logged model: `runs:/<parent run>/generator`."""
DIGEST = "gramtune.digest"
"""Tag with the digest of the weights, for a model and its version in the registry."""
_EXAMPLE = 2
"""Noise vectors of the input example. With a single one torch.export would treat the batch size as a constant."""


class NotExportable(ValueError):
    """torch cannot export the generator as a graph."""


@dataclass(frozen=True)
class BestGenerator:
    """The generator behind the best value of the primary metric: one replicate of the best trial."""

    record: TrialRecord
    replicate: int
    file: Path
    place: int
    """Index of the replicate in the checkpoint."""


def checked_model_name(name: str) -> str:
    """Returns the name if it is legal in the registry. Raises SpecError."""
    if not re.fullmatch(r"[\w. -]{1,250}", name) or not name.strip(". "):
        rule = "should be letters, digits, spaces and . _ - only, 250 at most; for example gram-digits"
        raise SpecError([Issue("--register", f"{name!r} is not a legal model name; it {rule}")])
    return name


def best_generator(state: SweepState, folder: Path) -> BestGenerator | None:
    """The best replicate of the best completed trial; None if there is none, or its checkpoint is missing."""
    best = state.best
    replicate = best_replicate(best) if best else None
    if best is None or replicate is None:
        return None
    file, place = newest_checkpoint(folder, best, replicate)
    return BestGenerator(best, replicate, file, place) if file else None


def log_generator(runs: SweepRuns, parent: StoredRun, trial: StoredRun, best: BestGenerator) -> str:
    """Stores the generator as a model of the parent run, once, and returns its id.

    Raises CheckpointError for a damaged file, NotExportable, and what the store raises.
    """
    config = best.record.trial.config
    generator = load_generator(config, best.file, best.place)
    digest = _digest(generator)
    model = _find(runs, parent, digest)
    if model is None or str(model.status) != "READY":
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / MODEL
            export(generator, config, folder, parent.run_id)
            with translated(runs.uri):
                model = model or _create(runs, parent, best, digest)
                runs.client.log_model_artifacts(model.model_id, str(folder))
                runs.client.finalize_logged_model(model.model_id, "READY")
    for run in (parent, trial):
        _link(runs, run, model.model_id, best)
    return str(model.model_id)


def export(generator: nn.Module, config: TrialConfig, folder: Path, run_id: str) -> None:
    """Writes an MLflow model with signature (noise [-1, h] → samples [-1, *shape]) and an input example into `folder`.

    Raises NotExportable if the forward pass cannot be exported, for example if it branches on values.
    """
    import mlflow.pytorch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    noise = config.network.noise(_EXAMPLE, stream(config.training.seed, "input example")).numpy()
    signature = ModelSignature(
        Schema([TensorSpec(noise.dtype, (-1, config.network.noise_dim), "noise")]),
        Schema([TensorSpec(noise.dtype, (-1, *config.data.shape), "samples")]),
    )
    try:
        mlflow.pytorch.save_model(
            generator,
            str(folder),
            mlflow_model=Model(run_id=run_id),
            signature=signature,
            input_example=noise,
            pip_requirements=[f"mlflow=={mlflow.__version__}", f"torch=={torch.__version__.partition('+')[0]}"],
            serialization_format="pt2",  # a graph and its weights: pickled classes need gramtune to load
        )
    except (
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:  # torch.export has no exception class
        raise NotExportable(str(error).partition("\n")[0]) from error


def register_generator(runs: SweepRuns, parent: StoredRun, model_id: str, name: str) -> None:
    """Registers the model as a version of `name`, unless the same weights are registered already."""
    with translated(runs.uri):
        model = runs.client.get_logged_model(model_id)
    digest = model.tags[DIGEST]
    try:
        with translated(runs.uri):
            runs.client.get_registered_model(name)
    except RunGone:
        with translated(runs.uri):
            runs.client.create_registered_model(name)
    with translated(runs.uri):
        versions = runs.client.search_model_versions(f"name = '{name}'")
        if not any(version.tags.get(DIGEST) == digest for version in versions):
            tags = {SWEEP_ID: runs.sweep_id, TRIAL_ID: model.tags[TRIAL_ID], DIGEST: digest}
            # Not models:/<id>: MLflow 3.17 looks that up in the process's default store, whichever client asks.
            source = model.artifact_location
            runs.client.create_model_version(name, source, run_id=parent.run_id, tags=tags, model_id=model_id)


def _find(runs: SweepRuns, parent: StoredRun, digest: str) -> Any:
    """The stored model of these weights, complete or not; None if there is none."""
    condition = f"name = '{MODEL}' AND tags.`{DIGEST}` = '{digest}' AND tags.`{SWEEP_ID}` = '{runs.sweep_id}'"
    with translated(runs.uri):
        found = runs.client.search_logged_models([runs.experiment_id], condition)
    return next((model for model in found if model.source_run_id == parent.run_id), None)


def _create(runs: SweepRuns, parent: StoredRun, best: BestGenerator, digest: str) -> Any:
    tags = {SWEEP_ID: runs.sweep_id, TRIAL_ID: best.record.trial.name, DIGEST: digest}
    tags["gramtune.replicate"] = str(best.replicate)
    params = {key: str(value) for key, value in best.record.assignment.items()}
    return runs.client.create_logged_model(runs.experiment_id, MODEL, parent.run_id, tags, params, "generator")


def _link(runs: SweepRuns, run: StoredRun, model_id: str, best: BestGenerator) -> None:
    """Shows the model on the page of the run, once."""
    from mlflow.entities import LoggedModelOutput

    with translated(runs.uri):
        outputs = runs.client.get_run(run.run_id).outputs
        if model_id not in {output.model_id for output in (outputs.model_outputs if outputs else [])}:
            step = best.record.last.step if best.record.last else 0
            runs.client.log_outputs(run.run_id, [LoggedModelOutput(model_id, step)])


def _digest(generator: nn.Module) -> str:
    """SHA-256 of the weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in generator.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
