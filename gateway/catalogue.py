"""Which Can-do an id means. Ids are compared without width, case and spaces; an unknown one is never guessed."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

import yaml

from lesson.models import Level


@dataclass(frozen=True)
class CanDo:
    """An entry: every id that names it (the first is its own), and its wording."""

    ids: tuple[str, ...]
    topic: str
    topic_en: str
    level: Level
    activity: str
    text_en: str
    text_ja: str

    def text_in(self, language: str) -> str:
        """The wording a learner of that language reads; English serves where there is no other."""
        return self.text_ja if language.split("-", maxsplit=1)[0].lower() == "ja" else self.text_en


class Catalogue:
    """Entries by id. Raises ValueError when two entries claim one id."""

    def __init__(self, entries: Iterable[CanDo]) -> None:
        self._by_id: dict[str, CanDo] = {}
        for entry in entries:
            for can_do_id in entry.ids:
                if self._by_id.setdefault(normalised(can_do_id), entry) is not entry:
                    raise ValueError(f"catalogue: two entries claim {can_do_id}")

    @classmethod
    def shipped(cls) -> Catalogue:
        """The catalogue that comes with the package."""
        text = resources.files("gateway").joinpath("catalogue.yaml").read_text(encoding="utf-8")
        return cls(_entry(raw) for raw in yaml.safe_load(text))

    def find(self, can_do_id: str) -> CanDo | None:
        return self._by_id.get(normalised(can_do_id))

    @property
    def ids(self) -> tuple[str, ...]:
        """The own id of each entry."""
        return tuple(dict.fromkeys(entry.ids[0] for entry in self._by_id.values()))


def normalised(can_do_id: str) -> str:
    """The id as it is compared: full-width forms folded, case and spaces dropped (ｊｆ： 349 is JF:349)."""
    return "".join(unicodedata.normalize("NFKC", can_do_id).casefold().split())


def _entry(raw: Mapping[str, object]) -> CanDo:
    ids = raw["ids"]
    if not isinstance(ids, list):
        raise TypeError(f"catalogue: ids of {raw} are no list")
    words = {name: str(raw[name]) for name in ("topic", "topic_en", "activity", "text_en", "text_ja")}
    return CanDo(ids=tuple(str(name) for name in ids), level=Level(str(raw["level"])), **words)
