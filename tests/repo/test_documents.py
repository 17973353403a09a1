"""The documents' own limits."""

from __future__ import annotations

import re

from tests.repo.references import ROOT


def test_the_readme_has_at_most_nine_hundred_words() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 900


def test_the_glossary_is_alphabetical_and_a_line_an_entry() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE)
    words = [word.casefold() for word, _ in rows[1:]]
    assert words == sorted(words)
    assert all(len(meaning) <= 140 for _, meaning in rows)


def test_the_changelog_has_the_sections_of_keep_a_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert set(re.findall(r"^### (.+)$", changelog, re.MULTILINE)) <= {
        *("Added", "Changed", "Deprecated"),
        *("Removed", "Fixed", "Security"),
    }


def test_the_index_of_decisions_has_every_page() -> None:
    folder = ROOT / "docs" / "adr"
    linked = re.findall(r"^\| \[\d{4}\]\((.+?)\)", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    assert linked == sorted(path.name for path in folder.glob("0*.md"))
