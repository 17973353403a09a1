"""No test here meets a catalogue of this machine's user."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalogue.lists import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)
