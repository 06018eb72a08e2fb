"""The section `resources` of a space file."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, NonNegativeInt, PlainValidator, PositiveFloat, PositiveInt, model_validator

from gramtune.components import Component

AUTO: Final = "auto"


def _gpu(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != AUTO and not (number and 0 <= value <= 1):
        raise ValueError(f"{value!r} should be a share of a GPU from 0 to 1, or auto; no trial can use more than one")
    return value if value == AUTO else float(value)


_Number = Annotated[float, Field(ge=0, le=1)]


class _Share(Component):
    """The long form of `gpu`: `{share: 0.25, required: true}`."""

    share: _Number
    required: bool = False


_Gpu = _Number | Literal["auto"] | _Share
"""The type of `gpu` in a file; a validator checks further rules."""


class Resources(Component):
    """The resources of one trial."""

    cpu: PositiveInt = 1
    """CPU cores per trial, also the number of torch's threads."""
    gpu: Annotated[float | Literal["auto"], PlainValidator(_gpu, json_schema_input_type=_Gpu)] = 0.0
    """Share of a GPU, from 0 to 1; ignored, with a note, if no node has a GPU. `auto`: measured.

    `{share: 0.25, required: true}` also sets `gpu_required`."""
    gpu_required: bool = False
    """Whether the sweep refuses to run if no node has a GPU."""

    timeout: PositiveFloat | None = None
    """A trial that does not report for this many seconds is killed. None: no limit."""
    retries: NonNegativeInt = 1
    """Number of restarts from the checkpoint after a trial's process dies; after that the trial is FAILED."""
    price_per_hour: PositiveFloat | None = None
    """Price of one hour of all machines of the sweep together, in any currency; `--dry-run` then estimates the cost."""

    @property
    def share(self) -> float:
        """`gpu` as a number. Raises ValueError as long as it is `auto`: a sweep that has begun has a number."""
        if self.gpu == AUTO:
            raise ValueError("gpu = 'auto' is not measured yet")
        return self.gpu

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        """Splits `gpu: {share: …, required: …}` into two fields; the field's own check reports other mappings."""
        gpu = data.get("gpu") if isinstance(data, dict) else None
        if not (isinstance(gpu, dict) and "share" in gpu and gpu.keys() <= {"share", "required"}):
            return data
        return {**data, "gpu": gpu["share"], "gpu_required": gpu.get("required", False)}
