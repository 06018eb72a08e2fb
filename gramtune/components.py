"""The seven kinds of component. Read this file first: everything that a sweep can vary is one of them.

A component *is* its configuration: a frozen model whose fields are its hyperparameters and whose methods are its
behaviour. `objective.ridge` is at once the YAML path, the key of the sweep and the parameter name in MLflow.
To add one, add one file to the folder of its kind and decorate the class with `registry.register`.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from torch import Tensor, nn

from gramtune.errors import count

Shape = tuple[int, ...]
"""Shape of one sample: (C, H, W) for images, (d,) for points."""
Kind = Literal["image", "points"]
Direction = Literal["min", "max"]


def kind_of(shape: Shape) -> Kind:
    """What samples of that shape are. Raises ValueError for a shape that is neither an image's nor a point's."""
    match len(shape):
        case 1:
            return "points"
        case 3:
            return "image"
    raise ValueError(f"samples of shape {tuple(shape)} should be images (C, H, W) or points (d,)")


class Unavailable(ValueError):
    """A file that a component needs is missing or damaged. The message is one line and says where the file belongs."""


class Component(BaseModel):
    """Base of all components and configuration sections: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class CriticSpec(NamedTuple):
    """The critic that an objective needs: its output dimension K, and whether it has a decoder K → sample."""

    output_dim: int
    decoder: bool = False
    translation_invariant: bool = False
    """Whether adding one vector to all features changes no loss. The critic then has no bias in its last layer: its
    gradient would be zero but for rounding, of which Adam makes steps of full size."""


class View(NamedTuple):
    """One side of the minibatches of R replicates, as samples and as the critics see them.

    B samples of D values each, critic dimension K. Objectives take any leading dimensions in place of R, or none.
    """

    samples: Tensor  # [R, B, D], images flattened
    features: Tensor | None = None  # [R, B, K]; None where the objective has no critic
    reconstruction: Tensor | None = None  # [R, B, D]; None where the critic has no decoder


class Losses(NamedTuple):
    """The losses of one step, all to be *minimised*, and traces to plot; each is [R], one value per replicate."""

    critic: Tensor | None  # over θ; None where there is no critic, or the step is not for it
    generator: Tensor | None  # over γ; None where the step is not for it
    traces: Mapping[str, Tensor]
    state: Mapping[str, Tensor] = MappingProxyType({})  # new values of `Objective.state` after this step
    others: Mapping[str, Tensor] = MappingProxyType({})  # of further players, by name; see `Objective.players`


@dataclass(frozen=True)
class Context:
    """What an objective may use beside the two views of a step. Closed forms ignore it.

    Points are flat, [R, B, D], as in a `View`.
    """

    networks: Mapping[str, Callable[[Tensor], Tensor]]
    """The networks by role, as functions of further points: [R, B, in] → [R, B, out]. They can be differentiated any
    number of times, and leave BatchNorm's running averages alone."""
    uniform: Callable[..., Tensor]
    """uniform(*shape): draws from U[0, 1), [R, *shape], each replicate's from a stream of its own."""
    generated: Callable[[], View]
    """A further minibatch of generated samples, independent of `fake`. Its gradient reaches the generator if
    `for_generator`."""
    noise: Tensor
    """The noise that `fake` was generated from, [R, B, h]."""
    state: Mapping[str, Tensor]
    """Current values of `Objective.state`, [R] each."""
    for_critic: bool = True
    """Whether this step uses the critic's loss."""
    for_generator: bool = True
    """Whether this step uses the losses of the generator and of further players."""

    @property
    def critic(self) -> Callable[[Tensor], Tensor]:
        """The critic on further points: [R, B, D] → [R, B, K]."""
        return self.networks["critic"]


class Objective(Component, ABC):
    """A training objective: GRAM, MMD-net, GAN, … differ only in these methods."""

    name: str
    joint: ClassVar[bool] = True
    """One joint step from one forward pass (Algorithm 1), or critic steps and generator steps in turn."""
    penalises_gradients: ClassVar[bool] = False
    """Whether a loss uses the critic's gradient at single samples. BatchNorm would mix them, so it is refused."""

    @abstractmethod
    def critic(self) -> CriticSpec | None:
        """The critic that this objective needs, or None."""

    @abstractmethod
    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """The losses of minibatches of N generated (`fake`) and M data (`real`) samples, [R] each.

        Replicate i's values depend on its own samples alone, and nothing but the arguments decides what is computed:
        on a GPU the calls of one step are recorded and repeated (`Graphs`), and this function is not called again.
        `losses(self, real, fake)` is enough for an objective that needs no context.
        """

    def networks(self, network: Network, shape: Shape) -> dict[str, nn.Module]:
        """What is trained, by role. Generator, decoder and code critic read codes, all others samples of that shape.

        Raises ValueError if the network cannot serve the shape or lacks a role.
        """
        networks = {"generator": network.generator(shape)}
        if (spec := self.critic()) is not None:
            networks["critic"] = network.critic(shape, spec.output_dim)
            if spec.decoder:
                networks["decoder"] = network.decoder(shape, spec.output_dim)
        return networks

    def players(self, roles: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Which networks step on which loss: roles by player, of all the `roles` that `networks` returned.

        `critic` steps on `Losses.critic`; `generator` on `Losses.generator`; any other, with the generator, on its
        entry in `Losses.others`.
        """
        adversaries = [role for role in roles if role != "generator"]
        return {"generator": ["generator"]} | ({"critic": adversaries} if adversaries else {})

    @property
    def state(self) -> Mapping[str, float]:
        """Numbers that each replicate keeps from step to step, such as a multiplier: initial value by name.

        They are saved in checkpoints. `Losses.state` has the new values.
        """
        return {}

    def monitor(self, real: View, fake: View) -> Mapping[str, Tensor]:
        """Traces that are too expensive for every step, [R] each. Computed at evaluations of point sets."""
        return {}

    @property
    def sequential(self) -> bool:
        """Where `joint`: θ steps first, then γ by its loss with the new θ, both on one batch."""
        return False

    def critic_steps(self, generator_step: int) -> int:
        """Critic steps before generator step number `generator_step` (from 0). Unused where `joint`."""
        return 1

    @property
    def critic_clamp(self) -> float | None:
        """Critic weights are clamped to [−c, c] before each critic step; None: not clamped."""
        return None


def losses_function(objective: Objective) -> Callable[[View, View, Context], Losses]:
    """`objective.losses`; where it takes the two views alone, it is called without the context.

    Raises ValueError where it takes neither two nor three arguments.
    """
    own: Callable[..., Losses] = objective.losses
    if _accepts(own, 3):
        return own
    if _accepts(own, 2):
        return lambda real, fake, _: own(real, fake)
    rule = "should take real and fake, or real, fake and context"
    given = ", ".join(inspect.signature(own).parameters)
    raise ValueError(f"losses({given}) of objective {objective.name} {rule}")


def _accepts(function: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    return True


class Network(Component, ABC):
    """A generator/critic pair for any sample shape, and the noise that drives it."""

    name: str
    noise_dim: int

    @abstractmethod
    def generator(self, shape: Shape) -> nn.Module:
        """G: [B, noise_dim] → [B, *shape], images in [−1, 1]. Raises ValueError for an unsupported shape."""

    @abstractmethod
    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """f: [B, *shape] → [B, output_dim]. Raises ValueError for a shape that it cannot read."""

    def decoder(self, shape: Shape, input_dim: int) -> nn.Module:
        """[B, input_dim] → [B, *shape]. Raises ValueError where the network has none."""
        raise ValueError(f"network {self.name} has no decoder")

    def code_critic(self) -> nn.Module:
        """[B, noise_dim] → [B, 1]: three linear layers, 128 wide, leaky ReLU 0.2, unless the network says more."""
        layers = [nn.Linear(self.noise_dim, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, nn.Linear(128, 1))

    @abstractmethod
    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """Fills every parameter and buffer of `module` (CPU, uninitialised) in place, drawing from `rng` alone."""

    @abstractmethod
    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """n draws from the prior p_z: [n, noise_dim] on the device of `rng`."""


class Schedule(Component):
    """What a learning rate is multiplied by at each training step."""

    name: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """How the rate falls after the warm-up, from the optimizer's learning rate to `final` times it."""
    warmup: NonNegativeInt = 0
    """Training steps in which the rate rises linearly from 1/warmup of its value to all of it."""
    final: Annotated[float, Field(ge=0, le=1)] | None = None
    """The factor at the end. Default: 0; for exponential, which cannot reach 0, 0.01."""
    steps: PositiveInt | None = None
    """Training step at which `final` is reached and kept. Default: training.steps."""

    @model_validator(mode="after")
    def _falls(self) -> Schedule:
        if self.name == "exponential" and self.final == 0:
            raise ValueError("final = 0.0 should be above 0 for exponential")
        if self.name == "constant" and self.final is not None:
            raise ValueError("constant has no final; linear, cosine and exponential have")
        if self.steps is not None and self.warmup >= self.steps:
            raise ValueError(f"warmup = {self.warmup} should be below steps ({self.steps})")
        return self

    @property
    def whole_length(self) -> bool:
        """Whether the factors depend on training.steps."""
        return self.name != "constant" and self.steps is None

    def factor(self, step: int, length: int) -> float:
        """What the rate is multiplied by in the step after `step` completed ones; `length` is training.steps.

        With p the part of the way from the end of the warm-up to the last step: linear 1 − (1 − final)·p, cosine
        final + (1 − final)·(1 + cos πp)/2 (Loshchilov & Hutter 2017, without restarts), exponential finalᵖ.
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        final = self.final if self.final is not None else 0.01 if self.name == "exponential" else 0.0
        part = min(1.0, (step - self.warmup) / max(1, (self.steps or length) - self.warmup))
        match self.name:
            case "constant":
                return 1.0
            case "linear":
                return 1 - (1 - final) * part
            case "cosine":
                return final + (1 - final) * (1 + math.cos(math.pi * part)) / 2
            case "exponential":
                return math.pow(final, part)


def _named(entry: Any) -> Any:
    """`cosine` is short for `{name: cosine}`."""
    return {"name": entry} if isinstance(entry, str) else entry


class Optimizer(Component, ABC):
    """The optimiser of generator and critic; each network has its own instance with the same settings."""

    name: str
    learning_rate: PositiveFloat
    critic_learning_rate: PositiveFloat | None = None
    """The critic's learning rate, if it differs from the generator's."""
    schedule: Annotated[Schedule | None, BeforeValidator(_named)] = None
    """How the learning rates change during training; by default they do not."""
    critic_schedule: Annotated[Schedule | None, BeforeValidator(_named)] = None
    """The schedule of the critic's learning rate, if it differs from the generator's."""

    @abstractmethod
    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float | Tensor) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`. A rate that changes during a CUDA graph is a tensor, []."""

    def for_generator(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that steps γ."""
        return self._build("generator", parameters)

    def for_critic(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that steps θ."""
        return self._build("critic", parameters)

    def scheduled(self, label: str) -> Schedule | None:
        """The schedule of the `generator` or the `critic`; None where its rate does not change."""
        return (self.critic_schedule or self.schedule) if label == "critic" else self.schedule

    def rate(self, label: str, step: int, length: int) -> float:
        """The learning rate of `generator` or `critic` after `step` of `length` training steps."""
        schedule = self.scheduled(label)
        return self._initial(label) * (1.0 if schedule is None else schedule.factor(step, length))

    def _initial(self, label: str) -> float:
        return (label == "critic" and self.critic_learning_rate) or self.learning_rate

    def _build(self, label: str, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        rate: float | Tensor = self._initial(label)
        if self.scheduled(label) and parameters[0].is_cuda:
            rate = torch.tensor(rate, device=parameters[0].device)  # a recorded graph would repeat a Python number
        return self.build(parameters, rate)


class Mixture(NamedTuple):
    """An equal mixture of isotropic Gaussians in d dimensions: the distribution of a point set."""

    centres: Tensor  # [modes, d]
    std: float


class Dataset(Component, ABC):
    """A training and a held-out set that fit in memory: uint8 [N, C, H, W] for images, float32 [N, d] for points."""

    name: str

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape of one sample."""

    @property
    def kind(self) -> Kind:
        """Whether a sample is an image or a point. Raises ValueError as `kind_of` does."""
        return kind_of(self.shape)

    @abstractmethod
    def fingerprint(self, root: Path) -> str:
        """Changes when the tensors change; part of every cache key. Raises Unavailable if files are missing."""

    def check(self, root: Path) -> None:
        """Raises Unavailable, before anything starts, if a file that `train` or `held_out` needs is missing."""
        return

    @property
    def held_out_name(self) -> str:
        """What the held-out part is called: `validation` where another part is left for the report."""
        return "held-out"

    def for_report(self) -> Dataset:
        """The data set to report a chosen model on: this one, unless it was chosen on a validation part."""
        return self

    def mixture(self) -> Mixture | None:
        """The mixture that the points were drawn from, if it is known; else None."""
        return None

    def train_size(self, root: Path) -> int:
        """Number of training samples. Raises Unavailable as `train` does."""
        return len(self.train(root))

    def held_out_size(self, root: Path) -> int:
        """Number of held-out samples. Raises Unavailable as `held_out` does."""
        return len(self.held_out(root))

    @abstractmethod
    def train(self, root: Path) -> Tensor:
        """The training set; files are under `root`."""

    @abstractmethod
    def held_out(self, root: Path) -> Tensor:
        """The set that metrics compare with; never trained on."""


class FeatureExtractor(Component, ABC):
    """Maps samples to the space in which distributions are compared."""

    name: str

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies weights and preprocessing; part of every cache key."""

    @abstractmethod
    def dim(self, shape: Shape) -> int:
        """Feature dimension d for samples of that shape. Raises ValueError for a shape that it cannot read."""

    def check(self, root: Path) -> None:
        """Raises Unavailable, before anything starts, if the weights are missing."""
        return

    @abstractmethod
    def load(self, root: Path, device: torch.device) -> nn.Module:
        """The frozen network, in eval mode: [B, *shape], images in [−1, 1] → [B, d] float32."""

    trunk: ClassVar[str | None] = None
    """Name of another extractor whose features `load_head` maps to these: one pass through it then serves both."""

    def load_head(self, root: Path, device: torch.device) -> nn.Module:
        """The frozen layers behind the `trunk`, in eval mode: [B, d of the trunk] → [B, d] float32."""
        raise NotImplementedError(f"feature extractor {self.name} has no trunk")


class Metric(Component, ABC):
    """One or more numbers that compare generated with held-out features."""

    name: str
    extractor: ClassVar[str]
    """Name of the FeatureExtractor whose features `reference` and `compute` expect."""
    needs_real: ClassVar[bool] = True
    """False: the held-out features are not computed; `reference` gets an empty [0, d] tensor."""
    every: PositiveInt | None = None
    """Training steps between values, a multiple of training.eval_every; also after step 0 and the last. Default: at
    each evaluation."""
    against: str = "held_out"
    """The real data: `held_out`, `train`, or, for a Fréchet distance, a file of statistics (`.npz`) in the data folder.
    Values against different data are not ranked against each other."""

    @field_validator("against")
    @classmethod
    def _is_against(cls, against: str) -> str:
        legal = ["held_out", "train"] if cls.needs_real else ["held_out"]
        if against not in legal and not (against.endswith(".npz") and cls.reads_statistics):
            files = " or a file of statistics, ….npz" if cls.reads_statistics else ""
            raise ValueError(f"{against!r} should be {' or '.join(legal)}{files}")
        return against

    reads_statistics: ClassVar[bool] = False
    """Whether `against` may be a file, for `statistics` to read."""

    def statistics(self, path: Path, dim: int) -> Mapping[str, Tensor]:
        """`reference` from a file, for features of dimension `dim`. Raises Unavailable if it does not hold them."""
        raise NotImplementedError(f"metric {self.name} reads no statistics")

    @property
    @abstractmethod
    def directions(self) -> Mapping[str, Direction]:
        """The keys that `compute` returns, and for each whether lower or higher is better."""

    def min_samples(self, data: Dataset, dim: int) -> tuple[int, str]:
        """Number of samples below which the value is ill-defined for features of dimension `dim`, and why."""
        return 2, "one sample is no distribution"

    @property
    def least(self) -> tuple[int, int]:
        """Numbers of generated and held-out samples below which no value exists. A sweep with fewer is refused."""
        return 1, int(self.needs_real)

    def check(self, data: Dataset) -> None:
        """Raises ValueError, before anything starts, if the metric is undefined for that data set."""
        return

    @abstractmethod
    def reference(self, real: Tensor, data: Dataset) -> Mapping[str, Tensor]:
        """The statistics of the data that `compute` needs, from the held-out features [M, d] and the data set itself.

        Computed once per machine, then read from a file.
        """

    @abstractmethod
    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """The values for generated features [N, d], computed in float64."""


class Course(NamedTuple):
    """When a trial is evaluated."""

    steps: int
    """Training steps of the whole trial."""
    every: int
    """Training steps between two values of the primary metric."""

    def evaluations(self, first: int | None = None) -> range:
        """The steps of its evaluations before the last, from step `first` on; by default from the first one."""
        return range(math.ceil((first or self.every) / self.every) * self.every, self.steps, self.every)


Scores = Sequence[float | None]
"""Values of the primary metric with a sign such that less is better; one per replicate, None where it has diverged.
Equal positions have equal seeds."""


@dataclass(frozen=True)
class Rung:
    """A trial at an evaluation where it is judged, and what is recorded of those that it is compared with.

    Those with a diverged replicate are not among these: they cannot win, and the replicates that are left say nothing
    about the others.
    """

    trial: str
    step: int
    metric: str
    """The primary metric."""
    direction: Direction
    reached: Mapping[str, Scores]
    """The scores at this step of all that have come as far; those of the trial itself are last."""
    curves: Mapping[str, Mapping[int, Scores]]
    """By trial and step: everything that is recorded of the trial itself and of those that it is compared with. In a
    synchronous search nothing that lies beyond this step."""
    completed: Collection[str] = ()
    """Trials in `curves` that have taken all their steps. Unknown in a synchronous search."""

    @property
    def sign(self) -> float:
        """The factor that turns a score into a value of the metric, and back."""
        return 1.0 if self.direction == "min" else -1.0

    @property
    def means(self) -> dict[str, float]:
        """The mean score over replicates of all that have come as far, the trial itself included."""
        return {name: mean_score(scores) for name, scores in self.reached.items()}

    def worse_than(self, threshold: float) -> str:
        """Why the trial is stopped if its mean score is above the `threshold`; empty if it is not."""
        mean = mean_score(self.reached[self.trial])
        if mean <= threshold:
            return ""
        bound = f"{self.sign * threshold:.4g}, the threshold of {count(len(self.reached), 'trial')}"
        return f"{self.metric} {self.sign * mean:.4g} is worse than {bound}"


def mean_score(scores: Scores) -> float:
    """The mean over the replicates that have a score."""
    return fmean(score for score in scores if score is not None)


class Pruner(Component, ABC):
    """Early stopping: given what is recorded, may this trial go on?

    A pruner stores nothing: after a resume it is asked about the same rungs, and says the same.
    """

    name: str
    false_prune_rate: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """Noise-aware: the probability, at most, that the trial which is best in truth is ever stopped. A trial is then
    stopped only if its replicates show, paired by seed, that another one is better; without a rate the pruner alone
    decides. The bound holds if paired differences (of logarithms, where the metric is positive) are normal, or if the
    trials seen so far show how far a seed can go astray; and if proposals do not chase the luck of these seeds."""

    depends_on_length: ClassVar[bool] = False
    """Whether decisions depend on the training steps of a whole trial, so that these cannot grow."""

    @abstractmethod
    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """The steps at which the trial is judged, ascending, of `course.evaluations()`."""

    @abstractmethod
    def stops(self, rung: Rung) -> str:
        """Why the trial should be stopped now; an empty text to go on."""

    @property
    def needs_completed(self) -> bool:
        """Whether it reads `Rung.completed`. A synchronous search then refuses it."""
        return False

    @property
    def least_trials(self) -> int:
        """Trials, the judged one included, that must have come as far before one is judged."""
        return 1

    @property
    def rule(self) -> str:
        """What happens at the rungs, for the plan: `the best 1/4 goes on`."""
        return "judged"

    @property
    def waits(self) -> str:
        """What a decision waits for, for the plan."""
        return f", once {self.least_trials} trials have come as far" if self.least_trials > 1 else ""

    def never_stops(self, replicates: int) -> str:
        """Why no trial of so many replicates is ever stopped; empty if one may be."""
        if self.false_prune_rate is None or replicates > 1:
            return ""
        return "pruner.false_prune_rate: one replicate has no spread, so no trial is ever stopped; use 2 or more"
