"""One test per sentence of docs/security.md."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch
from states import recorded_sweep, report, sweep_state
from sweeps import BASE, SPACE, write_space

import gramtune
from gramtune import SpecError, load_sweep, open_run
from gramtune.analysis.importance import Importances
from gramtune.backends.mlflow.server import server_command
from gramtune.record.redaction import redact
from gramtune.record.report import Status
from gramtune.record.tables import trials_frame
from gramtune.report.figures.catalogue import file_names
from gramtune.report.page.page import page
from gramtune.space.plan import trial_name
from gramtune.training.config import TrialConfig
from gramtune.training.trainer import CheckpointError, Trainer

PACKAGE = Path(gramtune.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir [made]", "!!python/name:os.system", "!!python/module:os"]
)
def test_yaml_makes_no_objects(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_space(tmp_path, SPACE.replace("Does K matter?", tag))
    with pytest.raises(SpecError, match=r"axis.yaml:2: not YAML: could not determine a constructor"):
        load_sweep(file)
    assert not (tmp_path / "made").exists()


def test_a_checkpoint_cannot_run_code(tmp_path: Path, ring_config: dict) -> None:
    target, file = tmp_path / "exploded", tmp_path / "checkpoint"
    torch.save({"state": Bomb(target)}, file)
    trainer = Trainer(TrialConfig.model_validate(ring_config), tmp_path, torch.device("cpu"))
    with pytest.raises(CheckpointError):
        trainer.load(file)
    assert not target.exists()
    torch.load(file, weights_only=False)
    assert target.exists(), "the bomb is no bomb, so the test shows nothing"


def calls(source: str) -> list[tuple[str, ast.Call]]:
    """Every call of a module by its dotted name."""
    return [(ast.unparse(node.func), node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


def test_no_eval_no_unpickling_and_one_exec() -> None:
    assert len(MODULES) > 150
    executed = []
    for module in MODULES:
        for name, call in calls(module.read_text()):
            place = f"{module.relative_to(PACKAGE)}:{call.lineno}"
            assert name not in ("eval", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"), place
            if name == "torch.load":
                weights_only = {k.arg: ast.unparse(k.value) for k in call.keywords}.get("weights_only")
                assert weights_only == "True", place
            if name == "np.load":
                assert "allow_pickle=False" in ast.unparse(call), place
            if name == "exec":
                executed.append(module.name)
    assert executed == ["plugins.py"]


def test_a_plug_in_runs_only_where_it_is_named(tmp_path: Path) -> None:
    file = write_space(tmp_path)
    (tmp_path / "mine.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    load_sweep(file)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(SpecError, match="registers no component"):
        load_sweep(file, plugins=[tmp_path / "mine.py"])
    assert (tmp_path / "ran").exists()


def test_the_server_listens_on_loopback_only() -> None:
    words = server_command("sqlite:///x.db", 5000, Path("runs"))
    assert words[words.index("--host") + 1] == "127.0.0.1"


@pytest.mark.parametrize("name", ["../up", "a/b", "/etc/x", "..", ".hidden", "a\\b", "a\0b", "~x"])
def test_the_name_of_a_sweep_is_no_path(name: str, tmp_path: Path) -> None:
    file = write_space(tmp_path, SPACE.replace("name: axis", f"name: {json.dumps(name)}"))
    with pytest.raises(SpecError, match="should be letters"):
        load_sweep(file)


@pytest.mark.parametrize("value", ["../../up", "/etc/passwd", "a/../../b", "..", "\0", "x" * 500])
def test_names_of_trials_and_figures_are_no_paths(value: str) -> None:
    for name in (trial_name({"key": value}), file_names([value])[value]):
        assert re.fullmatch(r"[A-Za-z0-9.,=_+-]+", name)
        assert name not in (".", "..")


def test_the_page_escapes_what_users_write(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    folder = recorded_sweep(
        tmp_path,
        SPACE.replace("Does K matter?", hostile),
        [({"objective.critic_dim": 1}, [report(3, [5.0, 6.0])], (Status.FAILED, hostile))],
    )
    result = open_run(folder)
    for html in (page(result.state, folder, [], Importances(why="few")), result._repr_html_()):
        assert "alert(1)" in html
        assert hostile not in html


def test_secrets_are_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cr3t-token")
    text = "http://me:hunter2@host/x failed with s3cr3t-token, password=hunter2"
    assert redact(text) == "http://host/x failed with ***, password=***"
    state = sweep_state(tmp_path, base=BASE)
    name = next(iter(state.records))
    state.ended(name, Status.FAILED, redact(text))
    written = trials_frame(state).to_csv() + page(state, tmp_path, [], Importances(why="few"))
    assert "s3cr3t" not in written
    assert "hunter2" not in written
