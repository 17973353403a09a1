"""How a caller's data travels to a model: as one JSON block that no text inside it can close."""

from __future__ import annotations

import json
from typing import Any

OPEN, CLOSE = "<data>", "</data>"


def data_block(data: dict[str, Any]) -> str:
    """The data between its marks, a line each. `<` is escaped, so that the marks can stand nowhere inside."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"{OPEN}\n{text}\n{CLOSE}"
