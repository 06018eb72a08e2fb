"""Reads a finished sweep with MLflow's client alone: runs, numbers, images, files, and the model without gramtune."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import mlflow
import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from PIL import Image
from stores import artifacts, content, in_order, replicate_values, stored
from sweeps import write_space

from gramtune.api import Result, run_sweep
from gramtune.backends.mlflow.model import MODEL, NotExportable, checked_model_name, export
from gramtune.backends.mlflow.store import default_uri
from gramtune.backends.mlflow.tracker import MlflowTracker
from gramtune.errors import SpecError
from gramtune.record.layout import checkpoints, trial_folder
from gramtune.record.report import Status
from gramtune.training.generator import load_generator
from gramtune.training.trainer import CheckpointError

NAME = "gram digits"


class Finished(NamedTuple):
    result: Result
    uri: str
    said: list[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Finished:
    """A real sweep with real training, stored and registered."""
    runs = tmp_path_factory.mktemp("runs")
    (runs / ".mlflow").mkdir()
    shutil.copy(migrated, runs / ".mlflow" / "mlflow.db")
    said: list[str] = []
    result = run_sweep(write_space(runs), runs, debug=True, register=NAME, say=said.append)
    assert result.complete
    return Finished(result, default_uri(runs), said)


def test_every_number_of_the_table_is_stored_and_no_other(finished: Finished) -> None:
    table = pd.read_parquet(finished.result.folder / "results.parquet")
    assert len(table) == 3 * 2 * 3
    pd.testing.assert_frame_equal(replicate_values(finished.uri, ["fid_digits"]), in_order(table), check_exact=True)


def test_the_parent_explains_the_sweep(finished: Finished, tmp_path: Path) -> None:
    parent, children = stored(finished.uri)
    best = finished.result.state.best
    assert best is not None
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {}
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith(
        f"**Best: trial {children[best.trial.name].info.run_name.replace(': ', ', ')}**, fid_digits "
    )
    assert "Does K matter?" in note
    assert f"![critic_dim](get-artifact?path=preview/critic_dim.png&run_uuid={parent.info.run_id})" in note
    with Image.open(BytesIO(content(finished.uri, parent, "preview/critic_dim.png", tmp_path))) as preview:
        assert max(preview.size) == 560
    stored_files = artifacts(finished.uri, parent)
    assert stored_files >= {"figures", "plan.txt", "results.parquet", "sweep.yaml", "trials.csv", "versions.json"}
    assert {"critic_dim.png", "critic_dim.svg"} <= artifacts(finished.uri, parent, "figures")
    assert "3 × 2 replicates, 6 steps each" in content(finished.uri, parent, "plan.txt", tmp_path).decode()
    assert {"gramtune.versions", "gramtune.device", "mlflow.user", "mlflow.source.name"} <= set(parent.data.tags)


def test_the_data_set_is_an_mlflow_dataset(finished: Finished) -> None:
    inputs = stored(finished.uri)[0].inputs.dataset_inputs
    assert [(entry.dataset.name, entry.tags[0].value) for entry in inputs] == [("digits", "training")]
    assert json.loads(inputs[0].dataset.profile) == {"fingerprint": "digits-split1", "shape": [1, 8, 8]}


def test_a_trial_has_one_parameter_per_key_and_everything_else_as_files(finished: Finished, tmp_path: Path) -> None:
    _, children = stored(finished.uri)
    assert {run.info.run_name for run in children.values()} == {"0: gram K=1", "1: gram K=4", "2: gram K=16"}
    for name, run in children.items():
        record = finished.result.state.records[name]
        assert run.data.params["objective.critic_dim"] == str(record.trial.assignment["objective.critic_dim"])
        assert {"fid_digits", "fid_digits_std", "loss/critic", "loss/generator", "trace/mmd2"} <= set(run.data.metrics)
        config = yaml.safe_load(content(finished.uri, run, "config.yaml", tmp_path))
        assert config == record.trial.config.model_dump(mode="json")
        newest = checkpoints(trial_folder(finished.result.folder, name))[0]
        assert newest.name == "checkpoint-00000006.pt"
        assert content(finished.uri, run, "checkpoint/trainer.pt", tmp_path) == newest.read_bytes()
        pictures = sorted(file for file in artifacts(finished.uri, run, "images") if file.endswith(".png"))
        assert [file.split("+")[2] for file in pictures] == ["0", "3", "6"]
        original = trial_folder(finished.result.folder, name) / "samples" / "step-00000006.png"
        assert content(finished.uri, run, f"images/{pictures[-1]}", tmp_path) == original.read_bytes()
        tags = run.data.tags
        assert (tags["gramtune.status"], tags["gramtune.step"]) == ("COMPLETED", "6")


LOAD = """
import sys
sys.modules["gramtune"] = None  # any import of it fails
import mlflow, torch
uri, model, noise, samples = sys.argv[1:]
mlflow.set_tracking_uri(uri)
generator = mlflow.pytorch.load_model(model)
torch.save(generator(torch.load(noise)), samples)
"""


def test_the_model_needs_nothing_of_ours(finished: Finished, tmp_path: Path) -> None:
    """Both by the parent run and by the registry; five noise vectors, where the example had two."""
    best = finished.result.state.best
    assert best is not None
    assert best.last is not None
    values = [value for value in best.last.metrics["fid_digits"] if value is not None]
    replicate = values.index(min(values))
    newest = checkpoints(trial_folder(finished.result.folder, best.trial.name))[0]
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    torch.save(noise, tmp_path / "noise.pt")
    parent = stored(finished.uri)[0]
    with torch.no_grad():
        expected = load_generator(best.trial.config, newest, replicate)(noise)
    for uri in (f"runs:/{parent.info.run_id}/{MODEL}", f"models:/{NAME}/1"):
        files = [str(tmp_path / name) for name in ("noise.pt", "samples.pt")]
        subprocess.run([sys.executable, "-c", LOAD, finished.uri, uri, *files], check=True, capture_output=True)
        torch.testing.assert_close(torch.load(tmp_path / "samples.pt").detach(), expected)


def test_the_model_says_what_goes_in_and_what_comes_out(finished: Finished) -> None:
    client, (parent, children) = MlflowClient(tracking_uri=finished.uri), stored(finished.uri)
    models = client.search_logged_models([parent.info.experiment_id])
    assert [(model.name, str(model.status), model.source_run_id) for model in models] == [
        (MODEL, "READY", parent.info.run_id)
    ]
    best = finished.result.state.best
    assert best is not None
    for run in (parent, children[best.trial.name]):
        assert [output.model_id for output in run.outputs.model_outputs] == [models[0].model_id]
    signature = mlflow.models.Model.load(models[0].artifact_location.removeprefix("file://")).signature.to_dict()
    shapes = [json.loads(signature[side])[0]["tensor-spec"]["shape"] for side in ("inputs", "outputs")]
    assert shapes == [[-1, 4], [-1, 1, 8, 8]]


def test_storing_it_again_makes_no_second_model_or_version(finished: Finished) -> None:
    again = MlflowTracker(finished.uri, finished.result.folder, NAME)
    again.finish(finished.result.state, finished.result.folder)
    client, parent = MlflowClient(tracking_uri=finished.uri), stored(finished.uri)[0]
    assert len(client.search_logged_models([parent.info.experiment_id])) == 1
    assert [version.version for version in client.search_model_versions(f"name = '{NAME}'")] == [1]
    assert len(parent.outputs.model_outputs) == len(parent.inputs.dataset_inputs) == 1
    test_every_number_of_the_table_is_stored_and_no_other(finished)


def test_the_link_says_how_to_look_at_it(finished: Finished) -> None:
    assert finished.said[-1] == f"MLflow: {finished.uri}; open with: gramtune ui --runs {finished.result.folder.parent}"


class Branching(torch.nn.Module):
    """A forward pass that depends on the values in it."""

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return noise if noise.sum() > 0 else -noise


def test_a_generator_that_cannot_be_exported_is_reported(finished: Finished, tmp_path: Path) -> None:
    """It ended the tracker's thread: the sweep's run stayed open, without a word."""
    with pytest.raises(NotExportable):
        export(Branching().eval(), finished.result.state.plan.config, tmp_path / "model", "0" * 32)


@pytest.mark.parametrize("wrong", ["", "a/b", "a:b", " . ", "o'clock", "x" * 300])
def test_a_model_name_that_the_registry_refuses_is_bad_input(wrong: str, tmp_path: Path) -> None:
    """Before anything starts: the folder must not be there, or the next attempt fails for that reason."""
    with pytest.raises(SpecError, match="--register: "):
        run_sweep(write_space(tmp_path), tmp_path / "runs", debug=True, register=wrong)
    assert not (tmp_path / "runs").exists()
    assert checked_model_name("gram-digits v1.0") == "gram-digits v1.0"


def test_a_generator_that_is_not_there_is_a_clear_issue(finished: Finished, tmp_path: Path) -> None:
    name, record = next(iter(finished.result.state.records.items()))
    file = checkpoints(trial_folder(finished.result.folder, name))[0]
    assert record.status == Status.COMPLETED
    with pytest.raises(CheckpointError, match="has 2 replicates, numbered from 0; there is no replicate 2"):
        load_generator(record.trial.config, file, 2)
    (tmp_path / "cut.pt").write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        load_generator(record.trial.config, tmp_path / "cut.pt", 0)
