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
    """The path that a user wrote, with `~` expanded: shells expand it neither in `--runs=~/runs` nor in variables.

    `.` and `..` become absolute, because the sweep's name is the name of its folder, and its store is beside it.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # an account without a home, or `~nobody`
        path = Path(text)
    return Path(os.path.abspath(path)) if path.name in ("", "..") else path


def cached(variable: str, name: str) -> Path:
    """A cache folder: the value of the variable, else ~/.cache/`name`.

    An account without a writable home gets its own folder in the temporary folder.
    """
    if chosen := os.environ.get(variable):
        return user_path(chosen)
    home = user_path("~/.cache")
    if home.is_absolute() and _writable(home):
        return home / name
    return Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"


def ensure_home() -> None:
    """Sets LOGNAME, HOME and MPLCONFIGDIR for accounts without a name or home, also for child processes.

    With `docker -u 1234` an account has neither, and MLflow, matplotlib and Ray fail or warn. A home that is not
    writable is kept, because credentials may be read from it; only matplotlib's cache moves.
    """
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            os.environ["LOGNAME"] = f"user-{os.getuid()}"
    if not os.environ.get("HOME"):
        os.environ.pop("HOME", None)  # Python treats an empty HOME as the root folder
    try:
        home = Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_own_scratch())
        return
    if not _writable(home) and "MPLCONFIGDIR" not in os.environ:
        os.environ["MPLCONFIGDIR"] = str(_own_scratch())


def _own_scratch() -> Path:
    """A temporary folder owned by this user; the same at every call unless another user has taken its name."""
    folder = Path(tempfile.gettempdir()) / f"gramtune-home-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return folder if folder.stat().st_uid == os.getuid() else Path(tempfile.mkdtemp(prefix="gramtune-home-"))


def _writable(folder: Path) -> bool:
    """Whether files can be created in the folder, which may not exist yet."""
    there = next(
        place for place in (folder, *folder.parents) if os.path.exists(place)
    )  # exists() is False in a folder without permission
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


MARK = ".remote"
"""Name of a file that marks a folder as the local copy of an object store. The file holds the store's URI."""


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
    """The URI of the object store that this folder is a local copy of; None for an ordinary folder."""
    return (runs / MARK).read_text(encoding="utf-8") if (runs / MARK).is_file() else None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary path beside `path`, then renames the file to `path`.

    Devices such as /dev/null are written to directly.

    Raises DiskFull if the disk is full, otherwise whatever `write` raises.
    """
    if path.is_char_device() or path.is_fifo():
        write(path)
        return
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with watching_space(path.parent):
            write(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def each(what: str, say: Callable[[str], object]) -> Iterator[None]:
    """Runs one of several independent parts: a failure prints one line, and the other parts still run.

    Raises DiskFull, because the other parts would fail too.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:  # noqa: BLE001 - data, files, fonts and libraries can raise anything
        say(f"{what} failed: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}")


def command(*words: object) -> str:
    """A gramtune command for the user to copy, quoted for the shell where necessary."""
    return shlex.join(["gramtune", *map(str, words)])


@contextmanager
def watching_space(folder: Path) -> Iterator[None]:
    """Turns errors caused by a full disk into DiskFull; torch, for example, raises RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno in _FULL
        if full or (isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < _NEARLY_NOTHING):
            raise DiskFull(f"no space left on the disk that holds {folder}") from error
        raise
