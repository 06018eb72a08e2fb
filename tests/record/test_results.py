"""The files of a sweep's folder contain what was reported, and reading them back gives the same."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from states import METHODS, begin, complete, report, sweep_state
from sweeps import SPACE, write_space

import gramtune
from gramtune.record.report import Status
from gramtune.record.tables import results_frame, trials_frame, write_sweep, write_tables, write_versions
from gramtune.record.versions import versions
from gramtune.space.load import Overrides, load_sweep

HOSTILE = """\
name: axis
about: "Größe – 大小: '#' & \\"quotes\\", 1e-3, yes, null"
base: base/tiny.yaml
space:
  "méthode: α": {cases: {größe: {objective.critic_dim: 3, optimizer.learning_rate: 1e-5}, "no": {}, "1e-3": {}}}
  optimizer.learning_rate: {loguniform: [1e-5, 1e-2], when: {"méthode: α": [größe, "no"]}}
  optimizer.beta1: {uniform: [0, 0.9], step: 0.1}
  objective.bandwidths: {choice: [[1e-5, 1], [1, 4.0]]}
  training.batch_size: {logint: [8, 64]}
  training.eval_samples: {int: [70, 100], step: 10}
replicates: 1
search: {name: tpe, samples: 7, seed: 3, points: [{optimizer.learning_rate: 1e-5}, {objective.bandwidths: [1, 4.0]}]}
pruner: {name: asha, min_steps: 3, false_prune_rate: 1e-5}
"""


@pytest.mark.parametrize("space", [SPACE, HOSTILE], ids=["plain", "hostile"])
def test_a_written_sweep_reads_back_equal(space, tmp_path):
    sweep = load_sweep(
        write_space(tmp_path, space), Overrides(set=("training.steps=9", "optimizer.learning_rate=1e-5"))
    )
    write_sweep(sweep, tmp_path)
    again = load_sweep(tmp_path / "sweep.yaml")
    assert again == sweep
    assert again.model_dump_json() == sweep.model_dump_json()  # 1 == 1.0 == True would pass above
    assert again.base["training"]["steps"] == 9
    assert again.base["optimizer"]["learning_rate"] == 1e-5
    trial = {"optimizer.learning_rate": 1e-5} if space == HOSTILE else {"objective.critic_dim": 4}
    assert again.config(trial) == sweep.config(trial)


def test_metric_of_the_space_file_survives_the_round_trip(tmp_path):
    path = write_space(tmp_path, SPACE + "metric: fid_digits\n")
    write_sweep(sweep := load_sweep(path), tmp_path)
    assert load_sweep(tmp_path / "sweep.yaml") == sweep
    assert sweep.base["metric"] == "fid_digits"


def finished(folder):
    """One trial complete, one that lost a replicate, one that has not begun."""
    state = sweep_state(folder)
    complete(state, "critic_dim=4", [9.0, 8.0], [1.1, 0.1 + 0.2])
    state.reported("critic_dim=1", report(0, [5.0, 6.0]))
    state.reported("critic_dim=1", report(3, [None, 7.0], Status.DIVERGED, '1 of 2 replicates, "so"\nit goes'))
    return state


def test_results_have_one_row_per_value(tmp_path):
    frame = results_frame(finished(tmp_path))
    columns = ["trial", "objective.critic_dim", "replicate", "seed", "step", "metric", "value", "samples"]
    assert list(frame.columns) == columns
    assert [str(t) for t in frame.dtypes] == ["str", "int64", "int64", "int64", "int64", "str", "float64", "int64"]
    rows = [
        (1, 0, 0, 5.0),
        (1, 1, 0, 6.0),
        (1, 1, 3, 7.0),
        (4, 0, 0, 9.0),
        (4, 1, 0, 8.0),
        (4, 0, 3, 1.1),
        (4, 1, 3, 0.1 + 0.2),
    ]
    expected = [(f"critic_dim={k}", k, i, i, step, "fid_digits", value, 100) for k, i, step, value in rows]
    assert list(frame.itertuples(index=False, name=None)) == expected


def test_trials_have_one_row_each(tmp_path):
    frame = trials_frame(finished(tmp_path))
    columns = ["trial", "objective.critic_dim", "status", "reason", "metric", "mean", "std", "n", "samples", "steps"]
    assert list(frame.columns) == ["number", *columns, "seconds"]
    assert list(frame["number"]) == [0, 1, 2]
    types = ["int64", "str", "int64", "str", "str", "str", "Float64", "Float64", "int64", "Int64", "int64", "float64"]
    assert [str(t) for t in frame.dtypes] == types
    one, four, sixteen = frame.drop(columns="number").itertuples(index=False, name=None)
    reason = '1 of 2 replicates, "so"\nit goes'
    assert one == ("critic_dim=1", 1, "DIVERGED", reason, "fid_digits", 7.0, pd.NA, 1, 100, 3, 4.5)
    assert four[:5] == ("critic_dim=4", 4, "COMPLETED", "", "fid_digits")
    assert four[5:] == (pytest.approx(0.7), pytest.approx(0.8 / 2**0.5), 2, 100, 3, 4.5)
    assert sixteen == ("critic_dim=16", 16, "PENDING", "", "fid_digits", pd.NA, pd.NA, 0, pd.NA, 0, 0.0)


def test_seeds_start_at_the_seed_of_the_base(tmp_path):
    state = sweep_state(tmp_path, "  training.seed: {grid: [7, 50]}\n")
    for name in state.records:
        complete(state, name, [1.0, 2.0])
    assert list(results_frame(state)["seed"]) == [7, 8, 50, 51]


def tables(state, folder):
    """Both tables as parquet and as csv tell them."""
    write_tables(state, folder, trials_frame(state))
    for name in ("results", "trials"):
        text = (folder / f"{name}.csv").read_text(encoding="utf-8")
        assert "nan" not in text.lower()
        yield (
            pd.read_parquet(folder / f"{name}.parquet"),
            pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str),
        )


def as_text(frame):
    return [["" if pd.isna(cell) else str(cell) for cell in row] for row in frame.itertuples(index=False, name=None)]


@pytest.mark.parametrize("fill", ["finished", "diverged", "nothing", "single"])
def test_parquet_and_csv_tell_the_same(fill, tmp_path):
    state = finished(tmp_path) if fill == "finished" else sweep_state(tmp_path, replicates=1 if fill == "single" else 2)
    for name in state.records:
        if fill == "diverged":
            state.reported(name, report(3, [None, None], Status.DIVERGED, "2 of 2 replicates diverged"))
        elif fill == "single":
            complete(state, name, [0.1 + 0.2])
    results, trials = tables(state, tmp_path)
    for (parquet, csv), frame in ((results, results_frame(state)), (trials, trials_frame(state))):
        pd.testing.assert_frame_equal(parquet, frame, check_exact=True)
        assert list(csv.columns) == list(parquet.columns)
        assert as_text(csv) == as_text(parquet)
    assert len(results[0]) == {"finished": 7, "diverged": 0, "nothing": 0, "single": 3}[fill]
    assert len(trials[0]) == 3
    assert results[0]["value"].notna().all()
    if fill == "diverged":
        assert list(trials[0]["n"]) == [0, 0, 0]
        assert trials[0]["mean"].isna().all()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_search_without_a_trial_yet_has_tables_with_columns(tmp_path):
    state = sweep_state(tmp_path, "  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}\n", sampled=True)
    (results, _), (trials, _) = tables(state, tmp_path)
    assert len(results) == len(trials) == 0
    assert "optimizer.learning_rate" in results.columns
    assert list(trials.columns)[-1] == "seconds"
    assert str(trials["optimizer.learning_rate"].dtype) == "float64"


def test_trials_that_join_later_are_there_in_their_order(tmp_path):
    domains = "  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}\n  training.batch_size: {int: [8, 16]}\n"
    state = sweep_state(tmp_path, domains, sampled=True)
    for rate, size in ((0.1 + 0.2, 16), (1e-3, 9)):
        complete(state, begin(state, optimizer__learning_rate=rate, training__batch_size=size), [1.0, 2.0])
    frame = trials_frame(state)
    assert list(frame["optimizer.learning_rate"]) == [0.1 + 0.2, 1e-3]
    assert list(frame["training.batch_size"]) == [16, 9]
    assert [str(frame[key].dtype) for key in state.plan.sweep.space] == ["float64", "int64"]


def test_a_key_that_a_trial_lacks_is_empty_and_whole_numbers_stay_whole(tmp_path):
    state = sweep_state(tmp_path, METHODS + "  objective.ridge: {grid: [1e-3, 1.0], when: {method: gram}}\n")
    for name in state.records:
        complete(state, name, [1.0, 2.0])
    (results, csv), (trials, _) = tables(state, tmp_path)
    assert list(trials["method"]) == ["gram"] * 6 + ["mmd_net", "gan"]
    assert trials["objective.critic_dim"].dtype == "Int64"
    assert trials["objective.critic_dim"].tolist() == [1, 1, 4, 4, 16, 16, pd.NA, pd.NA]
    assert trials["objective.ridge"].dtype == "Float64"
    assert trials["objective.ridge"].tolist() == [1e-3, 1.0] * 3 + [pd.NA, pd.NA]
    assert list(csv["objective.critic_dim"])[::4] == ["1", "4", "16", ""]
    assert results.groupby("method").size().to_dict() == {"gram": 12, "mmd_net": 2, "gan": 2}


@pytest.mark.parametrize(
    ("values", "dtype", "cells"),
    [
        ("[1, 0.5]", "float64", [1.0, 0.5]),
        ("[[1], [0.5, 2]]", "str", ["[1]", "[0.5, 2]"]),
    ],
)
def test_mixed_values_have_one_type(values, dtype, cells, tmp_path):
    key = "objective.ridge" if values == "[1, 0.5]" else "objective.bandwidths"
    state = sweep_state(tmp_path, f"  {key}: {{choice: {values}}}\n", sampled=True)
    assert str(trials_frame(state)[key].dtype) == dtype  # the type does not depend on which values came first
    first, second = json.loads(values)
    begin(state, **{key.replace(".", "__"): first})
    assert (str(trials_frame(state)[key].dtype), list(trials_frame(state)[key])) == (dtype, cells[:1])
    begin(state, **{key.replace(".", "__"): second})
    (_, _), (parquet, csv) = tables(state, tmp_path)
    assert (str(parquet[key].dtype), list(parquet[key])) == (dtype, cells)
    assert list(csv[key]) == [str(cell) for cell in cells]


def test_a_key_called_like_a_column_keeps_both(tmp_path):
    state = sweep_state(tmp_path, "  status: {cases: {größe: {objective.critic_dim: 3}, 'a, \"b\"': {}}}\n")
    (_, _), (trials, csv) = tables(state, tmp_path)
    assert list(trials["space.status"]) == list(csv["space.status"]) == ["größe", 'a, "b"']
    assert list(trials["status"]) == ["PENDING", "PENDING"]


def test_versions_name_every_package_and_every_fingerprint(tmp_path):
    state = sweep_state(tmp_path, "  data.name: {grid: [digits]}\n")
    write_versions(state.plan, tmp_path)
    stored = json.loads((tmp_path / "versions.json").read_text(encoding="utf-8"))
    assert stored == versions(state.plan)
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    required = re.findall(r'^    "([A-Za-z0-9-]+)[^"]*",? *#', pyproject.split("[project.optional")[0], re.MULTILINE)
    assert len(required) > 12
    quiet = {"typer", "rich", "jinja2", "nvidia-ml-py", "filelock"}  # they change no number
    assert set(required) - quiet <= {name for name, version in stored["packages"].items() if version}
    assert stored["data"] == ["digits-split1"]
    (fingerprint,) = {e.fingerprint for e in state.plan.config.extractors.values()}
    assert stored["extractors"] == {"digits_cnn": fingerprint}
    assert stored["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(stored[key] for key in ("gramtune", "platform", "cpu", "cores"))


CASES = """\
  task:
    cases:
      digits: {}
      ring: {data: {name: ring}, network: {name: mlp}, metrics: [sliced_wasserstein], metric: sliced_wasserstein}
"""


@pytest.mark.parametrize("sampled", [False, True])
def test_versions_cover_every_data_set_of_the_space(sampled, tmp_path):
    domains = CASES + ("  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}\n" if sampled else "")
    found = versions(sweep_state(tmp_path, domains, sampled=sampled).plan)
    assert [name.split("-")[0] for name in found["data"]] == ["digits", "ring2d"]
    assert set(found["extractors"]) == {"digits_cnn", "identity"}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


SOURCE = "import json; from gramtune.record.provenance import source; print(json.dumps(source()))"


def source_of(root, elsewhere, what=SOURCE):
    """What the copy of the package in `root` says of itself; without what pip noted of any other copy."""
    code = f"import sys; sys.path.insert(0, {str(root)!r}); {what}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=elsewhere, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def copy(tmp_path):
    """A copy of the package in a folder that is no checkout, with metadata that do not say where it is from."""
    root = tmp_path / "a copy"
    package = Path(gramtune.__file__).parent
    shutil.copytree(package, root / "gramtune", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    metadata = root / f"gramtune-{gramtune.__version__}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gramtune\nVersion: {gramtune.__version__}\n")
    return root


def test_the_commit_is_that_of_the_checkout_and_absent_elsewhere(copy, tmp_path):
    assert source_of(copy, tmp_path) is None
    git(copy, "init", "-q")
    git(copy, "commit", "-q", "--allow-empty", "-m", "somebody's project")
    assert source_of(copy, tmp_path) is None  # within a checkout, as a virtual environment may be, but not of it
    git(copy, "add", "gramtune")
    git(copy, "commit", "-q", "-m", "first")
    head = git(copy, "rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", head)
    assert source_of(copy, tmp_path) == {"commit": head, "dirty": False}
    (copy / "notes.txt").write_text("beside the package")
    assert source_of(copy, tmp_path)["dirty"] is False
    with (copy / "gramtune" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    assert source_of(copy, tmp_path) == {"commit": head, "dirty": True}


def test_uncommitted_edits_are_stored_without_secrets_and_not_without_end(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "correct-horse-battery")
    show = "import json; from gramtune.record import provenance as p; print(json.dumps(p.uncommitted_diff()))"
    git(copy, "init", "-q")
    git(copy, "add", "gramtune")
    git(copy, "commit", "-q", "-m", "first")
    assert source_of(copy, tmp_path, show) == ""
    with (copy / "gramtune" / "__init__.py").open("a") as file:
        file.write("# changed by correct-horse-battery\n")
    (copy / "gramtune" / "extra.py").write_text("")
    text = source_of(copy, tmp_path, show)
    assert text.startswith("untracked: extra.py\ndiff --git a/gramtune/__init__.py")
    assert "+# changed by ***\n" in text
    short = show.replace("uncommitted_diff()", "uncommitted_diff(50)")
    cut = source_of(copy, tmp_path, short)
    assert cut.startswith(text[:50])
    assert cut.endswith(f"({len(text) - 50:,} more characters are not stored)\n")


def test_an_installed_copy_names_the_checkout_that_it_was_made_from(copy, tmp_path):
    git(copy, "init", "-q")
    git(copy, "add", "gramtune")
    git(copy, "commit", "-q", "-m", "first")
    head = git(copy, "rev-parse", "HEAD")
    installed = tmp_path / "site-packages"
    shutil.copytree(copy, installed, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    (metadata,) = installed.glob("*.dist-info")
    (metadata / "direct_url.json").write_text(json.dumps({"url": copy.as_uri(), "dir_info": {}}))
    assert source_of(installed, tmp_path) == {"commit": head, "dirty": False}
    (installed / "gramtune" / "space" / "extra.py").write_text("")
    assert source_of(installed, tmp_path) == {"commit": head, "dirty": True}
    vcs = {"url": "https://example.org/gramtune.git", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}}
    (metadata / "direct_url.json").write_text(json.dumps(vcs))
    assert source_of(installed, tmp_path) == {"commit": "0" * 40, "dirty": False}
