from __future__ import annotations

import pytest

from enhancer_service.japanese.reading import Analyser


@pytest.fixture(scope="session")
def analyser() -> Analyser:
    return Analyser.load()
