"""Slurm: writes a batch script that starts a Ray cluster on the job's nodes, runs the sweep, and ends with it."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from gramtune.backends.cluster.shell import run
from gramtune.backends.cluster.target import ClusterError, Request, Say, Target
from gramtune.record.tables import write_sweep

_EXIT = "gramtune: exit code "
"""Prefix of the last line of a job's output."""
_QUEUED = 5.0
"""Seconds between polls of a job's output."""

_SCRIPT = """\
#!/bin/bash
{options}
#SBATCH --job-name={name}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:INT@120
# Written by gramtune. Submit it again to resume the sweep.
set -uo pipefail
{setup}
cd {folder}
# Other users may reach these ports: Ray asks for a token that only this job's processes know.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')"
export RAY_USAGE_STATS_ENABLED=0 GRAMTUNE_DATA="${{GRAMTUNE_DATA:-{data}}}"
head="$(python -c 'import socket; print(socket.gethostbyname(socket.gethostname()))')"
port=$((20000 + SLURM_JOB_ID % 20000))
cpus="${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}"
ray_start() {{ srun --ntasks-per-node=1 --export=ALL "${{@:2}}" bash -c "ray start --block --num-cpus=$cpus $1" & }}
first="--head --node-ip-address=$head --port=$port --include-dashboard=false"
ray_start "$first" --nodes=1 --nodelist="$SLURMD_NODENAME"
while ! ray status --address="$head:$port" > /dev/null 2>&1; do
  kill -0 $! 2> /dev/null || {{ echo "Ray's head has not started"; exit 1; }}
  sleep 1
done
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
  ray_start "--address=$head:$port" --nodes="$others" --exclude="$SLURMD_NODENAME"
fi
python -m gramtune.backends.cluster.wait "$head:$port" "$SLURM_JOB_NUM_NODES" || exit 1
set -m  # without job control, a background process ignores SIGINT
if [ -f {sweep_folder}/sweep.yaml ]; then
  {resume} &
else
  {sweep} &
fi
sweep=$!
set +m
trap 'kill -INT "$sweep"' INT TERM
while kill -0 "$sweep" 2> /dev/null; do wait "$sweep"; code=$?; done
kill $(jobs -p) 2> /dev/null
wait  # so that the exit code is the last line
echo "{exit}$code"
exit "$code"
"""


class Slurm(Target):
    """`sbatch`, `squeue`, `scancel`, on a machine that shares `folder` with the nodes."""

    def __init__(self, file: Path, folder: Path, sbatch: dict[str, str], setup: list[str]) -> None:
        super().__init__(file)
        self._folder, self._sbatch, self._setup = folder, sbatch, setup

    def steps(self, request: Request) -> list[str]:
        """See `Target`."""
        return [f"sbatch {self._place(request.sweep.name) / 'job.sh'}", f"job: {request.command(self._runs, '…')}"]

    def up(self, say: Say) -> None:
        """See `Target`: the cluster starts and ends with the job."""
        if shutil.which("sbatch") is None:
            raise ClusterError("sbatch is not installed on this machine: launch from a login node of Slurm")

    def submit(self, request: Request) -> str:
        """See `Target`. The job's name is the sweep's; its number is in a file beside the script."""
        name = request.sweep.name
        if not request.resume and (self._folder / "runs" / name).exists():
            raise ClusterError(f"{self._runs}/{name} already exists: resume it with --resume, or choose another --name")
        place = self._place(name)
        place.mkdir(parents=True, exist_ok=True)
        write_sweep(request.sweep, place)
        script = place / "job.sh"
        script.write_text(self.script(request), encoding="utf-8")
        number = run(["sbatch", "--parsable", str(script)], capture=True).strip().partition(";")[0]
        (place / "job").write_text(number)
        return name

    def script(self, request: Request) -> str:
        """The batch script."""
        name = request.sweep.name
        options = [f"#SBATCH --{key}={value}" for key, value in self._sbatch.items()]
        runs = request.runs or self._runs
        return _SCRIPT.format(
            options="\n".join(options),
            name=f"gramtune-{name}",
            log=self._log(name),
            setup="\n".join(self._setup),
            folder=shlex.quote(str(self._place(name))),
            data=self._folder / "data",
            sweep_folder=shlex.quote(f"{runs}/{name}"),
            sweep=replace(request, resume=False).command(runs, '"$head:$port"').removeprefix("exec "),
            resume=replace(request, resume=True).command(runs, '"$head:$port"').removeprefix("exec "),
            exit=_EXIT,
        )

    def newest(self) -> str:
        """See `Target`."""
        jobs = sorted(self._folder.glob("jobs/*/job"), key=lambda file: file.stat().st_mtime)
        if not jobs:
            raise ClusterError(f"{self.file}: no sweep was launched on this cluster")
        return jobs[-1].parent.name

    def follow(self, job: str, say: Say) -> int:
        """See `Target`. The output is a file on the shared disk."""
        number, log, seen = self._number(job), self._log(job), 0
        say(f"Slurm job {number}; its output is {log}")
        while True:
            over = not run(["squeue", "--noheader", "--jobs", number], capture=True).strip()
            text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            sys.stdout.write(text[seen:])
            sys.stdout.flush()
            seen = len(text)
            if over:
                last = text.rstrip().rpartition("\n")[2]
                return int(last.removeprefix(_EXIT)) if last.startswith(_EXIT) else 1
            time.sleep(_QUEUED)

    def stop(self, job: str) -> None:
        """See `Target`."""
        run(["scancel", "--batch", "--signal=INT", self._number(job)])

    def down(self) -> None:
        """See `Target`: ends every job of this file at once."""
        for job in sorted(self._folder.glob("jobs/*/job")):
            run(["scancel", job.read_text()])

    @property
    def _runs(self) -> str:
        return str(self._folder / "runs")

    def _place(self, name: str) -> Path:
        return self._folder / "jobs" / name

    def _log(self, name: str) -> Path:
        return self._place(name) / "output.txt"

    def _number(self, job: str) -> str:
        file = self._place(job) / "job"
        if not file.is_file():
            known = ", ".join(sorted(path.parent.name for path in self._folder.glob("jobs/*/job"))) or "none"
            raise ClusterError(f"no job {job} under {self._folder}/jobs; existing jobs: {known}")
        return file.read_text()
