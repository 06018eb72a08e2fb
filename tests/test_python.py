"""The Python interface: public names, results of runs, sweeps written in Python, notebooks."""

import inspect
import json
import subprocess
import sys
import time
from pathlib import Path

import jupyter_client
import pandas as pd
import pytest
from states import recorded_sweep, report
from sweeps import SPACE, write_space

import gramtune
from gramtune import Domain, SpecError, Sweep, load_sweep, open_run, run_sweep
from gramtune.notebook import page
from gramtune.record.report import Status
from gramtune.space.plan import make_plan

FIELDS = {"name": "x", "base": "digits", "space": {"objective.critic_dim": {"grid": [4, 8]}}}
TINY = {f"training.{key}": value for key, value in (("steps", 2), ("eval_every", 1), ("eval_samples", 50))}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    done = [({"objective.critic_dim": k}, [report(6, [k, k + 1.0], Status.COMPLETED)], None) for k in (1, 4, 16)]
    return recorded_sweep(tmp_path, SPACE, done)


def test_the_package_shows_its_public_names_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, gramtune; assert not {'torch', 'pandas', 'ray'} & set(sys.modules); print(*dir(gramtune)); "
        "assert all(hasattr(gramtune, name) for name in dir(gramtune))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"Sweep", "load_sweep", "run_sweep", "resume_sweep", "open_run", "Result"} <= set(shown)


def test_every_public_name_has_a_docstring_and_type_hints() -> None:
    for name in gramtune.__all__:
        public = getattr(gramtune, name)
        assert inspect.getdoc(public), name
        if inspect.isfunction(public):
            assert "return" in inspect.get_annotations(public), name


def test_a_finished_run_is_opened(finished: Path) -> None:
    result = open_run(finished)
    assert result.complete
    assert (result.best.values, result.best.mean, result.best.n) == ({"objective.critic_dim": 1}, 1.5, 2)
    assert result.best.config.objective.critic_dim == 1
    assert list(result.trials["mean"]) == [1.5, 4.5, 16.5]
    assert list(result.frame["value"]) == [1, 2, 4, 5, 16, 17]
    assert [verdict.key for verdict in result.verdicts] == ["objective.critic_dim"]
    assert str(result).startswith("axis: Does K matter?")


def test_a_run_that_has_not_finished_is_opened_too(tmp_path: Path) -> None:
    folder = recorded_sweep(tmp_path, SPACE, [({"objective.critic_dim": 1}, [report(3, [5.0, 6.0])], None)])
    result = open_run(folder)
    assert (result.complete, result.best) == (False, None)
    assert "<img" not in result._repr_html_()
    with pytest.raises(SpecError, match="holds no sweep"):
        open_run(tmp_path / "nothing")


def test_plots_show_themselves_in_a_notebook(finished: Path) -> None:
    result = open_run(finished)
    figure = result.plot()
    assert figure.axes[0].get_xlabel() == "objective.critic_dim"
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert result.plot("steps").axes[0].get_xlabel() == "training steps"
    assert "data:image/png;base64," in result._repr_html_()
    with pytest.raises(SpecError, match=r"plot: 'critic_dim' does not vary; did you mean 'objective.critic_dim'\?"):
        result.plot("critic_dim")


def test_overrides_are_keywords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = load_sweep("critic_dim", replicates=5, set=TINY, name="short")
    assert (sweep.name, sweep.replicates, sweep.base["training"]["replicates"]) == ("short", 5, 5)
    assert sweep.base["training"]["steps"] == 2
    assert load_sweep("joint", samples=7, base="ring", time_budget=60.0).search.samples == 7


def here(offset: int) -> str:
    """The place of a line of this file, that many after the call."""
    return f"{Path(__file__)}:{inspect.currentframe().f_back.f_lineno + offset}"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"replicates": 0}, "training.replicates = 0 should be greater than 0"),
        ({"set": {"training.stps": 3}}, "unknown key 'training.stps'; did you mean 'steps'?"),
        ({"set": {"training.steps": "3"}}, "training.steps = '3' should be an integer; a number in quotes is a string"),
        ({"base": "digts"}, "does not exist; did you mean 'digits'? shipped with gramtune: celeba"),
        ({"samples": -1}, "search.samples = -1 should be greater than 0"),
        ({"plugins": ["gone.py"]}, "plug-in gone.py cannot be read"),
        ({"plugins": "gone.py"}, "plugins = 'gone.py' should be a list of files or modules"),
        ({"set": 3}, "set = 3 should be a mapping"),
    ],
)
def test_a_wrong_keyword_is_told_with_its_line(keywords: dict, message: str) -> None:
    place = here(2)
    with pytest.raises(SpecError) as caught:
        load_sweep("critic_dim", **keywords)
    assert str(caught.value).startswith(f"{place}: ")
    assert message in str(caught.value)


def test_a_sweep_written_in_python_is_the_sweep_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("name: x\nbase: digits\nspace: {objective.critic_dim: {grid: [4, 8]}}\nreplicates: 5\n")
    written = Sweep(**FIELDS, replicates=5)
    assert written == load_sweep(file)
    assert written.base["training"]["replicates"] == written.config({}).training.replicates == 5
    assert written == Sweep(**{**FIELDS, "space": {"objective.critic_dim": Domain(grid=(4, 8))}}, replicates=5)
    assert [trial.name for trial in make_plan(written, tmp_path).trials] == ["critic_dim=4", "critic_dim=8"]


WRONG = [
    ({"replicas": 5}, "unknown key 'replicas'; did you mean 'replicates'?"),
    ({"replicates": 0}, "replicates = 0 should be greater than 0"),
    ({"metric": "nope"}, "metric: 'nope' is not computed; the metrics here compute fid_digits"),
    ({"base": "file.yaml"}, "file 'file.yaml' does not exist"),
    ({"base": 3}, "base: 3 should be a file"),
    ({"space": {"objective.critc_dim": {"grid": [1]}}}, "key 'objective.critc_dim'; did you mean 'critic_dim'?"),
    ({"space": {"objective.critic_dim": {"grid": [0, 1]}}}, "objective.critic_dim = 0 should be greater than 0"),
    ({"search": "tpe"}, "tpe samples, but objective.critic_dim is a grid"),
    ({"space": {}}, "space = {} should be"),
    ({"name": object()}, "should be numbers, text, lists and mappings"),
    (
        {
            "search": {"name": "random", "points": [{"objective.critic_dim": 7}]},
            "space": {"objective.critic_dim": {"choice": [4]}},
        },
        "search.points[0]: objective.critic_dim = 7 should be one of the key's values; legal: 4",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"), WRONG, ids=[f"{next(iter(fields))}{i}" for i, (fields, _) in enumerate(WRONG)]
)
def test_a_sweep_written_in_python_raises_what_a_file_raises(fields: dict, message: str) -> None:
    place = here(2)
    with pytest.raises(SpecError) as caught:
        Sweep(**{**FIELDS, **fields})
    assert all(line.startswith(f"{place}: ") for line in str(caught.value).splitlines())
    assert message in str(caught.value)


def test_values_carry_their_origin_to_later_checks(tmp_path: Path) -> None:
    """What only the plan can see is told with its line, option or line of Python; nothing reads the file again."""
    file = write_space(tmp_path, SPACE.replace("grid: [1, 4, 16]", "grid: [1]"))
    place = here(1)
    sweep = load_sweep(file, set={"training.eval_samples": 1})
    file.unlink()
    with pytest.raises(SpecError, match="needs 2 or more") as caught:
        make_plan(sweep, tmp_path)
    assert str(caught.value).startswith(f"{place}: training.eval_samples is 1")
    varied = {"training.eval_samples": {"grid": [1, 100]}}
    place = here(1)
    sweep = Sweep(**{**FIELDS, "space": varied})
    with pytest.raises(SpecError) as caught:
        make_plan(sweep, tmp_path)
    assert str(caught.value).startswith(f"{place}: training.eval_samples is 1")


def test_a_sweep_written_in_python_runs(tmp_path: Path) -> None:
    lines: list[str] = []
    base = load_sweep("critic_dim", set={**TINY, "network.width": 4}).base
    result = run_sweep(Sweep(**{**FIELDS, "base": base}, replicates=2), tmp_path, debug=True, say=lines.append)
    assert result.complete
    assert len(result.frame) == 2 * 2 * 3
    pd.testing.assert_frame_equal(open_run(result.folder).frame, result.frame)


def test_the_page_of_a_notebook_escapes_and_shows_running_trials(finished: Path) -> None:
    state = open_run(finished).state
    html = page(["a <b>"], state)
    assert "a &lt;b&gt;" in html
    assert "<p>3 of 3 trials finished</p>" in html
    assert "<td>6/6</td><td>1.50 ± 0.71</td><td>COMPLETED</td>" in html
    assert page(["x"], None) == "<pre>x</pre>"


class Kernel:
    """A notebook's kernel, driven by the protocol that every notebook speaks."""

    def __init__(self, folder: Path) -> None:
        self.manager, self.client = jupyter_client.manager.start_new_kernel(kernel_name="python3", cwd=str(folder))
        self.displays: list[tuple[str, str]] = []
        self.cleared = False

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *error: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def start(self, code: str) -> str:
        return self.client.execute(code)

    def finish(self, cell: str) -> tuple[str, str]:
        """Waits for the cell; returns its status and what it printed."""
        printed, status = [], ""
        while True:
            message = self.client.get_iopub_msg(timeout=180)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                printed.append(content["text"])
            elif kind == "error":
                status = content["ename"]
            elif kind == "clear_output":
                self.cleared = True
            elif kind in ("display_data", "update_display_data", "execute_result"):
                self.displays.append((kind, content["data"].get("text/html", "")))
            elif (
                kind == "status" and content["execution_state"] == "idle" and message["parent_header"]["msg_id"] == cell
            ):
                return status or "ok", "".join(printed)


def test_a_notebook_shows_one_updating_output_and_an_interrupt_is_clean(tmp_path: Path) -> None:
    write_space(tmp_path)
    with Kernel(tmp_path) as kernel:
        assert kernel.finish(kernel.start("from gramtune import load_sweep, resume_sweep, run_sweep"))[0] == "ok"
        slow = "{'training.steps': 4000, 'training.eval_every': 50}"
        cell = kernel.start(f"result = run_sweep(load_sweep('axis.yaml', set={slow}), debug=True)")
        journal = tmp_path / "runs" / "axis" / "journal.jsonl"
        deadline = time.monotonic() + 120
        while not journal.exists() or journal.read_text().count('"step"') < 2:
            assert time.monotonic() < deadline, "no report within two minutes"
            time.sleep(0.1)
        kernel.manager.interrupt_kernel()
        assert kernel.finish(cell)[0] == "ok"
        kinds = [kind for kind, _ in kernel.displays]
        assert kinds.count("display_data") == 1, "more outputs than one"
        assert "update_display_data" in kinds
        assert "gramtune resume runs/axis" in kernel.displays[-1][1]
        assert kernel.finish(kernel.start("print(result.complete)")) == ("ok", "False\n")
        kernel.finish(kernel.start("result"))
        assert "0 of 3" in kernel.displays[-1][1] or "axis: Does K matter?" in kernel.displays[-1][1]


CELL = """
from typing import Literal
from gramtune import Sweep, register, run_sweep
from gramtune.components import Losses, Objective

@register
class Here(Objective):
    name: Literal["here"] = "here"
    def critic(self): return
    def losses(self, real, fake):
        gap = (fake.samples.mean(dim=-2) - real.samples.mean(dim=-2)).square().sum(dim=-1)
        return Losses(critic=None, generator=gap, traces={})

base = dict(data={"name": "ring"}, objective={"name": "here"}, network={"name": "mlp"}, metric="energy_distance",
            optimizer={"name": "adam", "learning_rate": 1e-3}, metrics=["energy_distance"],
            training=dict(batch_size=16, steps=2, eval_every=2, eval_samples=100))
sweep = Sweep(name="cell", base=base, space={"training.batch_size": {"grid": [8]}}, replicates=2)
"""


def test_a_component_that_workers_cannot_import_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Every trial failed with an address of pydantic's documentation."""
    with Kernel(tmp_path) as kernel:
        assert kernel.finish(kernel.start(CELL))[0] == "ok"
        asked = "try: run_sweep(sweep)\nexcept ValueError as error: print(error)"
        status, printed = kernel.finish(kernel.start(asked))
        assert status == "ok"
        assert printed.startswith("plugins: objective 'here' is registered in this process alone")
        assert "%%writefile here.py" in printed
        assert not (tmp_path / "runs").exists()
        assert kernel.finish(kernel.start("print(run_sweep(sweep, debug=True).complete)")) == ("ok", "True\n")


@pytest.mark.slow
def test_the_example_notebook_runs_through_ray(tmp_path: Path) -> None:
    """Cell by cell; its objective is written by a cell, and trained by Ray's workers."""
    notebook = json.loads((Path(__file__).parent.parent / "examples" / "mean_gap.ipynb").read_text(encoding="utf-8"))
    codes = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(codes) == 6
    with Kernel(tmp_path) as kernel:
        for code in codes:
            assert kernel.finish(kernel.start(code))[0] == "ok", code
        shown = [html for kind, html in kernel.displays if kind != "execute_result"]
        assert "" not in shown, "Tune's own reporter shows an empty output"
        assert "3 of 3 trials finished" in shown[-1]
        assert not kernel.cleared
        _, printed = kernel.finish(kernel.start("print(result.complete, more.complete, len(more.frame))"))
    assert printed.split() == ["True", "True", "60"]  # 3 trials, 4 replicates, 5 evaluations
