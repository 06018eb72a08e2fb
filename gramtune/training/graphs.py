"""Training steps as CUDA graphs: a step is recorded once and from then on launched by one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Traces = dict[str, Tensor]

RUNS_BEFORE = 3
"""Runs without a graph: optimisers make their state in the first one, libraries choose their algorithms."""


class Graphs:
    """Runs steps, which take nothing and return tensors; each from its fourth run on as a CUDA graph.

    In networks as small as these the CPU takes several times as long to launch a step's kernels as the GPU to run them.
    A step may read and write whatever lies where it lay when it was recorded, and draw from `streams`; it must not make
    the CPU wait for the GPU. What it returns lies in the same place after every run.
    """

    def __init__(self, streams: Sequence[torch.Generator]) -> None:
        self._streams, self._refused = streams, False
        self._runs: dict[str, int] = {}
        self._recorded: dict[str, tuple[torch.cuda.CUDAGraph, Traces]] = {}

    def run(self, label: str, step: Callable[[], Traces]) -> Traces:
        """One run of the step that is known by this label."""
        self._runs[label] = self._runs.get(label, 0) + 1
        if label not in self._recorded and self._runs[label] > RUNS_BEFORE and not self._refused:
            self._try_to_record(label, step)
        if label not in self._recorded:
            return step()
        graph, traces = self._recorded[label]
        graph.replay()
        return traces

    def forget(self) -> None:
        """To be called when a tensor that a step uses has moved, or a step is to do something else."""
        self._runs.clear()
        self._recorded.clear()

    def _try_to_record(self, label: str, step: Callable[[], Traces]) -> None:
        graph, drawn = torch.cuda.CUDAGraph(), self._streams_now()
        for rng in self._streams:
            graph.register_generator_state(rng)
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the GPU meanwhile
                traces = step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # anyone's objective may do what no graph can hold, such as `.item()`
            reason = next(iter(str(error).splitlines()), "")
            warnings.warn(f"the {label} step cannot become a CUDA graph, and is slower for it: {reason}", stacklevel=2)
            self._refused = True
            for rng, state in drawn:  # they still believe that they are being recorded
                rng.graphsafe_set_state(state)
            return
        self._recorded[label] = graph, traces

    def _streams_now(self) -> list[tuple[torch.Generator, torch.Generator]]:
        """Each stream, torch's own too, and a copy of where it stands."""
        streams = [*self._streams, torch.cuda.default_generators[torch.cuda.current_device()]]
        return [(rng, rng.clone_state()) for rng in streams]
