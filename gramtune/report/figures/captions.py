"""Captions of the figures, by file name: what each shows and how many replicates and samples it is based on."""

from __future__ import annotations

from gramtune.analysis.labels import basis_text
from gramtune.record.state import SweepState
from gramtune.report.figures.catalogue import BOUNDS, CURVES, FRONT, PARALLEL, file_names

_LOST = "Symbols mark trials that diverged, failed or were stopped early."
_SAMPLES = {
    "samples_nearest": "Samples of the configuration named above. Below each sample are its nearest real images, first "
    "from the training set, then from the held-out set.",
    "samples_training": "Samples from the same noise at increasing training steps, and the traces of training.",
    "samples_projection": "Data and samples over training, in data space and in the critic's feature space.",
    "samples_grid": "Samples of each configuration at the end of its training.",
}


def captions(state: SweepState) -> dict[str, str]:
    """Captions of all figures but those of samples, by file stem."""
    metric, basis = state.plan.metric, f"{basis_text(state)}."
    keys = {
        stem: f"{key} of every trial during training, and the schedule that led to the best one."
        if state.plan.sweep.is_population
        else f"{metric} against {key}: mean ± standard deviation over replicates (dark) and Student's 95 % interval of "
        f"the mean (light); one dot per replicate. {_LOST} {basis}"
        for key, stem in file_names(state.plan.sweep.space).items()
    }
    bounds = {
        f"{BOUNDS}{stem}": f"How much worse than the best each value of {key} may be. Each bar goes from the lower "
        "bound, which holds for all values and looks together with probability 95 %, to the upper bound that "
        "INSENSITIVE requires. Dots are geometric means, hollow for open values. The band is the tolerance. "
        f"{basis}"
        for key, stem in file_names(state.plan.sweep.space).items()
    }
    return {
        **keys,
        **bounds,
        CURVES: f"{metric} during training: mean ± standard deviation over replicates, one line per trial. A line "
        f"ends with a symbol where its trial diverged, failed or was stopped. {basis}",
        FRONT: f"Every completed trial in each pair of metrics, and the Pareto front. {basis}",
        PARALLEL: f"Every completed trial as a line through its values, coloured by {metric}; dashed if a key does "
        f"not apply to it. {basis}",
    }


def caption(stem: str, known: dict[str, str]) -> str:
    """The caption of a figure; for an unknown file name, the name in words."""
    if stem in known:
        return known[stem]
    kind, _, of = stem.partition("-")
    return _SAMPLES.get(kind, kind.replace("_", " ")) + (f" {of}." if of else "")
