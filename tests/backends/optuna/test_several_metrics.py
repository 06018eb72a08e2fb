"""A sweep of several metrics has a Pareto front instead of a best trial: study, tables, figure and MLflow."""

import itertools
import math

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from states import TWO, begin, two_metric_state
from stores import stored
from sweeps import BASE, SPACE, write_space

from gramtune import run_sweep
from gramtune.analysis.reevaluate import with_metrics
from gramtune.backends.optuna.search import STUDY_FILE, OptunaProposer
from gramtune.errors import SpecError
from gramtune.record.journal import load_state
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState
from gramtune.record.tables import trials_frame, write_sweep
from gramtune.report.figures.catalogue import write_figures
from gramtune.report.figures.front import front_figure
from gramtune.report.text.summary import summary_lines
from gramtune.run.driver import Driver
from gramtune.run.in_process import InProcessRunner
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import make_plan

BOTH = BASE.replace("metrics: [fid_digits]", "metrics: [fid_digits, kid_digits]")
SPACE_OF_TWO = SPACE.replace("grid: [1, 4, 16]", "int: [1, 64]") + TWO
POINTS = [(10, 5), (12, 3), (11, 6), (9, 9), (12, 4), (20, 1)]
"""(fid, kid) by critic_dim from 1; 3 and 5 are dominated."""


def run(folder, space=SPACE_OF_TWO):
    folder.mkdir(exist_ok=True)
    path = write_space(folder, space, BOTH)
    state = load_state(folder, make_plan(load_sweep(path), folder))
    InProcessRunner().run(Driver(state, folder, OptunaProposer(state, folder)))
    return state


def study(folder):
    return optuna.load_study(study_name="axis", storage=JournalStorage(JournalFileBackend(str(folder / STUDY_FILE))))


def test_the_front_is_pareto_optimal_and_there_is_no_single_best(tmp_path):
    state = two_metric_state(tmp_path, POINTS)
    assert state.best is None
    assert [r.trial.name for r in state.front] == [f"critic_dim={k}" for k in (4, 1, 2, 6)]
    frame = trials_frame(state).set_index("trial")
    assert list(frame.index[frame["front"]]) == [f"critic_dim={k}" for k in (1, 2, 4, 6)]
    assert list(frame["second_mean"]) == [kid for _, kid in POINTS]
    assert set(frame["second_metric"]) == {"kid_digits"}
    text = "\n".join(summary_lines(state))
    assert "4 trials of 6 completed" in text
    assert "Best" not in text
    assert text.count("  front") == 4


def test_the_figure_shows_the_front_apart(tmp_path):
    state = two_metric_state(tmp_path, POINTS)
    axes = front_figure(state).axes[0]
    drawn = {container[0].get_gid(): container[0].get_xydata().tolist() for container in axes.containers}
    assert drawn == {"other": [[11, 6], [12, 4]], "front": [[9, 9], [10, 5], [12, 3], [20, 1]]}
    names = {path.name for path in write_figures(state, tmp_path)}
    assert {"front.png", "front.svg", "critic_dim.png"} <= names


def test_a_resolved_sweep_has_both_metrics_still(tmp_path):
    sweep = load_sweep(write_space(tmp_path, SPACE_OF_TWO, BOTH))
    write_sweep(sweep, tmp_path)
    assert load_sweep(tmp_path / "sweep.yaml") == sweep
    assert sweep.metric == ("fid_digits", "kid_digits")
    alone = load_sweep(tmp_path / "axis.yaml", Overrides(set=("metric=kid_digits",)))
    assert (alone.metric, alone.base["metric"]) == (None, "kid_digits")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kid_digits]", "kid_digit]", "axis.yaml:8: metric: 'kid_digit' is not computed; the metrics here compute"),
        ("[fid_digits, kid_digits]", "[fid_digits, kid_digits, x]", "axis.yaml:8: metric: 'x' is not computed"),
        ("[fid_digits, kid_digits]", "[a, b, c, d, e, f, g]", "axis.yaml:8: metric = "),
        ("[fid_digits, kid_digits]", "[fid_digits, fid_digits]", "axis.yaml:8: metric: 'fid_digits' is named twice"),
        ("nsga2", "cmaes", "axis.yaml:9: search: cmaes has no population_size; nsga2 has"),
        ("nsga2, samples: 9, population_size: 3", "cmaes", "axis.yaml:9: search: cmaes optimises one metric;"),
        ("\n", "\npruner: asha\n", "pruner: asha judges by one metric, but several are optimised; legal: none"),
    ],
)  # fmt: skip
def test_issues_have_their_line(tmp_path, old, new, expected):
    with pytest.raises(SpecError) as error:
        load_sweep(write_space(tmp_path, SPACE_OF_TWO.replace(old, new, 1), BOTH))
    assert any(expected in str(issue) for issue in error.value.issues)


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "qmc", "nsga2"])
def test_optuna_is_told_both_and_its_front_is_ours(sampler, tmp_path):
    space = (
        SPACE_OF_TWO
        if sampler == "nsga2"
        else SPACE_OF_TWO.replace(TWO.splitlines()[1], f"search: {{name: {sampler}, samples: 4}}")
    )
    state = run(tmp_path, space)
    assert len(state.completed) == (9 if sampler == "nsga2" else 4)
    stored = study(tmp_path)
    assert [d.name for d in stored.directions] == ["MINIMIZE", "MINIMIZE"]
    ours = {r.trial.name: [r.summary(m).mean for m in state.plan.metrics] for r in state.front}
    theirs = {t.user_attrs["trial"]: t.values for t in stored.best_trials if "trial" in t.user_attrs}
    assert theirs == ours
    assert all(math.isfinite(value) for values in ours.values() for value in values)


def test_nsga2_proposes_the_same_after_an_interruption(tmp_path):
    whole = run(tmp_path / "whole")
    part = SPACE_OF_TWO.replace("samples: 9", "samples: 5")
    run(tmp_path / "cut", part)
    again = run(tmp_path / "cut")
    assert list(again.records) == list(whole.records)
    generations = {t.system_attrs.get("NSGAIISampler:generation") for t in study(tmp_path / "whole").trials}
    assert {0, 1, 2} <= generations  # it has bred


def test_the_front_of_three_metrics_is_what_no_trial_dominates(tmp_path):
    """It was computed from the first and the last metric; (2, 2, 2) is dominated in both of them only."""
    base = BASE.replace("metrics: [fid_digits]", "metrics: [fid_digits, kid_digits, training_seconds]")
    space = SPACE_OF_TWO.replace("[fid_digits, kid_digits]", "[fid_digits, kid_digits, training_seconds]")
    state = SweepState(make_plan(load_sweep(write_space(tmp_path, space, base)), tmp_path))
    points = {1: (1.0, 3.0, 1.0), 2: (2.0, 2.0, 2.0), 3: (3.0, 3.0, 3.0), 4: (1.0, 3.0, 1.0)}
    for k, values in points.items():
        name = begin(state, objective__critic_dim=k)
        metrics = dict(zip(state.plan.metrics, ([value] * 2 for value in values), strict=True))
        state.reported(name, Report(6, metrics, {}, 100, 1.0, 0, Status.COMPLETED, ""))
    assert [r.trial.assignment["objective.critic_dim"] for r in state.front] == [1, 4, 2]
    frame = trials_frame(state)
    assert list(frame["third_mean"]) == [1.0, 2.0, 3.0, 1.0]
    assert set(frame["third_metric"]) == {"training_seconds"}
    assert list(frame["front"]) == [True, True, False, True]
    panels = front_figure(state).axes
    assert [(p.get_xlabel().split()[0], p.get_ylabel().split()[0]) for p in panels] == [
        ("fid_digits", "kid_digits"), ("fid_digits", "training_seconds"), ("kid_digits", "training_seconds"),
    ]  # fmt: skip


def test_quality_against_training_time_from_the_file_to_mlflow(tmp_path):

    base = BASE.replace("metrics: [fid_digits]", "metrics: [fid_digits, kid_digits, training_seconds]")
    space = SPACE_OF_TWO.replace("[fid_digits, kid_digits]", "[fid_digits, kid_digits, training_seconds]")
    space = space.replace("samples: 9", "samples: 4")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    path = write_space(tmp_path, space, base)
    result = run_sweep(load_sweep(path), tmp_path / "runs", debug=True, tracking_uri=uri, say=lambda line: None)
    assert result.complete
    ours = {r.trial.name: [r.summary(m).mean for m in result.state.plan.metrics] for r in result.state.front}
    best = study(result.folder).best_trials
    assert {t.user_attrs["trial"]: t.values for t in best if "trial" in t.user_attrs} == ours
    for record in result.state.records.values():
        times = [report.metrics["training_seconds"] for _, report in sorted(record.reports.items())]
        assert times[0] == [0.0, 0.0]
        assert all(now[0] == now[1] > before[0] for before, now in itertools.pairwise(times))
        assert all(report.metrics["training_seconds"][0] < report.seconds for report in record.reports.values())
    text = (result.folder / "summary.txt").read_text()
    assert "Pareto front of fid_digits, kid_digits and training_seconds" in text
    assert "not drawn" not in text
    assert (result.folder / "figures" / "front.png").is_file()
    parent, children = stored(uri)
    assert sum("training_seconds" in run.data.metrics for run in children.values()) == 4
    assert "fid_digits, kid_digits and training_seconds" in parent.data.tags["mlflow.note.content"]


def test_training_time_is_not_evaluated_again(tmp_path):
    config = make_plan(load_sweep(write_space(tmp_path, SPACE, BASE)), tmp_path).config
    with pytest.raises(SpecError, match="training_seconds is measured during training; it cannot be evaluated again"):
        with_metrics(config, ["training_seconds"])
