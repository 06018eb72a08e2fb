"""Exports JSON Schemas of space files and base files from the models, for completion and checks in editors.

They include the plug-ins loaded in this process. A schema checks single values; `gramtune validate` also checks
combinations of values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from gramtune.registry import classes
from gramtune.space.sweep import SweepFile
from gramtune.training.config import SECTIONS, TrialConfig

Kind = Literal["space", "base"]
KINDS: tuple[Kind, ...] = ("space", "base")
Schema = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LISTS = ("grid", "choice", "uniform", "loguniform", "int", "logint")


class _Untitled(GenerateJsonSchema):
    """Generates schemas without titles, which would repeat the names of the fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


def schema(kind: Kind) -> Schema:
    """The JSON Schema (draft 2020-12) of a whole file."""
    return {"$schema": _DIALECT, **(_space() if kind == "space" else _base())}


def schema_text(kind: Kind) -> str:
    """`schema` as text."""
    return json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"


def fields(definitions: Mapping[str, Schema], of: Schema) -> Iterator[tuple[str, list[Schema]]]:
    """Every dotted path below a schema, with the possible schemas of its value: one per component with that field."""
    found: dict[str, list[Schema]] = {}
    for key, value in _properties(definitions, of):
        found.setdefault(key, []).append(value)
    for key, values in found.items():
        yield key, [value for i, value in enumerate(values) if value not in values[:i]]


@dataclass(frozen=True)
class FieldRow:
    """A field of a model as texts."""

    name: str
    domain: str
    """The legal values: `integer ≥ 1`, `adam | sgd`, `list of number > 0`."""
    default: str
    """The default in YAML; empty for a required field."""
    text: str


def field_rows(model: type[BaseModel]) -> list[FieldRow]:
    """The fields of a model, without `name`; a component's fields are its hyperparameters."""
    whole = model.model_json_schema(schema_generator=_Untitled)
    fixed = whole["properties"].get("name", {}).get("const")
    return [
        FieldRow(key, domain_text(value), _default(model, key), " ".join(value.get("description", "").split()))
        for key, value in whole["properties"].items()
        if not (key == "name" and fixed)
    ]


def _default(model: type[BaseModel], key: str) -> str:
    field = next(field for name, field in model.model_fields.items() if key in (name, field.alias))
    if field.is_required():
        return ""
    return json.dumps(field.get_default(call_default_factory=True), default=_plain, ensure_ascii=False).strip('"')


def _plain(value: Any) -> Any:
    """A section as a mapping of the fields that differ from their defaults."""
    return value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else str(value)


def domain_text(value: Schema) -> str:
    """The legal values of a schema, in words."""
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(map(domain_text, value["anyOf"])))
    if "enum" in value:
        return " | ".join(map(str, value["enum"]))
    if "const" in value:
        return str(value["const"])
    if "$ref" in value:
        return f"{str(value['$ref']).rpartition('/')[2].lstrip('_').lower()} section"
    if "properties" in value and "name" in value["properties"]:
        return "component: " + domain_text(value["properties"]["name"])
    kind = {"array": "list", "object": "mapping", "string": "text", "boolean": "true | false"}.get(
        value.get("type", "any value"), value.get("type", "any value")
    )
    if value.get("type") == "array":
        return _list_text(value)
    bounds = [f"{sign} {value[key]:,}" for key, sign in _BOUNDS.items() if key in value]
    return f"{kind} {' and '.join(bounds)}".strip()


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _list_text(value: Schema) -> str:
    if "prefixItems" in value:
        return "[" + ", ".join(map(domain_text, value["prefixItems"])) + "]"
    inner = domain_text(value["items"]) if value.get("items") else "values"
    return f"list of {inner}"


def _base() -> Schema:
    return TrialConfig.model_json_schema(schema_generator=_Untitled)


def _space() -> Schema:
    """The schema of `SweepFile`, whose base and varied keys are those of a trial's configuration."""
    base, found = (
        TrialConfig.model_json_schema(schema_generator=_Untitled),
        SweepFile.model_json_schema(schema_generator=_Untitled),
    )
    definitions = {**found.pop("$defs"), **base.pop("$defs")}
    paths = dict(fields(definitions, base))
    refs = {path: {"$ref": f"#/$defs/values.{path}"} for path in paths}
    bundle = {"type": "object", "properties": refs, "additionalProperties": False}
    definitions["Domain"]["properties"]["cases"] = {
        **definitions["Domain"]["properties"]["cases"]["anyOf"][0],
        "description": definitions["Domain"]["properties"]["cases"]["description"],
        "additionalProperties": {"$ref": "#/$defs/Bundle"},
    }
    definitions["Domain"]["properties"]["for"] = {
        "description": "Additional values of a grid or choice for one base: {cifar10: [1000, 2000]}.",
        "type": "object",
        "additionalProperties": {"type": "array", "minItems": 1},
    }
    domains = {path: {"$ref": "#/$defs/Domain", "properties": _lists(path)} for path in paths}
    properties = found["properties"]
    properties["space"] |= {
        "properties": {key: value for key, value in domains.items() if key not in ("metric", "training.replicates")},
        "additionalProperties": {"$ref": "#/$defs/Domain", "required": ["cases"]},
    }
    base["required"] = [key for key in base["required"] if key != "metric"]  # the space file's own metric replaces it
    properties["base"] = {
        "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/TrialConfig"}],
        "description": properties["base"]["description"],
    }
    properties["plugins"] = {
        "type": "array",
        "items": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Plugin"}]},
        "description": properties["plugins"]["description"],
    }
    values = {f"values.{path}": k[0] if len(k) == 1 else {"anyOf": k} for path, k in paths.items()}
    return {
        **found,
        "allOf": [_GRID],
        "$defs": {**definitions, "TrialConfig": base, "Bundle": bundle, **values},
    }


def _lists(path: str) -> Schema:
    return {kind: {"items": {"$ref": f"#/$defs/values.{path}"}} for kind in _LISTS}


def _every_domain(rule: Schema) -> Schema:
    return {"properties": {"space": {"additionalProperties": rule}}}


_GRID_SECTION = {"type": "object", "properties": {"name": {"const": "grid"}}}
_GRID = {
    "if": {"properties": {"search": {"anyOf": [{"const": "grid"}, _GRID_SECTION]}}},
    "then": _every_domain({"anyOf": [{"required": ["grid"]}, {"required": ["cases"]}]}),
    "else": _every_domain({"not": {"required": ["grid"]}}),
}
"""`SweepFile._fits_domains`: a grid search takes grids and cases, a sampler takes everything but grids."""


def _properties(definitions: Mapping[str, Schema], of: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Paths below an object, sections before their fields; a path occurs once per component that has it."""
    for key, value in of.get("properties", {}).items():
        path = f"{prefix}{key}"
        if path in SECTIONS and "properties" in value:
            yield path, value
            yield f"{path}.name", value["properties"]["name"]
            for cls in classes(SECTIONS[path]).values():
                inner = cls.model_json_schema(schema_generator=_Untitled)
                yield from _properties(definitions, _without_name(inner), f"{path}.")
        elif not (prefix and key == "name"):
            yield path, value
            for section in _sections(definitions, value):
                yield from _properties(definitions, section, f"{path}.")


def _without_name(of: Schema) -> Schema:
    return {"properties": {key: value for key, value in of["properties"].items() if key != "name"}}


def _sections(definitions: Mapping[str, Schema], value: Schema) -> Iterator[Schema]:
    """The object schemas among the alternatives of a value."""
    for choice in (value, *value.get("anyOf", ())):
        name = str(choice.get("$ref", "")).removeprefix("#/$defs/")
        if "properties" in definitions.get(name, {}):
            yield definitions[name]
