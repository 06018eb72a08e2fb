"""Where a sweep is kept: in a folder on a disk, or in an object store (S3, GCS, whatever pyarrow opens by a URI).

Trials rename files, and the journal is appended to; an object store supports neither. Every process therefore works in
a local folder, which `io.local_runs` creates and marks with the URI, and uploads from it: a trial's files after each
report, before the driver sees the report; each event of the journal, as its own object, before the sweep continues.
So everything that was reported is in the store, and the sweep can resume on any machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from pyarrow import fs

from gramtune.io import DiskFull, remote_runs, write_atomically
from gramtune.record.redaction import redact

JOURNAL = "journal.jsonl"
_EVENTS = "journal.d"
"""Folder of the events since the last upload of the whole journal: one object each, ordered by name."""


class StoreLost(DiskFull):
    """The object store does not answer. As with a full disk, the sweep halts and can be resumed."""


class RunStore(Protocol):
    """Where a sweep is kept. Every process works in `folder`. The methods raise StoreLost."""

    @property
    def folder(self) -> Path:
        """The local folder of the sweep."""

    @property
    def runs(self) -> str | None:
        """The URI of the object store's folder of all sweeps; None where the folder itself is the store."""

    @property
    def uri(self) -> str:
        """The sweep's URI in the object store, or the path of its folder."""

    def pull(self, below: str = "") -> None:
        """Downloads what is new below that folder."""

    def push(self, below: str = "", without: tuple[str, ...] = ()) -> None:
        """Uploads what is new below that folder."""

    def append(self, event: str) -> None:
        """Stores a line of the journal, which is in the local file already."""

    def store_journal(self) -> None:
        """Stores the whole journal."""


@dataclass(frozen=True)
class LocalStore:
    """A folder on a disk, which is the store itself: nothing is copied."""

    folder: Path
    runs: None = None

    @property
    def uri(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    def pull(self, below: str = "") -> None:
        """Nothing to download."""

    def push(self, below: str = "", without: tuple[str, ...] = ()) -> None:
        """Nothing to upload."""

    def append(self, event: str) -> None:
        """The line is in the file already."""

    def store_journal(self) -> None:
        """The journal is in the folder already."""


def store_of(folder: Path) -> RunStore:
    """The store of a sweep's folder, found by the mark of `io.local_runs`: once, where a command or a worker begins."""
    runs = remote_runs(folder.parent)
    return Mirror(runs, folder) if runs else LocalStore(folder)


class Mirror:
    """A sweep in an object store, with its local copy. It is opened when it is first used."""

    def __init__(self, runs: str, folder: Path) -> None:
        self.runs, self.folder, parts = runs, folder, urlsplit(runs)
        self.uri = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{folder.name}"))

    @cached_property
    def _opened(self) -> tuple[fs.FileSystem, str]:
        store, base = fs.FileSystem.from_uri(self.uri)
        return store, base

    @property
    def _store(self) -> fs.FileSystem:
        return self._opened[0]

    @property
    def _base(self) -> str:
        return self._opened[1]

    def pull(self, below: str = "") -> None:
        """Downloads new objects below that folder; merges the journal with its events. Deletes nothing."""
        with self._answering():
            found = {path: info for path, info in self._stored(below) if not path.startswith((JOURNAL, _EVENTS))}
            for path, info in found.items():
                if _signature(self.folder / path) != (info.size, info.mtime_ns):
                    self._fetch(path, info)
            if not below:
                self._pull_journal()

    def push(self, below: str = "", without: tuple[str, ...] = ()) -> None:
        """Uploads new local files; at the end deletes checkpoints from the store that were deleted locally."""
        with self._answering():
            stored = dict(self._stored(below))
            local = self.folder / below
            files = {str(p.relative_to(self.folder)): p for p in sorted(local.rglob("*")) if p.is_file()}
            for path, file in files.items():
                there = stored.get(path)
                skipped = path.startswith((JOURNAL, *without)) or file.name.startswith(".")
                if not skipped and (there is None or _signature(file) != (there.size, there.mtime_ns)):
                    self._send(path, file)
            for path in stored:
                if path not in files and Path(path).match("*-[0-9]*.pt"):
                    self._store.delete_file(f"{self._base}/{path}")

    def append(self, event: str) -> None:
        """Stores a line of the journal."""
        with self._answering():
            self._write(f"{_EVENTS}/{time.time_ns():020d}.json", event.encode())

    def store_journal(self) -> None:
        """Stores the whole journal and deletes its single events."""
        with self._answering():
            events = [path for path, _ in self._stored(_EVENTS)]
            self._write(JOURNAL, (self.folder / JOURNAL).read_bytes())
            for path in events:  # an event that could not be deleted is harmless: it repeats a line of the journal
                self._store.delete_file(f"{self._base}/{path}")

    def write(self, name: str, text: str) -> None:
        """Writes a text as an object."""
        with self._answering():
            self._write(name, text.encode())

    def read(self, name: str) -> str:
        """The text of an object."""
        with self._answering():
            return self._read(name).decode()

    def clear(self) -> None:
        """Deletes every object of the folder."""
        with self._answering():
            for path, _ in list(self._stored("")):
                self._store.delete_file(f"{self._base}/{path}")
            if self._store.type_name == "local":
                self._store.delete_dir(self._base)

    def _pull_journal(self) -> None:
        """Keeps the longer journal: the local one can have one more event, if its upload failed."""
        events = sorted(path for path, _ in self._stored(_EVENTS))
        whole = [JOURNAL] if any(path == JOURNAL for path, _ in self._stored("")) else []
        text = b"".join(self._read(path) for path in [*whole, *events])
        local = self.folder / JOURNAL
        if text and (not local.exists() or local.stat().st_size < len(text)):
            local.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(local, lambda temporary: temporary.write_bytes(text))

    def _stored(self, below: str) -> Iterator[tuple[str, fs.FileInfo]]:
        """Path in the sweep's folder, and size and time, of every object below."""
        selector = fs.FileSelector(f"{self._base}/{below}".rstrip("/"), allow_not_found=True, recursive=True)
        for info in self._store.get_file_info(selector):
            if info.type == fs.FileType.File:
                yield info.path.removeprefix(f"{self._base}/"), info

    def _fetch(self, path: str, info: fs.FileInfo) -> None:
        file, content = self.folder / path, self._read(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda temporary: temporary.write_bytes(content))
        os.utime(file, ns=(info.mtime_ns, info.mtime_ns))

    def _send(self, path: str, file: Path) -> None:
        try:
            content = file.read_bytes()
        except FileNotFoundError:  # an older checkpoint, or a temporary file of another process
            return
        self._write(path, content)
        there = self._store.get_file_info(f"{self._base}/{path}")
        os.utime(file, ns=(there.mtime_ns, there.mtime_ns))

    def _read(self, path: str) -> bytes:
        with self._store.open_input_stream(f"{self._base}/{path}") as stream:
            content: bytes = stream.read()
            return content

    def _write(self, path: str, content: bytes) -> None:
        target = f"{self._base}/{path}"
        if self._store.type_name == "local":  # object stores have no folders
            self._store.create_dir(target.rpartition("/")[0], recursive=True)
        with self._store.open_output_stream(target) as stream:
            stream.write(content)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except StoreLost:
            raise
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid, of a URI that it cannot read, is a ValueError
            first = redact(next(iter(str(error).splitlines()), type(error).__name__), self.uri)
            where = redact(urlunsplit(urlsplit(self.uri)._replace(query="")))
            raise StoreLost(f"{where} cannot be read or written: {first[:200]}") from error


def _signature(file: Path) -> tuple[int, int] | None:
    """Size and modification time, which copies keep; None if the file is missing."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns
