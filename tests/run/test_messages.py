"""Messages of trials are the same on both sides of Ray, which passes plain values."""

from __future__ import annotations

import json

import pytest

from gramtune.record.report import Report, Status
from gramtune.run.messages import Failed, Halted, Message, Reported, decoded, encoded

DIVERGED = Report(
    6, {"fid_digits": [1.5, None]}, {"trace/a": [0.1, None]}, 100, 2.5, 7, Status.DIVERGED, "1 of 2", (None, "nan")
)


@pytest.mark.parametrize(
    "message",
    [
        Reported("a=1", DIVERGED, ("checkpoint x: the file ends too early",)),
        Failed("a=1", "out of memory", out_of_memory=True),
        Failed("a=1", "KeyError: 'x'"),
        Halted("a=1", "no space left"),
    ],
)
def test_a_message_survives_plain_values(message: Message) -> None:
    assert decoded(json.loads(json.dumps(encoded(message)))) == message


def test_another_kind_is_no_message() -> None:
    with pytest.raises(KeyError):
        decoded({"kind": "paused", "trial": "a=1"})
