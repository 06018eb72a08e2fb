"""Machines with an SSH server on this one: each an address, a home, a table of processes and a /tmp/ray of its own.

`ray stop` ends every Ray that it sees, so each machine sees its own processes alone. Its home stands in a passwd file
that only it sees. No machine reaches the internet: their Python environment is there already, and takes the packages
from the one that runs the tests.
"""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
from pathlib import Path

USER = "root"
START = """
mount -t tmpfs tmpfs /tmp/ray
mount --bind "$1/passwd" /etc/passwd
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -f "$1/sshd_config"
"""
PROFILE = """
export RAY_raylet_start_wait_time_s=240
unset BASH_ENV
"""
PIP = "[install]\nno-index = true\nno-build-isolation = false\n"
"""The last line turns isolation *off*: pip reads the option's own name as the thing that is switched."""


def make_machine(folder: Path, public_key: str) -> None:
    """Everything that a machine has on disk: host key, sshd's configuration, a home with a Python environment."""
    home = folder / "home"
    home.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
    (folder / "authorized_keys").write_text(public_key)
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        f"PermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\nMaxSessions 100\nMaxStartups 100\n"
    )
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(f"{USER}:")]
    (folder / "passwd").write_text("\n".join([f"{USER}:x:0:0:{USER}:{home}:/bin/bash", *lines]) + "\n")
    (home / ".bash_profile").write_text(PROFILE)
    environment = home / "gramtune-venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    for old in packages.glob("setuptools*"):  # the one of the tests' environment is as new as the build needs
        shutil.rmtree(old)
    (packages / "installed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    (environment / "pip.conf").write_text(PIP)
    ray = environment / "bin" / "ray"
    ray.write_text(f"#!{environment}/bin/python\nfrom ray.scripts.scripts import main\nmain()\n")
    ray.chmod(0o755)


def sshd(folder: Path) -> list[str]:
    """The command that is the machine: what it starts lives no longer than it does."""
    private = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*private, "sh", "-ec", START, "sh", str(folder)]


def client(folder: Path) -> list[str]:
    """The beginning of a command on a machine without a server: Ray's launcher remembers its clusters in /tmp/ray."""
    (folder / "ray").mkdir(parents=True, exist_ok=True)
    return ["unshare", "--mount", "sh", "-ec", 'mount --bind "$0/ray" /tmp/ray; exec "$@"', str(folder)]
