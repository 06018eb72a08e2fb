"""Sweeps on a Ray cluster of several machines."""

import pytest
import yaml
from ray_nodes import ray_cluster, wait_until
from sweeps import SPACE, write_space
from undisturbed import WORDS, all_under_way, assert_undisturbed, events, reports


@pytest.mark.slow
def test_an_unusable_cluster_is_refused_in_one_line_and_nothing_starts(tmp_path):
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
        write_space(tmp_path, SPACE.replace("gpu: 0", "gpu: {share: 0.25, required: true}"))
        line = refusal("axis.yaml", *at, "--runs", runs)
        assert line == "resources: each trial asks for gpu: 0.25; the largest node of the Ray at 10.99.0.1:6379 has 0"
        assert not list(runs.iterdir())

        write_space(tmp_path)
        plan = cluster.gramtune("sweep", "axis.yaml", *at, "--runs", runs, "--dry-run", cwd=tmp_path)
        assert "3 at once on 3 nodes, 3 cores" in plan.stdout, plan.stdout + plan.stderr
        done = cluster.gramtune("sweep", "axis.yaml", *at, "--runs", runs, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert list(runs.iterdir()) == [runs / "axis"] or {p.name for p in runs.iterdir()} == {"axis", ".mlflow"}
    assert sum(event.get("status") == "COMPLETED" for event in events(runs / "axis")) == 3


@pytest.mark.slow
def test_a_node_that_dies_costs_time_and_nothing_else(tmp_path):
    """Launched through the Jobs API on three nodes, one trial on each; one node is killed with its trial."""
    space, runs = write_space(tmp_path), tmp_path / "shared"
    with ray_cluster(2, "--dashboard-host=0.0.0.0") as cluster:
        (tmp_path / "there.yaml").write_text(f"target: existing\ndashboard: {cluster.dashboard}\n")
        words = ("launch", "there.yaml", "axis.yaml", *WORDS, "--runs", runs)
        client = cluster.background(*words, log=tmp_path / "log", cwd=tmp_path)
        wait_until(lambda: all_under_way(runs / "axis") or client.poll() is not None)
        cluster.nodes[2].kill()
        client.wait(600)
        output = (tmp_path / "log").read_text()
    assert client.returncode == 0, output
    assert output.count("it restarts from its newest checkpoint") == 1, output
    (again,) = [steps for steps in reports(runs / "axis").values() if len(steps) > 1]
    before, after = again
    assert 20 < after[0] <= before[-1] + 20, "from its checkpoint, not from the beginning, and no step is left out"
    assert_undisturbed(runs / "axis", space)


@pytest.mark.slow
def test_nodes_that_share_no_folder_meet_in_a_store(tmp_path):
    """Each has a scratch folder of its own. The store is pyarrow's, of a URI; S3 is in test_mirror.py."""
    space, scratch, store = write_space(tmp_path), tmp_path / "scratch", tmp_path / "store"
    scratch.mkdir()
    with ray_cluster(1, hidden=[scratch], env={"GRAMTUNE_SCRATCH": str(scratch)}) as cluster:
        words = ("sweep", "axis.yaml", *WORDS, "--address", cluster.address, "--runs", f"file://{store}")
        done = cluster.gramtune(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        refused = cluster.gramtune(*words[:-1], f"file://{tmp_path}/axis.yaml", cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, ""), refused.stdout + refused.stderr
        (line,) = refused.stderr.splitlines()
        assert "cannot be read or written" in line
    assert not [path for path in store.iterdir() if path.name.startswith(".shared")]
    assert_undisturbed(store / "axis", space)


@pytest.mark.slow
def test_a_head_that_dies_costs_what_came_after_the_checkpoints(tmp_path):
    """The driver dies with it. The sweep goes on on another cluster, from the shared folder alone."""
    space, runs = write_space(tmp_path), tmp_path / "shared"
    with ray_cluster(2) as cluster:
        words = ("sweep", "axis.yaml", *WORDS, "--address", cluster.address, "--runs", runs)
        driver = cluster.background(*words, log=tmp_path / "log", cwd=tmp_path)
        wait_until(lambda: all_under_way(runs / "axis") or driver.poll() is not None)
        assert driver.poll() is None, (tmp_path / "log").read_text()
        cluster.nodes[0].kill(driver)
    left = reports(runs / "axis")
    with ray_cluster(1) as cluster:
        done = cluster.gramtune("resume", runs / "axis", "--address", cluster.address, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    for trial, (before, after) in reports(runs / "axis").items():
        assert before == left[trial][0]
        assert 20 < after[0] <= before[-1] + 20
    assert_undisturbed(runs / "axis", space)


@pytest.mark.slow
def test_an_autoscaler_brings_nodes_for_queued_trials_and_takes_them_away(tmp_path):
    """Ray's own autoscaler with its fake provider; `ray up` leaves the cluster's file in the head's home."""
    write_space(tmp_path)
    scaling = {
        **{"cluster_name": "fake", "max_workers": 2, "idle_timeout_minutes": 0.2, "upscaling_speed": 1.0},
        "provider": {
            "type": "fake_multinode",
            "use_node_id_as_ip": True,
            "disable_launch_config_check": True,
            "disable_node_updaters": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        **{"head_node_type": "ray.head.default", "auth": {}, "file_mounts": {}, "cluster_synced_files": []},
        **{f"{when}_commands": [] for when in ("initialization", "setup", "head_setup", "worker_setup")},
        **{f"{role}_start_ray_commands": [] for role in ("head", "worker")},
        "file_mounts_sync_continuously": False,
    }
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(scaling))
    head = ("--include-dashboard=false", f"--autoscaling-config={tmp_path / 'ray_bootstrap_config.yaml'}")
    empty = ("--num-cpus=0", "--num-gpus=0", "--object-store-memory=80000000")
    env = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "HOME": str(tmp_path)}
    with ray_cluster(0, *head, resources=empty, env=env) as cluster:
        assert cluster.count() == 0
        words = ("sweep", "axis.yaml", *WORDS, "--address", cluster.address, "--runs", tmp_path / "runs")
        driver = cluster.background(*words, log=tmp_path / "log", cwd=tmp_path)
        wait_until(lambda: cluster.count() == 2 or driver.poll() is not None)
        driver.wait(600)
        assert driver.returncode == 0, (tmp_path / "log").read_text()
        wait_until(lambda: cluster.count() == 0)
    assert sum(event.get("status") == "COMPLETED" for event in events(tmp_path / "runs" / "axis")) == 3
