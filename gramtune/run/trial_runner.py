"""One trial as a runner drives it: train, evaluate, checkpoint, report; the same under Ray and in a plain loop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from gramtune.io import watching_space, write_atomically
from gramtune.pixels import grid
from gramtune.record.layout import checkpoints
from gramtune.record.point_samples import write_points
from gramtune.record.report import Status, added, divergence
from gramtune.record.sample_files import to_image
from gramtune.training.config import TrialConfig
from gramtune.training.energy import EnergyMeter
from gramtune.training.trainer import CheckpointError, PerReplicate, Trainer

_CHECKPOINTS_KEPT = 2
"""Checkpoints kept per trial: the newest, and one more in case the newest is damaged."""
_POINTS = 400
"""Points stored at each evaluation of a trial on point sets: enough to see the distribution."""


class TrialRun:
    """A trial in its folder, continued from the newest readable checkpoint there.

    The first `step` evaluates the untrained networks, or repeats the report of the checkpoint (whose first delivery
    may have been lost with its process); each later one trains and evaluates. `first` is the number that the first
    replicate has in the whole trial.
    """

    def __init__(self, config: TrialConfig, folder: Path, root: Path, device: torch.device, first: int = 0) -> None:
        self._config, self._folder, self._first = config, folder, first
        self._trainer, self._meter = Trainer(config, root, device), EnergyMeter(device)
        self.damaged: list[str] = []
        """What is wrong with newer checkpoints than the one that is used."""
        self._restored = self._restore()
        self._fresh = self._restored is None
        self._earlier: float | None = (self._restored or {}).get("joules")

    def step(self) -> dict[str, Any]:
        """The fields of `Report`, ready for JSON; the status is final when the trial is over.

        Raises DiskFull, with earlier checkpoints intact, where there is no space.
        """
        if self._restored is not None:
            report, self._restored = self._restored, None
            status, reason = self._outcome()  # no longer the end, if the trial has been made longer since
            return {**report, "status": status.value, "reason": reason}
        traces: PerReplicate = {}
        if not self._fresh:
            following = next(at for at in self._config.training.evaluations if at > self._trainer.step)
            traces = self._trainer.advance(following - self._trainer.step)
        self._fresh = False
        report = self._report(traces)
        self._write_samples()
        self._save(report)
        return report

    def _report(self, traces: PerReplicate) -> dict[str, Any]:
        metrics = self._trainer.evaluate()
        status, reason = self._outcome()
        return {
            "step": self._trainer.step,
            "metrics": metrics,
            "traces": {**traces, **self._trainer.monitor()},
            "samples": self._config.training.eval_samples,
            "seconds": self._trainer.seconds,
            "joules": added(self._earlier, self._meter.joules),
            "timestamp": int(time.time()),
            "status": status.value,
            "reason": reason,
            "diverged": list(self._trainer.replicates.diverged),
            "first": self._first,
        }

    def _outcome(self) -> tuple[Status, str]:
        replicates = self._trainer.replicates
        whys = {self._first + i: why for i, why in enumerate(replicates.diverged) if why}
        if not self._trainer.done:
            return Status.RUNNING, ""
        return (Status.DIVERGED, divergence(whys, len(replicates))) if whys else (Status.COMPLETED, "")

    def _save(self, report: dict[str, Any]) -> None:
        with watching_space(self._folder.parent):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._trainer.save(self._folder / f"checkpoint-{self._trainer.step:08d}.pt", report)
        for path in checkpoints(self._folder)[_CHECKPOINTS_KEPT:]:
            path.unlink(missing_ok=True)  # workers outlive a killed driver for a moment

    def _restore(self) -> dict[str, Any] | None:
        for path in checkpoints(self._folder):
            try:
                return self._trainer.load(path)
            except CheckpointError as error:
                self.damaged.append(str(error))
        return None

    def _write_samples(self) -> None:
        """Writes images of the generated samples, or the points themselves."""
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
