"""Imports Ray without its own output and usage reports; other modules import `ray` and `tune` from here.

Ray reads these variables when it is imported or started. The user's settings take precedence.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints even at verbose=0
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the journal holds every result
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # the journal holds the sweep's state, and costs the driver less
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402 - after the environment
from ray import tune  # noqa: E402

__all__ = ["quiet", "ray", "tune"]


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Ray during the block, because gramtune reports failed trials and a full disk in one line.

    Afterwards it restores the signal handlers, which Tune would keep replaced, for example in a notebook.
    """
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.widgets.util")]
    levels = [logger.level for logger in loggers]
    for logger in loggers[1:]:
        logger.setLevel(logging.CRITICAL)
    ours = threading.current_thread() is threading.main_thread()  # only the main thread may set handlers
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for number, handler in handlers.items() if ours else ():
            signal.signal(number, handler)
