"""Sweeps on a Ray of several machines."""

import json

import pytest
from ray_nodes import ray_cluster
from sweeps import SPACE, write_space


@pytest.mark.slow
def test_what_cannot_work_is_refused_in_one_line_and_nothing_starts(tmp_path):
    """Guards against the trial that waits for ever, and against results scattered over the nodes' own disks."""
    write_space(tmp_path)
    runs, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    with ray_cluster(2, hidden=[own]) as cluster:

        def refusal(*arguments):
            done = cluster.gramtune("sweep", *arguments, cwd=tmp_path)
            assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
            (line,) = done.stderr.splitlines()
            return line

        at = ("--address", cluster.address)
        assert refusal("axis.yaml", *at, "--runs", own) == (
            f"--runs: on node 10.99.0.3 {own} is not the driver's: results of a sweep on several nodes need a folder "
            "that all of them share (NFS, EFS, Filestore)"
        )
        assert not list(own.iterdir())
        assert "nothing answers at 10.99.0.1:1" in refusal("axis.yaml", "--address", "10.99.0.1:1", "--runs", runs)
        assert "should be auto or HOST:PORT" in refusal("axis.yaml", "--address", "ray://10.99.0.1:10001")
        write_space(tmp_path, SPACE.replace("gpu: 0", "gpu: 0.25"))
        line = refusal("axis.yaml", *at, "--runs", runs)
        assert line == "resources: each trial asks for gpu: 0.25; the largest node of the Ray at 10.99.0.1:6379 has 0"
        assert not list(runs.iterdir())

        write_space(tmp_path)
        plan = cluster.gramtune("sweep", "axis.yaml", *at, "--runs", runs, "--dry-run", cwd=tmp_path)
        assert "3 at once on 3 nodes, 3 cores" in plan.stdout, plan.stdout + plan.stderr
        done = cluster.gramtune("sweep", "axis.yaml", *at, "--runs", runs, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert list(runs.iterdir()) == [runs / "axis"] or {p.name for p in runs.iterdir()} == {"axis", ".mlflow"}
    events = [json.loads(line) for line in (runs / "axis" / "journal.jsonl").read_text().splitlines()]
    assert sum(event["status"] == "COMPLETED" for event in events) == 3
