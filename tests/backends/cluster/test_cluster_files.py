"""The files under cluster/: complete except for the user's values, and legal in their formats."""

import copy
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from sweeps import SPACE, write_space

from gramtune.backends.cluster.load import load_target
from gramtune.backends.cluster.target import ClusterError, Request
from gramtune.errors import SpecError
from gramtune.space.load import load_sweep

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "cluster").glob("*.yaml"))
VALUES = {"YOUR_SHARED_FOLDER": "/shared", "YOUR_IMAGE": "registry.example/gramtune:1"}
"""What an owner may write; elsewhere, any word."""


def filled(name, folder):
    """A copy of a file with everything filled in."""
    text = (ROOT / "cluster" / name).read_text()
    text = re.sub(r"YOUR_[A-Z_]*[A-Z]", lambda m: VALUES.get(m[0], m[0].removeprefix("YOUR_").lower()), text)
    path = folder / name
    path.write_text(text)
    return path


def request_of(tmp_path, **fields):
    return Request(load_sweep(write_space(tmp_path)), **fields)


def test_there_is_a_file_per_target():
    assert {f.stem for f in FILES} >= {"local", "existing", "onprem", "aws", "gcp", "kuberay", "slurm"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_values_to_fill_in_are_reported_by_name_and_line(file):
    lines = file.read_text().splitlines()
    wanted = {
        (number, name)
        for number, line in enumerate(lines, 1)
        for name in re.findall(r"YOUR_[A-Z_]*[A-Z]", line.partition(" #")[0] if not line.startswith("#") else "")
    }
    if not wanted:
        assert file.stem == "local"
        return
    with pytest.raises(SpecError) as caught:
        load_target(file)
    asked = {re.search(r"replace (\w+) with your own value", issue.message)[1] for issue in caught.value.issues}
    assert asked == {name for _, name in wanted}
    for issue in caught.value.issues:
        assert re.fullmatch(rf"{re.escape(str(file))}:\d+", issue.where)


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_rays_launcher_accepts_its_files_without_any_cloud(name, tmp_path):
    """And refuses them, in one line, with a key that does not exist: so the check is alive."""
    path = filled(f"{name}.yaml", tmp_path)
    steps = load_target(path).steps(request_of(tmp_path))
    assert steps[0] == f"ray up {path} --no-restart"
    assert '--runs "${GRAMTUNE_RUNS:?' in steps[1]
    path.write_text(path.read_text() + "\nmax_wokers: 3\n")
    with pytest.raises(SpecError, match=r"Ray's launcher refuses it: .*max_wokers"):
        load_target(path)


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_the_head_trains_nothing_and_only_workers_are_spot(name):
    config = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
    types = copy.deepcopy(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert "spot" not in json.dumps(head).lower()
    assert len(types) >= 2
    assert all("spot" in json.dumps(kind).lower() and kind["min_workers"] == 0 for kind in types.values())
    assert any(kind["resources"].get("GPU") for kind in types.values())


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_every_node_gets_the_pinned_packages_and_the_shared_folder(name):
    config = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
    setup = "\n".join(config["setup_commands"])
    assert "pip install --quiet -c ~/gramtune/constraints.txt ~/gramtune" in setup
    assert config["file_mounts"] == {"~/gramtune": "."}
    for shell in (*config["setup_commands"], *config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        subprocess.run(["bash", "-n", "-c", shell], check=True)
    assert "GRAMTUNE_RUNS=" in config["head_start_ray_commands"][-1]
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=disabled" in commands[-1]  # Ray turns it on by itself otherwise, on some nodes only


def test_versions_in_files_are_the_pinned_ones():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    found = [m for f in FILES for m in re.findall(r'rayVersion: "([^"]+)"', f.read_text())]
    assert found == [pinned["ray"]] * 2


FIELDS = json.loads((Path(__file__).parent / "kuberay_fields.json").read_text())
"""Field names and types of KubeRay's v1 resources, down to the pod's containers, from the operator's published CRDs."""


def misfits(value, schema, path=""):
    """Where a value is not what the schema allows."""
    if schema in ("pod", "cluster"):
        schema = FIELDS["pod"] if schema == "pod" else FIELDS["RayCluster"]
    if isinstance(schema, str):
        kinds = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "any": object}
        return [] if isinstance(value, kinds[schema]) else [f"{path}: {value!r} is no {schema}"]
    if "[]" in schema:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no array"]
        return [m for i, item in enumerate(value) for m in misfits(item, schema["[]"], f"{path}[{i}]")]
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    if "{}" in schema:
        return [m for key, item in value.items() for m in misfits(item, schema["{}"], f"{path}.{key}")]
    found = [f"{path}: misses {key}" for key in schema.get("!", []) if key not in value]
    for key, item in value.items():
        found += misfits(item, schema[key], f"{path}.{key}") if key in schema else [f"{path}: no field {key}"]
    return found


def resources(name, folder):
    documents = yaml.safe_load_all(filled(name, folder).read_text())
    return {document["kind"]: document for document in documents}


@pytest.mark.parametrize(("name", "kind"), [("kuberay.yaml", "RayCluster"), ("kuberay_job.yaml", "RayJob")])
def test_kuberay_resources_have_only_fields_of_the_operators_schema(name, kind, tmp_path):
    resource = resources(name, tmp_path)[kind]
    assert resource["apiVersion"] == "ray.io/v1"
    assert misfits(resource["spec"], FIELDS[kind]) == []
    broken = copy.deepcopy(resource["spec"])
    cluster = broken if kind == "RayCluster" else broken["rayClusterSpec"]
    cluster["headGroupSpec"]["rayStartParms"] = cluster["headGroupSpec"].pop("rayStartParams")
    del cluster["workerGroupSpecs"][0]["groupName"]
    cluster["workerGroupSpecs"][0]["maxReplicas"] = "eight"
    assert len(misfits(broken, FIELDS[kind])) >= 3


def test_kuberay_pods_share_one_claim_and_the_head_trains_nothing(tmp_path):
    found = resources("kuberay.yaml", tmp_path)
    claim, spec = found["PersistentVolumeClaim"], found["RayCluster"]["spec"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pods = [g["template"]["spec"] for g in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
    assert len(pods) == 3
    for pod in pods:
        (container,) = pod["containers"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        mount = container["volumeMounts"][0]["mountPath"]
        env = {variable["name"]: variable["value"] for variable in container["env"]}
        assert env["GRAMTUNE_RUNS"].startswith(mount)
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target: locla\n", "is not a cluster file: it needs one of target: local"),
        ("a: 1\n", "is not a cluster file: it needs one of target: local"),
        ("target: local\nport: 99999\n", "port = 99999: Input should be less than or equal to 65535"),
        ("target: local\nprot: 1\n", "prot = 1: Extra inputs are not permitted"),
        ("target: existing\ndashboard: head:8265\n", "dashboard = 'head:8265': String should match"),
        ("- a\n", "should be a mapping of keys to values"),
        ("a: [\n", "while parsing a flow"),
        ("cluster_name: x\nprovider: {type: azzure}\n", "Ray's launcher refuses it: "),
    ],
)
def test_a_bad_file_is_one_line(text, message, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        load_target(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_missing_tool_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(SpecError, match=r"cannot be read: .*No such file"):
        load_target(tmp_path / "no.yaml")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="kubectl is not installed"):
        load_target(filled("kuberay.yaml", tmp_path)).up(print)
    with pytest.raises(ClusterError, match="sbatch is not installed"):
        load_target(filled("slurm.yaml", tmp_path)).up(print)


def test_the_command_of_a_job_survives_odd_names(tmp_path):
    request = request_of(tmp_path, runs="/a b/$(touch x)", options=("--tracking-uri", "sqlite:////a b/m.db"))
    script = request.command().replace("exec python -m gramtune.cli.main", 'printf "%s\\n"')
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        *("sweep", "sweep.yaml", "--runs", "/a b/$(touch x)", "--address", "auto"),
        *("--tracking-uri", "sqlite:////a b/m.db"),
    ]
    assert not (tmp_path / "x").exists()
    unset = subprocess.run(["sh", "-c", replace(request, runs=None).command()], capture_output=True, text=True, env={})
    assert unset.returncode != 0
    assert "GRAMTUNE_RUNS: is not set where this Ray was started" in unset.stderr


def test_launch_takes_the_options_of_sweep_and_refuses_what_makes_no_sense_there(tmp_path, gramtune):
    write_space(tmp_path, SPACE)

    def launch(*words):
        return gramtune("launch", ROOT / "cluster/local.yaml", "axis.yaml", "--dry-run", *words)

    code, output, errors = launch("--max-concurrent", "2", "--name", "other", "--runs", "/shared/runs", "--resume")
    assert code == 0, errors
    assert "resume /shared/runs/other --address auto --max-concurrent 2" in output
    code, _, errors = launch("--debug", "--runs", "relative")
    assert code == 2
    assert [line.split(":")[0] for line in errors.splitlines()] == ["--debug", "--runs"]
    code, _, errors = launch("--set", "training.steps=none")
    assert code == 2
    assert "--set training.steps" in errors
    assert launch("--no-such-option")[0] == 2


SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("space", SHIPPED, ids=lambda space: space.stem)
def test_every_shipped_space_can_be_launched_on_this_machine_as_a_cluster(space, gramtune):
    """README's own space was refused there: it asks for a share of a GPU."""
    code, output, errors = gramtune("launch", ROOT / "cluster/local.yaml", space, "--dry-run")
    assert (code, errors) == (0, "")
    assert "--address auto" in output
    assert len(SHIPPED) >= 10
