"""Ray without its own output and without usage reports: import `ray` and `tune` from here.

Ray reads these variables when it is imported or started; what the user has set wins.
"""

from __future__ import annotations

import logging
import os

for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints even at verbose=0
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the journal holds every result
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402 - after the environment
from ray import tune  # noqa: E402

__all__ = ["ray", "tune"]

for _name in ("ray.tune", "ray.train"):  # failed trials and a full disk are said by us, in one line
    logging.getLogger(_name).setLevel(logging.CRITICAL)
