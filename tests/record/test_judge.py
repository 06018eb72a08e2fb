"""Which checkpoint counts: the last one, the mean of the last evaluations, or the best one on new samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from sweeps import SPACE, write_space

from gramtune import api, load_sweep, run_sweep
from gramtune.analysis.checkpoints import load, of_sweep
from gramtune.analysis.labels import basis_text
from gramtune.analysis.paired_difference import by_seed, ranked
from gramtune.record.judging import final_values, standing_values
from gramtune.record.pruning import Rungs
from gramtune.record.report import Report, Status, summarise
from gramtune.record.state import SweepState
from gramtune.run.trial_runner import TrialRun
from gramtune.space.plan import make_plan
from gramtune.training.config import TrialConfig
from gramtune.training.trainer import Trainer

CPU = torch.device("cpu")
CURVE = {0: [9.0, 9.0], 2: [3.0, 5.0], 4: [1.0, 2.0], 6: [2.0, 4.0], 8: [6.0, 6.0]}
"""A training that gets worse again."""


def report(step: int, values: list[float | None], **fields: Any) -> Report:
    return Report(step, {"m": values}, {}, 100, 1.0, 0, Status.RUNNING, "", **fields)


REPORTS = {step: report(step, list(values)) for step, values in CURVE.items()}


def test_last_is_what_the_newest_report_says() -> None:
    assert final_values(REPORTS, "m", "last") == [6.0, 6.0]
    assert standing_values(REPORTS, 4, "m", "last", "min") == [1.0, 2.0]


def test_the_mean_of_the_last_k_is_per_replicate_and_without_the_untrained_networks() -> None:
    assert final_values(REPORTS, "m", {"mean_of_last": 3}) == [3.0, 4.0]
    assert final_values(REPORTS, "m", {"mean_of_last": 9}) == [3.0, 4.25]
    assert standing_values(REPORTS, 4, "m", {"mean_of_last": 2}, "min") == [2.0, 3.5]
    assert standing_values(REPORTS, 0, "m", {"mean_of_last": 2}, "min") == [9.0, 9.0]
    diverged = {**REPORTS, 8: report(8, [6.0, None])}
    assert final_values(diverged, "m", {"mean_of_last": 2}) == [4.0, None]


def test_the_best_of_noisy_values_prunes_but_is_never_reported() -> None:
    """Only what the best checkpoint has on fresh samples is; before the end it is the newest values."""
    assert standing_values(REPORTS, 8, "m", "best", "min") == [1.0, 2.0]
    assert standing_values(REPORTS, 8, "m", "best", "max") == [6.0, 6.0]
    assert final_values(REPORTS, "m", "best") == [6.0, 6.0]
    ended = {**REPORTS, 8: report(8, [6.0, 6.0], chosen={"m": [1.5, 2.5]}, chosen_step=4)}
    assert final_values(ended, "m", "best") == [1.5, 2.5]


# A trial


@pytest.fixture
def config(ring_config: dict[str, Any]) -> TrialConfig:
    """One that gets worse again: the rate is far too high at the end."""
    training = ring_config["training"] | {"steps": 10, "eval_every": 2}
    return TrialConfig.model_validate(
        ring_config | {"training": training, "optimizer": {"name": "adam", "learning_rate": 0.1}}
    )


def reports(config: TrialConfig, folder: Path, calls: list[int] | None = None) -> list[dict[str, Any]]:
    """The reports of a trial whose process dies after so many calls of `step`, again and again."""
    found: list[dict[str, Any]] = []
    for count in calls or [99]:
        trial = TrialRun(config, folder, Path("unused"), CPU, keep_best=True)
        assert not trial.damaged
        for _ in range(count):
            found.append(trial.step().to_json())
            if found[-1]["status"] != "RUNNING":
                return found
    return found


def best_step(found: list[dict[str, Any]]) -> int:
    means = {each["step"]: fmean(each["metrics"]["sliced_wasserstein"]) for each in found if each["step"]}
    return min(means, key=lambda step: means[step])


def test_the_best_checkpoint_is_kept_and_evaluated_on_fresh_samples(config: TrialConfig, tmp_path: Path) -> None:
    found = reports(config, tmp_path)
    step, last = best_step(found), found[-1]
    assert step < 10, "a curve that gets worse again is what this test is about"
    assert [path.name for path in tmp_path.glob("best-*.pt")] == [f"best-{step:08d}.pt"]
    assert last["chosen_step"] == step
    again = Trainer(config, Path("unused"), CPU)
    again.load(tmp_path / f"best-{step:08d}.pt")
    assert last["chosen"] == again.evaluate("judge")
    assert again.evaluate() == next(each["metrics"] for each in found if each["step"] == step) != last["chosen"]
    assert not any(each["chosen"] for each in found[:-1])


def numbers(found: list[dict[str, Any]]) -> dict[int, Any]:
    return {each["step"]: {key: each.get(key) for key in ("metrics", "chosen", "chosen_step")} for each in found}


def test_keeping_the_best_changes_no_number_and_survives_deaths(config: TrialConfig, tmp_path: Path) -> None:
    whole = reports(config, tmp_path / "whole")
    assert numbers(reports(config, tmp_path / "pieces", [2, 2, 1, 3, 9])) == numbers(whole)
    plain = TrialRun(config, tmp_path / "plain", Path("unused"), CPU)
    metrics = [plain.step().to_json()["metrics"] for _ in whole]
    assert metrics == [each["metrics"] for each in whole]


def test_a_death_between_checkpoint_and_copy_loses_nothing(config: TrialConfig, tmp_path: Path) -> None:
    whole = reports(config, tmp_path / "whole")
    reports(config, tmp_path / "cut", [best_step(whole) // 2 + 1])
    (kept,) = (tmp_path / "cut").glob("best-*.pt")
    kept.unlink()
    assert numbers(reports(config, tmp_path / "cut"))[10] == numbers(whole)[10]


def test_a_longer_trial_is_judged_at_its_new_end(config: TrialConfig, tmp_path: Path) -> None:
    """The choice of the earlier end is taken back; the best checkpoint so far stays in the race."""
    reports(config, tmp_path / "pieces")
    longer = config.model_copy(update={"training": config.training.model_copy(update={"steps": 14})})
    pieces, whole = reports(longer, tmp_path / "pieces"), reports(longer, tmp_path / "whole")
    assert pieces[0]["status"] == "RUNNING"
    assert not pieces[0]["chosen"]
    assert numbers(pieces)[14] == numbers(whole)[14]


# A sweep


@pytest.fixture
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without figures, which take longer than these trials."""
    monkeypatch.setattr(api, "rewrite", lambda *_: "")


def sweep(folder: Path, judge: str) -> Any:
    path = write_space(folder, SPACE.replace("[1, 4, 16]", "[1, 4]") + judge)
    return run_sweep(load_sweep(path), folder / "runs", debug=True, say=lambda line: None)


@pytest.mark.usefixtures("lean")
def test_a_sweep_ranks_and_reports_the_best_checkpoints(tmp_path: Path) -> None:
    result = sweep(tmp_path, "judge: best\n")
    records = result.state.records
    for name, row in result.trials.set_index("trial").iterrows():
        chosen = records[name].last.chosen["fid_digits"]
        assert row["mean"] == pytest.approx(fmean(chosen))
        assert list(by_seed(records[name], "fid_digits").values()) == chosen
    best = min(records.values(), key=lambda record: fmean(record.last.chosen["fid_digits"]))
    assert ranked(result.state)[0] is result.state.best is best
    assert basis_text(result.state).endswith("best checkpoint, on new samples")
    (trained,) = of_sweep(result.state, result.folder, best.trial.name)
    assert set(load(trained).steps.values()) == {best.last.chosen_step}


def test_a_sweep_reports_the_mean_of_the_last_evaluations(tmp_path: Path) -> None:
    path = write_space(tmp_path, SPACE + "judge: {mean_of_last: 2}\n")
    state = SweepState(make_plan(load_sweep(path), tmp_path))
    for step, values in {0: [9.0, 9.0], 3: [1.0, 2.0], 6: [3.0, 8.0]}.items():
        state.reported("critic_dim=1", replace(report(step, []), metrics={"fid_digits": list(values)}))
    assert state.records["critic_dim=1"].summary("fid_digits") == summarise([2.0, 5.0])
    assert "mean of the last 2 evaluations" in basis_text(state)


@pytest.mark.parametrize(("judge", "stopped"), [("last", True), ("best", False), ("{mean_of_last: 2}", False)])
def test_a_pruner_judges_by_the_same_values(judge: str, stopped: bool, tmp_path: Path) -> None:
    """The trial was good and is bad now: by its last values it is the worst, by the others it is not."""
    space = SPACE.replace("[1, 4, 16]", "[1, 2, 4, 16]") + f"judge: {judge}\npruner: {{name: median, min_steps: 6}}\n"
    path = write_space(tmp_path, space.replace("base: base/tiny.yaml", "base: base/tiny.yaml"))
    plan = make_plan(load_sweep(path), tmp_path)
    training = plan.config.training.model_copy(update={"steps": 12})
    state = SweepState(replace(plan, config=plan.config.model_copy(update={"training": training})))
    for name in ("critic_dim=2", "critic_dim=4", "critic_dim=16"):
        for step in (3, 6):
            state.reported(name, replace(report(step, []), metrics={"fid_digits": [5.0, 5.0]}))
    rungs = Rungs.of(state)
    for step, value in ((3, 1.0), (6, 6.0)):
        newest = replace(report(step, []), metrics={"fid_digits": [value, value]})
        state.reported("critic_dim=1", newest)
    record = state.records["critic_dim=1"]
    assert bool(rungs.decide("critic_dim=1", record.standing(newest, "fid_digits"), "fid_digits")) is stopped


@pytest.mark.parametrize(
    ("judge", "rule"),
    [
        ("judge: worst\n", r"'worst' should be last, best or {mean_of_last: k}"),
        ("judge: {mean_of_last: 1}\n", "at least 2"),
        ("judge: best\nmetric: [fid_digits, kid_digits]\n", "best is by one metric"),
    ],
)
def test_a_wrong_judge_is_refused(judge: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rule):
        load_sweep(write_space(tmp_path, SPACE + judge))
