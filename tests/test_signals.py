"""The suite starts its children with the default signal handlers."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

CHILD = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
SESSION = f"""
import subprocess, sys
sys.path.insert(0, sys.argv[1])
import conftest
conftest.pytest_configure()
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
"""


def test_a_child_hears_sigint_when_pytest_was_started_in_the_background():
    """Python installs its handler only if SIGINT is not ignored at the start."""
    ignored = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    command = [sys.executable, "-c", SESSION, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=ignored)
    assert done.stdout == "True\n"
