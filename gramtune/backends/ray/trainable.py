"""The Ray Tune trainable: a thin shell around `TrialRun`."""

from __future__ import annotations

import faulthandler
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from gramtune.backends.ray.data import Refs, borrow
from gramtune.io import local_runs
from gramtune.record.layout import trial_folder
from gramtune.run.gpu_shares import memory_cap
from gramtune.run.guarded_trial import Attempt
from gramtune.space.plan import PlannedTrial
from gramtune.space.sweep import Sweep

HANG = "hang.txt"
"""File in the folder of a trial that was killed by its timeout, with the Python stack at that time."""


class GramTrainable(tune.Trainable):  # type: ignore[misc]  # ray is not annotated
    """Runs one trial per configuration of `ConductedSearcher`; the actor is reused for the next trial.

    The networks are built in the first `step`, not in `setup` or `reset_config`, because an exception in `reset_config`
    makes Tune hang or fail. Checkpoints are those of `TrialRun`: a trial whose process died continues from the newest
    readable checkpoint in its folder.
    """

    def setup(
        self, config: dict[str, Any], sweep: dict[str, Any], folder: str, remote: str | None, root: str, data: Refs
    ) -> None:
        """Called once per actor; the keywords come through `tune.with_parameters`.

        `remote`: the URI of all sweeps, of which `folder` is the driver's copy.
        """
        self._sweep = Sweep.model_validate(sweep)
        self._folder, self._root, self._data = Path(folder), Path(root), data
        if remote:
            self._folder = local_runs(remote) / self._folder.name
            self._folder.mkdir(exist_ok=True)
        if not self._folder.is_dir():  # the node joined after the check of all nodes
            raise FileNotFoundError(f"{self._folder} does not exist on {socket.gethostname()}: all nodes must share it")
        torch.set_num_threads(self._sweep.resources.cpu)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accepts the next trial; never fails."""
        keys = ("name", "assignment", "first", "replicates", "gpu")
        name, assignment, first, replicates, self._share = (new_config["trial"][key] for key in keys)
        self._trial = PlannedTrial(name, assignment, self._sweep.config(assignment)).of(replicates).since(first)
        self._device = _device()
        self._attempt = Attempt(self._trial, self._folder, self._root, self._device, self._sweep.judge)
        return True

    def step(self) -> dict[str, Any]:
        """The message for the driver: see `Attempt`."""
        with _watchdog(self._sweep.resources.timeout, trial_folder(self._folder, self._trial.name)):
            borrow(self._trial.config.data, self._data)
            if self._device.type == "cuda":  # Ray does not enforce shares
                total = torch.cuda.get_device_properties(self._device).total_memory
                torch.cuda.set_per_process_memory_fraction(memory_cap(self._share, total))
            message = self._attempt.step()
        if "failed" in message:
            torch.cuda.empty_cache()  # frees memory for other trials on the GPU
        return {**message, "done": message.get("status") != "RUNNING"}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Does nothing: `TrialRun` writes its checkpoint before it reports."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Does nothing: `TrialRun` finds its checkpoint itself."""


@contextmanager
def _watchdog(seconds: float | None, folder: Path) -> Iterator[None]:
    """Kills this process if the block takes longer than `seconds`, and writes the stack to the trial's folder."""
    if seconds is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / HANG).open("w") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    (folder / HANG).unlink()


def _device() -> torch.device:
    """The GPU that Ray gave this actor, or the CPU. Asking CUDA is not enough: Ray does not hide other GPUs."""
    return torch.device("cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu")
