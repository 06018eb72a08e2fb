"""Training steps as CUDA graphs: a step is recorded once, then launched by one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Traces = dict[str, Tensor]

RUNS_BEFORE = 3
"""Number of runs without a graph: optimisers create their state, and libraries choose their algorithms."""


class Graphs:
    """Runs steps, which take no arguments and return tensors. From its fourth run on, a step runs as a CUDA graph.

    For small networks the CPU takes several times as long to launch a step's kernels as the GPU takes to run them.
    Tensors used by a step must keep their addresses. A step may draw from `streams` and must not synchronise with the
    GPU. Every run returns the same tensors.
    """

    steps_between_checks = 500
    """The caller checks once per so many steps whether all values are finite, to avoid synchronising with the GPU."""

    def __init__(self, streams: Sequence[torch.Generator]) -> None:
        self._streams, self._refused = streams, False
        self._runs: dict[str, int] = {}
        self._recorded: dict[str, tuple[torch.cuda.CUDAGraph, Traces]] = {}

    def run(self, label: str, step: Callable[[], Traces]) -> Traces:
        """Runs the step with this label once."""
        self._runs[label] = self._runs.get(label, 0) + 1
        if label not in self._recorded and self._runs[label] > RUNS_BEFORE and not self._refused:
            self._try_to_record(label, step)
        if label not in self._recorded:
            return step()
        graph, traces = self._recorded[label]
        graph.replay()
        return traces

    @property
    def recorded(self) -> list[str]:
        """The labels of the steps that are graphs now."""
        return list(self._recorded)

    def forget(self) -> None:
        """Call this when a tensor that a step uses has a new address, or when a step changes."""
        self._runs.clear()
        self._recorded.clear()

    def _try_to_record(self, label: str, step: Callable[[], Traces]) -> None:
        graph, drawn = torch.cuda.CUDAGraph(), self._streams_now()
        for rng in self._streams:
            graph.register_generator_state(rng)
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the GPU
                traces = step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # a user's objective may call what a graph cannot contain, such as `.item()`
            reason = next(iter(str(error).splitlines()), "")
            warnings.warn(f"the {label} step cannot become a CUDA graph, so it is slower: {reason}", stacklevel=2)
            self._refused = True
            for rng, state in drawn:  # they are still in recording mode
                rng.graphsafe_set_state(state)
            return
        self._recorded[label] = graph, traces

    def _streams_now(self) -> list[tuple[torch.Generator, torch.Generator]]:
        """Each stream, including torch's default ones, with a copy of its state."""
        streams = [*self._streams, torch.cuda.default_generators[torch.cuda.current_device()]]
        return [(rng, rng.clone_state()) for rng in streams]
