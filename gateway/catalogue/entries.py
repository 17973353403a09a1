"""Finds a Can-do by its id, ignoring width, case and spaces. Never guesses an unknown id."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from bisect import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from itertools import takewhile

import yaml

from lesson.models import Level

_OWN_WORDING = "nidan's own wording, Apache-2.0"
_NEAREST = 5
_SAME_START = 3
"""An id is near another one when at least this many first characters agree."""
_LIST_ID = re.compile(r"([^\W\d_][^:]*):(\d{1,9})")
_LIST_KINDS = ("jf", "cefr")
"""The beginnings of the kinds of published lists, in normalised form."""


@dataclass(frozen=True, slots=True)
class CanDo:
    """An entry of the catalogue, shipped or imported: its ids, its wording and its subject."""

    ids: tuple[str, ...]
    """All its ids; the first is its own, the others are aliases."""
    level: Level
    text_ja: str
    text_en: str = ""
    topics: tuple[str, ...] = ()
    topic_en: str = ""
    """The first topic in English, if the shipped catalogue translates it."""
    activity: str = ""
    """reception, production, interaction, or empty."""
    category: str = ""
    source: str = "nidan"
    edition: str = ""
    kind: str = ""
    """The kind in its list's abbreviation (JF, JFまるごと, CEFR); empty for shipped entries."""
    number: int | None = None
    """Its row in that list. Each edition of a list numbers its rows anew."""
    type: str = ""
    """The list's 種類, such as 活動."""
    licence_note: str = ""
    offline: bool = False
    """Whether the embedded offline model has a lesson for it."""
    text_sha256: str = ""
    """Hash of the imported text, which distinguishes two editions without showing either."""

    @property
    def topic(self) -> str:
        """The topic of a lesson on this entry. The category or the text replaces a missing topic."""
        return next(filter(None, (*self.topics, self.category)), self.text_ja[:200])

    def text_in(self, language: str) -> str:
        """The wording for a learner of that language: Japanese for Japanese, otherwise English if there is one."""
        japanese = language.split("-", maxsplit=1)[0].lower() == "ja"
        return self.text_ja if japanese or not self.text_en else self.text_en


@dataclass(frozen=True)
class Unknown:
    """An id that the catalogue lacks. `others` are pairs of a known id and its entry."""

    can_do_id: str
    known_form: bool
    """Whether it looks like a row of a published list, which the user can import."""
    near: bool
    """Whether the others resemble it. If not, they are examples."""
    others: tuple[tuple[str, CanDo], ...]

    @property
    def message(self) -> str:
        """The problem and the next step, in one paragraph."""
        named = ", ".join(f"{can_do_id} ({entry.topic[:40]}, {entry.level})" for can_do_id, entry in self.others)
        if self.known_form:
            advice = (
                f"{self.can_do_id!r} has a known form, but is not in your catalogue: import the list that "
                "contains it (nidan catalogue import FILE), or add a topic and a level."
            )
        else:
            advice = f"No Can-do {self.can_do_id!r} in the catalogue. Add a topic and a level, or use an id from it."
        return f"{advice} {'Nearest' if self.near else 'For example'}: {named}." if named else advice


class Catalogue:
    """Entries by id. Raises ValueError when two entries claim one id."""

    def __init__(self, entries: Iterable[CanDo]) -> None:
        self.entries = tuple(entries)
        self._by_id: dict[str, CanDo] = {}
        self._spelt: dict[str, str] = {}
        for entry in self.entries:
            for can_do_id in entry.ids:
                compared = normalised(can_do_id)
                if self._by_id.setdefault(compared, entry) is not entry:
                    raise ValueError(f"catalogue: two entries claim {can_do_id}")
                self._spelt.setdefault(compared, can_do_id)
        self._sorted = sorted(self._by_id)
        self._numbers = _numbers(self._by_id)

    @classmethod
    def shipped(cls) -> Catalogue:
        """The catalogue in the package."""
        text = resources.files("gateway.catalogue").joinpath("catalogue.yaml").read_text(encoding="utf-8")
        return cls(_entry(raw) for raw in yaml.load(text, yaml.CSafeLoader))

    def with_imported(self, imported: Iterable[CanDo]) -> Catalogue:
        """These entries and the imported ones. If several entries claim an id, only the last keeps it.

        Entries without an id left drop out. Imported entries get two values from the shipped ones: the topic in English
        and, when they take over the id of an `offline` entry at the same level, `offline`.
        """
        english = {entry.topic: entry.topic_en for entry in self.entries}
        every = [*self.entries, *(self._with_shipped_data(entry, english) for entry in imported)]
        owner = {normalised(can_do_id): place for place, entry in enumerate(every) for can_do_id in entry.ids}
        left = (
            replace(entry, ids=tuple(name for name in entry.ids if owner[normalised(name)] == place))
            for place, entry in enumerate(every)
        )
        return Catalogue(entry for entry in left if entry.ids)

    def _with_shipped_data(self, imported: CanDo, english: Mapping[str, str]) -> CanDo:
        ours = self.find(imported.ids[0])
        offline = ours is not None and ours.offline and ours.level is imported.level  # the bank knows ids, not wordings
        return replace(imported, offline=offline, topic_en=english.get(imported.topic, ""))

    def find(self, can_do_id: str) -> CanDo | None:
        return self._by_id.get(normalised(can_do_id))

    def unknown(self, can_do_id: str) -> Unknown:
        """Describes an id that `find` does not find."""
        compared = normalised(can_do_id)
        form = _LIST_ID.fullmatch(compared)
        kind = form[1] if form else ""
        near = self._by_number(kind, int(form[2])) if form and kind in self._numbers else self._by_start(compared)
        names = near or [normalised(entry.ids[0]) for entry in self.entries[:_NEAREST]]
        others = tuple((self._spelt[name], self._by_id[name]) for name in names)
        return Unknown(can_do_id, kind.startswith(_LIST_KINDS) or kind in self._numbers, bool(near), others)

    def _by_number(self, kind: str, number: int) -> list[str]:
        """Ids of the same kind, nearest number first."""
        numbers = self._numbers[kind]
        place = bisect(numbers, (number, ""))
        around = numbers[max(0, place - _NEAREST) : place + _NEAREST]
        return [name for _, name in sorted(around, key=lambda row: abs(row[0] - number))[:_NEAREST]]

    def _by_start(self, compared: str) -> list[str]:
        """Ids with the same beginning, longest first; empty when the shared beginning is too short to mean anything."""
        place = bisect(self._sorted, compared)
        around = self._sorted[max(0, place - _NEAREST) : place + _NEAREST]
        shared = {name: _same_start(name, compared) for name in around}
        near = [name for name in around if shared[name] >= _SAME_START]
        return sorted(near, key=lambda name: -shared[name])[:_NEAREST]

    @property
    def ids(self) -> tuple[str, ...]:
        """The first id of each entry."""
        return tuple(entry.ids[0] for entry in self.entries)


def normalised(can_do_id: str) -> str:
    """The id in the form for comparison, without width, case and spaces (ｊｆ： 349 is JF:349)."""
    return "".join(unicodedata.normalize("NFKC", can_do_id).casefold().split())


def _same_start(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def text_hash(text_ja: str, text_en: str) -> str:
    """SHA-256 of both wordings."""
    return hashlib.sha256(f"{text_ja}\n{text_en}".encode()).hexdigest()


def _numbers(ids: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """By kind: number and id of each of its rows, in order."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in ids:
        if form := _LIST_ID.fullmatch(name):
            found.setdefault(form[1], []).append((int(form[2]), name))
    return {kind: sorted(rows) for kind, rows in found.items()}


def _entry(raw: Mapping[str, object]) -> CanDo:
    ids = raw["ids"]
    if not isinstance(ids, list):
        raise TypeError(f"catalogue: ids of {raw} are not a list")
    return CanDo(
        ids=tuple(str(name) for name in ids),
        level=Level(str(raw["level"])),
        text_ja=str(raw["text_ja"]),
        text_en=str(raw["text_en"]),
        topics=(str(raw["topic"]),),
        topic_en=str(raw["topic_en"]),
        activity=str(raw["activity"]),
        licence_note=_OWN_WORDING,
        offline=raw["offline"] is True,
    )
