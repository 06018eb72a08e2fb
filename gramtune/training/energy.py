"""The energy that a GPU has used, as its own counter says."""

from __future__ import annotations

from typing import Any

import torch


class EnergyMeter:
    """Counts from its making on. The counter is the whole GPU's: trials that share one divide it by their shares."""

    def __init__(self, device: torch.device) -> None:
        self._handle = _handle(device) if device.type == "cuda" else None
        self._begun = self._counter()

    @property
    def joules(self) -> float | None:
        """Used since; None where nobody counts: on a CPU, without NVIDIA's driver, on GPUs before Volta."""
        now = self._counter()
        return None if now is None or self._begun is None else now - self._begun

    def _counter(self) -> float | None:
        if self._handle is None:
            return None
        import pynvml

        try:
            millijoules: int = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except pynvml.NVMLError:
            return None
        return millijoules / 1000


def _handle(device: torch.device) -> Any:
    """NVML's handle, by UUID: its numbers do not know of CUDA_VISIBLE_DEVICES. None where NVML does not work."""
    try:
        import pynvml
    except ImportError:  # training alone needs torch and nothing of NVIDIA's
        return None
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError:
        return None
