"""`sbatch`, `srun`, `squeue` and `scancel` without Slurm: every node is this machine, a job is a session of processes.

What they know of jobs lies beside them.
"""

from __future__ import annotations

from pathlib import Path

COMMANDS = {
    "sbatch": """
        [ "$1" = --parsable ] && shift
        option() { sed -n "s/^#SBATCH --$1=//p" "$script" | tail -1; }
        script=$1 number=$$
        export SLURM_JOB_ID=$number SLURM_JOB_NUM_NODES=$(option nodes) SLURMD_NODENAME=node1
        export SLURM_CPUS_PER_TASK=$(option cpus-per-task)
        set -m  # a process in the background would not hear SIGINT
        begin='echo $$ > "$0"; exec bash "$1"'
        setsid bash -c "$begin" "$here/job-$number" "$script" >> "$(option output)" 2>&1 < /dev/null &
        while [ ! -s "$here/job-$number" ]; do sleep 0.1; done
        echo "$number;cluster"
    """,
    "srun": """
        while [ "${1#--}" != "$1" ]; do shift; done
        exec "$@"
    """,
    "squeue": """
        while [ "$1" != --jobs ]; do shift; done
        kill -0 "$(cat "$here/job-$2")" 2> /dev/null && echo "$2 R"
        exit 0
    """,
    "scancel": """
        signal=KILL
        [ "$1" = --batch ] && shift
        case "$1" in --signal=*) signal=${1#--signal=}; shift;; esac
        leader=$(cat "$here/job-$1")
        if [ "$signal" = KILL ]; then pkill -KILL -s "$leader"; else kill "-$signal" "$leader"; fi
        exit 0
    """,
}


def write_commands(folder: Path) -> None:
    """Makes a folder that stands first in PATH where Slurm's commands are looked for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in COMMANDS.items():
        lines = [line.strip() for line in body.strip().splitlines()]
        (folder / name).write_text("\n".join(["#!/bin/bash", f'here="{folder}"', *lines]) + "\n")
        (folder / name).chmod(0o755)
