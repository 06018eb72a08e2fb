"""What each figure shows and what stands behind it, by the name of its file."""

from __future__ import annotations

from gramtune.analysis.labels import basis_text
from gramtune.record.state import SweepState
from gramtune.report.figures.catalogue import BOUNDS, CURVES, FRONT, PARALLEL, file_names

_LOST = "Symbols tell trials that diverged, failed or were stopped early."
_SAMPLES = {
    "samples_nearest": "Samples of the configuration named above and, below each, the real images nearest to it, of "
    "the training set first, then of the held-out set.",
    "samples_training": "Samples from the same noise after more and more training, and the traces of training.",
    "samples_projection": "Data and samples, as they are and as the critic projects them, over training.",
    "samples_grid": "The samples of each configuration at its end.",
}


def captions(state: SweepState) -> dict[str, str]:
    """Captions of the figures that stand for themselves, by file stem."""
    metric, basis = state.plan.metric, f"{basis_text(state)}."
    keys = {
        stem: f"{key} of every trial during training, and of what led to the best one."
        if state.plan.sweep.scheduler.name == "pbt"
        else f"{metric} against {key}: mean ± standard deviation over replicates (dark) and Student's 95 % interval of "
        f"the mean (light); every replicate a dot. {_LOST} {basis}"
        for key, stem in file_names(state.plan.sweep.space).items()
    }
    bounds = {
        f"{BOUNDS}{stem}": f"How much worse than the best each value of {key} may be. Bars: from the lower bound, "
        "which holds for all values together with probability 95 % at all looks, to the upper bound that INSENSITIVE "
        "asks for; dots: geometric means, hollow where the value is open; the band is the tolerance. "
        f"{basis}"
        for key, stem in file_names(state.plan.sweep.space).items()
    }
    return {
        **keys,
        **bounds,
        CURVES: f"{metric} during training: mean ± standard deviation over replicates, one line per trial. A line "
        f"ends with a symbol where its trial was lost. {basis}",
        FRONT: f"Every completed trial in both metrics, and the front that no other trial dominates. {basis}",
        PARALLEL: f"Every completed trial as a line through its values, coloured by {metric}; dashed where a key does "
        f"not apply. {basis}",
    }


def caption(stem: str, known: dict[str, str]) -> str:
    """The caption of a figure; of one that says for itself what it shows, its name in words."""
    if stem in known:
        return known[stem]
    kind, _, of = stem.partition("-")
    return _SAMPLES.get(kind, kind.replace("_", " ")) + (f" {of}." if of else "")
