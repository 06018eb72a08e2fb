"""Runs sweeps whose folder is in an object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from gramtune.errors import Issue, SpecError
from gramtune.io import check_uri, local_runs, user_path
from gramtune.record.object_store import RunStore, StoreLost, store_of
from gramtune.record.state import SweepState
from gramtune.record.tracker import Tracker, TrackerUnavailable, no_pause
from gramtune.run.driver import Driver
from gramtune.space.sweep import Sweep

_TRIALS = "trials/"
"""Folder whose files the trials upload themselves."""


def local_sweep(folder: Path | str) -> Path:
    """The local folder of a sweep: the folder itself, or a local copy for a URI.

    Raises SpecError if the store cannot be read.
    """
    if "://" not in str(folder):
        return fetched(user_path(folder))
    check_uri(str(folder), "FOLDER")
    parts = urlsplit(str(folder))
    path, _, name = parts.path.rstrip("/").rpartition("/")
    return fetched(local_runs(urlunsplit(parts._replace(path=path))) / name)


def fetched(folder: Path) -> Path:
    """The folder; if it is the local copy of an object store, it is downloaded first. Raises SpecError."""
    try:
        store_of(folder).pull()
    except StoreLost as error:
        raise SpecError([Issue("--runs", str(error))]) from None
    return folder


def check_mirrored(sweep: Sweep, store: RunStore) -> None:
    """Raises SpecError for features that an object store does not support."""
    if store.runs and sweep.is_population:
        rule = "population-based training copies files between trials, so it needs a folder that all nodes share"
        raise SpecError([Issue("--runs", f"{rule}, not an object store")])


class MirroredTracker:
    """A tracker for a sweep in an object store: downloads the trials' files before it stores them."""

    def __init__(self, tracker: Tracker, store: RunStore) -> None:
        self._tracker, self._store = tracker, store

    @property
    def stored(self) -> int:
        """See `Tracker`."""
        return self._tracker.stored

    @property
    def link(self) -> str:
        """See `Tracker`."""
        return self._tracker.link

    @property
    def remedy(self) -> str:
        """See `Tracker`."""
        return self._tracker.remedy

    def sync(self, state: SweepState, rest: Callable[[], None] = no_pause) -> None:
        """See `Tracker`."""
        self._pull()
        self._tracker.sync(state, rest)

    def settle(self, state: SweepState) -> None:
        """See `Tracker`."""
        self._pull()
        self._tracker.settle(state)

    def finish(self, state: SweepState, folder: Path) -> None:
        """See `Tracker`."""
        self._pull()
        self._tracker.finish(state, folder)

    def _pull(self) -> None:
        try:
            self._store.pull("trials")
        except StoreLost as error:
            raise TrackerUnavailable(str(error)) from error


def store_first(store: RunStore) -> None:
    """Uploads the files of a sweep before it starts. Raises SpecError if the store does not answer."""
    try:
        store.push(without=(_TRIALS,))
    except StoreLost as error:
        raise SpecError([Issue("--runs", str(error))]) from None


def fetch_trials(driver: Driver) -> None:
    """Downloads the trials' files; halts the driver if the store does not answer."""
    try:
        driver.store.pull(_TRIALS)
    except StoreLost as error:
        driver.halt(str(error))


def store_tables(driver: Driver) -> None:
    """Uploads everything except the trials' files; halts the driver if the store does not answer."""
    try:
        driver.store.push(without=(_TRIALS,))
    except StoreLost as error:
        driver.halt(str(error))
