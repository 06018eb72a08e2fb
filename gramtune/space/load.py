"""Loads a sweep or trial configuration from files and the command line, and checks it; reports all issues at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import ValidationError

from gramtune.errors import Issue, Path, SpecError, clipped, did_you_mean, dotted
from gramtune.plugins import read_plugin
from gramtune.space import shipped
from gramtune.space.domain import assigned
from gramtune.space.issues import model_issues
from gramtune.space.sweep import Sweep, expand_name
from gramtune.space.validate_pbt import population_issues
from gramtune.space.validate_points import point_issues
from gramtune.space.validate_space import Origins, config_errors, legal_domains, space_issues
from gramtune.space.yaml_reader import Document, parse_value, read_yaml
from gramtune.training.config import TrialConfig

_log = logging.getLogger(__name__)


class Overrides(NamedTuple):
    """Overrides from the command line."""

    base: str | None = None
    name: str | None = None
    replicates: int | None = None
    samples: int | None = None
    """Trials of a sweep that samples."""
    time_budget: float | None = None
    """Seconds."""
    set: tuple[str, ...] = ()
    """`key=value`, the key a dotted path into the base, the value YAML."""
    plugins: tuple[str, ...] = ()
    """Files, relative to the working directory, or modules."""
    add: tuple[str, ...] = ()
    """`key=[values]`: further values of a grid."""


NO_OVERRIDES = Overrides()


def load_sweep(file: FilePath | str, overrides: Overrides = NO_OVERRIDES) -> Sweep:
    """The sweep of a space file, or of a shipped one by its name, its base inline and the overrides applied.

    Every value of every varied key is checked. Raises SpecError with all issues at once.
    """
    document = _read_space(file)
    _log.info("space file %s", document.file)
    raw = dict(document.data)
    issues = _load_plugins(document, raw, overrides.plugins) + _add_values(raw, overrides.add)
    issues += _shape_issues(document._replace(data=dict(raw)))
    issues += _load_base(document, raw, overrides)
    if issues:
        raise SpecError(issues)
    if overrides.replicates is not None:
        raw["replicates"] = overrides.replicates
    if overrides.samples is not None:
        raw["search"] = {**expand_name(raw.get("search", {})), "samples": overrides.samples}
    if overrides.time_budget is not None:
        raw["budget"] = {**raw.get("budget", {}), "seconds": overrides.time_budget}
    raw["name"] = overrides.name or (
        f"{raw['name']}-{FilePath(overrides.base).stem}" if overrides.base else raw["name"]
    )
    try:
        sweep = Sweep.model_validate(raw)
    except ValidationError as error:  # only command-line values can still be wrong
        options: dict[Path, str] = {("search", "samples"): "--samples", ("budget", "seconds"): "--time-budget"}
        raise SpecError(model_issues(Sweep, error, lambda path: options.get(path, f"--{dotted(path)}"))) from None
    if issues := [*population_issues(sweep, document.where), *point_issues(sweep, document.where)]:
        raise SpecError(issues)
    return sweep


def places(file: FilePath, overrides: Overrides = NO_OVERRIDES) -> Callable[[Path], str]:
    """Finds where a part of a trial's configuration was given: file and line, or option.

    Reads the files again: only an issue needs it. Where they cannot be read (a sweep made in Python), `file` itself.
    """
    try:
        document = _read_space(file)
        source = _base_document(document, dict(document.data), overrides)
    except SpecError:
        source = None
    if source is None:
        return lambda path: str(file)
    varied: dict[str, str] = {}
    for key, domain in legal_domains(document.data.get("space")).items():
        for path in {path: None for case in (domain.cases or {}).values() for path in case} or {key: None}:
            varied[path] = document.where(("space", key))
    settings = {key: _option(key) for key in _settings(overrides.set)[0]}
    return Origins(source, {**settings, **varied}).where


def config_places(file: FilePath, settings: tuple[str, ...]) -> Callable[[Path], str]:
    """`places` of the trial configuration of a base file alone."""
    return Origins(_read_base(file), {key: _option(key) for key in _settings(settings)[0]}).where


def load_config(file: FilePath | str, settings: tuple[str, ...] = ()) -> TrialConfig:
    """The trial configuration of a base file with `--set` applied. Raises SpecError with all issues at once."""
    document = _read_base(file)
    values, issues = _settings(settings)
    issues += config_errors(assigned(document.data, values), Origins(document, {k: _option(k) for k in values}))
    if issues:
        raise SpecError(issues)
    return TrialConfig.model_validate(assigned(document.data, values))


def _read_space(file: FilePath | str) -> Document:
    return read_yaml(found := shipped.space_file(file), shipped=() if found.suffix else shipped.spaces())


def _read_base(file: FilePath | str) -> Document:
    return read_yaml(found := shipped.train_file(file), shipped=() if found.suffix else shipped.bases())


def _load_plugins(document: Document, raw: dict[str, Any], given: tuple[str, ...]) -> list[Issue]:
    """Puts the plug-ins of the file and of `--plugin`, with their text, into `raw`; returns the issues."""
    issues: list[Issue] = []
    folder, written = FilePath(document.file).parent, raw.get("plugins", [])
    if not isinstance(written, list):
        return []  # an issue of the shape
    entries = [(entry, folder, document.where(("plugins", index))) for index, entry in enumerate(written)]
    entries += [(entry, FilePath(), f"--plugin {entry}") for entry in given]
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
    if issues := _load_plugins(Document("", {}, {}), {}, tuple(given)):
        raise SpecError(issues)


def _add_values(raw: dict[str, Any], additions: tuple[str, ...]) -> list[Issue]:
    """Appends the values of `--add` to the grids in `raw`; returns what is wrong."""
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
        Sweep.model_validate(document.data)
    except ValidationError as error:
        return model_issues(Sweep, error, document.where)
    return []


def _load_base(document: Document, raw: dict[str, Any], overrides: Overrides) -> list[Issue]:
    """Puts the base inline into `raw`, with overrides; returns all issues of base and space."""
    values, issues = _settings(overrides.set)
    try:
        source = _base_document(document, raw, overrides)
    except SpecError as error:
        return issues + error.issues
    if source is None:
        return issues
    _log.info("base %s", source.file)
    if "metric" in values:  # --set metric=… replaces the sweep's metrics
        raw.pop("metric", None)
    metrics = [m for m in _entries(raw.get("metric")) if isinstance(m, str)]  # anything else is an issue already
    if metrics:
        values["metric"] = metrics[0]
    replicates = raw.get("replicates", Sweep.model_fields["replicates"].default)
    if overrides.replicates is not None:
        replicates = overrides.replicates
    if isinstance(replicates, int):  # anything else is an issue of the space file already
        values["training.replicates"] = replicates
    origins = {key: _option(key) for key in values}
    origins["training.replicates"] = document.where(("replicates",)) if overrides.replicates is None else "--replicates"
    if "metric" in raw:
        origins["metric"] = document.where(("metric",))
    for index, metric in enumerate(metrics[1:], start=1):
        place = {**origins, "metric": document.where(("metric", index))}
        issues += config_errors(assigned(source.data, {**values, "metric": metric}), Origins(source, place))
    raw["base"] = assigned(source.data, values)
    if len(metrics) < 2:
        raw.pop("metric", None)
    return issues + space_issues(document, raw, Origins(source, origins))


def _base_document(document: Document, raw: Mapping[str, Any], overrides: Overrides) -> Document | None:
    """The base, inline or from its file; None if `base` is neither, which is already an issue. Raises SpecError."""
    folder = FilePath(document.file).parent
    if overrides.base:
        return read_yaml(shipped.base_file(overrides.base, folder), "--base")
    base = raw.get("base")
    if isinstance(base, str):
        own = folder / base
        file = own if FilePath(base).suffix or os.path.exists(own) else shipped.base_file(base, folder)
        return read_yaml(file, document.where(("base",)))
    if isinstance(base, dict):
        return Document(document.file, base, {p[1:]: n for p, n in document.lines.items() if p[:1] == ("base",)})
    return None


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
