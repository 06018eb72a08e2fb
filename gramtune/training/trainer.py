"""Trains one trial: R replicates, evaluated together, saved and restored in one file."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gramtune.components import Metric
from gramtune.io import write_atomically
from gramtune.pixels import to_uint8
from gramtune.training.allocator import keep_freed_memory
from gramtune.training.config import TrialConfig
from gramtune.training.evaluator import Evaluator
from gramtune.training.real_data import RealData
from gramtune.training.replicates import Replicates

PerReplicate = dict[str, list[float | None]]
"""Values by key, one entry per replicate; None for a diverged replicate."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read or belongs to another configuration. The message is one line."""


class Trainer:
    """Trains, evaluates, saves and restores one trial. Equal configurations give equal numbers.

    `real` has the data sets and references of earlier trials; None: nothing yet.
    """

    def __init__(self, config: TrialConfig, root: Path, device: torch.device, real: RealData | None = None) -> None:
        real = real or RealData()
        keep_freed_memory()
        self.config = config
        self.step = 0
        self.seconds = 0.0  # seconds spent in `advance` and `evaluate`
        self.training_seconds = 0.0  # seconds spent in `advance` alone
        train = real.library.train(config.data, root, device)
        seeds = range(config.training.seed, config.training.seed + config.training.replicates)
        self.replicates = Replicates(config, seeds, train, device)
        self._evaluator = Evaluator(config, root, device, real)

    @property
    def done(self) -> bool:
        """Whether all steps are done or every replicate has diverged."""
        return self.step >= self.config.training.steps or all(self.replicates.diverged)

    def advance(self, steps: int) -> PerReplicate:
        """Trains every live replicate for `steps` generator steps; mean losses and traces over these steps."""
        before = self.seconds
        with self._timed():
            traces = self.replicates.advance(steps)
        self.training_seconds += self.seconds - before
        self.step += steps
        return _transpose(traces)

    def evaluate(self, purpose: str = "evaluate", metrics: Sequence[Metric] | None = None) -> PerReplicate:
        """The due metrics, or the given ones, of every live replicate, each from `eval_samples` samples.

        Equal purposes draw equal noise. `training.ema_metrics` selects the averaged generators, the last ones or both.
        A replicate whose metric is not finite diverges. Training is not affected: this noise has its own stream.
        """
        due = self.config.due(self.step) if metrics is None else metrics
        with self._timed():
            scores: list[dict[str, float]] = [{} for _ in self.replicates.seeds]
            for suffix, average in self.config.training.evaluated.items():
                samples = self.replicates.sample(self.config.training.eval_samples, purpose, average=average)
                for i, own in enumerate(samples):
                    scores[i] |= {key + suffix: value for key, value in self._score(i, own, due).items()}
        why = self.replicates.diverged
        return _transpose([{} if why[i] else row for i, row in enumerate(scores)])

    def evaluate_saved(self, path: Path, purpose: str) -> PerReplicate:
        """Evaluates an earlier checkpoint; the trainer's state does not change. Raises CheckpointError like `load`."""
        now, began = self.state_dict(), time.monotonic()
        try:
            self.load(path)
            return self.evaluate(purpose, self.config.metrics)
        finally:
            self.load_state_dict(now)
            self.seconds += time.monotonic() - began

    def monitor(self) -> PerReplicate:
        """The objective's monitored values on a separate batch of points; None if not finite.

        The batch has its own stream and is the same at every call, so training is not affected.
        """
        if self.config.data.kind != "points":
            return {}
        with self._timed():
            values = self.config.objective.monitor(*self.replicates.views(self.config.training.batch_size, "monitor"))
        live = [reason is None for reason in self.replicates.diverged]
        return {
            f"trace/{key}": [v if ok and math.isfinite(v) else None for v, ok in zip(row.tolist(), live, strict=True)]
            for key, row in values.items()
        }

    def preview(self, n: int = 16) -> Tensor | None:
        """n samples of each replicate from fixed noise: uint8 [R·n, C, H, W]; None for point sets."""
        if self.config.data.kind != "image":
            return None
        samples = self.replicates.sample(n, "preview", average=self.config.training.averaged)
        return to_uint8(samples.flatten(0, 1)).cpu()

    def state_dict(self) -> dict[str, Any]:
        """The complete state: training resumes from it bit for bit. Tensors and plain values only."""
        replicates = [self.replicates.state_dict(i) for i in range(len(self.replicates))]
        times = {"seconds": self.seconds, "training_seconds": self.training_seconds}
        return {"step": self.step, **times, "replicates": replicates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`. The hyperparameters are those of the configuration, not of the checkpoint."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.training_seconds = state.get("training_seconds", 0.0)  # earlier versions did not measure it
        self.replicates.load_state_dict(state["replicates"])

    def save(self, path: Path, attachment: Mapping[str, Any] | None = None) -> None:
        """Writes one file, atomically, readable with `torch.load(path, weights_only=True)`.

        `attachment` (plain values) is stored in the same file. Raises OSError or RuntimeError if the disk is full.
        """
        content = {"trainer": self.state_dict(), "attachment": dict(attachment or {})}
        write_atomically(path, lambda temporary: torch.save(content, temporary))

    def load(self, path: Path) -> dict[str, Any]:
        """Restores what `save` wrote and returns its attachment.

        Raises CheckpointError if the file is damaged or of another configuration.
        """
        with reading_checkpoint(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.load_state_dict(content["trainer"])
        attachment: dict[str, Any] = content["attachment"]
        return attachment

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds += time.monotonic() - started

    def _score(self, i: int, samples: Tensor, metrics: Sequence[Metric]) -> dict[str, float]:
        if self.replicates.diverged[i]:
            return {}
        try:
            scores = self._evaluator.scores(samples, metrics)
            return scores | {k: v for metric in metrics for k, v in metric.of_training(self.training_seconds).items()}
        except ArithmeticError as error:
            self.replicates.end(i, f"{error} at step {self.step}")
            return {}


@contextmanager
def reading_checkpoint(path: Path) -> Iterator[None]:
    """Raises CheckpointError for errors that a damaged or mismatched checkpoint causes in the block."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), "the file ends too early")  # EOFError has no message
        raise CheckpointError(f"checkpoint {path}: {reason}") from error


def _transpose(rows: list[dict[str, float]]) -> PerReplicate:
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [row.get(key) for row in rows] for key in keys}
