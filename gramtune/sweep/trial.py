"""One trial as a runner drives it: train, evaluate, report; the same whether Ray or a plain loop calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gramtune.paths import write_atomically
from gramtune.pixels import grid
from gramtune.sweep.state import Status
from gramtune.training.config import TrialConfig
from gramtune.training.trainer import PerReplicate, Trainer

CHECKPOINT = "trainer.pt"
SAMPLES = "samples"
"""Folder of the sample grids in a trial's folder: step-00000500.png, one block of rows per replicate."""


class TrialRun:
    """A trial in its folder. The first `step` evaluates the untrained networks, each later one trains and evaluates."""

    def __init__(self, config: TrialConfig, folder: Path, root: Path, device: torch.device) -> None:
        self._config, self._folder = config, folder
        self._trainer = Trainer(config, root, device)
        self._reported = False

    def step(self) -> dict[str, Any]:
        """Trains for `eval_every` steps (none at first), evaluates, writes a sample grid.

        Returns the fields of `Report` but its timestamp, ready for JSON; the status is final when the trial is over.
        """
        trainer, training = self._trainer, self._config.training
        traces: PerReplicate = {}
        if self._reported or trainer.step > 0:
            traces = trainer.advance(min(training.eval_every, training.steps - trainer.step))
        metrics = trainer.evaluate()
        self._write_samples()
        self._reported = True
        status, reason = self._outcome()
        return {
            "step": trainer.step,
            "metrics": metrics,
            "traces": traces,
            "samples": training.eval_samples,
            "seconds": trainer.seconds,
            "status": status.value,
            "reason": reason,
        }

    def save(self, folder: Path) -> None:
        """Writes the checkpoint file into `folder`."""
        self._trainer.save(folder / CHECKPOINT)

    def load(self, folder: Path) -> None:
        """Goes on from what `save` wrote. Raises CheckpointError if it is damaged."""
        self._trainer.load(folder / CHECKPOINT)
        self._reported = True

    def _outcome(self) -> tuple[Status, str]:
        replicates = self._trainer.replicates
        diverged = [f"replicate {i}: {r.diverged}" for i, r in enumerate(replicates) if r.diverged]
        if not self._trainer.done:
            return Status.RUNNING, ""
        if not diverged:
            return Status.COMPLETED, ""
        return Status.DIVERGED, f"{len(diverged)} of {len(replicates)} replicates diverged; " + "; ".join(diverged)

    def _write_samples(self) -> None:
        images = self._trainer.preview()
        if images is None:
            return
        tiled = grid(images, columns=16).permute(1, 2, 0).numpy()
        path = self._folder / SAMPLES / f"step-{self._trainer.step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(tiled.squeeze(-1) if tiled.shape[-1] == 1 else tiled)
        write_atomically(path, lambda temporary: image.save(temporary))
