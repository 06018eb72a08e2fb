"""Runs one trial step by step: train, evaluate, checkpoint, report; used both by Ray and by the in-process runner."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from gramtune.io import watching_space, write_atomically
from gramtune.pixels import grid
from gramtune.record.layout import best_checkpoint, checkpoints
from gramtune.record.point_samples import write_points
from gramtune.record.report import Report, Status, added, divergence
from gramtune.record.sample_files import to_image
from gramtune.training.config import TrialConfig
from gramtune.training.energy import EnergyMeter
from gramtune.training.real_data import RealData
from gramtune.training.trainer import CheckpointError, PerReplicate, Trainer

_CHECKPOINTS_KEPT = 2
"""Number of checkpoints kept per trial: the newest, and one more in case the newest is damaged."""
_JUDGING = "judge"
"""The noise purpose for evaluating the best checkpoint on other samples than those that selected it."""
_POINTS = 400
"""Number of points stored at each evaluation on a point set; enough to show the distribution."""


class TrialRun:
    """A trial in its folder, continued from the newest readable checkpoint there.

    The first `step` evaluates the untrained networks, or repeats the report of the checkpoint, because that report may
    have been lost with its process. Each later step trains and evaluates. `first` is the number of the first replicate
    within the whole trial. `keep_best`: keep the checkpoint with the best mean of the primary metric, and evaluate it
    at the end on new samples. `real`: see `Trainer`.
    """

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        root: Path,
        device: torch.device,
        first: int = 0,
        keep_best: bool = False,
        real: RealData | None = None,
    ) -> None:
        self._config, self._folder, self._first = config, folder, first
        self._trainer, self._meter = Trainer(config, root, device, real), EnergyMeter(device)
        self.damaged: list[str] = []
        """One message per newer checkpoint that could not be read."""
        stored = self._restore()
        self._restored = Report.from_json(stored) if stored is not None else None
        self._fresh = self._restored is None
        self._earlier = self._restored.joules if self._restored else None
        self._keeps_best = keep_best
        self._best: dict[str, Any] | None = (stored or {}).get("best")
        """Step and mean of the best evaluation so far, signed so that lower is better; stored in checkpoints."""
        self._keep_best()  # the process may have died between writing the two files

    def step(self) -> Report:
        """The next report; its status is final when the trial has ended.

        Raises DiskFull if the disk is full; earlier checkpoints stay intact.
        """
        if self._restored is not None:
            report, self._restored = self._restored, None
            status, reason = self._outcome()  # not final if the trial has been made longer since
            if status == Status.RUNNING:
                report = replace(report, chosen={}, chosen_step=None)
            return replace(report, status=status, reason=reason)
        traces: PerReplicate = {}
        if not self._fresh:
            following = next(at for at in self._config.training.evaluations if at > self._trainer.step)
            traces = self._trainer.advance(following - self._trainer.step)
        self._fresh = False
        report = self._report(traces)
        self._write_samples()
        if self._keeps_best:
            report = self._with_best(report)
        self._save(report)
        self._keep_best()
        return report

    def _report(self, traces: PerReplicate) -> Report:
        metrics = self._trainer.evaluate()
        status, reason = self._outcome()
        return Report(
            step=self._trainer.step,
            metrics=metrics,
            traces={**traces, **self._trainer.monitor()},
            samples=self._config.training.eval_samples,
            seconds=self._trainer.seconds,
            joules=added(self._earlier, self._meter.joules),
            timestamp=int(time.time()),
            status=status,
            reason=reason,
            diverged=tuple(self._trainer.replicates.diverged),
            first=self._first,
        )

    def _outcome(self) -> tuple[Status, str]:
        replicates = self._trainer.replicates
        whys = {self._first + i: why for i, why in enumerate(replicates.diverged) if why}
        if not self._trainer.done:
            return Status.RUNNING, ""
        return (Status.DIVERGED, divergence(whys, len(replicates))) if whys else (Status.COMPLETED, "")

    def _with_best(self, report: Report) -> Report:
        """Updates the best evaluation so far; at the end evaluates the best checkpoint on new samples."""
        metric, step = self._config.metric, self._trainer.step
        values = [value for value in report.metrics.get(metric, []) if value is not None]
        if step and values and len(values) == len(report.metrics[metric]):
            loss = fmean(values) * (1 if self._config.directions[metric] == "min" else -1)
            if self._best is None or loss < self._best["loss"]:
                self._best = {"step": step, "loss": loss}
        if report.status != Status.COMPLETED or not self._best:
            return report
        at = self._best["step"]
        if at < step:
            chosen = self._trainer.evaluate_saved(best_checkpoint(self._folder, at), _JUDGING)
        else:
            chosen = self._trainer.evaluate(_JUDGING, self._config.metrics)
        return replace(report, chosen=chosen, chosen_step=at)

    def _keep_best(self) -> None:
        """Copies the newest checkpoint if it is the best one, and deletes the previous best."""
        if self._best is None or self._best["step"] != self._trainer.step:
            return
        kept, newest = best_checkpoint(self._folder, self._trainer.step), checkpoints(self._folder)[0]
        if not kept.exists():
            with watching_space(self._folder):
                write_atomically(kept, lambda temporary: shutil.copyfile(newest, temporary))
        for path in self._folder.glob("best-*.pt"):
            if path != kept:
                path.unlink(missing_ok=True)

    def _save(self, report: Report) -> None:
        with watching_space(self._folder.parent):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._trainer.save(
            self._folder / f"checkpoint-{self._trainer.step:08d}.pt", {**report.to_json(), "best": self._best}
        )
        for path in checkpoints(self._folder)[_CHECKPOINTS_KEPT:]:
            path.unlink(missing_ok=True)  # workers of a killed driver may still run for a moment

    def _restore(self) -> dict[str, Any] | None:
        for path in checkpoints(self._folder):
            try:
                return self._trainer.load(path)
            except CheckpointError as error:
                self.damaged.append(str(error))
        return None

    def _write_samples(self) -> None:
        """Writes a grid of generated images; for point sets, 400 data points and 400 generated points with their critic
        features.
        """
        path = self._folder / "samples" / f"step-{self._trainer.step:08d}"
        with watching_space(self._folder.parent.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        images = self._trainer.preview()
        if images is None:
            views = self._trainer.replicates.views(_POINTS, "preview", self._config.training.averaged)
            write_points(path.with_suffix(".safetensors"), *views)
            return
        image = to_image(grid(images, columns=8))
        write_atomically(path.with_suffix(".png"), lambda temporary: image.save(temporary))
