"""Random lessons as a content model writes them: seven sections of nested Japanese and English, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

KEYS = ("frame", "reading", "dialogue", "grammar", "culture", "practice", "lessonPlan")

_JAPANESE = (
    "毎朝、駅前の市場で魚を買います。",
    "この魚はいくらですか。",
    "「いらっしゃいませ」と言われました。",
    "記号 {名前} と [注意] の話、それから。",
    "えっと……、五百円です...",
    "りんご，みかん：どちらも好きです。",
    "寿司🍣と𠮷野家",
    "朝",
    "駅まで歩いて十分ぐらいかかりますが、雨の日はバスに乗ります。",
)
_ENGLISH = (
    "How much is this fish?",
    'He said "yes", then left.',
    "It's fresh, isn't it: five hundred yen // per kilo",
    "First, remember: reading, then grammar.",
    "Path C:\\fish\nsecond line",
    "a } and a ] and a {",
    "No.",
    "See [1], {2}; \u201cquoted\u201d.",
)
_WORDS = ("魚", "市場", "駅", "買う", "食べる", "五百円", "雨", "歩く")


def seeded(seed: int | str) -> random.Random:
    """The same choices in every run."""
    return random.Random(seed)  # noqa: S311  # lessons, not secrets


def random_lesson(rng: random.Random) -> dict[str, Any]:
    """A lesson with most of the seven sections, in the order Stage 1 writes them. No section is empty."""
    makers: dict[str, Callable[[random.Random], Any]] = {
        "frame": _frame,
        "reading": _reading,
        "dialogue": _dialogue,
        "grammar": lambda r: [_grammar(r) for _ in range(r.randint(1, 3))],
        "culture": lambda r: [_culture(r) for _ in range(r.randint(1, 2))],
        "practice": lambda r: [_practice(r) for _ in range(r.randint(1, 4))],
        "lessonPlan": _plan,
    }
    return {key: maker(rng) for key, maker in makers.items() if rng.random() < 0.85} or {"reading": _reading(rng)}


def written(lesson: dict[str, Any], rng: random.Random) -> str:
    """The lesson as JSON in one of the formats models use."""
    layout: tuple[int | None, tuple[str, str] | None] = rng.choice(
        [(None, None), (None, (",", ":")), (2, None), (4, None)]
    )
    indent, separators = layout
    return json.dumps(lesson, ensure_ascii=rng.random() < 0.1, indent=indent, separators=separators)


def surrounded(text: str, rng: random.Random) -> str:
    """The text with the fences and prose that models put around it."""
    before = rng.choice(
        ["", "", "```json\n", "はい、レッスンを作りました。\n\n", "\ufeff", "Keys {reading}, {dialogue}: {...}\n"]
    )
    after = "\n```" if before.startswith("```") else rng.choice(["", "\n", "\n\nご確認ください。", "\nDone {ok}."])
    return before + text + after


def _ja(rng: random.Random) -> str:
    return "".join(rng.choices(_JAPANESE, k=rng.randint(1, 2)))


def _en(rng: random.Random) -> str:
    return rng.choice(_ENGLISH)


def _word(rng: random.Random) -> dict[str, Any]:
    # `reading` is the name of a section too, as it is in the real frame
    return {"surface": rng.choice(_WORDS), "reading": rng.choice(["さかな", None]), "meaning": _en(rng), "pos": "noun"}


def _frame(rng: random.Random) -> dict[str, Any]:
    return {
        "canDoText": _en(rng),
        "scenario": {"place": {"name": _ja(rng), "kind": "market"}, "time": "朝", "note": rng.choice([None, _en(rng)])},
        "characters": [{"id": f"c{i}", "name": rng.choice(_WORDS), "role": "staff"} for i in range(rng.randint(1, 3))],
        "register": "POLITE",
        "targetWords": [_word(rng) for _ in range(rng.randint(1, 4))],
        "targetPatterns": [_ja(rng) for _ in range(rng.randint(0, 3))],
        "minutes": rng.choice([5, 12, 120, 7.5]),
        "meta": {"level": {"cefr": "A1"}, "draft": False},
    }


def _reading(rng: random.Random) -> dict[str, Any]:
    reading: dict[str, Any] = {"title": _ja(rng), "text": _ja(rng) + "\n" + _ja(rng), "translation": _en(rng)}
    if rng.random() < 0.5:
        reading["comprehension"] = [
            {"question": _ja(rng), "choices": [_en(rng), _ja(rng)], "answer": 0, "mode": "read"}
        ]
    if rng.random() < 0.3:
        reading["source"] = {"kind": "original", "credits": {"author": "nidan", "year": 2026}}
    return reading


def _dialogue(rng: random.Random) -> Any:
    turns = [{"speaker": f"c{i % 2}", "ja": _ja(rng), "en": _en(rng)} for i in range(rng.randint(1, 6))]
    if rng.random() < 0.5:
        return turns
    return {"title": _ja(rng), "setting": {"where": {"ja": _ja(rng), "en": _en(rng)}}, "turns": turns}


def _grammar(rng: random.Random) -> dict[str, Any]:
    examples = [{"ja": _ja(rng), "en": _en(rng)} for _ in range(rng.randint(0, 2))]
    return {"point": "〜はいくらですか", "meaning": _en(rng), "examples": examples, "form": {"base": {"ja": _ja(rng)}}}


def _culture(rng: random.Random) -> dict[str, Any]:
    return {"title": _ja(rng), "body": _en(rng), "japanese": [_ja(rng) for _ in range(rng.randint(1, 3))]}


def _practice(rng: random.Random) -> dict[str, Any]:
    pairs = [[rng.choice(_WORDS), _en(rng)] for _ in range(rng.randint(1, 3))]
    return {"kind": "matching", "instruction": _en(rng), "pairs": pairs, "key": [[str(i)] for i in range(len(pairs))]}


def _plan(rng: random.Random) -> dict[str, Any]:
    steps = [
        {"phase": "INPUT", "minutes": rng.randint(3, 20), "teacherNotes": _ja(rng)} for _ in range(rng.randint(1, 4))
    ]
    return {
        "warmUp": {"ask": {"ja": _ja(rng), "en": _en(rng)}, "minutes": 3},
        "steps": steps,
        "check": {"canDo": _en(rng), "evidence": {"where": {"section": "reading", "index": 0}, "span": _ja(rng)}},
        "homework": rng.choice([None, {"task": _en(rng)}]),
    }
