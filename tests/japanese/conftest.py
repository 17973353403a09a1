from __future__ import annotations

import pytest

from enhancer_service.japanese.annotator import JapaneseAnnotator
from enhancer_service.japanese.reading import Analyser


@pytest.fixture(scope="session")
def analyser() -> Analyser:
    return Analyser.load()


@pytest.fixture(scope="session")
def annotator(analyser: Analyser) -> JapaneseAnnotator:
    return JapaneseAnnotator.load(analyser=analyser)
