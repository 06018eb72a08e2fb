"""The energy used by a GPU, from its own counter."""

from __future__ import annotations

from typing import Any

import torch


class EnergyMeter:
    """Measures energy from its creation on, for the whole GPU; trials that share a GPU are charged by their shares."""

    def __init__(self, device: torch.device) -> None:
        self._handle = _handle(device) if device.type == "cuda" else None
        self._begun = self._counter()

    @property
    def joules(self) -> float | None:
        """Joules since creation; None without a counter: on a CPU, without NVIDIA's driver, on GPUs before Volta."""
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
    """NVML's handle, by UUID, since NVML's indices ignore CUDA_VISIBLE_DEVICES. None if NVML does not work."""
    try:
        import pynvml
    except ImportError:  # training works without NVIDIA's packages
        return None
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError:
        return None
