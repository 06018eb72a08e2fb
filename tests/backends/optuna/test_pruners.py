"""Optuna's pruners by name decide as in Optuna, and their options are checked before anything starts."""

from __future__ import annotations

import copy
import pickle
import random
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.pruners import MedianPruner, PatientPruner, PercentilePruner, ThresholdPruner, WilcoxonPruner
from sweeps import BASE, SPACE, write_space

from gramtune.analysis.replay import checked_pruner
from gramtune.components import Pruner
from gramtune.errors import SpecError
from gramtune.record.pruning import Rungs
from gramtune.record.report import Report, Status
from gramtune.registry import component, everything
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

EVERY, STEPS = 100, 600
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
Race = dict[str, list[list[float]]]


def race(trials: int = 25, replicates: int = 2) -> Race:
    """Curves of trials: one list of replicates per evaluation, from step 0 to the last."""
    rng = random.Random(3)
    level = {f"{i}": (rng.uniform(0, 10), rng.uniform(-1, 1)) for i in range(trials)}
    return {
        name: [[mean + slope * k + rng.gauss(0, 2) for _ in range(replicates)] for k in range(STEPS // EVERY + 1)]
        for name, (mean, slope) in level.items()
    }


def ours(section: dict[str, Any], curves: Race, direction: Any) -> dict[str, int]:
    """The step at which each trial of a race stops, one trial after the other."""
    rungs, stops = Rungs(component(Pruner, section), STEPS, EVERY, direction), {}
    for name, curve in curves.items():
        for k, values in enumerate(curve):
            last = k == len(curve) - 1
            status = Status.COMPLETED if last else Status.RUNNING
            if rungs.decide(name, Report(k * EVERY, {"m": values}, {}, 1, 1.0, 0, status, ""), "m"):
                stops[name] = k * EVERY
                break
    return stops


def theirs(pruner: optuna.pruners.BasePruner, curves: Race, direction: str) -> dict[str, int]:
    """The same race in a study of Optuna."""
    study, stops = optuna.create_study(pruner=pruner, direction=f"{direction}imize"), {}
    for name, curve in curves.items():
        trial = study.ask()
        for k, values in enumerate(curve):
            trial.report(fmean(values), k * EVERY)
            if 0 < k < len(curve) - 1 and trial.should_prune():
                stops[name] = k * EVERY
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, fmean(curve[-1]))
    return stops


MEDIAN = {"name": "optuna.MedianPruner", "n_startup_trials": 3}


@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize(
    ("section", "pruner"),
    [
        (MEDIAN, MedianPruner(n_startup_trials=3)),
        (
            {"name": "optuna.PercentilePruner", "percentile": 70.0, "n_startup_trials": 2, "n_warmup_steps": 200},
            PercentilePruner(70.0, n_startup_trials=2, n_warmup_steps=200),
        ),
        (
            {**MEDIAN, "n_warmup_steps": 150, "interval_steps": 200, "n_min_trials": 4},
            MedianPruner(3, n_warmup_steps=150, interval_steps=200, n_min_trials=4),
        ),
        (
            {"name": "optuna.PatientPruner", "patience": 1, "wrapped_pruner": MEDIAN},
            PatientPruner(MedianPruner(n_startup_trials=3), patience=1),
        ),
        ({"name": "optuna.PatientPruner", "patience": 1, "min_delta": 0.5}, PatientPruner(None, 1, 0.5)),
        ({"name": "optuna.ThresholdPruner", "lower": 3, "upper": 9}, ThresholdPruner(3, 9)),
    ],
    ids=["median", "percentile", "interval", "patient median", "patient", "threshold"],
)
def test_they_decide_as_in_optuna(section: dict[str, Any], pruner: Any, direction: str) -> None:
    stops = ours(section, race(), direction)
    assert stops == theirs(pruner, race(), direction)
    assert 3 <= len(stops) < 25


def test_wilcoxon_compares_the_replicates_with_those_of_the_best_completed_trial() -> None:
    section = {"name": "optuna.WilcoxonPruner", "p_threshold": 0.05}
    good = [[float(seed + 3 * k) for seed in range(6)] for k in range(7)]
    worse = [[value + 1 + 0.1 * i for i, value in enumerate(values)] for values in good]
    mixed = [[value + (1 if i % 2 else -2) for i, value in enumerate(values)] for values in good]
    assert ours(section, {"good": good, "mixed": mixed, "worse": worse}, "min") == {"worse": 100}
    study = optuna.create_study(pruner=WilcoxonPruner(p_threshold=0.05))
    study.add_trial(optuna.create_trial(value=1.0, intermediate_values=dict(enumerate(good[1]))))
    for values, stopped in ((worse[1], True), (mixed[1], False)):
        trial = study.ask()
        for seed, value in enumerate(values):
            trial.report(value, seed)
        assert trial.should_prune() is stopped


def test_the_noise_aware_rule_can_veto_them() -> None:
    curves = {"a": [[1.0, 2.0, 3.0]] * 7, "b": [[1.1, 2.9, 2.5]] * 7, "c": [[110.0, 210.0, 310.0]] * 7}
    section = {"name": "optuna.MedianPruner", "n_startup_trials": 1}
    assert set(ours(section, curves, "min")) == {"b", "c"}
    assert set(ours({**section, "false_prune_rate": 0.1}, curves, "min")) == {"c"}


def test_a_trial_with_a_diverged_replicate_is_no_completed_trial() -> None:
    """Its value would be the mean of the lucky replicates that are left."""
    rungs = Rungs(component(Pruner, {"name": "optuna.MedianPruner", "n_startup_trials": 1}), STEPS, EVERY, "min")
    for step in range(0, STEPS + 1, EVERY):
        status = Status.DIVERGED if step == STEPS else Status.RUNNING
        rungs.decide("lost", Report(step, {"m": [0.0, None]}, {}, 1, 1.0, 0, status, ""), "m")
    assert not rungs.decide("a", Report(100, {"m": [5.0, 5.0]}, {}, 1, 1.0, 0, Status.RUNNING, ""), "m")


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("{name: optuna.PercentilePruner}", "missing key 'pruner.percentile'"),
        (
            "{name: optuna.PercentilePruner, percentile: 101}",
            "pruner: Percentile must be between 0 and 100 inclusive, but got percentile=101.0.",
        ),
        (
            "{name: optuna.PercentilePruner, percentile: '25'}",
            "pruner.percentile = '25' should be a number; a number in quotes is a string",
        ),
        (
            "{name: optuna.MedianPruner, n_startup: 3}",
            "unknown key 'pruner.n_startup'; did you mean 'n_startup_trials'? legal: name, false_prune_rate, "
            "n_startup_trials, n_warmup_steps, interval_steps, n_min_trials",
        ),
        ("optuna.ThresholdPruner", "pruner: Either lower or upper must be specified."),
        (
            "{name: optuna.PatientPruner, patience: 1, wrapped_pruner: median}",
            "pruner.wrapped_pruner: median is not a pruner of Optuna's; legal: optuna.MedianPruner, "
            "optuna.PatientPruner, optuna.PercentilePruner, optuna.ThresholdPruner, optuna.WilcoxonPruner",
        ),
        (
            "optuna.HyperbandPruner",
            "pruner: optuna.HyperbandPruner is unsupported: it keeps its rungs in the study, so a resumed or replayed "
            "sweep would decide otherwise; legal: hyperband",
        ),
        ("optuna.NopPruner", "pruner: optuna.NopPruner is unsupported: it stops no trial; legal: none"),
        (
            "MedianPruner",
            "pruner.name = 'MedianPruner' does not exist; did you mean 'optuna.MedianPruner'? legal: asha, hyperband, "
            "median, none, optuna.MedianPruner, optuna.PatientPruner, optuna.PercentilePruner, optuna.ThresholdPruner, "
            "optuna.WilcoxonPruner",
        ),
    ],
)
def test_what_is_wrong_with_one_is_one_line(pruner: str, message: str, tmp_path: Path) -> None:
    file = write_space(tmp_path, SPACE + f"pruner: {pruner}\n")
    with pytest.raises(SpecError) as caught:
        load_sweep(file)
    assert str(caught.value) == f"{file}:8: {message}"


def test_what_reads_completed_trials_has_no_place_in_a_synchronous_search(tmp_path: Path) -> None:
    search = "search: {name: grid, synchronous: true}\n"
    file = write_space(tmp_path, SPACE + search + "pruner: optuna.MedianPruner\n")
    with pytest.raises(SpecError, match=r"9: pruner: optuna.MedianPruner reads which trials are completed, which"):
        load_sweep(file)
    alone = "pruner: {name: optuna.PatientPruner, patience: 1}\n"
    assert load_sweep(write_space(tmp_path, SPACE + search + alone)).search.synchronous


@pytest.mark.parametrize(("replicates", "says"), [(3, True), (4, False)])
def test_wilcoxon_with_too_few_replicates_is_said(replicates: int, says: bool, tmp_path: Path) -> None:
    space = SPACE.replace("replicates: 2", f"replicates: {replicates}") + "pruner: optuna.WilcoxonPruner\n"
    warnings = make_plan(load_sweep(write_space(tmp_path, space)), tmp_path).warnings
    said = "pruner.p_threshold = 0.1 needs 4 replicates; with 3 no trial is ever stopped"
    assert (said in warnings) is says


def test_every_one_is_explained_and_can_be_copied() -> None:
    found = {name: cls for name, cls in everything(Pruner).items() if name.startswith("optuna.")}
    assert len(found) == 5
    assert all(field.description for cls in found.values() for key, field in cls.model_fields.items() if key != "name")
    pruner = component(Pruner, {"name": "optuna.PatientPruner", "patience": 2, "wrapped_pruner": MEDIAN})
    for again in (pickle.loads(pickle.dumps(pruner)), copy.deepcopy(pruner)):
        assert again == pruner
    assert component(Pruner, pruner.model_dump(mode="json")) == pruner


def gramtune(*words: object, cwd: Path) -> str:
    command = [sys.executable, "-m", "gramtune", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_one_stops_trials_through_ray_and_after_a_resume(tmp_path: Path) -> None:
    space = SPACE + "pruner: {name: optuna.ThresholdPruner, upper: 1e-6}\n"
    write_space(tmp_path, space, BASE)
    for name, more in (("ray", ["--max-concurrent", 1]), ("here", ["--debug"])):
        gramtune("sweep", "axis.yaml", "--name", name, *more, cwd=tmp_path)
        trials = pd.read_csv(tmp_path / "runs" / name / "trials.csv")
        assert list(trials["status"]) == ["PRUNED"] * 3
        assert all(trials["reason"].str.match(r"optuna.ThresholdPruner at step 3: fid_digits \d+"))
    gramtune("resume", "runs/here", "--debug", cwd=tmp_path)
    assert list(pd.read_csv(tmp_path / "runs/here/trials.csv")["steps"]) == [3, 3, 3]


def test_the_command_line_takes_one() -> None:
    pruner = checked_pruner({"name": "optuna.PercentilePruner", "percentile": 25.0}, {"false_prune_rate": 0.1})
    assert pruner.name == "optuna.PercentilePruner"
    assert pruner.false_prune_rate == 0.1
