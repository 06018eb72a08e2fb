"""Removes secrets from text: credentials in addresses, and those in environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

_SECRET_NAMES = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|SECRET_KEY|ACCESS_KEY|API_KEY|CREDENTIALS?)$", re.IGNORECASE)
_SHORTEST = 5
"""Shorter environment values are not redacted: redacting every `1` would hide numbers."""


def redact(text: str, uri: str = "") -> str:
    """`text` without user:password@ in any address, the password of `uri`, and the secrets of the environment."""
    text = re.sub(r"://[^/\s]*@", "://", text)
    text = re.sub(r"(?i)\b(password|passwd|token)=[^&\s]+", r"\1=***", text)
    for secret in sorted(set(_secrets(uri)), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(uri: str) -> Iterator[str]:
    if password := _password(uri):
        yield from (password, unquote(password))
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST:
            yield from (value, unquote(value))


def _password(uri: str) -> str | None:
    try:
        return urlsplit(uri).password
    except ValueError:  # an address such as http://[
        return None
