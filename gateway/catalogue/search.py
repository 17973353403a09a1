"""Which entries some words mean: Japanese or English, over ids, topics and wording. Simple, and the same every time."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from gateway.catalogue.entries import CanDo


def search(entries: Iterable[CanDo], words: Sequence[str]) -> list[CanDo]:
    """The entries that hold all the words, the best first; where none does, those that hold any."""
    wanted = [word for said in words for word in _folded(said).split()]
    ranked = sorted(((_rank(entry, wanted), entry) for entry in entries), key=lambda found: found[0], reverse=True)
    most = ranked[0][0][0] if ranked else 0
    least = len(wanted) if most == len(wanted) else 1
    return [entry for (held, _), entry in ranked if held >= max(1, least)]


def _rank(entry: CanDo, wanted: Sequence[str]) -> tuple[int, int]:
    """How many of the words it holds, and how well."""
    topics = [_folded(text) for text in (*entry.topics, entry.topic_en, entry.category) if text]
    ids = [_folded(name) for name in entry.ids]
    texts = [f" {_folded(text)}" for text in (entry.text_ja, entry.text_en)]
    scores = [_score(word, ids, topics, texts) for word in wanted]
    return sum(map(bool, scores)), sum(scores)


def _score(word: str, ids: Sequence[str], topics: Sequence[str], texts: Sequence[str]) -> int:
    """An id or a topic says more than a word of the text, its beginning more than its middle."""
    if word in ids:
        return 32
    if any(name.startswith(word) for name in ids):
        return 16
    if word in topics:
        return 12
    if any(word in topic for topic in topics):
        return 8
    if any(f" {word}" in text for text in texts) or (not word.isascii() and any(word in text for text in texts)):
        return 4
    return 1 if any(word in text for text in (*ids, *texts)) else 0


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
