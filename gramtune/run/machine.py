"""Finds how many CPUs and how much memory this process may use, for Ray, threads, dry run and doctor.

The result is the minimum of its CPU affinity, its control groups (versions 1 and 2, up to the root) and Slurm. A
container, a batch job or a systemd unit may use less than the machine has, and Python and Ray do not see all limits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc")
"""Where Linux describes processes and memory."""


def cores() -> int:
    """Number of CPU cores that this process may use, rounded down, at least one."""
    limits = [float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    limits += _quotas()
    if slurm := os.environ.get("SLURM_CPUS_ON_NODE", ""):  # Slurm may not bind a job to its CPUs
        limits += [float(slurm)] if slurm.isdecimal() else []
    return max(1, int(min(limits)))


def memory_limit() -> int | None:
    """Bytes that this process and all others in its control group may use; None without a limit."""
    total = _total_memory()
    limits = [limit for limit, _ in _memory_groups() if limit < total]
    if (slurm := os.environ.get("SLURM_MEM_PER_NODE", "")).isdecimal() and int(slurm):  # megabytes; 0 means all
        limits += [int(slurm) << 20]
    return min(limits, default=None)


def free_memory() -> int:
    """Bytes that new processes can use without swapping, according to Linux and the control groups."""
    available = _meminfo("MemAvailable:")
    found = [_total_memory() if available is None else available]
    found += [max(0, limit - used) for limit, used in _memory_groups()]
    return min(found)


def _quotas() -> Iterator[float]:
    """Number of CPUs that each limited control group allows."""
    for folder in _groups("cpu"):
        if numbers := _numbers(folder / "cpu.max"):  # `50000 100000`, or `max 100000`
            yield from [numbers[0] / numbers[1]] if len(numbers) == 2 else []
        else:
            quota, period = _numbers(folder / "cpu.cfs_quota_us"), _numbers(folder / "cpu.cfs_period_us")
            yield from [quota[0] / period[0]] if quota and period and quota[0] > 0 else []


def _memory_groups() -> Iterator[tuple[int, int]]:
    """Limit and use in bytes of each limited control group; the page cache does not count as used."""
    for folder in _groups("memory"):
        for limit_file, used_file, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _numbers(folder / limit_file), _numbers(folder / used_file)
            if limit and used:
                yield limit[0], used[0] - _labelled(folder / "memory.stat", cache)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, its own first, that may hold the controller's files."""
    for line in _lines(PROC / "self" / "mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split()[-1].split(",")):
            root, mount = before.split()[3:5]
            path = _path(controller if kind == "cgroup" else "")
            # A container sees its own group at the mount point, not at its path on the host.
            inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
            yield from (Path(mount) / part for part in (inside, *inside.parents))


def _path(controller: str) -> PurePosixPath:
    """This process's own group, from a line `4:cpu,cpuacct:/path`, or `0::/path` (version 2, without a controller)."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return PurePosixPath(path)
    return PurePosixPath("/")


def _total_memory() -> int:
    total = _meminfo("MemTotal:")
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if total is None else total


def _meminfo(label: str) -> int | None:
    return next((int(line.split()[1]) << 10 for line in _lines(PROC / "meminfo") if line.startswith(label)), None)


def _labelled(file: Path, label: str) -> int:
    return next((int(line.split()[1]) for line in _lines(file) if line.split()[:1] == [label]), 0)


def _numbers(file: Path) -> list[int]:
    """The numbers in a file; empty if the file is missing or contains `max`."""
    words = " ".join(_lines(file)).split()
    return [int(word) for word in words] if all(word.lstrip("-").isdecimal() for word in words) else []


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
