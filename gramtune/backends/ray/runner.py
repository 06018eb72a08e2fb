"""Runs a sweep on Ray Tune."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ray.job_config import JobConfig

from gramtune.backends.ray.adapters import (
    DriverCallback,
    DriverSearcher,
    DriverStopper,
    LiveTrialsInOrder,
    Silence,
    TrialRegistry,
    ray_trial_name,
)
from gramtune.backends.ray.data import put
from gramtune.backends.ray.quiet import quiet, ray, tune
from gramtune.backends.ray.trainable import GramTrainable
from gramtune.components import Unavailable
from gramtune.errors import Issue, SpecError
from gramtune.io import data_root
from gramtune.run.capacity import Capacity, Grant, at_once, grant, here
from gramtune.run.datasets import datasets
from gramtune.run.driver import Driver
from gramtune.run.interruption import Interruption
from gramtune.run.machine import cores, memory_limit

_STARTS = 3
_OBJECT_STORE, _LEAST_STORE = 0.3, 80 * 2**20
"""Ray's default share of memory for its object store, and slightly more than the minimum that it accepts."""


class RayRunner:
    """Runs a sweep on the Ray that this process is connected to, or on a local Ray that ends with the run."""

    def __init__(
        self, say: Callable[[str], None], max_concurrent: int | None = None, capacity: Capacity | None = None
    ) -> None:
        self._say, self._max_concurrent, self._capacity = say, max_concurrent, capacity or here()

    def run(self, driver: Driver) -> None:
        """See `Runner`. Raises SpecError if no node can hold one trial, or if the data cannot be read."""
        share = grant(driver.state.plan.sweep.resources, self._capacity)
        if share.note:
            self._say(share.note)
        with quiet():
            if ray.is_initialized():
                self._tuner(driver, share, own=False).fit()
                return
            self._say("Starting Ray…")
            try:
                if problem := _problem_to_start(driver.interruption):
                    driver.halt(problem)
                else:
                    self._tuner(driver, share, own=True).fit()
            except KeyboardInterrupt:
                return
            finally:
                ray.shutdown()

    def _tuner(self, driver: Driver, share: Grant, own: bool) -> Any:
        registry = TrialRegistry(share.gpu)
        return tune.Tuner(
            tune.with_resources(_trainable(driver), partial(_bundle, share.cpu)),
            tune_config=tune.TuneConfig(
                scheduler=LiveTrialsInOrder(),
                search_alg=DriverSearcher(driver, registry),
                num_samples=-1,
                max_concurrent_trials=at_once(driver.state.plan.size, share, self._capacity, self._max_concurrent),
                reuse_actors=True,
                trial_name_creator=ray_trial_name,
                trial_dirname_creator=ray_trial_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=driver.store.uri if driver.store.runs else str(driver.folder.absolute()),
                verbose=0,
                progress_reporter=Silence(),
                stop=DriverStopper(driver, registry, self._say),
                callbacks=[DriverCallback(driver, registry, self._say, own)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=driver.state.plan.sweep.resources.retries),
            ),
        )


def _problem_to_start(interruption: Interruption) -> str:
    """Starts a local Ray in several attempts, as each times out after 30 s; returns the problem if all fail."""
    problem = ""
    for _ in range(_STARTS):
        try:
            with interruption.open(), _sighup_blocked():
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    job_config=job(),
                    **limits(),
                )
            interruption.arm()
            return ""
        except SystemExit:  # raised by Ray's handler of SIGTERM
            interruption.hear(signal.SIGTERM)
            raise KeyboardInterrupt from None
        except Exception as error:  # noqa: BLE001 - Ray raises no narrower exception for a slow start
            ray.shutdown()
            problem = f"Ray does not start here: {next(iter(str(error).splitlines()), type(error).__name__)}"
    return problem


@contextmanager
def _sighup_blocked() -> Iterator[None]:
    """Blocks SIGHUP in the processes that Ray starts in this block, because a closed terminal sends it to them, too.

    If Ray's servers die first, Ray blocks the driver for a minute and then ends it. The driver shuts Ray down itself.
    Inside the block another thread of this process receives the signal: see `run.interruption`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Imported(list[str]):
    """A list that accepts only folders from which this process imports."""

    def extend(self, folders: Iterable[str]) -> None:
        super().extend(folder for folder in folders if folder in sys.path)


def job() -> Any:
    """Ray's job settings: workers must not import from the working directory, which may contain a random.py.

    By default Ray puts that folder before the standard library in the path of every worker.
    """
    config = JobConfig()
    config._py_driver_sys_path = _Imported()
    return config


def limits() -> dict[str, int]:
    """The CPUs and memory that Ray may use here, as arguments of `ray.init`; Ray itself does not see all limits."""
    limit, found = memory_limit(), {"num_cpus": cores()}
    if limit is None:
        return found
    share = int(limit * _OBJECT_STORE)
    return found | {"object_store_memory": max(share, _LEAST_STORE), "_memory": limit - share}


def _bundle(cpu: int, config: dict[str, Any]) -> Any:
    """The resources that Ray reserves for a trial."""
    gpu = config["trial"]["gpu"]
    return tune.PlacementGroupFactory([{"CPU": cpu, **({"GPU": gpu} if gpu else {})}])


def _trainable(driver: Driver) -> Any:
    sweep = driver.state.plan.sweep.model_dump(mode="json", exclude_none=True)
    folder = driver.folder.absolute()
    places = {"folder": str(folder), "remote": driver.store.runs, "root": str(data_root())}
    try:
        data = put(datasets(driver.state), data_root())
    except Unavailable as error:  # the files changed after the check
        raise SpecError([Issue("data", str(error))]) from None
    return tune.with_parameters(GramTrainable, sweep=sweep, data=data, **places)
