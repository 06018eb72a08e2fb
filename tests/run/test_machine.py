"""Limits of a process: affinity, control groups of both versions, Slurm. Ray knows only some of them."""

import os
import subprocess
import sys

import pytest
from sweeps import SPACE, write_space

from gramtune.run import machine
from gramtune.run.machine import cores, free_memory, memory_limit

COMMAND = [sys.executable, "-m", "gramtune.cli.main"]
PLENTY = 64 << 30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """groups(version, path, mounted_at, files): what Linux tells of this process, with 16 cores and 64 GiB."""
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    for name in ("SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {PLENTY >> 10} kB\nMemAvailable: {PLENTY >> 11} kB\n")

    def make(kind, path, root, files):
        mount = tmp_path / kind
        for name, text in files.items():
            (mount / name).parent.mkdir(parents=True, exist_ok=True)
            (mount / name).write_text(f"{text}\n")
        options = "rw" if kind == "cgroup2" else "rw,cpu,cpuacct,memory"
        line = "0::" if kind == "cgroup2" else "4:cpu,cpuacct,memory:"
        (tmp_path / "proc" / "self" / "cgroup").write_text(f"9:pids:/elsewhere\n{line}{path}\n")
        mountinfo = f"31 23 0:28 {root} {mount} rw,relatime shared:7 - {kind} {kind} {options}\n"
        (tmp_path / "proc" / "self" / "mountinfo").write_text(mountinfo)

    return make


@pytest.mark.parametrize(
    ("kind", "path", "root", "files", "expected"),
    [
        ("cgroup2", "/", "/", {"cpu.max": "50000 100000"}, 1),
        ("cgroup2", "/", "/", {"cpu.max": "350000 100000"}, 3),
        ("cgroup2", "/", "/", {"cpu.max": "max 100000"}, 16),
        ("cgroup2", "/job/step", "/", {"job/step/cpu.max": "max 100000", "job/cpu.max": "400000 100000"}, 4),
        ("cgroup2", "/docker/f00", "/docker/f00", {"cpu.max": "200000 100000"}, 2),
        ("cgroup2", "/docker/f00", "/", {"cpu.max": "200000 100000"}, 2),
        ("cgroup", "/job", "/", {"job/cpu.cfs_quota_us": "150000", "job/cpu.cfs_period_us": "100000"}, 1),
        ("cgroup", "/job", "/", {"job/cpu.cfs_quota_us": "-1", "job/cpu.cfs_period_us": "100000"}, 16),
        ("cgroup", "/docker/f00", "/docker/f00", {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}, 3),
        ("cgroup2", "/", "/", {"cpu.max": "not a number"}, 16),
        ("cgroup2", "/", "/", {}, 16),
    ],
)
def test_the_quota_of_any_control_group_counts(kind, path, root, files, expected, groups):
    groups(kind, path, root, files)
    assert cores() == expected


def test_affinity_and_slurm_count_too(groups, monkeypatch):
    groups("cgroup2", "/", "/", {"cpu.max": "800000 100000"})
    assert cores() == 8
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4")
    assert cores() == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 7})
    assert cores() == 3
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "16(x2)")
    assert cores() == 3


@pytest.mark.parametrize(
    ("kind", "names", "cache"),
    [
        ("cgroup2", ("memory.max", "memory.current"), "inactive_file"),
        ("cgroup", ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
    ],
)
def test_memory_is_what_the_group_leaves_without_its_cache(kind, names, cache, groups, monkeypatch):
    limit, used = names
    files = {limit: 8 << 30, used: 5 << 30, "memory.stat": f"anon 7\n{cache} {1 << 30}"}
    groups(kind, "/", "/", files)
    assert memory_limit() == 8 << 30
    assert free_memory() == 4 << 30
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4096")
    assert memory_limit() == 4 << 30


@pytest.mark.parametrize("limit", ["max", 9223372036854771712, PLENTY])
def test_memory_without_a_limit_is_the_machines(limit, groups):
    groups("cgroup2", "/", "/", {"memory.max": limit, "memory.current": 1 << 30})
    assert memory_limit() is None
    assert free_memory() == PLENTY // 2


def test_without_other_limits_the_affinity_counts(groups, tmp_path):
    assert cores() == 16
    (tmp_path / "proc" / "meminfo").unlink()
    assert 0 < free_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def quota(folder, quota_us):
    """A real group of half a CPU and so on, of either version; skips where this process may make none."""
    name = f"gramtune-test-{os.getpid()}"
    for root, file, text in (
        ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", f"{quota_us}"),
        ("/sys/fs/cgroup", "cpu.max", f"{quota_us} 100000"),
    ):
        group = os.path.join(root, name)
        try:
            os.mkdir(group)
        except OSError:
            continue
        try:
            with open(os.path.join(group, file), "w") as handle:
                handle.write(text)
        except OSError:
            os.rmdir(group)
            continue
        return group
    pytest.skip("no control group can be made here")


def inside(group, command, **kwargs):
    """The command in the group."""
    script = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    return subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False, **kwargs)


@pytest.fixture
def half_a_cpu(tmp_path):
    group = quota(tmp_path, 50_000)
    yield group
    os.rmdir(group)


def test_half_a_cpu_is_one_core(half_a_cpu):
    code = "from gramtune.run.machine import cores; print(cores())"
    done = inside(half_a_cpu, [sys.executable, "-c", code])
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.slow
def test_a_sweep_with_half_a_cpu_runs(half_a_cpu, tmp_path):
    """Ray counted none, and no trial ever started (ray#8983)."""
    write_space(tmp_path, SPACE.replace("[1, 4, 16]", "[4]"))
    done = inside(half_a_cpu, [*COMMAND, "sweep", "axis.yaml"], cwd=tmp_path, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "COMPLETED" in done.stdout
