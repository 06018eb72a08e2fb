"""The key `judge` of a space file: which values of a trial count."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import PlainValidator

Judge = Literal["last", "best"] | dict[Literal["mean_of_last"], int]


def _judge(value: Any) -> Any:
    if value in ("last", "best"):
        return value
    k = value.get("mean_of_last") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(k, int) or isinstance(k, bool) or k < 2:
        raise ValueError(f"{value!r} should be last, best or {{mean_of_last: k}} with a whole number k of at least 2")
    return value


JudgeField = Annotated[Judge, PlainValidator(_judge, json_schema_input_type=Judge)]
