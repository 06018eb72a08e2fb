"""Starts a PostgreSQL server for tests: on loopback, with a password, in a temporary folder, as an ordinary user."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSWORD = "p%40ss-w0rd"
"""As it stands in a URI; the server knows it as p@ss-w0rd."""


def binaries() -> Path | None:
    """Folder of `initdb` and `postgres`; None where PostgreSQL is not installed."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    folders += [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


@contextmanager
def cluster() -> Iterator[str]:
    """The URI of an empty database. Everything is gone afterwards."""
    found = binaries()
    assert found is not None
    # PostgreSQL refuses to run as root, and pytest's own folders are closed to everyone else.
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="gramtune-pg-") as place:
        data, secret = Path(place) / "data", Path(place) / "password"
        secret.write_text(PASSWORD.replace("%40", "@"))
        if user:
            for path in (Path(place), secret):
                shutil.chown(path, "nobody", "nogroup")
        port = _free_port()
        init = [found / "initdb", "-D", data, "-U", "gramtune", "-A", "scram-sha-256", "--pwfile", secret, "--no-sync"]
        subprocess.run(init, check=True, capture_output=True, cwd=place, **user)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": place}
        with subprocess.Popen([found / "postgres", "-D", data, *options], **quiet, **user) as server:
            try:
                _wait_for(port, server)
                yield f"postgresql+psycopg2://gramtune:{PASSWORD}@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGINT)  # ends the connections that there are; SIGTERM would wait for them
                server.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Until it takes connections; a `postgres` that cannot start ends at once."""
    import psycopg2

    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None, "postgres did not start"
        try:
            settings = {"user": "gramtune", "password": PASSWORD.replace("%40", "@"), "dbname": "postgres"}
            psycopg2.connect(host="127.0.0.1", port=port, **settings).close()
            return
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline, "postgres does not answer"
            time.sleep(0.2)
