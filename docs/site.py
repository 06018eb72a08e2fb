"""Hook of mkdocs: pages beside docs/ join the site, and links to source files are plain text there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = ("CONTRIBUTING.md", "CHANGELOG.md")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that lie beside docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """`../CONTRIBUTING.md` is in the site; any other file outside docs/ is named, not linked."""
    if page.file.src_uri in BESIDE:
        markdown = markdown.replace("](docs/", "](")
    for name in BESIDE:
        markdown = markdown.replace(f"](../{name})", f"]({name})")
    return re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", markdown)
