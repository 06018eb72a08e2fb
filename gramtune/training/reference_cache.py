"""Caches statistics of the held-out data for metrics: computed once per machine, then read from files.

The files are safetensors under the data root. A damaged file is recomputed. Concurrent processes wait for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gramtune.io import write_atomically

FOLDER = "references"
"""Folder of the cache under the data root; safe to delete."""


def cached(path: Path, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns what `compute` returns; reads it from `path` if an earlier call of any process wrote it there.

    Recomputes every time if the folder is not writable: a cache must not make a trial fail.
    """
    with suppress(OSError, SafetensorError):  # absent or damaged
        return load_file(path)
    with _locked(path.with_suffix(".lock")):
        with suppress(OSError, SafetensorError):  # another process wrote it first
            return load_file(path)
        tensors = dict(compute())
        with suppress(OSError, SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            write_atomically(path, lambda temporary: save_file(content, temporary))
        return tensors


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a file lock, which the system releases when the process ends. No lock if the folder is not writable."""
    lock = FileLock(path)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
