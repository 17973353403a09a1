"""Wraps a caller's data for a model in one JSON block that no text inside can close."""

from __future__ import annotations

import json
from typing import Any

OPEN, CLOSE = "<data>", "</data>"


def data_block(data: dict[str, Any]) -> str:
    """The data between its marks, on lines of their own. Escapes `<`, so that the marks cannot occur inside."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"{OPEN}\n{text}\n{CLOSE}"
