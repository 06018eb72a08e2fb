"""Loads a sweep or trial configuration from files and the command line, and checks it; reports all issues at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from gramtune.errors import Issue, Path, SpecError, clipped, did_you_mean, dotted
from gramtune.plugins import read_plugin
from gramtune.space import shipped
from gramtune.space.domain import assigned
from gramtune.space.for_bases import extended
from gramtune.space.issues import model_issues
from gramtune.space.origins import Origins, SweepOrigins, calling_line
from gramtune.space.population import population_issues
from gramtune.space.replicates import Replicates
from gramtune.space.search import Search
from gramtune.space.short_forms import expand_name
from gramtune.space.sweep import Sweep, SweepFile
from gramtune.space.validate_points import point_issues
from gramtune.space.validate_space import config_errors, space_issues
from gramtune.space.yaml_reader import Document, parse_value, read_yaml
from gramtune.training.config import TrialConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Overrides:
    """Changes of a space file by options or keywords."""

    base: str | None = None
    name: str | None = None
    replicates: int | None = None
    """Replicates of every trial; with `until`, the minimum."""
    until: str | None = None
    """`decided`: trials with an open verdict get more replicates."""
    max_replicates: int | None = None
    """With `until`."""
    samples: int | None = None
    """Number of sampled trials."""
    time_budget: float | None = None
    """Seconds."""
    set: tuple[str, ...] = ()
    """Texts `key=value`: the key is a dotted path into the base, the value is YAML."""
    plugins: tuple[str, ...] = ()
    """Plug-ins: files, relative to the working directory, or modules."""
    add: tuple[str, ...] = ()
    """Texts `key=[values]`: additional values of a grid."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Like `set`, but Python values."""
    python: str = ""
    """The line of Python that gave these values; empty for options."""

    def where(self, option: str) -> str:
        """The origin to name in an issue: `--option`, or the line of Python."""
        return self.python or f"--{option}"


NO_OVERRIDES = Overrides()


def load_sweep(
    file: FilePath | str,
    overrides: Overrides | None = None,
    *,
    base: FilePath | str | None = None,
    name: str | None = None,
    replicates: int | None = None,
    samples: int | None = None,
    time_budget: float | None = None,
    set: Mapping[str, Any] | None = None,
    plugins: Sequence[FilePath | str] = (),
) -> Sweep:
    """The checked sweep of a space file, or of a shipped one by its name: `load_sweep("critic_dim")`.

    The keywords are the options of `gramtune sweep`: `replicates=10, set={"training.steps": 3000}`. `overrides` passes
    them as one object instead. Raises SpecError with all issues at once.
    """
    if overrides is None:
        place = calling_line()
        _check_kinds(place, plugins, set)
        plugged = tuple(map(str, plugins))
        overrides = Overrides(
            base=str(base) if base else None,
            name=name,
            replicates=replicates,
            samples=samples,
            time_budget=time_budget,
            plugins=plugged,
            values=set or {},
            python=place,
        )
    document = _read_space(file)
    _log.info("space file %s", document.file)
    return _checked(document, overrides)


def checked_sweep(fields: Mapping[str, Any]) -> Sweep:
    """The checked sweep of a space file's keys given as Python values. Raises SpecError with the line of the call."""
    where = calling_line()
    try:
        data = to_jsonable_python(fields, by_alias=True, exclude_none=True, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise SpecError([Issue(where, f"should be numbers, text, lists and mappings: {error}")]) from None
    return _checked(Document(where, data, {}), NO_OVERRIDES)


def _checked(document: Document, overrides: Overrides) -> Sweep:
    """The checked sweep of a document: inlines the base, applies overrides, tries every value of every varied key."""
    document, issues = _for_base(document, overrides)
    raw = dict(document.data)
    issues += _load_plugins(document, raw, overrides) + _add_values(raw, overrides.add)
    issues += _shape_issues(replace(document, data=dict(raw)))
    found, trial = _load_base(document, raw, overrides)
    if issues := issues + found:
        raise SpecError(issues)
    if "replicates" in raw or _asks_for_replicates(overrides):
        raw["replicates"] = _replicates(raw.get("replicates"), overrides)
    if overrides.samples is not None:
        raw["search"] = {**expand_name(raw.get("search", {})), "samples": overrides.samples}
    if overrides.time_budget is not None:
        raw["budget"] = {**raw.get("budget", {}), "seconds": overrides.time_budget}
    raw["name"] = overrides.name or (
        f"{raw['name']}-{FilePath(overrides.base).stem}" if overrides.base else raw["name"]
    )
    try:
        sweep = Sweep.model_validate(raw)
    except ValidationError as error:  # only overrides can still be wrong
        options: dict[Path, str] = {
            ("search", "samples"): "samples",
            ("budget", "seconds"): "time-budget",
            ("replicates", "min"): "replicates",
            ("replicates", "max"): "max-replicates",
            ("replicates", "until"): "until",
        }
        if overrides.name is None:  # the default name is the space file's and the base's combined
            options["name",] = "base"

        def place(path: Path) -> str:
            return overrides.where(options.get(path, dotted(path)))

        issues = model_issues(Sweep, error, place)
        hint = "; choose another name with --name"
        raise SpecError([replace(i, message=i.message + hint) if i.where == "--base" else i for i in issues]) from None
    idle = tuple(_without_effect(sweep, overrides, document))
    sweep = sweep.located(SweepOrigins(document, _with_varied(document, sweep, trial), idle))
    if issues := [*population_issues(sweep, document.where), *point_issues(sweep, document.where)]:
        raise SpecError(issues)
    return sweep


def _without_effect(sweep: Sweep, overrides: Overrides, document: Document) -> Iterator[str]:
    """One line for each option and each key of the section `search` that has no effect."""
    if sweep.search.name == "grid":
        fields = [
            name for name in ("samples", "seed", "points") if getattr(sweep.search, name) != getattr(Search(), name)
        ]
        places = {name: document.where(("search", name)) for name in fields}
        if overrides.samples is not None:
            places["samples"] = overrides.where("samples")
        for name, place in places.items():
            yield f"{place}: search.{name} has no effect: a grid has every combination of its values"
    always = {"training.replicates": "`replicates` and --replicates set it"}
    for key, domain in sweep.space.items():
        if not domain.when:
            bundles = [set(case) for case in (domain.cases or {}).values()] or [{key}]
            always |= dict.fromkeys(set.intersection(*bundles), f"the space varies it by {key}")
    for key in [*_settings(overrides.set)[0], *overrides.values]:
        if key in always:
            yield f"{overrides.python or _option(key)} has no effect: {always[key]}"


def _with_varied(document: Document, sweep: Sweep, trial: Origins) -> Origins:
    """The origins of a trial's configuration; the origin of a varied value is its key in the space."""
    varied: dict[str, str] = {}
    for key, domain in sweep.space.items():
        for path in {path: None for case in (domain.cases or {}).values() for path in case} or {key: None}:
            varied[path] = document.where(("space", key))
    return replace(trial, overrides={**trial.overrides, **varied})


def load_config(file: FilePath | str, settings: tuple[str, ...] = ()) -> TrialConfig:
    """The trial configuration of a base file with `--set` applied. Raises SpecError with all issues at once."""
    return located_config(file, settings)[0]


def located_config(file: FilePath | str, settings: tuple[str, ...] = ()) -> tuple[TrialConfig, Origins]:
    """`load_config`, and where each of its values was given: file and line, or option."""
    document = _read_base(file)
    values, issues = _settings(settings)
    origins = Origins(document, {key: _option(key) for key in values})
    if issues := issues + config_errors(assigned(document.data, values), origins):
        raise SpecError(issues)
    return TrialConfig.model_validate(assigned(document.data, values)), origins


def _read_space(file: FilePath | str) -> Document:
    return read_yaml(found := shipped.space_file(file), shipped=() if found.suffix else shipped.spaces())


def _for_base(document: Document, overrides: Overrides) -> tuple[Document, list[Issue]]:
    """The document with the additional values `for` the base in use."""
    folder = document.folder
    base = _base_path(document.data.get("base"), folder, overrides)
    return extended(document, base, lambda name: _base_path(name, folder, NO_OVERRIDES) or folder / name)


def _read_base(file: FilePath | str) -> Document:
    return read_yaml(found := shipped.train_file(file), shipped=() if found.suffix else shipped.bases())


def _load_plugins(document: Document, raw: dict[str, Any], overrides: Overrides) -> list[Issue]:
    """Puts the plug-ins of the file and of `--plugin`, with their text, into `raw`; returns the issues."""
    issues: list[Issue] = []
    folder, written = document.folder, raw.get("plugins", [])
    if not isinstance(written, list):
        return []  # reported by the check of the file's structure
    entries = [(entry, folder, document.where(("plugins", index))) for index, entry in enumerate(written)]
    entries += [(entry, FilePath(), overrides.where(f"plugin {entry}")) for entry in overrides.plugins]
    found: list[Any] = []
    for entry, relative, where in entries:
        try:
            plugin = read_plugin(entry, relative) if isinstance(entry, str) else None
            if plugin:
                _log.info("plug-in %s, SHA-256 %s", plugin.name, plugin.digest)
            found.append(plugin.model_dump(exclude_none=True) if plugin else entry)
        except ValidationError as error:
            issues += [Issue(where, str(detail["ctx"]["error"])) for detail in error.errors()]
        except ValueError as error:
            issues.append(Issue(where, str(error)))
    if found or "plugins" in raw:
        raw["plugins"] = found
    return issues


def load_plugins(given: Sequence[str]) -> None:
    """Loads the plug-ins of `--plugin`, for commands without a space file. Raises SpecError."""
    if issues := _load_plugins(Document("", {}, {}), {}, Overrides(plugins=tuple(given))):
        raise SpecError(issues)


def _add_values(raw: dict[str, Any], additions: tuple[str, ...]) -> list[Issue]:
    """Appends the values of `--add` to the grids in `raw`; returns the issues."""
    issues: list[Issue] = []
    given = raw.get("space")
    space = dict(given) if isinstance(given, dict) else {}
    grids = [key for key, domain in space.items() if isinstance(domain, dict) and "grid" in domain]
    for addition in additions:
        key, separator, text = addition.partition("=")
        where = f"--add {clipped(key, 80)}"
        if not separator or key not in grids:
            rule = "should be key=[values], where the key is varied by a grid"
            issues.append(Issue(where, rule + did_you_mean(key, grids)))
            continue
        try:
            further = _entries(parse_value(text))
        except ValueError as error:
            issues.append(Issue(where, str(error)))
            continue
        old = _entries(space[key]["grid"])
        space[key] = {**space[key], "grid": [*old, *(value for value in further if value not in old)]}
    if additions:
        raw["space"] = space
    return issues


def _shape_issues(document: Document) -> list[Issue]:
    try:
        SweepFile.model_validate(document.data)
    except ValidationError as error:
        return model_issues(SweepFile, error, document.where)
    return []


def _load_base(document: Document, raw: dict[str, Any], overrides: Overrides) -> tuple[list[Issue], Origins]:
    """Puts the base inline into `raw`, with overrides; returns all issues of base and space, and the base's origins."""
    values, issues = _settings(overrides.set)
    origins = {key: _option(key) for key in values} | dict.fromkeys(overrides.values, overrides.python)
    values |= overrides.values
    try:
        source = _base_document(document, raw, overrides)
    except SpecError as error:
        return issues + error.issues, Origins(document, origins)
    if source is None:
        return issues, Origins(document, origins)
    _log.info("base %s", source.file)
    if "metric" in values:  # --set metric=… replaces the sweep's metrics
        raw.pop("metric", None)
    metrics = [m for m in _entries(raw.get("metric")) if isinstance(m, str)]  # anything else is an issue already
    if metrics:
        values["metric"] = metrics[0]
    replicates = _replicates(raw.get("replicates", SweepFile.model_fields["replicates"].default), overrides)
    asked = overrides.replicates is not None
    origins["training.replicates"] = overrides.where("replicates") if asked else document.where(("replicates",))
    if isinstance(replicates, dict):
        replicates = replicates.get("min", Replicates().min)
    if isinstance(replicates, int):  # anything else is an issue of the space file already
        values["training.replicates"] = replicates
    if "metric" in raw:
        origins["metric"] = document.where(("metric",))
    for index, metric in enumerate(metrics[1:], start=1):
        place = {**origins, "metric": document.where(("metric", index))}
        issues += config_errors(assigned(source.data, {**values, "metric": metric}), Origins(source, place))
    raw["base"] = assigned(source.data, values)
    if len(metrics) < 2:
        raw.pop("metric", None)
    trial = Origins(source, origins)
    return issues + space_issues(document, raw, trial), trial


def _check_kinds(place: str, plugins: Any, values: Any) -> None:
    """Raises SpecError for keywords of a kind that cannot be read; a text would be a list of its characters."""
    issues = []
    if not isinstance(plugins, list | tuple) or not all(isinstance(item, str | FilePath) for item in plugins):
        issues.append(Issue(place, f"plugins = {plugins!r} should be a list of files or modules: ['my_gan.py']"))
    if values is not None and not isinstance(values, Mapping):
        issues.append(Issue(place, f"set = {values!r} should be a mapping: {{'training.steps': 3000}}"))
    if issues:
        raise SpecError(issues)


def _asks_for_replicates(overrides: Overrides) -> bool:
    return any(value is not None for value in (overrides.replicates, overrides.until, overrides.max_replicates))


def _replicates(written: Any, overrides: Overrides) -> Any:
    """The replicates of the file, changed by the command line."""
    if not _asks_for_replicates(overrides):
        return written
    if overrides.until is None and overrides.max_replicates is None:
        return overrides.replicates
    known = dict(written) if isinstance(written, dict) else {}
    least = written if isinstance(written, int) else known.get("min", Replicates().min)
    if overrides.replicates is not None:
        least = overrides.replicates
    elif isinstance(least, int):
        least = max(least, Replicates().min)
    most = known.get("max", max(least, Replicates().max) if isinstance(least, int) else Replicates().max)
    most = most if overrides.max_replicates is None else overrides.max_replicates
    return {"min": least, "max": most, "until": overrides.until or "decided"}


def _base_document(document: Document, raw: Mapping[str, Any], overrides: Overrides) -> Document | None:
    """The base, inline or from its file; None if `base` is neither, which is reported elsewhere. Raises SpecError."""
    base, folder = raw.get("base"), document.folder
    if (file := _base_path(base, folder, overrides)) is not None:
        name = str(overrides.base or base)
        where = overrides.where("base") if overrides.base else document.where(("base",))
        return read_yaml(file, where, shipped=() if FilePath(name).suffix else shipped.bases())
    if isinstance(base, dict):
        lines = {p[1:]: n for p, n in document.lines.items() if p[:1] == ("base",)}
        return Document(document.file, base, lines, folder)
    return None


def _base_path(base: Any, folder: FilePath, overrides: Overrides) -> FilePath | None:
    """The file of the base in use; None if the space file in `folder` has an inline base or none."""
    if overrides.base:
        return shipped.base_file(overrides.base, folder)
    if not isinstance(base, str):
        return None
    own = folder / base
    return own if FilePath(base).suffix or os.path.exists(own) else shipped.base_file(base, folder)


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _settings(settings: tuple[str, ...]) -> tuple[dict[str, Any], list[Issue]]:
    values: dict[str, Any] = {}
    issues: list[Issue] = []
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not all(key.split(".")):
            issues.append(Issue(_option(setting), "should be key=value, for example training.steps=2000"))
            continue
        try:
            values[key] = parse_value(text)
        except ValueError as error:
            issues.append(Issue(_option(key), str(error)))
    return values, issues


def _option(key: str) -> str:
    return f"--set {clipped(key, 80)}"
