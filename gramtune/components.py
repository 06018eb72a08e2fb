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
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal

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
    """The kind of samples with this shape: image or points. Raises ValueError for any other shape."""
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


@dataclass(frozen=True)
class CriticSpec:
    """The critic that an objective needs: its output dimension K, and whether it has a decoder from R^K to samples."""

    output_dim: int
    decoder: bool = False
    translation_invariant: bool = False
    """Whether the losses stay the same when one vector is added to all features. The critic's last layer then has no
    bias: its gradient would be pure rounding error, and Adam would turn that into steps of full size."""


@dataclass(frozen=True)
class View:
    """The data half or the generated half of the minibatches of R replicates: the samples and their critic features.

    B samples of D values each, critic dimension K. Objectives take any leading dimensions in place of R, or none.
    """

    samples: Tensor  # [R, B, D], images flattened
    features: Tensor | None = None  # [R, B, K]; None where the objective has no critic
    reconstruction: Tensor | None = None  # [R, B, D]; None where the critic has no decoder


@dataclass(frozen=True)
class Losses:
    """The losses of one step, all to be *minimised*, and traces to plot; each is [R], one value per replicate."""

    critic: Tensor | None  # over θ; None without a critic, or in a step that does not train it
    generator: Tensor | None  # over γ; None in a step that does not train the generator
    traces: Mapping[str, Tensor]
    state: Mapping[str, Tensor] = field(default_factory=dict)  # new values of `Objective.state` after this step
    others: Mapping[str, Tensor] = field(default_factory=dict)  # of further players, by name; see `Objective.players`


@dataclass(frozen=True)
class Context:
    """What an objective may use besides the two views of a step, such as the networks. Most objectives ignore it.

    Points are flat, [R, B, D], as in a `View`.
    """

    networks: Mapping[str, Callable[[Tensor], Tensor]]
    """The networks by role, as functions of other points: [R, B, in] → [R, B, out]. They can be differentiated any
    number of times and do not change BatchNorm's running averages."""
    uniform: Callable[..., Tensor]
    """uniform(*shape): draws from U[0, 1), [R, *shape]; each replicate has its own random stream."""
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
        """The critic as a function of other points: [R, B, D] → [R, B, K]."""
        return self.networks["critic"]


class Objective(Component, ABC):
    """A training objective: GRAM, MMD-net, GAN, … differ only in these methods."""

    name: str
    joint: ClassVar[bool] = True
    """True: both networks step from one forward pass (Algorithm 1). False: critic and generator steps alternate."""
    penalises_gradients: ClassVar[bool] = False
    """Whether a loss uses the critic's gradient at single samples. BatchNorm mixes samples, so it is then refused."""

    @abstractmethod
    def critic(self) -> CriticSpec | None:
        """The critic that this objective needs, or None."""

    @abstractmethod
    def losses(self, real: View, fake: View, context: Context) -> Losses:
        """The losses of minibatches of N generated (`fake`) and M data (`real`) samples, [R] each.

        Replicate i's values must depend on its own samples only, and the computation only on the arguments: on a GPU
        the operations of one step are recorded and replayed (`Graphs`) without calling this function again.
        `losses(self, real, fake)` is enough for an objective that needs no context.
        """

    def networks(self, network: Network, shape: Shape) -> dict[str, nn.Module]:
        """The trained networks by role. Generator, decoder and code critic take codes; all others take samples.

        Raises ValueError if the network does not support the shape or lacks a role.
        """
        networks = {"generator": network.generator(shape)}
        if (spec := self.critic()) is not None:
            networks["critic"] = network.critic(shape, spec.output_dim)
            if spec.decoder:
                networks["decoder"] = network.decoder(shape, spec.output_dim)
        return networks

    def players(self, roles: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The roles that each player trains; `roles` are all roles that `networks` returned.

        The player `critic` minimises `Losses.critic`, and `generator` minimises `Losses.generator`. Any other player
        steps together with the generator and minimises its entry in `Losses.others`.
        """
        adversaries = [role for role in roles if role != "generator"]
        return {"generator": ["generator"]} | ({"critic": adversaries} if adversaries else {})

    @property
    def state(self) -> Mapping[str, float]:
        """Numbers that each replicate keeps from step to step, such as a multiplier: initial value by name.

        They are saved in checkpoints. `losses` returns the new values in `Losses.state`.
        """
        return {}

    def monitor(self, real: View, fake: View) -> Mapping[str, Tensor]:
        """Traces that are too expensive for every step, [R] each. Computed only at evaluations, for point sets."""
        return {}

    @property
    def sequential(self) -> bool:
        """If `joint`: whether θ steps first, then γ with the new θ, on the same batch."""
        return False

    def critic_steps(self, generator_step: int) -> int:
        """Critic steps before generator step number `generator_step` (from 0). Not used if `joint`."""
        return 1

    @property
    def critic_clamp(self) -> float | None:
        """Critic weights are clamped to [−c, c] before each critic step; None: not clamped."""
        return None


def losses_function(objective: Objective) -> Callable[[View, View, Context], Losses]:
    """`objective.losses` as a function of three arguments; the context is dropped if the method takes two.

    Raises ValueError if the method takes neither two nor three arguments.
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
    """A pair of generator and critic, built for a given sample shape, and the generator's noise."""

    name: str
    noise_dim: int

    @abstractmethod
    def generator(self, shape: Shape) -> nn.Module:
        """G: [B, noise_dim] → [B, *shape], images in [−1, 1]. Raises ValueError for an unsupported shape."""

    @abstractmethod
    def critic(self, shape: Shape, output_dim: int) -> nn.Module:
        """f: [B, *shape] → [B, output_dim]. Raises ValueError for an unsupported shape."""

    def decoder(self, shape: Shape, input_dim: int) -> nn.Module:
        """[B, input_dim] → [B, *shape]. Raises ValueError if the network has no decoder."""
        raise ValueError(f"network {self.name} has no decoder")

    def code_critic(self) -> nn.Module:
        """[B, noise_dim] → [B, 1]. Default: three linear layers of width 128 with leaky ReLU 0.2."""
        layers = [nn.Linear(self.noise_dim, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, nn.Linear(128, 1))

    @abstractmethod
    def initialise(self, module: nn.Module, rng: torch.Generator) -> None:
        """Fills every parameter and buffer of `module` (CPU, uninitialised) in place; `rng` is the only randomness."""

    @abstractmethod
    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """n draws from the prior p_z: [n, noise_dim] on the device of `rng`."""


class Schedule(Component):
    """A factor of the learning rate for each training step."""

    name: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """How the rate falls after the warm-up, from the optimizer's learning rate to `final` times that rate."""
    warmup: NonNegativeInt = 0
    """Training steps during which the rate rises linearly from 1/warmup of its value to its full value."""
    final: Annotated[float, Field(ge=0, le=1)] | None = None
    """The factor at the end. Default: 0; for exponential 0.01, because it cannot reach 0."""
    steps: PositiveInt | None = None
    """Training step from which the factor is `final`. Default: training.steps."""

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
        """The factor of the rate for the step after `step` completed steps; `length` is training.steps.

        p ∈ [0, 1] is the progress from the end of the warm-up to the last step. linear: 1 − (1 − final)·p; cosine:
        final + (1 − final)·(1 + cos πp)/2 (Loshchilov & Hutter 2017, without restarts); exponential: finalᵖ.
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
    """How the learning rates change during training. Default: they do not."""
    critic_schedule: Annotated[Schedule | None, BeforeValidator(_named)] = None
    """The schedule of the critic's learning rate, if it differs from the generator's."""

    @abstractmethod
    def build(self, parameters: Sequence[torch.nn.Parameter], learning_rate: float | Tensor) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`. The rate is a scalar tensor if a CUDA graph must see it change."""

    def for_generator(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that steps γ."""
        return self._build("generator", parameters)

    def for_critic(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that steps θ."""
        return self._build("critic", parameters)

    def scheduled(self, label: str) -> Schedule | None:
        """The schedule of the `generator` or the `critic`; None if its rate does not change."""
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
            rate = torch.tensor(
                rate, device=parameters[0].device
            )  # a CUDA graph would record a Python number as a constant
        return self.build(parameters, rate)


@dataclass(frozen=True)
class Mixture:
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
        """Changes whenever the tensors change; part of every cache key. Raises Unavailable if files are missing."""

    def check(self, root: Path) -> None:
        """Raises Unavailable if a file that `train` or `held_out` needs is missing. Called before anything starts."""
        return

    @property
    def held_out_name(self) -> str:
        """The name of the held-out part: `held-out`, or `validation` if a test part is kept for the final report."""
        return "held-out"

    def for_report(self) -> Dataset:
        """The data set for final numbers: with the test part if models are chosen on a validation part; else this."""
        return self

    def mixture(self) -> Mixture | None:
        """The mixture from which the points are drawn; None if unknown."""
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
        """The set that metrics compare with; never used for training."""


class FeatureExtractor(Component, ABC):
    """Maps samples to the space in which distributions are compared."""

    name: str

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A text that identifies weights and preprocessing; part of every cache key."""

    @abstractmethod
    def dim(self, shape: Shape) -> int:
        """Feature dimension d for samples of that shape. Raises ValueError for an unsupported shape."""

    def check(self, root: Path) -> None:
        """Raises Unavailable if the weights are missing. Called before anything starts."""
        return

    @abstractmethod
    def load(self, root: Path, device: torch.device) -> nn.Module:
        """The frozen network, in eval mode: [B, *shape], images in [−1, 1] → [B, d] float32."""

    trunk: ClassVar[str | None] = None
    """Name of another extractor whose features `load_head` maps to these; both then share one forward pass."""

    def load_head(self, root: Path, device: torch.device) -> nn.Module:
        """The frozen layers after the `trunk`, in eval mode: [B, d of the trunk] → [B, d] float32."""
        raise NotImplementedError(f"feature extractor {self.name} has no trunk")


class Metric(Component, ABC):
    """One or more numbers that compare generated with held-out features."""

    name: str
    extractor: ClassVar[str]
    """Name of the FeatureExtractor whose features `reference` and `compute` expect."""
    needs_real: ClassVar[bool] = True
    """Whether `reference` needs the held-out features. If False, it gets an empty [0, d] tensor."""
    every: PositiveInt | None = None
    """Training steps between values, a multiple of training.eval_every; step 0 and the last step are included. Default:
    every evaluation."""
    against: str = "held_out"
    """The real data: `held_out`, `train`, or, for a Fréchet distance, a file of statistics (`.npz`) in the data folder.
    Trials compared with different data are not ranked together."""

    @field_validator("against")
    @classmethod
    def _is_against(cls, against: str) -> str:
        legal = ["held_out", "train"] if cls.needs_real else ["held_out"]
        if against not in legal and not (against.endswith(".npz") and cls.reads_statistics):
            files = " or a file of statistics, ….npz" if cls.reads_statistics else ""
            raise ValueError(f"{against!r} should be {' or '.join(legal)}{files}")
        return against

    needs_samples: ClassVar[bool] = True
    """Whether `compute` needs samples. If False, it is not called, and all values are those of `of_training`."""

    def of_training(self, seconds: float) -> dict[str, float]:
        """Values that come from the training time so far, in seconds, not from samples. None by default."""
        return {}

    reads_statistics: ClassVar[bool] = False
    """Whether `against` may be a file, for `statistics` to read."""

    def statistics(self, path: Path, dim: int) -> Mapping[str, Tensor]:
        """`reference`, read from a file, for features of dimension `dim`. Raises Unavailable if the file is wrong."""
        raise NotImplementedError(f"metric {self.name} reads no statistics")

    @property
    @abstractmethod
    def directions(self) -> Mapping[str, Direction]:
        """The keys that `compute` returns, each with the better direction: min or max."""

    def min_samples(self, data: Dataset, dim: int) -> tuple[int, str]:
        """Number of samples below which the value is unreliable for features of dimension `dim`, and the reason."""
        return 2, "one sample does not define a distribution"

    @property
    def least(self) -> tuple[int, int]:
        """Minimum numbers of generated and of held-out samples. A sweep with fewer is refused."""
        return 1, int(self.needs_real)

    def check(self, data: Dataset) -> None:
        """Raises ValueError if the metric is undefined for that data set. Called before anything starts."""
        return

    @abstractmethod
    def reference(self, real: Tensor, data: Dataset) -> Mapping[str, Tensor]:
        """The statistics of the data that `compute` needs, from the held-out features [M, d] and the data set.

        Computed once per machine and cached in a file.
        """

    @abstractmethod
    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        """The values for generated features [N, d], computed in float64."""


@dataclass(frozen=True)
class Course:
    """The evaluation steps of a trial."""

    steps: int
    """Training steps of the whole trial."""
    every: int
    """Training steps between two values of the primary metric."""

    def evaluations(self, first: int | None = None) -> range:
        """The steps of all evaluations before the last one, from step `first` on (default: from the first one)."""
        return range(math.ceil((first or self.every) / self.every) * self.every, self.steps, self.every)


Scores = Sequence[float | None]
"""Values of the primary metric, signed so that lower is better: one per replicate, None for a diverged one. Equal
positions have equal seeds."""


@dataclass(frozen=True)
class Rung:
    """A trial at a step where the pruner decides on it, with the records of the trials that it is compared with.

    Those with a diverged replicate are not among these: they cannot win, and the replicates that are left say nothing
    about the others.
    """

    trial: str
    step: int
    metric: str
    """The primary metric."""
    direction: Direction
    reached: Mapping[str, Scores]
    """The scores at this step of all trials that have reached it; those of the trial itself are last."""
    curves: Mapping[str, Mapping[int, Scores]]
    """All recorded scores, by trial and step, of the trial and of those that it is compared with. In a synchronous
    search only up to this step."""
    completed: Collection[str] = ()
    """Trials in `curves` that have finished all their steps. Unknown in a synchronous search."""
    closed: bool = False
    """Whether no further trial is expected at this step. Only pruners that pause trials need it."""

    @property
    def sign(self) -> float:
        """The factor, 1 or −1, between a score and the value of the metric."""
        return 1.0 if self.direction == "min" else -1.0

    @property
    def means(self) -> dict[str, float]:
        """The mean score over replicates of each trial that has reached this step, including the trial itself."""
        return {name: mean_score(scores) for name, scores in self.reached.items()}

    def worse_than(self, threshold: float) -> str:
        """The reason to stop the trial if its mean score is above the `threshold`; otherwise empty."""
        mean = mean_score(self.reached[self.trial])
        if mean <= threshold:
            return ""
        bound = f"{self.sign * threshold:.4g}, the threshold of {count(len(self.reached), 'trial')}"
        return f"{self.metric} {self.sign * mean:.4g} is worse than {bound}"


def mean_score(scores: Scores) -> float:
    """The mean over the replicates that have a score."""
    return fmean(score for score in scores if score is not None)


class Pruner(Component, ABC):
    """Early stopping: decides from recorded scores whether a trial continues.

    A pruner stores nothing, so after a resume it makes the same decisions.
    """

    name: str
    false_prune_rate: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """Noise-aware pruning: an upper bound of the probability that the truly best trial is ever stopped. A trial is then
    stopped only if a paired test over its replicates also shows that another one is better. Without a rate only the
    pruner decides. The bound assumes that paired differences (of logarithms, for a positive metric) are normal, or that
    earlier trials have shown how much seeds vary; and that proposals do not adapt to the luck of these seeds."""

    depends_on_length: ClassVar[bool] = False
    """Whether decisions depend on the total number of training steps, which then cannot grow."""

    @abstractmethod
    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """The steps at which the pruner decides on the trial, ascending, chosen from `course.evaluations()`."""

    @abstractmethod
    def stops(self, rung: Rung) -> str:
        """The reason to stop the trial now; empty if it continues."""

    @property
    def pauses(self) -> bool:
        """Whether it pauses trials instead of stopping them.

        Every trial then pauses at its rungs, and continues as soon as `stops` gives no reason. `stops` is asked again
        whenever a worker is free, because further trials may have reached the rung.
        """
        return False

    @property
    def needs_completed(self) -> bool:
        """Whether it reads `Rung.completed`. A synchronous search then refuses it."""
        return False

    @property
    def least_trials(self) -> int:
        """Number of trials, including this one, that must have reached a rung before a decision."""
        return 1

    @property
    def rule(self) -> str:
        """The rule in words, for the plan: `the best 1/4 continues`."""
        return "judged"

    @property
    def waits(self) -> str:
        """What a decision waits for, for the plan."""
        return f", once {self.least_trials} trials have reached them" if self.least_trials > 1 else ""

    def never_stops(self, replicates: int) -> str:
        """Why no trial of so many replicates is ever stopped; empty if one may be."""
        if self.false_prune_rate is None or replicates > 1:
            return ""
        return "pruner.false_prune_rate: one replicate has no spread, so no trial is ever pruned; use 2 or more"
