"""Converts other spellings of a section, and the earlier system's simpler shape, section by section."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lesson.models import (
    Brief,
    PlanPhase,
    PracticeKind,
    ProductionPractice,
    SectionName,
    issue_at,
)
from lesson.parsing.answer_keys import are_texts
from lesson.parsing.fit import Notes, practice_class

_BLANK = re.compile(r"_{2,}|＿+|（\s*）|\(\s*\)|[〔［]\s*[〕］]")
_PHASE_WORDS = {
    PlanPhase.WARM_UP: ("warm", "intro", "導入", "ウォーム"),
    PlanPhase.INPUT: ("input", "present", "read", "listen", "読", "聞", "提示"),
    PlanPhase.NOTICE: ("notice", "grammar", "focus", "文法", "気"),
    PlanPhase.PRACTISE: ("pract", "drill", "練習"),
    PlanPhase.PRODUCE: ("produc", "role", "speak", "writ", "発表", "活動"),
    PlanPhase.CHECK: ("check", "review", "wrap", "reflect", "assess", "まとめ", "確認"),
}


def _unlist(raw: object, *keys: str) -> object:
    """The list inside an object that wraps it ({"points": [...]}); any other value unchanged."""
    if isinstance(raw, Mapping):
        return next((raw[key] for key in keys if isinstance(raw.get(key), list)), raw)
    return raw


def _renamed(raw: object, names: Mapping[str, str], path: str, notes: Notes) -> object:
    """The object with keys of another spelling renamed, unless it has the right key, too."""
    if not isinstance(raw, Mapping):
        return raw
    out = dict(raw)
    for old, new in names.items():
        if old in out and new not in out:
            out[new] = out.pop(old)
            notes.append(issue_at(f"{path}.{new}", f"read from {old!r}"))
    return out


def _each(raw: object, path: str, shape: Callable[[object, str], object]) -> object:
    return [shape(member, f"{path}.{index}") for index, member in enumerate(raw)] if isinstance(raw, list) else raw


def _frame(raw: object, brief: Brief, notes: Notes) -> object:
    if not isinstance(raw, Mapping):
        return raw
    out = dict(raw)
    for key in ("canDoText", "objective"):
        snake = "can_do_text" if key == "canDoText" else key
        if brief.can_do_text and not out.get(key) and not out.get(snake):
            out[key] = brief.can_do_text
            notes.append(issue_at(f"frame.{snake}", "taken from the brief"))
    return out


def _reading(raw: object, _brief: Brief, notes: Notes) -> object:
    aliases = {"questions": "comprehension", "comprehension_questions": "comprehension", "content": "text"}
    return _with_comprehension(_renamed(raw, aliases, "reading", notes), "reading", notes)


def _with_comprehension(raw: object, path: str, notes: Notes) -> object:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("comprehension"), list):
        return raw

    def question(entry: object, at: str) -> object:
        if isinstance(entry, str):
            return {"question": entry}
        return _renamed(entry, {"q": "question", "a": "answer", "evidenceSpan": "evidence"}, at, notes)

    return {**raw, "comprehension": _each(raw["comprehension"], f"{path}.comprehension", question)}


def _dialogue(raw: object, _brief: Brief, notes: Notes) -> object:
    if isinstance(raw, list):
        raw = {"turns": raw}
        notes.append(issue_at("dialogue", "a bare list of turns"))
    shaped = _renamed(raw, {"dialogue_turns": "turns", "dialogueTurns": "turns"}, "dialogue", notes)
    if not isinstance(shaped, Mapping):
        return shaped
    aliases = {"speaker": "speakerId", "notes": "note"} | dict.fromkeys(("japanese", "ja", "line"), "text")
    turns = _each(shaped.get("turns"), "dialogue.turns", lambda turn, at: _renamed(turn, aliases, at, notes))
    dialogue = {**shaped, "turns": turns} if turns is not None else shaped
    return _with_comprehension(dialogue, "dialogue", notes)


def _grammar(raw: object, _brief: Brief, notes: Notes) -> object:
    def point(entry: object, path: str) -> object:
        entry = _renamed(entry, {"point": "pattern"}, path, notes)
        # A point with only a meaning is good enough: the meaning becomes its explanation.
        return _renamed(entry, {"meaning": "explanation"}, path, notes)

    return _each(_unlist(raw, "points", "grammar"), "grammar", point)


def _culture(raw: object, _brief: Brief, notes: Notes) -> object:
    return _each(
        _unlist(raw, "notes", "culture"),
        "culture",
        lambda note, path: _renamed(note, {"content": "body"}, path, notes),
    )


def _practice(raw: object, _brief: Brief, notes: Notes) -> object:
    return _each(
        _unlist(raw, "exercises", "practice"), "practice", lambda entry, path: _one_practice(entry, path, notes)
    )


def _one_practice(raw: object, path: str, notes: Notes) -> object:
    raw = _renamed(raw, {"type": "kind"}, path, notes)
    if not isinstance(raw, Mapping):
        return raw
    kind = re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(raw.get("kind", "")))).lower()
    out: dict[str, Any] = {**raw, "kind": kind}
    if kind == PracticeKind.MATCHING and isinstance(out.get("pairs"), list):
        out["pairs"] = _each(
            out["pairs"], f"{path}.pairs", lambda pair, at: _renamed(pair, {"jp": "left", "en": "right"}, at, notes)
        )
    if kind in (PracticeKind.CLOZE, PracticeKind.DIALOGUE_GAP):
        return _gaps(out, path, notes)
    if kind == PracticeKind.ORDERING:
        out = _with_answers(out, path, notes)
    if kind not in set(PracticeKind):
        notes.append(issue_at(f"{path}.kind", f"{raw.get('kind')!r} is none of ours; read as free"))
        out["kind"] = PracticeKind.FREE.value
    if "content" in out and "task" not in out and practice_class(out["kind"]) is not ProductionPractice:
        notes.append(issue_at(path, f"{kind} given as running text; read as free"))
        out["kind"] = PracticeKind.FREE.value
    return _renamed(out, {"content": "task"}, path, notes)


def _with_answers(raw: dict[str, Any], path: str, notes: Notes) -> dict[str, Any]:
    """Accepts an ordering's answers as a single answer or piece by piece."""
    out = dict(raw)
    if "answer" in out and "answers" not in out:
        out["answers"] = out.pop("answer")
        notes.append(issue_at(f"{path}.answers", "read from 'answer'"))
    answers, pieces = out.get("answers"), out.get("pieces")
    if are_texts(answers) and are_texts(pieces) and sorted(answers) == sorted(pieces):
        answers = [answers]
    if isinstance(answers, list) and any(map(are_texts, answers)):
        notes.append(issue_at(f"{path}.answers", "given piece by piece, joined"))
        out["answers"] = ["".join(answer) if are_texts(answer) else answer for answer in answers]
    return out


def _gaps(raw: dict[str, Any], path: str, notes: Notes) -> object:
    """Turns blanks in running text into spans, and corrects spans that are off by a few places."""
    if isinstance(raw.get("items"), list) and "sentences" not in raw:
        raw["sentences"] = raw.pop("items")
        notes.append(issue_at(f"{path}.sentences", "read from 'items'"))
    if not isinstance(raw.get("sentences"), list):
        notes.append(issue_at(path, f"{raw['kind']} without sentences; read as free"))
        return _renamed({**raw, "kind": PracticeKind.FREE.value}, {"content": "task"}, path, notes)
    sentences = [_gapped(entry, f"{path}.sentences.{index}", notes) for index, entry in enumerate(raw["sentences"])]
    return {**raw, "sentences": sentences}


def _gapped(raw: object, path: str, notes: Notes) -> object:
    if not isinstance(raw, Mapping):
        return raw
    if "prompt" in raw and "answer" in raw:
        return _filled(str(raw["prompt"]), str(raw["answer"]), raw.get("choices"), path, notes)
    if not isinstance(raw.get("text"), str) or not isinstance(raw.get("gaps"), list):
        return raw
    return {**raw, "gaps": [_placed(gap, raw["text"], f"{path}.gaps", notes) for gap in raw["gaps"]]}


def _filled(prompt: str, answer: str, choices: object, path: str, notes: Notes) -> object:
    blanks = list(_BLANK.finditer(prompt))
    if len(blanks) != 1:
        return {"text": prompt, "gaps": []}  # later a fault: the place of the answer is unknown
    notes.append(issue_at(path, "the blank in the prompt was filled"))
    start = blanks[0].start()
    text = prompt[:start] + answer + prompt[blanks[0].end() :]
    return {"text": text, "gaps": [{"start": start, "length": len(answer), "accepted": [answer], "choices": choices}]}


def _placed(gap: object, text: str, path: str, notes: Notes) -> object:
    """Moves a wrong span to the gap's words if they occur exactly once. Models count characters badly."""
    if not isinstance(gap, Mapping) or not isinstance(gap.get("accepted"), list):
        return gap
    start, length = gap.get("start"), gap.get("length")
    if isinstance(start, int) and isinstance(length, int) and text[start : start + length] in gap["accepted"]:
        return gap
    found = [word for word in gap["accepted"] if isinstance(word, str) and word and text.count(word) == 1]
    if len(found) != 1:
        return gap
    notes.append(issue_at(path, "the span was off; found by its words"))
    return {**gap, "start": text.index(found[0]), "length": len(found[0])}


def _lesson_plan(raw: object, _brief: Brief, notes: Notes) -> object:
    return _each(_unlist(raw, "steps", "lessonPlan"), "lesson_plan", lambda step, path: _step(step, path, notes))


def _step(raw: object, path: str, notes: Notes) -> object:
    if isinstance(raw, str):
        return {"studentTask": raw}
    if not isinstance(raw, Mapping):
        return raw
    out = dict(raw)
    title = out.pop("step", None) or out.pop("title", None)
    if title and "phase" not in out:
        out["phase"] = _phase_of(str(title))
        notes.append(issue_at(f"{path}.phase", f"told from its heading {str(title)!r}"))
        kept = out.get("teacherNotes") or out.get("teacher_notes")
        out["teacherNotes"] = f"{title}: {kept}" if kept else str(title)
    return _renamed(out, {"contentJP": "studentTask", "teacherNotes": "studentTask"}, path, notes)


def _phase_of(title: str) -> str | None:
    lowered = title.lower()
    return next((phase.value for phase, words in _PHASE_WORDS.items() if any(w in lowered for w in words)), None)


SHAPERS: dict[SectionName, Callable[[object, Brief, Notes], object]] = {
    SectionName.FRAME: _frame,
    SectionName.READING: _reading,
    SectionName.DIALOGUE: _dialogue,
    SectionName.GRAMMAR: _grammar,
    SectionName.CULTURE: _culture,
    SectionName.PRACTICE: _practice,
    SectionName.LESSON_PLAN: _lesson_plan,
}
