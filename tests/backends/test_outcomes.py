"""Acceptance (e): pruned, diverged and failed trials of one real sweep agree in Optuna, MLflow and the tables."""

import math

import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sweeps import write_space

from gramtune.api import run_sweep
from gramtune.backends.mlflow.store import default_uri
from gramtune.backends.optuna.search import STUDY_FILE

METRIC = "sliced_wasserstein"
RING = f"""\
data: {{name: ring, n_train: 500, n_held_out: 300}}
objective: {{name: mmd_net, bandwidths: [1]}}
network: {{name: mlp, noise_dim: 2, hidden: [8], critic_hidden: [8]}}
optimizer: {{name: adam, learning_rate: 1e-3}}
training: {{batch_size: 32, steps: 80, eval_every: 40, eval_samples: 200}}
metrics: [{METRIC}]
metric: {METRIC}
"""
SPACE = """\
name: axis
base: base/tiny.yaml
space:
  optimizer.learning_rate: {loguniform: [1e-9, 1e25]}
  training.batch_size: {choice: [32, 100000000000000]}     # no machine has the memory
replicates: 2
search:
  name: tpe
  samples: 4
  points:
    - {optimizer.learning_rate: 1e-2, training.batch_size: 32}
    - {optimizer.learning_rate: 1e-9, training.batch_size: 32}
    - {optimizer.learning_rate: 1e25, training.batch_size: 32}
    - {optimizer.learning_rate: 1e-3, training.batch_size: 100000000000000}
pruner: {min_steps: 40, min_trials: 2}
resources: {cpu: 1, retries: 0}
"""
EXPECTED = ["COMPLETED", "PRUNED", "DIVERGED", "FAILED"]
OPTUNA = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL]  # diverged: with a penalty
MLFLOW = ["FINISHED", "FINISHED", "FINISHED", "FAILED"]


@pytest.fixture(scope="module")
def result(local_ray, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcomes")
    path = write_space(folder, SPACE, RING)
    return run_sweep(path, folder / "runs", max_concurrent=1, say=lambda line: None)


def test_our_tables_tell_each_outcome(result):
    trials = pd.read_parquet(result.folder / "trials.parquet")
    assert list(trials["status"]) == EXPECTED
    assert list(trials["steps"]) == [80, 40, 40, 0]
    reasons = list(trials["reason"])
    assert reasons[0] == ""
    assert reasons[1].startswith(f"asha at step 40: {METRIC} ")
    assert reasons[2].startswith("2 of 2 replicates diverged; replicate 0: ")
    assert "memory" in reasons[3]
    assert "4 trials: 1 COMPLETED, 1 PRUNED, 1 DIVERGED, 1 FAILED" in (result.folder / "summary.txt").read_text()


def test_optuna_tells_the_same(result):
    storage = JournalStorage(JournalFileBackend(str(result.folder / STUDY_FILE)))
    stored = optuna.load_study(study_name="axis", storage=storage)
    records = list(result.state.records.values())
    assert [trial.state for trial in stored.trials] == OPTUNA
    assert [trial.user_attrs["status"] for trial in stored.trials] == EXPECTED
    assert [trial.user_attrs["reason"] for trial in stored.trials] == [record.reason for record in records]
    for trial, record in zip(stored.trials, records, strict=True):
        means = {step: report_mean(report) for step, report in record.reports.items() if report_mean(report)}
        assert trial.intermediate_values == means
    complete, pruned, diverged, failed = stored.trials
    assert complete.value == records[0].summary(METRIC).mean
    assert list(pruned.intermediate_values) == [0, 40]
    assert pruned.value == pruned.intermediate_values[40]  # Optuna's own rule for PRUNED; never a best trial
    assert diverged.value > complete.value  # a penalty, for the sampler alone
    assert failed.values is None
    assert stored.best_trial.number == 0


def test_mlflow_tells_the_same(result):
    client = MlflowClient(tracking_uri=default_uri(result.folder.parent))
    experiment = client.get_experiment_by_name("gramtune")
    found = client.search_runs([experiment.experiment_id])
    runs = {run.data.tags.get("gramtune.trial_id"): run for run in found}
    records = result.state.records
    assert [runs[name].info.status for name in records] == MLFLOW
    assert [runs[name].data.tags["gramtune.status"] for name in records] == EXPECTED
    for name, record in records.items():
        assert runs[name].data.tags.get("gramtune.reason", "") == record.reason
        values = {step: report_mean(r) for step, r in sorted(record.reports.items()) if report_mean(r) is not None}
        told = {point.step: point.value for point in client.get_metric_history(runs[name].info.run_id, METRIC)}
        assert told == values
        assert all(math.isfinite(value) for value in runs[name].data.metrics.values())


def report_mean(report):
    known = [value for value in report.metrics.get(METRIC, []) if value is not None]
    return sum(known) / len(known) if known else None
