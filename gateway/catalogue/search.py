"""Searches entries by Japanese or English words in ids, topics and wording. Deterministic."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from gateway.catalogue.entries import CanDo


def search(entries: Iterable[CanDo], words: Sequence[str]) -> list[CanDo]:
    """The entries that contain all words, best first. If there are none, the entries that contain any."""
    wanted = [word for phrase in words for word in _folded(phrase).split()]
    ranked = sorted(((_rank(entry, wanted), entry) for entry in entries), key=lambda found: found[0], reverse=True)
    most = ranked[0][0][0] if ranked else 0
    least = len(wanted) if most == len(wanted) else 1
    return [entry for (held, _), entry in ranked if held >= max(1, least)]


def _rank(entry: CanDo, wanted: Sequence[str]) -> tuple[int, int]:
    """How many of the words the entry contains, and their total score."""
    topics = [_folded(text) for text in (*entry.topics, entry.topic_en, entry.category) if text]
    ids = [_folded(name) for name in entry.ids]
    texts = [f" {_folded(text)}" for text in (entry.text_ja, entry.text_en)]
    scores = [_score(word, ids, topics, texts) for word in wanted]
    return sum(map(bool, scores)), sum(scores)


def _score(word: str, ids: Sequence[str], topics: Sequence[str], texts: Sequence[str]) -> int:
    """A match in an id or a topic counts more than one in the text, and at the beginning more than in the middle."""
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
