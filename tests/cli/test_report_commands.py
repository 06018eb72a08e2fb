"""`gramtune report` and `gramtune export` on folders of sweeps with real journals."""

import subprocess
import sys

import pandas as pd
import pytest
from states import complete, interrupted, report, sweep_state

from gramtune.record.journal import JOURNAL, Journal
from gramtune.record.report import Status
from gramtune.record.tables import results_frame
from gramtune.report.text.latex import latex_table
from gramtune.run.lock import driving
from gramtune.run.run_directory import recorded_state

K = "objective.critic_dim"


def test_report_rebuilds_everything_from_the_journal_of_an_interrupted_sweep(tmp_path, gramtune):
    target = interrupted(tmp_path)
    before = (target / JOURNAL).read_bytes()
    code, output, errors = gramtune("report", target)
    assert (code, errors) == (0, "")
    assert "3 trials: 1 RUNNING, 1 COMPLETED, 1 PRUNED" in output
    assert (target / "summary.txt").read_text() in output
    assert (target / JOURNAL).read_bytes() == before  # a driver may be writing to it
    frame = pd.read_parquet(target / "results.parquet")
    assert frame.groupby("trial")["step"].max().to_dict() == {"critic_dim=1": 6, "critic_dim=16": 0, "critic_dim=4": 3}
    assert {path.name for path in (target / "figures").iterdir()} >= {"critic_dim.png", "learning_curves.svg"}


def test_report_needs_no_data_on_this_machine(tmp_path, monkeypatch):
    target = interrupted(tmp_path)
    text = (target / "sweep.yaml").read_text().replace("name: digits", "name: cifar10")
    text = text.replace("fid_digits", "sliced_wasserstein")
    (target / "sweep.yaml").write_text(text)
    monkeypatch.setenv("GRAMTUNE_DATA", str(tmp_path / "empty"))
    assert recorded_state(target).plan.config.data.name == "cifar10"


def test_commands_say_in_one_line_what_is_wrong(tmp_path, gramtune):
    interrupted(tmp_path)
    for command in ("report", "export"):
        assert gramtune(command, "runs/other") == (
            2,
            "",
            "runs/other: holds no sweep (no sweep.yaml); runs holds axis\n",
        )
    assert gramtune("export", "runs/axis", "--output", "no/such/folder/x.csv") == (
        1,
        "",
        "no/such/folder/x.csv cannot be written: Cannot save file into a non-existent directory: 'no/such/folder'\n",
    )


def test_exports_hold_the_tidy_table(tmp_path, gramtune):
    target = interrupted(tmp_path)
    expected = results_frame(recorded_state(target))
    assert len(expected) == 10
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        assert gramtune("export", target, "--format", suffix) == (0, f"axis.{suffix}\n", "")
        pd.testing.assert_frame_equal(read(tmp_path / f"axis.{suffix}"), expected)
    assert gramtune("export", target, "--format", "latex", "-o", "table.tex") == (0, "table.tex\n", "")
    assert (tmp_path / "table.tex").read_text() == latex_table(recorded_state(target))


def test_the_latex_table_has_the_paper_s_form(tmp_path):
    state = recorded_state(interrupted(tmp_path))
    assert latex_table(state).splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{axis: Does K matter? Mean $\pm$ standard deviation; n = 2 replicates, 100 generated samples each. "
        r"fid\_digits: lower is better; the best is bold.}",
        r"\label{tab:axis}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"critic\_dim & fid\_digits \\",
        r"\midrule",
        r"1 & {\boldmath $4.0 \pm 1.4$} \\",
        r"4 & pruned \\",
        r"16 & running \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_special_characters_of_latex_are_escaped(tmp_path):
    cases = r"{cases: {'50 % {a_b} & $x^2$ \input{x} ~ #1': {}, mmd_net: {}}}"
    state = sweep_state(tmp_path, f"  method: {cases}\n  {K}: {{grid: [1], when: {{method: mmd_net}}}}\n")
    complete(state, next(iter(state.records)), [-1.5e-12, -1.6e-12])
    table = latex_table(state)
    name = r"50 \% \{a\_b\} \& \$x\textasciicircum{}2\$ \textbackslash{}input\{x\} \textasciitilde{} \#1"
    assert rf"{name} & -- & {{\boldmath $-1.55\cdot 10^{{-12}} \pm 7.1\cdot 10^{{-14}}$}} \\" in table
    assert r"mmd\_net & 1 & pending \\" in table


def test_report_follows_a_running_sweep_until_it_ends(tmp_path):
    target = interrupted(tmp_path)
    page = target / "report.html"
    command = [sys.executable, "-m", "gramtune.cli.main", "report", str(target), "--follow"]
    with driving(target):
        following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert following.stdout is not None
        assert "1 RUNNING, 1 COMPLETED, 1 PRUNED" in following.stdout.readline()
        assert 'http-equiv="refresh" content="30"' in page.read_text(encoding="utf-8")
        Journal(target, recorded_state(target)).reported("critic_dim=16", report(6, [8.0, 9.0], Status.COMPLETED))
    assert "2 COMPLETED, 1 PRUNED" in following.stdout.readline()
    assert following.wait(60) == 0
    assert "http-equiv" not in page.read_text(encoding="utf-8")


def test_only_one_sweep_can_be_followed(tmp_path, gramtune):
    target = interrupted(tmp_path)
    code, _, errors = gramtune("report", target, target, "--follow")
    assert (code, "--follow: follows one sweep, not 2" in errors) == (2, True)


@pytest.mark.parametrize("command", ["report", "export"])
def test_help_is_quick(command):
    code = f"import sys; from gramtune.cli.main import main; sys.argv = ['gramtune', {command!r}, '--help']; main()"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False)
    assert command in done.stdout
    assert not {"torch", "pandas", "matplotlib"} & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
