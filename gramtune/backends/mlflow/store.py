"""MLflow's stores: addresses, safe creation, and translation of errors. Imports MLflow only when needed."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from gramtune.errors import Issue, SpecError
from gramtune.io import user_path
from gramtune.record.redaction import redact
from gramtune.record.tracker import TrackerUnavailable

EXPERIMENT = "gramtune"
"""Name of the MLflow experiment that holds all sweeps."""
TIMEOUT = 10
"""Seconds that one request to a server may take; MLFLOW_HTTP_REQUEST_TIMEOUT overrides it."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # hides MLflow's tracebacks; gramtune reports every error in one line
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # creating a run is not idempotent: the tracker looks before it retries
}
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold absolute file paths."""
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_GONE = "RESOURCE_DOES_NOT_EXIST"
_REJECTED = "INVALID_PARAMETER_VALUE"
_LOCK_SECONDS = 60.0
_REASONS = {
    "connection refused": "connection refused",
    "timed out": "no answer in time",
    "name or service not known": "unknown host",
    "failed to resolve": "unknown host",
    "database is locked": "the database is locked",
    "disk is full": "the disk is full",
    "no space left": "the disk is full",
    "error code 401": "it refuses these credentials (MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN)",
    "error code 403": "these credentials may not write there",
    "permission_denied": "these credentials may not write there",
    "password authentication failed": "it refuses this user or password",
}


class Rejected(ValueError):
    """MLflow rejects this value; a retry would fail too."""


class RunGone(LookupError):
    """A run or experiment was deleted from the store."""


def default_uri(runs: Path) -> str:
    """The embedded store of a folder of sweeps: SQLite under `runs`/.mlflow."""
    return f"sqlite:///{runs.absolute() / '.mlflow' / 'mlflow.db'}"


def found_stores(start: Path) -> list[Path]:
    """Folders of sweeps with an embedded store: `start`, its subfolders, then parent folders; nearest first."""
    children = sorted(folder for folder in start.iterdir() if folder.is_dir())
    around = [runs for place in start.parents for runs in (place, place / "runs")]
    candidates = dict.fromkeys((start, start / "runs", *children, *around))
    return [runs for runs in candidates if _exists(runs / ".mlflow" / "mlflow.db")]


def checked_uri(uri: str) -> str:
    """The tracking URI with a relative SQLite path made absolute. Raises SpecError for what cannot hold a sweep."""
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme == "sqlite":
        path = uri.partition(":///")[2]
        if not path or path == ":memory:" or "?" in path:
            raise _issue(f"{uri!r} should name a file, without ?; for example sqlite:////data/mlflow.db")
        return f"sqlite:///{user_path(path).absolute()}"
    if scheme not in ("http", "https", *_DATABASES):
        legal = ", ".join(f"{name}://" for name in ("http", "https", *_DATABASES))
        raise _issue(f"{redact(uri)!r} has an unknown scheme; legal: {legal}")
    return uri.rstrip("/")


def is_server(uri: str) -> bool:
    """Whether the URI is a tracking server's, not a database's."""
    return uri.startswith(("http://", "https://"))


def database_file(uri: str) -> Path | None:
    """The file of a (checked) SQLite URI."""
    return Path(uri.partition(":///")[2]) if uri.startswith("sqlite") else None


def artifact_root(uri: str, runs: Path) -> Path | None:
    """Folder for the files of a database store: beside an SQLite file, else under `runs`; None for a server."""
    if is_server(uri):
        return None
    file = database_file(uri)
    return (file.parent if file else runs.absolute() / ".mlflow") / "artifacts"


def runs_url(base: str, experiment_id: str, view: str | None = None) -> str:
    """Page of the experiment's runs in MLflow's web interface, or of a view that is saved there."""
    page = f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return page if view is None else f"{page}&viewStateShareKey={view}"


def quiet_environment() -> None:
    """Configures MLflow for this process and its children: no output, no telemetry, no retries."""
    os.environ.update(QUIET)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT))
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def connect(uri: str) -> Any:
    """An MlflowClient for the store; creates a new SQLite store first. Raises TrackerUnavailable."""
    quiet_environment()
    with translated(uri):
        ensure_store(uri)
        return _client(uri)


def ensure_store(uri: str) -> None:
    """Creates the tables of a new SQLite store (2 to 7 s), and updates the paths in one that was moved. Raises OSError.

    A no-op for any other store. MLflow's migrations are not safe against a second process or a kill. So one process at
    a time migrates a temporary file, which gets its name when it is complete.
    """
    file = database_file(uri)
    if file is None:
        return
    if _exists(file):
        _relocate(file)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    quiet_environment()
    with FileLock(file.with_name(f"{file.name}.init.lock"), timeout=60):
        if not _exists(file):
            partial = file.with_name(f"{file.name}.partial")
            partial.unlink(missing_ok=True)
            _client(f"sqlite:///{partial}").search_experiments(max_results=1)
            partial.replace(file)


def _relocate(file: Path) -> None:
    """Updates the absolute paths in MLflow's database after the store was moved or copied with its files.

    Otherwise MLflow would recreate the old folder and write new files to it. Raises OSError.
    """
    ours = (file.parent / "artifacts").as_uri()
    try:
        with closing(sqlite3.connect(file, timeout=_LOCK_SECONDS)) as database, database:
            query = "SELECT artifact_location FROM experiments WHERE name = ?"
            location = next((row[0] for row in database.execute(query, [EXPERIMENT])), f"{ours}/{EXPERIMENT}")
            theirs = location.removesuffix(f"/{EXPERIMENT}")
            if theirs == ours or not theirs.startswith("file:///") or not theirs.endswith("/artifacts"):
                return
            if not (file.parent / "artifacts" / EXPERIMENT).is_dir():  # the files are elsewhere on purpose
                return
            for table, column in _PLACES:
                update = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} LIKE ? || '/%'"
                database.execute(update, [ours, len(theirs) + 1, theirs])
    except sqlite3.Error as error:
        raise OSError(f"{file}: {error}") from error


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Raises TrackerUnavailable, Rejected or RunGone for errors of MLflow, its database or the network."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, *_database_errors(uri), OSError, ImportError) as error:
        code = getattr(error, "error_code", "")
        message = _one_line(error, uri)
        if code == _GONE or (code == _REJECTED and "must be in the 'active' state" in str(error)):
            raise RunGone(message) from error
        if code == _REJECTED:
            raise Rejected(message) from error
        raise TrackerUnavailable(f"MLflow at {redact(uri)}: {message}") from error


def _issue(message: str) -> SpecError:
    return SpecError([Issue("--tracking-uri", message)])


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _database_errors(uri: str) -> tuple[type[Exception], ...]:
    if is_server(uri):
        return ()
    from sqlalchemy.exc import SQLAlchemyError

    return (SQLAlchemyError,)


def _exists(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _one_line(error: Exception, uri: str) -> str:
    told = re.split(r"\[SQL:|\(Background on this error", str(error))[0]
    text = " ".join(told.split()) or type(error).__name__
    known = next((reason for sign, reason in _REASONS.items() if sign in text.lower()), None)
    return known or redact(text, uri)[:200]
