"""Bugs that users reported for Optuna, Ray Tune, MLflow, W&B sweeps and FID tools, each as a small scenario."""

import random
import zlib

import pytest
import torch
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH
from states import report as state_report
from sweeps import SPACE, write_space

from gramtune.backends.mlflow.run_contents import parameter_text
from gramtune.backends.mlflow.runs import legal_key, legal_value
from gramtune.backends.optuna.search import STUDY_FILE, OptunaProposer
from gramtune.components import Pruner
from gramtune.errors import SpecError
from gramtune.metrics.frechet import frechet_distance, moments
from gramtune.record.journal import load_state
from gramtune.record.pruning import Rungs
from gramtune.record.report import Report, Status
from gramtune.registry import component
from gramtune.run.driver import Driver
from gramtune.run.messages import Reported
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

RANGES = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "\n  ".join([
    "optimizer.beta1: {uniform: [0, 0.9], step: 0.1}",
    "optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}",
]))  # fmt: skip


def driver_of(folder, space):
    path = write_space(folder, space)
    state = load_state(folder, make_plan(load_sweep(path), folder))
    return Driver(state, folder, OptunaProposer(state, folder))


def message(trial, step, values):
    return Reported(trial.name, Report.from_json({"step": step, "metrics": {"fid_digits": values}, "traces": {},
            "samples": 10, "seconds": 1.0, "timestamp": 0, "reason": "", "diverged": [], "first": 0,
            "status": "COMPLETED" if step == 6 else "RUNNING"}))  # fmt: skip


def train(driver, trial):
    driver.started(trial)
    score = random.Random(zlib.crc32(trial.name.encode())).random()
    return [driver.heard(message(trial, step, [score, score + 1]), print) for step in (0, 3, 6)]


def finish(driver):
    trials = []
    while trial := driver.next():
        train(driver, trial)
        trials.append(trial)
    return trials


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes", "qmc", "nsga2"])
def test_optuna_3820_a_step_gives_round_numbers(sampler, tmp_path):
    """`suggest_float(step=0.1)` gives 0.30000000000000004: another value, and another trial, than 0.3."""
    trials = finish(driver_of(tmp_path, RANGES + f"search: {{name: {sampler}, samples: 12}}\n"))
    values = {trial.assignment["optimizer.beta1"] for trial in trials}
    assert len(values) > 3
    assert values <= {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}


@pytest.mark.parametrize("synchronous", ["false", "true"])
def test_optuna_2705_and_6283_a_killed_trial_goes_on_with_its_values(synchronous, tmp_path):
    space = RANGES + f"search: {{name: tpe, samples: 6, synchronous: {synchronous}}}\n"
    killed = driver_of(tmp_path, space)
    train(killed, killed.next())
    cut = killed.next()
    killed.started(cut)
    killed.heard(message(cut, 3, [1.0, 2.0]), print)
    again = driver_of(tmp_path, space)
    assert again.next() == cut
    train(again, cut)
    assert len({*(t.name for t in finish(again)), *again.state.records}) == 6


def test_optuna_2722_a_removed_study_is_made_again(tmp_path):
    space = RANGES + "search: {name: tpe, samples: 6}\n"
    first = driver_of(tmp_path, space)
    known = [first.next() for _ in range(3)]
    for trial in known:
        train(first, trial)
    (tmp_path / STUDY_FILE).unlink()
    rest = finish(driver_of(tmp_path, space))
    assert len({t.name for t in (*known, *rest)}) == 6


def test_wandb_1660_and_2611_no_configuration_is_tried_twice(tmp_path):
    space = SPACE.replace("grid: [1, 4, 16]", "choice: [1, 4, 16]").replace(
        "replicates", "  training.batch_size: {choice: [8, 16]}\nreplicates"
    )
    names = [trial.name for trial in finish(driver_of(tmp_path, space + "search: {name: tpe, samples: 6}\n"))]
    assert len(names) == len(set(names)) == 6


@pytest.mark.parametrize("values", ["[1e-4, 0.0001]", "['1e-4', 1e-4]", "[1, 1.0]"])
def test_wandb_7173_one_number_written_twice_is_no_second_trial(values, tmp_path):
    """YAML reads `1e-4` as a string; a grid would train one configuration twice under two names."""
    space = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", f"optimizer.learning_rate: {{grid: {values}}}")
    with pytest.raises(SpecError, match=r"distinct|a number in quotes is a string"):
        load_sweep(write_space(tmp_path, space))


def judged(rule, arrivals):
    rungs = Rungs(component(Pruner, rule), 1000, 100, "min")
    reports = ((n, Report(100, {"m": values}, {}, 1, 1.0, 0, Status.RUNNING, "")) for n, values in arrivals)
    return [name for name, report in reports if rungs.decide(name, report, "m")]


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_ray_6659_11670_and_24809_a_lost_trial_neither_stops_all_nor_none(name):
    """A NaN at a rung made Ray's ASHA stop nobody, and its median rule everybody, from then on."""
    lost = [("lost", [None, None]), ("half", [None, 0.0])]
    healthy = [(f"{i}", [float(i), i + 0.5]) for i in range(1, 7)]
    rule = {"name": name, "min_trials": 3, "min_steps": 100}
    rule |= {} if name == "median" else {"reduction_factor": 3}
    rungs = [(n, v) for n, v in healthy if 100 in Rungs(component(Pruner, rule), 1000, 100, "min").steps(n)]
    without = judged(rule, rungs)
    assert judged(rule, [*lost, *rungs]) == without
    assert bool(without) == (len(rungs) > 2)


def test_warprec_126_the_rungs_survive_a_resume(tmp_path):
    """Ray does not save its scheduler: after a restore ASHA knew no scores and stopped fewer trials."""
    space = RANGES + "search: {name: random, samples: 6}\npruner: {name: asha, min_steps: 3, min_trials: 2}\n"
    first = driver_of(tmp_path, space)
    good = first.next()
    first.started(good)
    assert first.heard(message(good, 3, [0.0, 0.1]), print)
    again = driver_of(tmp_path, space)
    assert again.next() == good
    bad = again.next()
    again.started(bad)
    assert not again.heard(message(bad, 3, [5.0, 5.1]), print)
    assert again.state.records[bad.name].status == Status.PRUNED


@pytest.mark.parametrize("case", ["equal", "few", "constant", "dead features", "huge"])
def test_fid_reports_of_negative_and_imaginary_values(case):
    """pytorch-fid #105 and #13, TTUR #4, torch-fidelity #44 and #54: singular covariances, collapsed modes."""
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 192, 192, generator=rng)
    if case == "equal":
        fake = real
    elif case == "few":
        fake = fake[:10]
    elif case == "constant":
        fake = fake[:1].repeat(192, 1)
    elif case == "dead features":
        real, fake = torch.randn(2, 400, 192, generator=rng)
        real[:, 50:], fake[:, 50:] = 0, 0
    elif case == "huge":
        real, fake = real * 1e15, fake * 1e15
    distance = frechet_distance(moments(real), fake)
    assert torch.isfinite(torch.tensor(distance))
    assert distance >= 0
    if case == "equal":
        assert distance < 1e-6 * float(real.var(dim=0).sum())
    if case == "constant":  # Tr Σ_q = 0: the distance is that of the means and Tr Σ_p
        expected = (real.double().mean(dim=0) - fake[0]).square().sum() + real.double().var(dim=0).sum()
        assert distance == pytest.approx(float(expected), rel=1e-9)


def test_mlflow_614_877_and_qlib_1317_a_parameter_is_one_line_and_short_enough():
    assert "\n" not in parameter_text({"a": "x\ny"})
    long = [legal_value(parameter_text([*range(5000), last])) for last in (1, 2)]
    assert {len(text) for text in long} == {MAX_PARAM_VAL_LENGTH}
    assert long[0] != long[1]
    assert legal_value(parameter_text([1, 4])) == "[1, 4]"


def test_mlflow_7807_a_key_is_legal_whatever_it_is_called():
    assert legal_key("a, b (c)/../d") == "a_ b _c_/d"


def test_optuna_2151_a_study_without_a_completed_trial_is_resumed(tmp_path):
    """`best_trial` raised there; a summary says that there is none."""
    from gramtune.report.text.summary import summary_text

    driver = driver_of(tmp_path, RANGES + "search: {name: tpe, samples: 3}\n")
    trial = driver.next()
    driver.started(trial)
    driver.state.reported(trial.name, state_report(3, [1.0, 2.0]))
    assert "Best: none" in summary_text(driver.state)
    assert driver_of(tmp_path, RANGES + "search: {name: tpe, samples: 3}\n").next() == trial
