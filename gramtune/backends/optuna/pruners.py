"""Optuna's pruners as components: `pruner: {name: optuna.PercentilePruner, percentile: 25}`.

Options, defaults and their descriptions are Optuna's own. `registry.everything` imports this module.
"""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_type_hints

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import AfterValidator, Field, WithJsonSchema, create_model, model_validator

from gramtune.components import Course, Pruner, Rung, Scores, mean_score
from gramtune.errors import count
from gramtune.registry import Named, refuse, register

PREFIX = "optuna."
_SUPPORTED = ("MedianPruner", "PatientPruner", "PercentilePruner", "ThresholdPruner", "WilcoxonPruner")
_RUNGS = "keeps its rungs in the study, so a resumed or replayed sweep would decide otherwise"
_UNSUPPORTED = {
    "HyperbandPruner": f"it {_RUNGS}; legal: hyperband",
    "SuccessiveHalvingPruner": f"it {_RUNGS}; legal: asha",
    "NopPruner": "it stops no trial; legal: none",
}


class OptunaPruner(Pruner):
    """One of Optuna's pruners. Its values are means over replicates, its steps are training steps."""

    @model_validator(mode="after")
    def _is_legal(self) -> OptunaPruner:
        try:
            self.build()
        except TypeError as error:  # Optuna raises it if an option is missing
            raise ValueError(str(error)) from None
        return self

    @property
    def algorithm(self) -> type[BasePruner]:
        """Optuna's class."""
        found: type[BasePruner] = getattr(optuna.pruners, self.name.removeprefix(PREFIX))
        return found

    def build(self) -> BasePruner:
        """Optuna's object."""
        options = {key: getattr(self, key) for key in inspect.signature(self.algorithm).parameters}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return self.algorithm(**options)

    @property
    def needs_completed(self) -> bool:
        """All but ThresholdPruner read completed trials."""
        return self.name != f"{PREFIX}ThresholdPruner"

    @property
    def completed(self) -> int:
        """Number of trials that must be completed before a trial can be stopped."""
        return max(1, getattr(self, "n_startup_trials", 1)) if self.needs_completed else 0

    @property
    def least_trials(self) -> int:
        """Number of completed trials before a decision, plus the trial itself."""
        return self.completed + 1

    @property
    def rule(self) -> str:
        """A verb for the plan. Optuna's documentation describes the rule."""
        return "asked"

    @property
    def waits(self) -> str:
        """States how many completed trials the pruner waits for, if more than one."""
        return f", once {self.completed} trials are completed" if self.completed > 1 else ""

    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """The steps of all evaluations; if the pruner has the option `n_warmup_steps`, those from it on."""
        return course.evaluations(getattr(self, "n_warmup_steps", 0) or None)

    def stops(self, rung: Rung) -> str:
        """Asks Optuna's pruner, with a study that holds the completed trials."""
        trials = [self._trial(rung, name, TrialState.COMPLETE) for name in rung.completed if name != rung.trial]
        direction = StudyDirection.MINIMIZE if rung.direction == "min" else StudyDirection.MAXIMIZE
        if not self.build().prune(RecordedStudy(direction, trials), self._trial(rung, rung.trial, TrialState.RUNNING)):
            return ""
        mean = rung.sign * mean_score(rung.reached[rung.trial])
        return f"{rung.metric} {mean:.4g}, {count(len(trials), 'completed trial')}"

    def _trial(self, rung: Rung, name: str, state: TrialState) -> FrozenTrial:
        """The trial in Optuna's format. Its value is the mean over replicates at the end."""
        curve = rung.curves[name]
        value = rung.sign * mean_score(curve[max(curve)]) if state == TrialState.COMPLETE else None
        values = {step: rung.sign * score for step, score in self.intermediate(curve, rung.step)}
        return create_trial(state=state, value=value, intermediate_values=values)

    def intermediate(self, curve: Mapping[int, Scores], step: int) -> Iterator[tuple[int, float]]:
        """What Optuna calls intermediate values: the mean score after each evaluation."""
        yield from ((at, mean_score(scores)) for at, scores in curve.items())


class Patient(OptunaPruner):
    """Optuna's pruner that delays the stops of another pruner."""

    @property
    def inner(self) -> OptunaPruner | None:
        """The wrapped pruner."""
        found: OptunaPruner | None = self.wrapped_pruner  # type: ignore[attr-defined]  # a field that create_model adds
        return found

    def build(self) -> BasePruner:
        """Optuna's object, which holds the object of the wrapped pruner."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            wrapped = self.inner.build() if self.inner else None
            return self.algorithm(wrapped, self.patience, self.min_delta)  # type: ignore[attr-defined]  # a field that create_model adds

    @property
    def needs_completed(self) -> bool:
        """The wrapped pruner decides. Without one, this pruner reads only the trial's own curve."""
        return self.inner is not None and self.inner.needs_completed

    @property
    def completed(self) -> int:
        """Number of completed trials that the wrapped pruner needs."""
        return self.inner.completed if self.inner else 0

    def steps(self, trial: str, course: Course) -> Sequence[int]:
        """The steps of the wrapped pruner; without one, all evaluations."""
        return self.inner.steps(trial, course) if self.inner else course.evaluations()


class Wilcoxon(OptunaPruner):
    """Optuna's signed-rank test. It compares replicates at one evaluation; Optuna calls their numbers steps."""

    def intermediate(self, curve: Mapping[int, Scores], step: int) -> Iterator[tuple[int, float]]:
        """The scores at the step, by replicate."""
        yield from ((i, score) for i, score in enumerate(curve.get(step, ())) if score is not None)

    def never_stops(self, replicates: int) -> str:
        """Why R replicates are too few for `p_threshold`; empty if enough. The smallest one-sided p is 2⁻ᴿ."""
        level, started = self.p_threshold, self.n_startup_steps  # type: ignore[attr-defined]  # a field that create_model adds
        least = max(2, started, math.floor(-math.log2(level)) + 1 if level > 0 else math.inf)
        if replicates >= least:
            return super().never_stops(replicates)
        return f"pruner.p_threshold = {level:g} needs {least} replicates; with {replicates} no trial is ever stopped"


class RecordedStudy(Study):  # type: ignore[misc]  # mypy does not follow optuna
    """A study of completed trials, for pruners to read. Nothing is stored."""

    def __init__(self, direction: StudyDirection, completed: Sequence[FrozenTrial]) -> None:
        self._completed, self._recorded_direction = list(completed), direction

    @property
    def directions(self) -> list[StudyDirection]:
        """The direction of the primary metric."""
        return [self._recorded_direction]

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The completed trials."""
        return self._completed if states is None or TrialState.COMPLETE in states else []

    @property
    def best_trial(self) -> FrozenTrial:
        """The completed trial with the best value. Raises ValueError if there is none."""
        best = min if self._recorded_direction == StudyDirection.MINIMIZE else max
        return best(self._completed, key=lambda trial: trial.value)


def _is_optunas(pruner: Pruner) -> Pruner:
    if not isinstance(pruner, OptunaPruner):
        raise ValueError(
            f"{pruner.name} is not a pruner of Optuna's; legal: {', '.join(PREFIX + n for n in _SUPPORTED)}"
        )
    return pruner


_Inner = Annotated[
    Pruner,
    Named(Pruner, short=True),
    AfterValidator(_is_optunas),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}),
]


def _register(name: str) -> None:
    algorithm = getattr(optuna.pruners, name)
    hints, explained = get_type_hints(algorithm.__init__), _explained(algorithm)
    fields: dict[str, Any] = {}
    for key, parameter in inspect.signature(algorithm).parameters.items():
        wraps = key == "wrapped_pruner"
        default = None if wraps else ... if parameter.default is parameter.empty else parameter.default
        fields[key] = (_Inner | None if wraps else hints[key], Field(default, description=explained.get(key, "")))
    base = {"PatientPruner": Patient, "WilcoxonPruner": Wilcoxon}.get(name, OptunaPruner)
    first = " ".join((inspect.getdoc(algorithm) or "").partition("\n\n")[0].split())
    about = f"Optuna's {name}: {_plain(first)}\n\n{base.__doc__}"
    full: Any = (Literal[f"{PREFIX}{name}"], f"{PREFIX}{name}")
    made = create_model(f"Optuna{name}", __base__=base, __module__=__name__, __doc__=about, name=full, **fields)
    globals()[made.__name__] = register(made)  # where pickle looks for it


def _explained(algorithm: type[BasePruner]) -> dict[str, str]:
    """Reads the description of each option from Optuna's docstring."""
    found: dict[str, str] = {}
    key = ""
    for line in (inspect.getdoc(algorithm) or "").partition("Args:\n")[2].splitlines():
        if match := re.fullmatch(r"    (\w+):\s*", line):
            key = match[1]
            found[key] = ""
        elif line.startswith(" " * 8) and key:
            found[key] = f"{found[key]} {_plain(line.strip())}".strip()
        elif line and not line.startswith(" "):
            break
    return found


def _plain(text: str) -> str:
    """Removes the roles and links of reStructuredText."""
    text = re.sub(r"`([^`<]+?)\s*<[^>]+>`_+", r"\1", text)
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text).replace("``", "`")


for _name in _SUPPORTED:
    _register(_name)
for _name, _why in _UNSUPPORTED.items():
    refuse(Pruner, f"{PREFIX}{_name}", f"{PREFIX}{_name} is unsupported: {_why}")
