"""Writes one JSON line to standard output per event."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime


def log(event: str, level: str = "info", **fields: object) -> None:
    """Writes the event and its fields and flushes at once."""
    line = {"timestamp": datetime.now(UTC).isoformat(), "level": level, "service": "offline_model", "event": event}
    sys.stdout.write(json.dumps(line | fields) + "\n")
    sys.stdout.flush()
