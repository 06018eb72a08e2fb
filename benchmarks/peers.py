"""Runs the same sweep with gramtune and with its alternatives, each as a separate command, in turn.

    python benchmarks/peers.py --out DIR [--rounds 3] [--steps 1500] [--peers bare gramtune …]

Eight values of K on the ring, two at a time, one thread each, four evaluations. All train with gramtune's `Trainer`, so
that only what surrounds the training differs. Printed are wall-clock seconds from the command to its end, imports
included, their median and range; and efficiency: seconds of the eight trainings bare, one after the other in one
process on one core, per second of wall clock and core. What the peers leave out: gramtune also checkpoints at each
evaluation, keeps samples, and ends with tables, figures and a report. Syne Tune (`pip install syne-tune`) is left out
where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
SPACE = HERE / "spaces" / "peers.yaml"
VALUES = (2, 3, 4, 5, 6, 8, 10, 12)
CORES, EVALUATIONS, METRIC = 2, 4, "sliced_wasserstein"
Report = Callable[[int, float], object]


def train(critic_dim: int, steps: int, report: Report) -> float:
    """One trial; calls `report` with each step that is evaluated and the metric. Returns the last."""
    import torch

    from gramtune.space.load import load_config
    from gramtune.training.trainer import Trainer

    torch.set_num_threads(1)
    settings = (f"objective.critic_dim={critic_dim}", f"training.steps={steps}", "training.replicates=1")
    config = load_config(HERE.parent / "search_spaces" / "base" / "ring.yaml", settings)
    trainer, value = Trainer(config, Path("unused"), torch.device("cpu")), 0.0
    while True:
        (score,) = trainer.evaluate()[METRIC]
        assert score is not None
        report(trainer.step, value := score)
        if trainer.done:
            return value
        trainer.advance(steps // EVALUATIONS)


def bare(folder: Path, steps: int) -> None:
    """One after the other, in this process."""
    for value in VALUES:
        train(value, steps, lambda *_: None)


def gramtune(folder: Path, steps: int) -> None:
    """As its user would."""
    every = steps // EVALUATIONS
    words = ["--set", f"training.steps={steps}", "--set", f"training.eval_every={every}", "--runs", str(folder)]
    subprocess.run([sys.executable, "-m", "gramtune.cli.main", "sweep", str(SPACE), *words], check=True)


def ray_tune(folder: Path, steps: int) -> None:
    """The function API with Ray's own MLflow callback."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    def trial(config: dict[str, int]) -> None:
        train(config["critic_dim"], steps, lambda step, value: tune.report({"step": step, METRIC: value}))

    callback = MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="peers")
    tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"critic_dim": tune.grid_search(list(VALUES))},
        run_config=tune.RunConfig(storage_path=str(folder), callbacks=[callback]),
    ).fit()


def optuna_joblib(folder: Path, steps: int) -> None:
    """Two joblib processes that share a study in a journal, each logging to MLflow."""
    import mlflow
    import optuna
    from joblib import Parallel, delayed

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("peers")  # two processes that make the database at once break it
    optuna.create_study(study_name="peers", storage=_journal(folder))
    Parallel(n_jobs=CORES)(delayed(_optimise)(folder, steps) for _ in range(CORES))


def _journal(folder: Path):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(f"{folder}/study.journal"))


def _optimise(folder: Path, steps: int) -> None:
    import mlflow
    import optuna

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("peers")

    def objective(trial: optuna.Trial) -> float:
        critic_dim = trial.suggest_categorical("critic_dim", VALUES)
        with mlflow.start_run():
            mlflow.log_param("critic_dim", critic_dim)
            return train(critic_dim, steps, lambda step, value: mlflow.log_metric(METRIC, value, step=step))

    sampler = optuna.samplers.GridSampler({"critic_dim": VALUES})
    study = optuna.load_study(study_name="peers", storage=_journal(folder), sampler=sampler)
    study.optimize(objective, n_trials=len(VALUES) // CORES)


def syne_tune(folder: Path, steps: int) -> None:
    """The local backend: a process per trial. It has no MLflow."""
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import choice
    from syne_tune.optimizer.baselines import RandomSearch

    os.environ["SYNETUNE_FOLDER"] = str(folder)
    points = [{"critic_dim": value} for value in VALUES]
    space = {"critic_dim": choice(list(VALUES)), "steps": steps}
    Tuner(
        trial_backend=LocalBackend(entry_point=str(HERE / "_syne_tune_trial.py")),
        scheduler=RandomSearch(space, metrics=[METRIC], points_to_evaluate=[p | {"steps": steps} for p in points]),
        stop_criterion=StoppingCriterion(max_num_trials_completed=len(VALUES)),
        n_workers=CORES,
        sleep_time=0.1,
    ).run()


PEERS = {
    "bare": bare,
    "gramtune": gramtune,
    "ray_tune": ray_tune,
    "optuna_joblib": optuna_joblib,
    "syne_tune": syne_tune,
}


def seconds(peer: str, folder: Path, steps: int) -> float:
    """Wall clock of one sweep, from the command to its end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.monotonic()
    with (folder.parent / f"{peer}.log").open("w") as log:
        command = [sys.executable, __file__, "--one", peer, "--out", str(folder), "--steps", str(steps)]
        subprocess.run(command, check=True, stdout=log, stderr=log)
    return time.monotonic() - started


def main(arguments: argparse.Namespace) -> None:
    if arguments.one:
        PEERS[arguments.one](arguments.out, arguments.steps)
        return
    peers = [peer for peer in arguments.peers if peer != "syne_tune" or importlib.util.find_spec("syne_tune")]
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(arguments.rounds):
        for peer in peers:
            times[peer].append(seconds(peer, arguments.out / peer, arguments.steps))
            print(f"{peer}: {times[peer][-1]:.1f} s", flush=True)
    work = median(times["bare"]) if "bare" in times else None
    for peer, walls in times.items():
        line = f"{peer:<14} {median(walls):6.1f} s ({min(walls):.1f} to {max(walls):.1f}, n = {len(walls)})"
        if work and peer != "bare":
            line += f"   efficiency {work / (median(walls) * CORES):.2f}"
        print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--one", choices=PEERS, help=argparse.SUPPRESS)
    main(parser.parse_args())
