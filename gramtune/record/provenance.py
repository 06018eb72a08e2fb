"""Finds the git commit of the running code."""

from __future__ import annotations

import filecmp
import hashlib
import json
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import gramtune
from gramtune.record.redaction import redact


def source() -> dict[str, Any] | None:
    """The git commit of this package, and whether the running code differs from it (`dirty`).

    None if it is unknown: the package is in no checkout, and pip recorded none at installation.
    """
    here = Path(gramtune.__file__).parent
    if (commit := _commit(here)) is not None:
        return {"commit": commit, "dirty": _changed(here)}
    installed = _install_record()
    if "vcs_info" in installed:
        return {"commit": installed["vcs_info"]["commit_id"], "dirty": False}
    there = Path(url2pathname(urlsplit(installed.get("url", "")).path)) / here.name
    if "dir_info" in installed and (commit := _commit(there)) is not None:
        return {"commit": commit, "dirty": _changed(there) or not _same_code(here, there)}
    return None


def uncommitted_diff(longest: int = 200_000) -> str:
    """The output of `git diff` for the running code, with secrets redacted; empty if it equals its commit.

    Untracked modules are listed by name. The text is cut after `longest` characters, with a note.
    """
    here = Path(gramtune.__file__).parent
    if _commit(here) is None or not _changed(here):
        return ""
    untracked = _git(here, "ls-files", "--others", "--exclude-standard", "--", "*.py") or ""
    names = "".join(f"untracked: {name}\n" for name in untracked.splitlines())
    text = redact(names + (_git(here, "diff", "HEAD", "--", ".") or "") + "\n")
    cut = len(text) - longest
    return text if cut <= 0 else f"{text[:longest]}\n({cut:,} more characters are not stored)\n"


def code_digest() -> str:
    """A digest of the package's code, which also shows edits after the commit."""
    here = Path(gramtune.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        digest.update(f"{path.relative_to(here).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _commit(package: Path) -> str | None:
    """HEAD of the checkout in which the package's folder is tracked."""
    if not package.is_dir() or _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(package, "rev-parse", "HEAD")


def _changed(package: Path) -> bool:
    return _git(package, "status", "--porcelain", "--", ".") != ""


def _same_code(here: Path, there: Path) -> bool:
    """Whether both folders hold the same modules: an installed copy can differ from its checkout."""
    ours, theirs = ({path.relative_to(root) for path in root.rglob("*.py")} for root in (here, there))
    return ours == theirs and all(filecmp.cmp(here / path, there / path, shallow=False) for path in ours)


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of git in that folder; None if git fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _install_record() -> dict[str, Any]:
    """Where pip installed the package from (PEP 610); empty for a release from an index."""
    try:
        text = distribution("gramtune").read_text("direct_url.json")
    except PackageNotFoundError:
        return {}
    record: dict[str, Any] = json.loads(text) if text else {}
    return record
