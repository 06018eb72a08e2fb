"""Folders of data, weights and results, and atomic writes."""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NEARLY_NOTHING = 1 << 20


class DiskFull(OSError):
    """The disk is full. The message is one line; files written before are intact."""


def data_root() -> Path:
    """Folder of data sets and feature weights: $GRAMTUNE_DATA, else ~/.cache/gramtune."""
    return Path(os.environ.get("GRAMTUNE_DATA") or "~/.cache/gramtune").expanduser().absolute()


MARK = ".remote"
"""File in a folder that is the local copy of sweeps in an object store. It holds their URI."""


def local_runs(runs: Path | str) -> Path:
    """The local folder of a folder of sweeps: the folder itself, or a local copy for a URI such as s3://bucket/runs."""
    if "://" not in str(runs):
        return Path(runs)
    uri = str(runs).rstrip("/")
    scratch = Path(os.environ.get("GRAMTUNE_SCRATCH") or "~/.cache/gramtune-runs").expanduser().absolute()
    folder = scratch / hashlib.sha256(uri.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MARK).exists():
        write_atomically(folder / MARK, lambda temporary: temporary.write_text(uri, encoding="utf-8"))
    return folder


def remote_runs(runs: Path) -> str | None:
    """The URI whose local copy this folder is; None for an ordinary folder."""
    return (runs / MARK).read_text(encoding="utf-8") if (runs / MARK).is_file() else None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name beside `path`, then renames it into place.

    Raises DiskFull where there is no space, otherwise what `write` raises.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with watching_space(path.parent):
            write(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def each(what: str, say: Callable[[str], object]) -> Iterator[None]:
    """One of several parts, the failure of which is a line and no reason to leave out the others.

    Raises DiskFull, of which the others would die too.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:  # noqa: BLE001 - data, files, fonts and libraries may be wrong in any way
        say(f"{what} failed: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}")


def command(*words: object) -> str:
    """A command of gramtune for the user to copy, quoted where the shell would read a word in another way."""
    return shlex.join(["gramtune", *map(str, words)])


@contextmanager
def watching_space(folder: Path) -> Iterator[None]:
    """Raises DiskFull instead of an error that a full disk causes; torch, for example, raises RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno in _FULL
        if full or (isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < _NEARLY_NOTHING):
            raise DiskFull(f"no space left on the disk that holds {folder}") from error
        raise
