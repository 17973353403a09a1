"""Parses a language model's answer into the lesson's models."""

from __future__ import annotations

from lesson.parsing.sections import (
    MAX_FAULTS,
    MAX_ITEMS,
    MAX_JAPANESE,
    MAX_WRITTEN,
    SectionRead,
    derive_frame,
    faults_of,
    read_section,
)

__all__ = [
    "MAX_FAULTS",
    "MAX_ITEMS",
    "MAX_JAPANESE",
    "MAX_WRITTEN",
    "SectionRead",
    "derive_frame",
    "faults_of",
    "read_section",
]
