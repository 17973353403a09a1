"""The most characters of each text in a request for a lesson: one table for the gateway, the command line and docs."""

from __future__ import annotations

from typing import Final

SPEC_CHARACTERS: Final = {"can_do_id": 100, "topic": 200, "can_do_text": 1000, "learner_language": 35, "model": 100}
"""By field of LessonSpec; the field's comment in the contract names the same figure."""
