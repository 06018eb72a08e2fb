"""Short forms of sections: `pruner: asha` is `pruner: {name: asha}`."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator

from gramtune.components import Component


def expand_name(section: Any) -> Any:
    """`pruner: asha` is short for `pruner: {name: asha}`."""
    return {"name": section} if isinstance(section, str) else section


def short(section: type[Component]) -> BeforeValidator:
    """`expand_name` for a section; its JSON Schema allows the name alone too."""
    return BeforeValidator(expand_name, json_schema_input_type=section.model_fields["name"].annotation | section)
