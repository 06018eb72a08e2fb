"""How many CPUs and how much memory this process may use: found here, once, for Ray, threads, dry run and doctor.

The least of what its CPU affinity, its control groups (versions 1 and 2, from its own up to the root) and Slurm allow.
A container, a batch job or a systemd unit may use less than the machine has, and Python and Ray do not see all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc")
"""Where Linux describes processes and memory."""


def cores() -> int:
    """CPU cores that this process may use: whole ones, as a trial asks for them, and at least one."""
    limits = [float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    limits += _quotas()
    if slurm := os.environ.get("SLURM_CPUS_ON_NODE", ""):  # Slurm need not bind a job to its CPUs
        limits += [float(slurm)] if slurm.isdecimal() else []
    return max(1, int(min(limits)))


def memory_limit() -> int | None:
    """Bytes that this process and all that share its control group may use; None where nothing limits them."""
    total = _total_memory()
    limits = [limit for limit, _ in _memory_groups() if limit < total]
    if (slurm := os.environ.get("SLURM_MEM_PER_NODE", "")).isdecimal() and int(slurm):  # megabytes; 0 is all
        limits += [int(slurm) << 20]
    return min(limits, default=None)


def free_memory() -> int:
    """Bytes that new processes may take without swapping, as Linux and the control groups tell them."""
    available = _meminfo("MemAvailable:")
    found = [_total_memory() if available is None else available]
    found += [max(0, limit - used) for limit, used in _memory_groups()]
    return min(found)


def _quotas() -> Iterator[float]:
    """CPUs that each control group allows, where it limits them."""
    for folder in _groups("cpu"):
        if numbers := _numbers(folder / "cpu.max"):  # `50000 100000`, or `max 100000`
            yield from [numbers[0] / numbers[1]] if len(numbers) == 2 else []
        else:
            quota, period = _numbers(folder / "cpu.cfs_quota_us"), _numbers(folder / "cpu.cfs_period_us")
            yield from [quota[0] / period[0]] if quota and period and quota[0] > 0 else []


def _memory_groups() -> Iterator[tuple[int, int]]:
    """Limit of each control group that has one, and what is in use of it, in bytes; the page cache is not in use."""
    for folder in _groups("memory"):
        for limit_file, used_file, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _numbers(folder / limit_file), _numbers(folder / used_file)
            if limit and used:
                yield limit[0], used[0] - _labelled(folder / "memory.stat", cache)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control groups of this process, its own first, in which the controller's files may be."""
    for line in _lines(PROC / "self" / "mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split()[-1].split(",")):
            root, mount = before.split()[3:5]
            path = _path(controller if kind == "cgroup" else "")
            # A container sees its own group at the mount point, whatever its path outside is.
            inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
            yield from (Path(mount) / part for part in (inside, *inside.parents))


def _path(controller: str) -> PurePosixPath:
    """This process's own group: `4:cpu,cpuacct:/path`, or of version 2, which no controller names, `0::/path`."""
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
    """The numbers in a file; none where it is not there, or says `max`."""
    words = " ".join(_lines(file)).split()
    return [int(word) for word in words] if all(word.lstrip("-").isdecimal() for word in words) else []


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
