"""The limits of requests: one table for the services, the command line, the contract's comments and the docs."""

from __future__ import annotations

from typing import Final

SPEC_CHARACTERS: Final = {"can_do_id": 100, "topic": 200, "can_do_text": 1000, "learner_language": 35, "model": 100}
"""The most characters, by field of LessonSpec."""
SECTION_ITEMS: Final = 1000
"""The most items of a section to annotate. The largest built-in lesson has about 150 in all its sections."""
ITEM_BYTES: Final = 32 * 1024
"""The most bytes of UTF-8 of one item: the analyser's time grows with it. A sentence has a hundredth."""
SECTION_BYTES: Final = 64 * 1024
"""The most bytes of UTF-8 of all items of a section. The largest built-in lesson has a tenth."""
