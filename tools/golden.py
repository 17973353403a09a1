"""Rewrites the golden master lesson and the published JSON Schema (`make golden`); read the diff."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.golden.current import GOLDEN, SCHEMA, current_master, current_schema, written


def main() -> None:
    SCHEMA.write_text(written(current_schema()), encoding="utf-8")
    GOLDEN.write_text(written(asyncio.run(current_master())), encoding="utf-8")
    print(f"wrote {SCHEMA.name} and {GOLDEN.name}; read the diff before you commit it")


if __name__ == "__main__":
    main()
