"""One complete trial: data, objective, network, optimiser, length, metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from gramtune.components import Component, Dataset, Direction, FeatureExtractor, Metric, Network, Objective, Optimizer
from gramtune.registry import Named, create
from gramtune.training.batches import Sampling

SECTIONS: Mapping[str, type[Component]] = {
    "data": Dataset,
    "objective": Objective,
    "network": Network,
    "optimizer": Optimizer,
    "metrics": Metric,
}
"""The kind of component in each section of a trial configuration."""


LAST = "_last"
"""Suffix of the metrics of the last weights, if those of the averaged weights are computed too."""


class Training(Component):
    """Length and size of the training of one trial."""

    batch_size: PositiveInt
    """B, the number of data samples and of generated samples per step."""
    sampling: Sampling = "with_replacement"
    """How minibatches are drawn: independently, or from shuffled epochs (`epochs`), where B is at most the size of the
    training set and the last minibatch of an epoch is filled up from the next one."""
    steps: PositiveInt
    """Generator steps."""
    eval_every: PositiveInt
    """Steps between evaluations; step 0 and the last step are also evaluated."""
    eval_at: Annotated[tuple[PositiveInt, ...], Field(strict=False)] = ()
    """Additional steps with an evaluation, such as early steps for a figure. Pruners do not decide at them."""
    eval_samples: PositiveInt
    """Generated samples per evaluation and replicate."""
    eval_batch_statistics: bool = False
    """Whether BatchNorm uses the statistics of at least `batch_size` samples generated together, as GRAMFlow and
    MMD-GAN's code do, instead of its running averages. A sample then depends on those generated with it; exported
    models use running averages always."""
    replicates: PositiveInt = 3
    """Random initialisations trained side by side; replicate i uses seed + i in every trial."""
    seed: NonNegativeInt = 0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the generator's weights. None: no average."""
    ema_metrics: Literal["average", "last", "both"] = "average"
    """With an average: the generator used for metrics, samples and exported models. `both`: the averaged one, and
    metrics of the last weights are also computed, under keys that end in `_last`."""
    clip_norm: PositiveFloat | None = None
    """Longer gradients of a network and replicate are scaled down to this Euclidean norm. None: no clipping."""
    horizontal_flips: bool = False
    """Each training image is mirrored with probability 1/2, each time it is drawn."""

    @field_validator("eval_at")
    @classmethod
    def _reached(cls, eval_at: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        steps = info.data.get("steps")
        if steps is not None and (beyond := [at for at in eval_at if at > steps]):
            raise ValueError(f"{', '.join(map(str, beyond))} is never reached: steps is {steps}")
        if list(eval_at) != sorted(set(eval_at)):
            raise ValueError(f"{list(eval_at)} should be ascending, each step once")
        return eval_at

    def eval_batches(self, n: int) -> int:
        """Number of equal batches, of at least `batch_size`, in which n samples are generated with batch statistics."""
        return max(1, n // self.batch_size)

    @property
    def averaged(self) -> bool:
        """Whether the averaged generator is the one used for metrics and samples."""
        return self.ema is not None and self.ema_metrics != "last"

    @property
    def evaluated(self) -> Mapping[str, bool]:
        """The evaluated generators: by suffix of the metrics' keys, whether it is the averaged one."""
        return {"": self.averaged} | ({LAST: False} if self.ema_metrics == "both" else {})

    @property
    def evaluations(self) -> tuple[int, ...]:
        """Every step after which the trial is evaluated, ascending: from 0 to `steps`."""
        return tuple(sorted({*range(0, self.steps, self.eval_every), *self.eval_at, self.steps}))

    @property
    def schedule_text(self) -> str:
        """The evaluations in words: `every 500 steps`, `every 500 steps and after 10, 100`."""
        return f"every {self.eval_every} steps" + (
            f" and after {', '.join(map(str, self.eval_at))}" * bool(self.eval_at)
        )


class TrialConfig(Component):
    """The complete configuration of a trial. It determines the trial's numbers."""

    data: Annotated[Dataset, Named(Dataset)]
    """The data set."""
    objective: Annotated[Objective, Named(Objective)]
    """The training objective."""
    network: Annotated[Network, Named(Network)]
    """Generator and critic."""
    optimizer: Annotated[Optimizer, Named(Optimizer)]
    """The optimizer of both networks."""
    training: Training
    """Length and size of the training."""
    metrics: Annotated[tuple[Annotated[Metric, Named(Metric, short=True)], ...], Field(min_length=1, strict=False)]
    """The metrics computed at each evaluation; `fid` is short for `{name: fid}`."""
    metric: str
    """The primary metric: one of the keys that `metrics` compute."""

    @field_validator("training")
    @classmethod
    def _outlasts_warmup(cls, training: Training, info: ValidationInfo) -> Training:
        optimizer = info.data.get("optimizer")
        for field in ("schedule", "critic_schedule") if optimizer is not None else ():
            schedule = getattr(optimizer, field)
            if schedule is not None and schedule.warmup >= training.steps:
                rule = f"should be below training.steps ({training.steps})"
                raise ValueError(f"optimizer.{field}.warmup = {schedule.warmup} {rule}")
        return training

    @field_validator("training")
    @classmethod
    def _flips_images(cls, training: Training, info: ValidationInfo) -> Training:
        data = info.data.get("data")
        if training.horizontal_flips and data is not None and data.kind != "image":
            raise ValueError(f"horizontal_flips = true needs images; data set {data.name} has points")
        return training

    @field_validator("metrics")
    @classmethod
    def _distinct(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        names = [metric.name for metric in metrics]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"each metric may be named once; {', '.join(repeated)} is repeated")
        return metrics

    @field_validator("metrics")
    @classmethod
    def _on_the_grid(cls, metrics: tuple[Metric, ...], info: ValidationInfo) -> tuple[Metric, ...]:
        training = info.data.get("training")
        if training is None:
            return metrics
        for metric in metrics:
            if metric.every is not None and metric.every % training.eval_every:
                rule = f"should be a multiple of training.eval_every ({training.eval_every})"
                raise ValueError(f"{metric.name}: every = {metric.every} {rule}")
        return metrics

    @field_validator("metric")
    @classmethod
    def _computed(cls, metric: str, info: ValidationInfo) -> str:
        metrics, training = info.data.get("metrics"), info.data.get("training")
        if metrics is not None and metric not in (computed := _directions(metrics, training)):
            raise ValueError(f"{metric!r} is not computed; the metrics here compute {', '.join(computed)}")
        return metric

    @property
    def directions(self) -> Mapping[str, Direction]:
        """Every computed key, and whether lower or higher is better."""
        return _directions(self.metrics, self.training)

    def computing(self, keys: Iterable[str]) -> tuple[Metric, ...]:
        """The metrics that compute any of these keys."""
        plain = {key.removesuffix(LAST) if key.removesuffix(LAST) in _directions(self.metrics) else key for key in keys}
        return tuple(metric for metric in self.metrics if not metric.directions.keys().isdisjoint(plain))

    def due(self, step: int) -> tuple[Metric, ...]:
        """The metrics that are computed after that training step."""
        ends = step == self.training.steps
        return tuple(metric for metric in self.metrics if ends or metric.every is None or step % metric.every == 0)

    @property
    def judged_every(self) -> int:
        """Training steps between values of the primary metric."""
        (primary,) = self.computing([self.metric])
        return primary.every or self.training.eval_every

    @property
    def extractors(self) -> dict[str, FeatureExtractor]:
        """The feature extractors that the metrics need, by name."""
        return {metric.extractor: create(FeatureExtractor, metric.extractor) for metric in self.metrics}


def _directions(metrics: tuple[Metric, ...], training: Training | None = None) -> dict[str, Direction]:
    directions = {key: direction for metric in metrics for key, direction in metric.directions.items()}
    return {key + suffix: d for suffix in (training.evaluated if training else [""]) for key, d in directions.items()}
