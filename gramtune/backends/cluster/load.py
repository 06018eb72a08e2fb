"""Loads a cluster file as its target. Reports all values that the user must still fill in at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveInt, TypeAdapter, ValidationError

from gramtune.backends.cluster.target import Target
from gramtune.components import Component
from gramtune.errors import Issue, SpecError, dotted

_YOURS = re.compile(r"YOUR_[A-Z_]*[A-Z]")
_Port = Annotated[int, Field(ge=1, le=65535)]


class LocalFile(Component):
    """cluster/local.yaml."""

    target: Literal["local"]
    port: _Port = 6379
    dashboard_port: _Port = 8265
    num_cpus: PositiveInt | None = None
    num_gpus: PositiveInt | None = None


class ExistingFile(Component):
    """cluster/existing.yaml."""

    target: Literal["existing"]
    dashboard: Annotated[str, Field(pattern=r"^https?://[^/\s]+$")]
    """URL of the head's dashboard."""


class SlurmFile(Component):
    """cluster/slurm.yaml."""

    target: Literal["slurm"]
    folder: Annotated[str, Field(pattern=r"^/")]
    """A folder on the disk that all nodes share."""
    sbatch: dict[Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")], str | int] = Field(default_factory=dict)
    """Options of sbatch, by their long names."""
    setup: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Shell lines that run before Ray starts."""


_Ours = Annotated[LocalFile | ExistingFile | SlurmFile, Field(discriminator="target")]


def load_target(file: Path) -> Target:
    """The target that a cluster file describes. Raises SpecError with all issues of the file."""
    documents = _documents(file)
    first = next((d for d in documents if d.get("kind") == "RayCluster"), documents[0])
    if "provider" in first:
        from gramtune.backends.cluster.ray_launcher import RayLauncher

        return RayLauncher(file, first)
    if first.get("kind") == "RayCluster":
        from gramtune.backends.cluster.kubernetes import Kubernetes

        return Kubernetes(file, first)
    return _ours(file, first)


def _ours(file: Path, data: dict[str, Any]) -> Target:
    try:
        settings = TypeAdapter[LocalFile | ExistingFile | SlurmFile](_Ours).validate_python(data)
    except ValidationError as error:
        raise SpecError([Issue(str(file), _message(detail)) for detail in error.errors()]) from None
    if isinstance(settings, LocalFile):  # other users of this machine can reach its ports, but they lack the token
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it when it is imported
    from gramtune.backends.cluster.existing import Existing
    from gramtune.backends.cluster.local import Local
    from gramtune.backends.cluster.slurm import Slurm

    if isinstance(settings, LocalFile):
        return Local(file, settings.port, settings.dashboard_port, settings.num_cpus, settings.num_gpus)
    if isinstance(settings, ExistingFile):
        return Existing(file, settings.dashboard)
    return Slurm(file, Path(settings.folder), {k: str(v) for k, v in settings.sbatch.items()}, list(settings.setup))


def _message(detail: Any) -> str:
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kinds = "target: local, existing or slurm, Ray's `provider:`, or Kubernetes' `kind: RayCluster`"
        return f"is not a cluster file: it needs one of {kinds}"
    return f"{dotted(detail['loc'][1:])} = {detail['input']!r}: {detail['msg']}"


def _documents(file: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file. Raises SpecError if it is unreadable or still has values to fill in."""
    try:
        text = file.read_text(encoding="utf-8")
        nodes = list(yaml.compose_all(text, yaml.SafeLoader))
        documents = list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Issue(str(file), f"cannot be read: {error}")]) from None
    except yaml.YAMLError as error:
        raise SpecError([Issue(str(file), " ".join(str(error).split()))]) from None
    if missing := list(dict.fromkeys(issue for node in nodes for issue in _unfilled(file, node, (), set()))):
        raise SpecError(missing)
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise SpecError([Issue(str(file), "should be a mapping of keys to values")])
    return documents


def _unfilled(file: Path, node: Any, path: tuple[str | int, ...], seen: set[int]) -> Iterator[Issue]:
    """One issue per YOUR_… in a value, with its line."""
    if id(node) in seen:  # the value of an anchor that was already visited
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _unfilled(file, value, (*path, key.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _unfilled(file, value, (*path, index), seen)
    elif isinstance(node, yaml.ScalarNode):
        for name in _YOURS.findall(node.value):
            yield Issue(f"{file}:{node.start_mark.line + 1}", f"{dotted(path)}: replace {name} with your own value")
