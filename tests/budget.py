"""How many examples a test tries: a few in `make test`, many in `make test-slow`.

A test that calls `examples` carries the mark `deep`, so that `make test-slow` selects it with TESTS_DEEP=1.
"""

from __future__ import annotations

import os

DEEP = os.environ.get("TESTS_DEEP") == "1"


def examples(quick: int, deep: int) -> int:
    """The number for this run."""
    return deep if DEEP else quick
