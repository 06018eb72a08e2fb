"""Reads MLflow stores with MLflow's own client, and checks that everything is stored exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient

from gramtune.backends.mlflow.run_contents import report_points
from gramtune.record.state import SweepState

COLUMNS = ["trial", "replicate", "step", "metric", "value"]


def stored(uri: str) -> tuple[Any, dict[str, Any]]:
    """The sweep's run and the runs of its trials by name."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("gramtune")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = {run.data.tags["gramtune.trial_id"]: run for run in runs if run is not parents[0]}
    assert len(children) == len(runs) - 1, "a trial is there twice"
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} <= {parents[0].info.run_id}
    return parents[0], children


def history(uri: str, run: Any, key: str) -> list[tuple[int, float]]:
    """(step, value) of every stored point."""
    points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, key)
    return [(point.step, point.value) for point in points]


def assert_exactly_once(uri: str, state: SweepState) -> None:
    """Every value of every report is in the store, once, and nothing else is."""
    _, children = stored(uri)
    reported = {name: record for name, record in state.records.items() if record.reports}
    assert reported
    assert set(children) == set(reported)
    for name, record in reported.items():
        points = [point for report in record.reports.values() for point in report_points(report)]
        assert set(children[name].data.metrics) == {point.key for point in points}
        for key in children[name].data.metrics:
            expected = [(point.step, point.value) for point in points if point.key == key]
            assert history(uri, children[name], key) == expected, (name, key)


def artifacts(uri: str, run: Any, folder: str | None = None) -> set[str]:
    files = MlflowClient(tracking_uri=uri).list_artifacts(run.info.run_id, folder)
    return {Path(file.path).name for file in files}


def content(uri: str, run: Any, path: str, target: Path) -> bytes:
    return Path(MlflowClient(tracking_uri=uri).download_artifacts(run.info.run_id, path, str(target))).read_bytes()


def replicate_values(uri: str, metrics: list[str]) -> pd.DataFrame:
    """Every stored point of every replicate, in the rows and columns of results.parquet."""
    rows = [
        (name, int(replicate.removeprefix("replicate_")), step, metric, value)
        for name, run in stored(uri)[1].items()
        for key in run.data.metrics
        for metric, _, replicate in [key.rpartition("/")]
        if metric in metrics
        for step, value in history(uri, run, key)
    ]
    return in_order(pd.DataFrame(rows, columns=COLUMNS))


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that both have, rows sorted: for an exact comparison."""
    return frame[COLUMNS].sort_values(COLUMNS[:-1]).reset_index(drop=True).astype({"trial": "str", "metric": "str"})
