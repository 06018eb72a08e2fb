"""The MLflow runs of one sweep, found by gramtune's own ids, so that any process can complete them."""

from __future__ import annotations

import hashlib
import re
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image

from gramtune.backends.mlflow.store import EXPERIMENT, Rejected, artifact_root, connect, is_server, translated
from gramtune.record.redaction import redact
from gramtune.record.tracker import TrackerUnavailable

SWEEP_ID = "gramtune.sweep_id"
TRIAL_ID = "gramtune.trial_id"
PARENT = "mlflow.parentRunId"
REJECTED = "gramtune.rejected"
_KEY_LENGTH = 250
_TAG_LENGTH = 5000
_PARAM_LENGTH = 6000
_PAGE = 1000
_THUMBNAIL = 512
"""Least number of pixels of a thumbnail's longer side; MLflow's own thumbnails are blurred."""


@dataclass(frozen=True)
class Point:
    """One value of a metric. MLflow stores equal points only once."""

    key: str
    value: float
    timestamp: int  # milliseconds
    step: int


@dataclass
class StoredRun:
    """The known content of one run in the store."""

    run_id: str
    artifacts: str
    """Location of the run's files."""
    started: int  # milliseconds
    status: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    """Last step of each metric."""
    images: dict[int, int] | None = None
    """Size in bytes of the image of each step; None before the store was asked."""


def legal_key(key: str) -> str:
    """`key` as a legal MLflow name of a metric or parameter."""
    parts = [part for part in re.sub(r"[^\w\-. :/]", "_", key).split("/") if part not in ("", ".", "..")]
    legal = "/".join(parts) or "_"
    if len(legal) <= _KEY_LENGTH:
        return legal
    return f"{legal[: _KEY_LENGTH - 9]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def legal_value(text: str) -> str:
    """`text` as a legal value of an MLflow parameter; a text that is too long ends in a digest."""
    if len(text) <= _PARAM_LENGTH:
        return text
    return f"{text[: _PARAM_LENGTH - 10]}… {hashlib.sha256(text.encode()).hexdigest()[:8]}"


class SweepRuns:
    """The runs of one sweep. Every method raises TrackerUnavailable, or RunGone if its run has been deleted.

    Data that MLflow rejects are left out and named in the run's tag `gramtune.rejected`; the rest is stored.
    """

    def __init__(self, uri: str, sweep_id: str, runs_folder: Path) -> None:
        self.uri, self.sweep_id = uri, sweep_id
        self.client = connect(uri)
        self.experiment_id = self._experiment(runs_folder)
        self._runs = self._find()

    def get(self, run_key: str) -> StoredRun | None:
        """The run of the trial with this name, or the sweep's run for the empty string."""
        return self._runs.get(run_key)

    def create(self, run_key: str, name: str, started: int, tags: Mapping[str, str]) -> StoredRun:
        """Creates the run of a trial (or of the sweep) that `get` did not find."""
        tags = _storable({SWEEP_ID: self.sweep_id, TRIAL_ID: run_key, **tags})
        with translated(self.uri):
            info = self.client.create_run(self.experiment_id, started, tags, run_name=name).info
        self._runs[run_key] = run = StoredRun(
            info.run_id, info.artifact_uri, info.start_time, info.status, tags, images={}
        )
        return run

    def delete(self, run_key: str) -> None:
        """Deletes the run that `get` finds, so that `create` can create it again."""
        with translated(self.uri):
            self.client.delete_run(self._runs[run_key].run_id)
        del self._runs[run_key]

    def log(
        self,
        run: StoredRun,
        points: Iterable[Point] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Stores new data: points after the last stored step of their metric, parameters, changed tags."""
        fresh = self.missing(run, points)
        written = {legal_key(key): legal_value(str(value)) for key, value in (params or {}).items()}
        written = {key: value for key, value in written.items() if key not in run.params}
        changed = {key: value for key, value in _storable(tags or {}).items() if run.tags.get(key, "") != value}
        try:
            self._batch(run, fresh, written, changed)
        except Rejected:
            self._one_by_one(run, fresh, written, changed)
        for point in fresh:
            run.steps[point.key] = max(point.step, run.steps.get(point.key, -1))
        run.params |= written
        run.tags |= changed

    def missing(self, run: StoredRun, points: Iterable[Point]) -> list[Point]:
        """The points that are not yet stored, ordered by step.

        A trial that restarts from a checkpoint repeats steps with other timestamps; the points stored first remain.
        """
        legal = (replace(point, key=legal_key(point.key)) for point in points)
        return sorted((p for p in legal if p.step > run.steps.get(p.key, -1)), key=lambda p: (p.step, p.key))

    def log_image(self, run: StoredRun, key: str, step: int, file: Path) -> None:
        """Stores a PNG so that the run's page shows all steps of `key` with a slider.

        Uses names in the format of `MlflowClient.log_image`, but equal at every call, so that a repetition replaces the
        file.
        """
        if run.images is None:
            run.images = self._stored_images(run, key)
        size = file.stat().st_size
        if run.images.get(step) == size:
            return
        try:
            enlarged = _enlarged(file)
        except (OSError, SyntaxError):  # what Pillow raises for a damaged PNG
            self.reject(run, file.name)
        else:
            unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{run.run_id}/{key}/{step}")
            name = f"{_image_prefix(key)}{step}+timestamp+{run.started + step}+{unique}"
            self._upload_image(run, name, file, enlarged)
        run.images[step] = size

    def log_file(self, run: StoredRun, file: Path, folder: str | None = None, name: str | None = None) -> None:
        """Stores a file among the run's artifacts and replaces one of the same name. Raises OSError if it is missing.

        Does not use the client, which asks the store for the location of each run; that takes longer than the upload.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            with tempfile.TemporaryDirectory() as staging, translated(self.uri):
                named = Path(staging) / (name or file.name)
                named.symlink_to(file.resolve(strict=True))
                get_artifact_repository(run.artifacts, tracking_uri=self.uri).log_artifact(str(named), folder)
        except Rejected:
            self.reject(run, file.name)

    def log_text(self, run: StoredRun, text: str, name: str) -> None:
        """Stores a text file among the run's artifacts."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_text(text, encoding="utf-8")
            self.log_file(run, file)

    def set_status(self, run: StoredRun, status: str, ended: int | None = None) -> None:
        """Opens the run again (RUNNING), or closes it at `ended` (milliseconds)."""
        if status == run.status:
            return
        with translated(self.uri):
            if ended is None:
                self.client.update_run(run.run_id, status=status)
            else:
                self.client.set_terminated(run.run_id, status, ended)
        run.status = status

    def _upload_image(self, run: StoredRun, name: str, file: Path, enlarged: Image.Image) -> None:
        with tempfile.TemporaryDirectory() as folder:
            thumbnail = Path(folder) / f"{name}+compressed.webp"
            enlarged.save(thumbnail, lossless=True)
            self.log_file(run, thumbnail, "images")
        self.log_file(run, file, "images", f"{name}.png")  # uploaded last: its presence means that both exist
        self.log(run, tags={"mlflow.loggedImages": "True"})

    def _experiment(self, runs_folder: Path) -> str:
        root = artifact_root(self.uri, runs_folder)
        location = (root / EXPERIMENT).as_uri() if root else None
        with translated(self.uri):
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                if root:
                    (root / EXPERIMENT).mkdir(parents=True, exist_ok=True)
                return str(self.client.create_experiment(EXPERIMENT, artifact_location=location))
        if not found.experiment_id:
            raise TrackerUnavailable(f"MLflow at {redact(self.uri)}: the server there is not MLflow")
        if found.lifecycle_stage != "active":
            raise TrackerUnavailable(
                f"MLflow's experiment {EXPERIMENT!r} has been deleted; "
                f"mlflow experiments restore -x {found.experiment_id} restores it"
            )
        if is_server(self.uri) and found.artifact_location.startswith(("/", "file:")):
            _check_local(found.artifact_location.removeprefix("file://"))
        return str(found.experiment_id)

    def _find(self) -> dict[str, StoredRun]:
        """All runs of the sweep. If a run exists twice because an answer was lost, one of them is deleted."""
        runs: dict[str, StoredRun] = {}
        for stored in sorted(self._pages(), key=lambda run: (-len(run.steps), -len(run.tags), run.run_id)):
            key = stored.tags.get(TRIAL_ID, "")
            if runs.setdefault(key, stored) is not stored:
                with translated(self.uri):
                    self.client.delete_run(stored.run_id)
        return runs

    def _pages(self) -> list[StoredRun]:
        condition, found, token = f"tags.`{SWEEP_ID}` = '{self.sweep_id}'", [], None
        while True:
            with translated(self.uri):
                page = self.client.search_runs([self.experiment_id], condition, max_results=_PAGE, page_token=token)
            found += [_stored(run) for run in page]
            token = page.token
            if not token:
                return found

    def _stored_images(self, run: StoredRun, key: str) -> dict[int, int]:
        with translated(self.uri):
            files = self.client.list_artifacts(run.run_id, "images")
        pattern = re.compile(re.escape(_image_prefix(key)) + r"(\d+)\+timestamp\+.*\.png")
        found = ((pattern.fullmatch(Path(file.path).name), file.file_size) for file in files)
        return {int(match[1]): size for match, size in found if match}

    def _batch(self, run: StoredRun, points: list[Point], params: dict[str, str], tags: dict[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(**vars(point)) for point in points]
        with translated(self.uri):
            self.client.log_batch(
                run.run_id, metrics, [Param(*item) for item in params.items()], [RunTag(*item) for item in tags.items()]
            )

    def _one_by_one(self, run: StoredRun, points: list[Point], params: dict[str, str], tags: dict[str, str]) -> None:
        """Like `_batch`, but one name at a time, because MLflow rejects a whole batch for one bad name."""
        none: list[Point] = []
        by_key = {point.key: [p for p in points if p.key == point.key] for point in points}
        parts: list[tuple[str, list[Point], dict[str, str], dict[str, str]]]
        parts = [(key, same, {}, {}) for key, same in by_key.items()]
        parts += [(key, none, {key: value}, {}) for key, value in params.items()]
        parts += [(key, none, {}, {key: value}) for key, value in tags.items()]
        for name, some_points, some_params, some_tags in parts:
            try:
                self._batch(run, some_points, some_params, some_tags)
            except Rejected:
                self.reject(run, name)

    def reject(self, run: StoredRun, name: str) -> None:
        """Records in the run that data with this name could not be stored."""
        names = [*filter(None, run.tags.get(REJECTED, "").split(", ")), name]
        run.tags[REJECTED] = ", ".join(dict.fromkeys(names))[:_TAG_LENGTH]
        with translated(self.uri):
            self.client.set_tag(run.run_id, REJECTED, run.tags[REJECTED])


def _stored(run: Any) -> StoredRun:
    # Only here does MLflow give the step of the last value; `data.metrics` has only values.
    steps = {metric.key: metric.step for metric in run.data._metric_objs}
    info = run.info
    tags, params = dict(run.data.tags), dict(run.data.params)
    return StoredRun(info.run_id, info.artifact_uri, info.start_time, info.status, tags, params, steps)


def _storable(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:_TAG_LENGTH] for key, value in tags.items()}


def _image_prefix(key: str) -> str:
    return f"{key.replace('/', '~')}+step+"


def _enlarged(file: Path) -> Image.Image:
    """The image, enlarged by repeating pixels."""
    with Image.open(file) as image:
        factor = max(1, -(-_THUMBNAIL // max(image.size)))
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _check_local(location: str) -> None:
    """Raises TrackerUnavailable if the server tells clients to write to a folder that is not on this machine."""
    if not Path(unquote(location)).is_dir():
        raise TrackerUnavailable(
            f"this MLflow server keeps the files of experiment {EXPERIMENT!r} in {location}, "
            "which is not on this machine"
        )
