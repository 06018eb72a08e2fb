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
from gramtune.record.object_store import LocalStore, Mirror, RunStore
from gramtune.run.gpu_shares import memory_cap
from gramtune.run.guarded_trial import Attempt
from gramtune.run.messages import Failed, Reported, encoded
from gramtune.space.plan import PlannedTrial
from gramtune.space.sweep import Sweep
from gramtune.training.real_data import RealData

HANG = "hang.txt"
"""File in the folder of a trial that was killed by its timeout, with the Python stack at that time."""


class GramTrainable(tune.Trainable):  # type: ignore[misc]  # ray is not annotated
    """Runs one trial per configuration of `DriverSearcher`; the actor is reused for the next trial.

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
        self._root, self._data, self._real = Path(root), data, RealData()
        here = (local_runs(remote) if remote else Path(folder).parent) / Path(folder).name
        if remote:
            here.mkdir(exist_ok=True)
        if not here.is_dir():  # the node joined after the check of all nodes
            raise FileNotFoundError(f"{here} does not exist on {socket.gethostname()}: all nodes must share it")
        self._store: RunStore = Mirror(remote, here) if remote else LocalStore(here)
        torch.set_num_threads(self._sweep.resources.cpu)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accepts the next trial; never fails."""
        keys = ("name", "assignment", "first", "replicates", "gpu")
        name, assignment, first, replicates, self._share = (new_config["trial"][key] for key in keys)
        self._trial = PlannedTrial(name, assignment, self._sweep.config(assignment)).of(replicates).since(first)
        self._device = _device()
        self._attempt = Attempt(self._trial, self._store, self._root, self._device, self._sweep.judge, real=self._real)
        return True

    def step(self) -> dict[str, Any]:
        """The message for the driver, encoded under `message`: see `Attempt`."""
        with _watchdog(self._sweep.resources.timeout, trial_folder(self._store.folder, self._trial.name)):
            borrow(self._trial.config.data, self._data, self._real.library)
            if self._device.type == "cuda":  # Ray does not enforce shares
                total = torch.cuda.get_device_properties(self._device).total_memory
                torch.cuda.set_per_process_memory_fraction(memory_cap(self._share, total))
            message = self._attempt.step()
        if isinstance(message, Failed):
            torch.cuda.empty_cache()  # frees memory for other trials on the GPU
        ended = not isinstance(message, Reported) or message.report.status.final
        return {"message": encoded(message), "done": ended}

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
