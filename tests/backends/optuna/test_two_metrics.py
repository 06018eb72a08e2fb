"""Two metrics: a Pareto front instead of a best trial, from the space file to Optuna's study, tables and figure."""

import math

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from states import TWO, two_metric_state
from sweeps import BASE, SPACE, write_space

from gramtune.backends.optuna.search import STUDY_FILE, OptunaProposer
from gramtune.errors import SpecError
from gramtune.record.journal import load_state
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
        ("[fid_digits, kid_digits]", "[fid_digits, kid_digits, x]", "axis.yaml:8: metric = "),
        ("[fid_digits, kid_digits]", "[fid_digits, fid_digits]", "axis.yaml:8: metric: 'fid_digits' is named twice"),
        ("nsga2", "cmaes", "axis.yaml:9: search: cmaes has no population_size; nsga2 has"),
        ("nsga2, samples: 9, population_size: 3", "cmaes", "axis.yaml:9: search: cmaes optimises one metric, not two"),
        ("\n", "\npruner: asha\n", "pruner: asha judges by one metric, but two are optimised; legal: none"),
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
