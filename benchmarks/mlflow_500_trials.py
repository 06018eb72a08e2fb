"""Measures the cost of tracking a sweep of 500 trials, and the time until MLflow's interface shows it in a browser.

    python benchmarks/mlflow_500_trials.py [--trials 500] [--no-browser]

Reports, sample grids and checkpoints are made up; store, server and Chromium are real. Needs the extra `browser`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from gramtune.backends.mlflow.runs import SWEEP_ID
from gramtune.backends.mlflow.server import running_server
from gramtune.backends.mlflow.store import connect, default_uri, ensure_store, runs_url
from gramtune.backends.mlflow.tracker import MlflowTracker
from gramtune.backends.mlflow.view import view_key
from gramtune.record.layout import trial_folder
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import make_plan

SPACE = """\
name: many
base: {base}
space:
  objective.critic_dim: {{grid: {dims}}}
  optimizer.learning_rate: {{grid: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]}}
"""
STEPS = range(0, 500, 100)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        runs = Path(place)
        state, folder = made_up(runs, options.trials)
        uri = default_uri(runs)
        ensure_store(uri)
        connect(uri)
        tracker = MlflowTracker(uri, folder)
        with timed(f"first sync, {len(state.records)} trials × {len(STEPS)} reports"):
            tracker.sync(state)
        with timed("sync without news"):
            tracker.sync(state)
        with timed("the end: tables, view; nothing new otherwise"):
            tracker.finish(state, folder)
        if not options.no_browser:
            browse(uri, folder)


def made_up(runs: Path, trials: int) -> tuple[SweepState, Path]:
    """A sweep with synthetic reports, and its folder."""
    base = Path(__file__).parents[1] / "search_spaces" / "base" / "digits.yaml"
    space = runs / "many.yaml"
    space.write_text(SPACE.format(base=base, dims=list(range(1, trials // 5 + 1))), encoding="utf-8")
    state, folder = SweepState(make_plan(load_sweep(space, Overrides()), runs)), runs / "many"
    for i, trial in enumerate(state.plan.trials):
        state.started(trial)
        place = trial_folder(folder, trial.name) / "samples"
        place.mkdir(parents=True)
        for step in STEPS:
            Image.new("L", (145, 55), color=step // 4).save(place / f"step-{step:08d}.png")
            state.reported(trial.name, made_up_report(i, step))
        (place.parent / f"checkpoint-{STEPS[-1]:08d}.pt").write_bytes(bytes(100_000))
    return state, folder


def made_up_report(trial: int, step: int) -> Report:
    value = 100.0 + trial + 1000 / (1 + step)
    status = Status.COMPLETED if step == STEPS[-1] else Status.RUNNING
    traces: dict[str, list[float | None]] = {
        "loss/critic": [1.0] * 3,
        "loss/generator": [0.5] * 3,
        "trace/pd": [0.1] * 3,
    }
    values: list[float | None] = [value, value + 1, value + 2]
    return Report(step, {"fid_digits": values}, traces, 1024, float(step), 1_700_000_000 + step, status, "")


def browse(uri: str, folder: Path) -> None:
    """Opens the sweep's trials as a list and as charts, each in a fresh browser."""
    client = connect(uri)
    experiment = client.get_experiment_by_name("gramtune").experiment_id
    sweep_id = client.search_runs([experiment], max_results=1)[0].data.tags[SWEEP_ID]
    with running_server(uri) as (base, _):
        page = runs_url(base, experiment, view_key(sweep_id))
        show(base, page, "list of trials", "return /[1-9][0-9,]* matching run/.test(document.body.innerText)")
        charts = "return document.querySelectorAll('.js-plotly-plot .trace, .parcoords svg').length > 2"
        show(base, f"{page}&compareRunsMode=CHART", "charts", charts)


def show(base: str, page: str, what: str, ready: str) -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(argument)
    options.add_argument("--window-size=1500,1500")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(f"{base}/version")
        driver.execute_script("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
        with timed(f"browser: {what}"):
            driver.get(page)
            while not driver.execute_script(ready):
                time.sleep(0.05)
        print(
            next(
                line
                for line in driver.execute_script("return document.body.innerText").split("\n")
                if "matching" in line
            )
        )
    finally:
        driver.quit()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints wall time and this process's CPU time; on a shared machine the CPU time is more reliable."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{what}: {time.perf_counter() - wall:.2f} s, {time.process_time() - cpu:.2f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
