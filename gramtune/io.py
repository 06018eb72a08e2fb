"""Folders of data, weights and results, and atomic writes."""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from gramtune.errors import Issue, SpecError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NEARLY_NOTHING = 1 << 20


class DiskFull(OSError):
    """The disk is full. The message is one line; files written before are intact."""


def data_root() -> Path:
    """Folder of data sets and feature weights: $GRAMTUNE_DATA, else ~/.cache/gramtune."""
    return cached("GRAMTUNE_DATA", "gramtune").absolute()


def user_path(text: Path | str) -> Path:
    """A path as a user writes it. `~` is the home folder: shells expand it in neither `--runs=~/runs` nor a variable.

    `.` and `..` become absolute: a sweep is known by the name of its folder, and its store lies beside that.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # an account without a home, or `~nobody`
        path = Path(text)
    return Path(os.path.abspath(path)) if path.name in ("", "..") else path


def cached(variable: str, name: str) -> Path:
    """A cache folder: the value of the variable, else ~/.cache/`name`.

    An account without a writable home gets a folder of its own in the temporary folder.
    """
    if chosen := os.environ.get(variable):
        return user_path(chosen)
    home = user_path("~/.cache")
    if home.is_absolute() and _writable(home):
        return home / name
    return Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"


def ensure_home() -> None:
    """Gives an account without a home, or without a name, what libraries ask for; those that this process starts too.

    `docker -u 1234` has neither. MLflow, matplotlib and Ray fail there, or complain. A home that cannot be written
    remains, since credentials may be read from it; matplotlib's cache goes elsewhere.
    """
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            os.environ["LOGNAME"] = f"user-{os.getuid()}"
    if not os.environ.get("HOME"):
        os.environ.pop("HOME", None)  # Python takes an empty one for the root folder
    try:
        home = Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_own_scratch())
        return
    if not _writable(home) and "MPLCONFIGDIR" not in os.environ:
        os.environ["MPLCONFIGDIR"] = str(_own_scratch())


def _own_scratch() -> Path:
    """A temporary folder of this user alone, the same at every call where nobody else has taken its name."""
    folder = Path(tempfile.gettempdir()) / f"gramtune-home-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return folder if folder.stat().st_uid == os.getuid() else Path(tempfile.mkdtemp(prefix="gramtune-home-"))


def _writable(folder: Path) -> bool:
    """Whether files can be made in the folder, which itself may have to be made."""
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))  # False where it may not look
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


MARK = ".remote"
"""File in a folder that is the local copy of sweeps in an object store. It holds their URI."""


def local_runs(runs: Path | str) -> Path:
    """The local folder of a folder of sweeps: the folder itself, or a local copy for a URI such as s3://bucket/runs.

    Raises SpecError for a URI that names no place.
    """
    if "://" not in str(runs):
        return user_path(runs)
    check_uri(str(runs), "--runs")
    uri = str(runs).rstrip("/")
    folder = cached("GRAMTUNE_SCRATCH", "gramtune-runs").absolute() / hashlib.sha256(uri.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MARK).exists():
        write_atomically(folder / MARK, lambda temporary: temporary.write_text(uri, encoding="utf-8"))
    return folder


def check_uri(uri: str, where: str) -> None:
    """Raises SpecError at `where` unless the URI names a bucket or host, or a local path."""
    legal = "legal: s3://bucket/folder, gs://bucket/folder"
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise SpecError([Issue(where, f"{uri!r} is not a URI: {error}; {legal}")]) from None
    if not parts.netloc and not (parts.scheme == "file" and parts.path.strip("/")):
        raise SpecError([Issue(where, f"{uri!r} names no bucket; {legal}")])


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
