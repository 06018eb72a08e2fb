"""Makes the C library's allocator keep memory that one training step frees for the next step."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # that glibc accepts
_TRIM_BYTES = 1 << 30
_CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Makes glibc keep up to 1 GiB of freed memory in this process; returns whether that worked. Idempotent.

    By default glibc returns each large block to the system when a tensor is freed, and gets zeroed pages back for the
    same tensor of the next step. That takes a sixth to a half of a step on a CPU (docs/performance.md). A no-op without
    glibc, and if the user chose an allocator or its settings.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version") or any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)) and bool(
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    )
