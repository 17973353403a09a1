"""Reads what a language model wrote into the lesson's models, forgiving in form and strict in substance.

What an answer may leave out is filled in as explicitly absent; other spellings, the earlier system's simpler shape and
slips of form are read for what they say. Each such step is a note. What would make a section useless stays a fault,
with its path, for a re-ask. Nothing is invented: a derived value always comes from the answer or the brief.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeGuard, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lesson.answers import choice_form, order_of
from lesson.fields import bare, fields, is_kind, is_union, without_none
from lesson.items import extract_items
from lesson.models import (
    SECTION_TYPES,
    Brief,
    Character,
    ChoicePractice,
    ComprehensionMode,
    Content,
    Dialogue,
    Frame,
    GapPractice,
    MatchingPractice,
    OrderingPractice,
    PlanPhase,
    PracticeKind,
    ProductionPractice,
    Register,
    Role,
    SectionName,
    SectionValue,
    validate_section,
)

MAX_FAULTS = 5
"""Faults told in one re-ask; more would cost tokens and help nobody."""
MAX_ITEMS = 200
MAX_JAPANESE = 1600
MAX_WRITTEN = 12_000
"""The most that a section may have: items, characters of Japanese in them, characters of its JSON in all.

More than twice the longest of the built-in lessons. Stage 2 is paid for each character, and a lesson with every section
at its limits still fits into a message of gRPC (4 MiB)."""

_BLANK = re.compile(r"_{2,}|＿+|（\s*）|\(\s*\)|[〔［]\s*[〕］]")
_TEXT_KEYS = ("text", "japanese", "ja", "jp", "kanji")
_PRACTICE_CLASSES: dict[str, type[BaseModel]] = {
    PracticeKind.CHOICE: ChoicePractice,
    PracticeKind.LISTENING: ChoicePractice,
    PracticeKind.CLOZE: GapPractice,
    PracticeKind.DIALOGUE_GAP: GapPractice,
    PracticeKind.MATCHING: MatchingPractice,
    PracticeKind.ORDERING: OrderingPractice,
}
_PHASE_WORDS = {
    PlanPhase.WARM_UP: ("warm", "intro", "導入", "ウォーム"),
    PlanPhase.INPUT: ("input", "present", "read", "listen", "読", "聞", "提示"),
    PlanPhase.NOTICE: ("notice", "grammar", "focus", "文法", "気"),
    PlanPhase.PRACTISE: ("pract", "drill", "練習"),
    PlanPhase.PRODUCE: ("produc", "role", "speak", "writ", "発表", "活動"),
    PlanPhase.CHECK: ("check", "review", "wrap", "reflect", "assess", "まとめ", "確認"),
}


@dataclass
class SectionRead:
    """One section as read: the value when it is usable, what was derived or ignored, and what a re-ask should mend."""

    name: SectionName
    value: SectionValue | None = None
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_section(name: SectionName, raw: object, brief: Brief) -> SectionRead:
    """Reads one section's JSON value. Never raises: a section that cannot be used has faults instead of a value."""
    read = SectionRead(name)
    if not raw:
        read.faults.append(f"{name.value}: empty")
        return read
    shaped = _SHAPERS[name](raw, brief, read.notes)
    fitted = _Fit(read.notes).fit(SECTION_TYPES[name], shaped, name.value)
    _mend_keys(fitted, name.value, read.notes)
    try:
        value = validate_section(name, fitted)
    except ValidationError as error:
        read.faults.extend(faults_of(name, error))
        return read
    read.faults.extend(_too_long(name, value))
    if not read.faults:
        read.value = value
    return read


def _too_long(name: SectionName, value: SectionValue) -> Iterator[str]:
    items = extract_items(name, value)
    parts = value if isinstance(value, tuple) else (value,)
    sizes = (
        (len(items), MAX_ITEMS, "Japanese texts"),
        (sum(len(item.text) for item in items), MAX_JAPANESE, "characters of Japanese"),
        (sum(len(part.model_dump_json()) for part in parts), MAX_WRITTEN, "characters"),
    )
    for size, most, what in sizes:
        if size > most:
            yield f"{name.value}: {size:,} {what}, at most {most:,} are wanted; write a shorter one"


def faults_of(name: SectionName, error: ValidationError) -> list[str]:
    """At most MAX_FAULTS lines `path: message`, without the input, as a re-ask tells them."""
    return [
        f"{'.'.join([name.value, *(str(part) for part in entry['loc'])])}: {entry['msg'].removeprefix('Value error, ')}"
        for entry in error.errors(include_url=False, include_input=False)[:MAX_FAULTS]
    ]


def derive_frame(brief: Brief, content: Content, objective: str = "") -> Frame:
    """The frame of an answer that has none: its people are those who speak, its words none."""
    dialogue = content.dialogue
    goal = objective or brief.can_do_text or brief.can_do_text_ja or brief.topic
    return Frame(
        can_do_text=brief.can_do_text or brief.can_do_text_ja or goal,
        scenario=dialogue.setting if dialogue else None,
        characters=_speakers(dialogue) if dialogue else (),
        register_=(dialogue.register_ if dialogue else None) or Register.POLITE,
        target_words=(),
        target_patterns=tuple(point.pattern for point in content.grammar),
        objective=goal,
        key_phrases=(),
    )


def _speakers(dialogue: Dialogue) -> tuple[Character, ...]:
    names = dict.fromkeys(turn.speaker_id for turn in dialogue.turns)
    return tuple(
        Character(id=name, name=name, kana=None, label=None, role=Role.OTHER, relationship=None) for name in names
    )


# --- shapes: other spellings and the earlier system's, section by section ---------------------------------------

Notes = list[str]


def _unlist(raw: object, *keys: str) -> object:
    """The list that a model wrapped in an object ({"points": [...]}), or the value as it is."""
    if isinstance(raw, Mapping):
        return next((raw[key] for key in keys if isinstance(raw.get(key), list)), raw)
    return raw


def _renamed(raw: object, names: Mapping[str, str], path: str, notes: Notes) -> object:
    """The object with keys of another spelling renamed, where the right one is not there."""
    if not isinstance(raw, Mapping):
        return raw
    out = dict(raw)
    for old, new in names.items():
        if old in out and new not in out:
            out[new] = out.pop(old)
            notes.append(f"{path}.{new}: read from {old!r}")
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
            notes.append(f"frame.{snake}: taken from the brief")
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
        notes.append("dialogue: a bare list of turns")
    shaped = _renamed(raw, {"dialogue_turns": "turns", "dialogueTurns": "turns"}, "dialogue", notes)
    if not isinstance(shaped, Mapping):
        return shaped
    aliases = {"speaker": "speakerId", "notes": "note"} | dict.fromkeys(("japanese", "ja", "line"), "text")
    turns = _each(shaped.get("turns"), "dialogue.turns", lambda turn, at: _renamed(turn, aliases, at, notes))
    told = {**shaped, "turns": turns} if turns is not None else shaped
    return _with_comprehension(told, "dialogue", notes)


def _grammar(raw: object, _brief: Brief, notes: Notes) -> object:
    def point(entry: object, path: str) -> object:
        entry = _renamed(entry, {"point": "pattern"}, path, notes)
        # One of the two says it: a point is not refused for lacking the other.
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
        notes.append(f"{path}.kind: {raw.get('kind')!r} is none of ours; read as free")
        out["kind"] = PracticeKind.FREE.value
    if "content" in out and "task" not in out and _practice_class(out["kind"]) is not ProductionPractice:
        notes.append(f"{path}: {kind} given as running text; read as free")
        out["kind"] = PracticeKind.FREE.value
    return _renamed(out, {"content": "task"}, path, notes)


def _with_answers(raw: dict[str, Any], path: str, notes: Notes) -> dict[str, Any]:
    """An ordering's answers may be given as one, or piece by piece."""
    out = dict(raw)
    if "answer" in out and "answers" not in out:
        out["answers"] = out.pop("answer")
        notes.append(f"{path}.answers: read from 'answer'")
    answers, pieces = out.get("answers"), out.get("pieces")
    if _are_texts(answers) and _are_texts(pieces) and sorted(answers) == sorted(pieces):
        answers = [answers]
    if isinstance(answers, list) and any(map(_are_texts, answers)):
        notes.append(f"{path}.answers: given piece by piece, joined")
        out["answers"] = ["".join(answer) if _are_texts(answer) else answer for answer in answers]
    return out


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(member, str) for member in value)


def _gaps(raw: dict[str, Any], path: str, notes: Notes) -> object:
    """Gapped sentences: blanks in running text become spans, and spans that are off by some places are found again."""
    if isinstance(raw.get("items"), list) and "sentences" not in raw:
        raw["sentences"] = raw.pop("items")
        notes.append(f"{path}.sentences: read from 'items'")
    if not isinstance(raw.get("sentences"), list):
        notes.append(f"{path}: {raw['kind']} without sentences; read as free")
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
        return {"text": prompt, "gaps": []}  # a fault: nobody can tell where the answer goes
    notes.append(f"{path}: the blank in the prompt was filled")
    start = blanks[0].start()
    text = prompt[:start] + answer + prompt[blanks[0].end() :]
    return {"text": text, "gaps": [{"start": start, "length": len(answer), "accepted": [answer], "choices": choices}]}


def _placed(gap: object, text: str, path: str, notes: Notes) -> object:
    """Models count characters badly: a gap whose words stand in the sentence exactly once is where they stand."""
    if not isinstance(gap, Mapping) or not isinstance(gap.get("accepted"), list):
        return gap
    start, length = gap.get("start"), gap.get("length")
    if isinstance(start, int) and isinstance(length, int) and text[start : start + length] in gap["accepted"]:
        return gap
    found = [word for word in gap["accepted"] if isinstance(word, str) and word and text.count(word) == 1]
    if len(found) != 1:
        return gap
    notes.append(f"{path}: the span was off; found by its words")
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
        notes.append(f"{path}.phase: told from its heading {str(title)!r}")
        kept = out.get("teacherNotes") or out.get("teacher_notes")
        out["teacherNotes"] = f"{title}: {kept}" if kept else str(title)
    return _renamed(out, {"contentJP": "studentTask", "teacherNotes": "studentTask"}, path, notes)


def _phase_of(title: str) -> str | None:
    lowered = title.lower()
    return next((phase.value for phase, words in _PHASE_WORDS.items() if any(w in lowered for w in words)), None)


_SHAPERS: dict[SectionName, Callable[[object, Brief, Notes], object]] = {
    SectionName.FRAME: _frame,
    SectionName.READING: _reading,
    SectionName.DIALOGUE: _dialogue,
    SectionName.GRAMMAR: _grammar,
    SectionName.CULTURE: _culture,
    SectionName.PRACTICE: _practice,
    SectionName.LESSON_PLAN: _lesson_plan,
}


# --- fit: slips of form that any field can have -----------------------------------------------------------------


class _Fit:
    """Walks a value along its type: fills in what may be absent, mends slips of form, notes keys that nobody reads."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def fit(self, hint: Any, value: object, path: str) -> object:
        hint, optional = _bare(hint)
        if value is None or (optional and isinstance(value, str) and not value.strip()):
            return None if optional else value
        if get_origin(hint) is tuple:
            return self._list(get_args(hint)[0], value, path)
        if is_union(hint):
            return self._practice(value, path)
        if is_kind(hint, enum.Enum):
            return self._enum(hint, value, optional, path)
        if is_kind(hint, BaseModel):
            return self._model(hint, value, path)
        return self._text(value) if hint is str else value

    def _practice(self, value: object, path: str) -> object:
        if not isinstance(value, Mapping):
            return value
        return self._model(_practice_class(str(value.get("kind"))), value, path)

    def _model(self, kind: type[BaseModel], value: object, path: str) -> object:
        if not isinstance(value, Mapping):
            return value
        fitted: dict[str, object] = {}
        for _, alias, name, hint in fields(kind):
            given = value.get(alias, value.get(name))
            if given is None and _absence(hint) is not _REQUIRED:
                if alias not in value and name not in value:
                    self._notes.append(f"{path}.{name}: not given")
                fitted[alias] = _absence(hint)
            elif alias in value or name in value:
                fitted[alias] = self.fit(hint, given, f"{path}.{name}")
        known = {spelling for field in fields(kind) for spelling in (field.wire_name, field.json_name)}
        self._notes.extend(f"{path}.{key}: not a field, ignored" for key in value if key not in known)
        return fitted

    def _list(self, hint: Any, value: object, path: str) -> object:
        if isinstance(value, str | Mapping):
            self._notes.append(f"{path}: one value where a list belongs")
            value = [value]
        if not isinstance(value, list | tuple):
            return value
        kept = [member for member in value if member is not None and member != ""]
        if len(kept) < len(value):
            self._notes.append(f"{path}: {len(value) - len(kept)} empty entries left out")
        return [self.fit(hint, member, f"{path}.{index}") for index, member in enumerate(kept)]

    def _enum(self, kind: type[enum.Enum], value: object, optional: bool, path: str) -> object:
        spelled = re.sub(r"[\s-]+", "_", str(value)).upper()
        member = next((member for member in kind if member.name == spelled), None)
        if member is not None:
            return member.value
        fallback = None if optional else _ENUM_FALLBACK.get(kind)
        self._notes.append(f"{path}: {value!r} is none of {kind.__name__}; read as {fallback and fallback.value}")
        return fallback.value if fallback else (None if optional else value)

    def _text(self, value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, Mapping):
            return next((value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)), value)
        return value


# --- keys: what can be told of an answer is mended, what cannot stays a fault ------------------------------------


def _mend_keys(section: object, path: str, notes: Notes) -> None:
    """Mends, in place, the keys of practice and comprehension in a section as fitted."""
    if isinstance(section, dict):
        section, path = section.get("comprehension"), f"{path}.comprehension"
    for index, member in _objects(section):
        _mend_key(member, f"{path}.{index}", notes)


def _mend_key(raw: dict[str, Any], path: str, notes: Notes) -> None:
    if _are_texts(raw.get("choices")):
        _mend_answer(raw, path, notes)
    if isinstance(raw.get("pairs"), list) and all(map(_is_pair, raw["pairs"])):
        raw["pairs"] = _each_once(raw["pairs"], _pair_form, f"{path}.pairs", notes)
    if _are_texts(raw.get("pieces")) and _are_texts(raw.get("answers")):
        _mend_orders(raw, path, notes)
    for index, sentence in _objects(raw.get("sentences")):
        for number, gap in _objects(sentence.get("gaps")):
            if _are_texts(gap.get("choices")) and _are_texts(gap.get("accepted")):
                _mend_gap(gap, f"{path}.sentences.{index}.gaps.{number}", notes)


def _mend_answer(raw: dict[str, Any], path: str, notes: Notes) -> None:
    """The answer is spelt as its choice."""
    choices = raw["choices"] = _each_once(raw["choices"], choice_form, f"{path}.choices", notes)
    answer = raw.get("answer")
    if not isinstance(answer, str) or answer in choices:
        return
    spelt = next((choice for choice in choices if choice_form(choice) == choice_form(answer)), None)
    if spelt is not None:
        notes.append(f"{path}.answer: spelt as its choice")
        raw["answer"] = spelt


def _mend_gap(gap: dict[str, Any], path: str, notes: Notes) -> None:
    """The right choice is spelt as in the sentence, where the accepted answers stand."""
    choices = gap["choices"] = _each_once(gap["choices"], choice_form, f"{path}.choices", notes)
    spelt = {choice_form(answer): answer for answer in reversed(gap["accepted"])}
    for index, choice in enumerate(choices):
        right = spelt.get(choice_form(choice), choice)
        if right != choice and choice not in gap["accepted"]:
            notes.append(f"{path}.choices.{index}: spelt as the accepted answer")
            choices[index] = right


def _mend_orders(raw: dict[str, Any], path: str, notes: Notes) -> None:
    """Answers that the pieces cannot make are left out while there is one that they make."""
    made = [answer for answer in raw["answers"] if order_of(raw["pieces"], answer) is not None]
    if made and len(made) < len(raw["answers"]):
        notes.append(f"{path}.answers: {len(raw['answers']) - len(made)} not made of the pieces, left out")
        raw["answers"] = made


def _each_once(members: list[Any], form: Callable[[Any], object], path: str, notes: Notes) -> list[Any]:
    kept: dict[object, Any] = {}
    for member in members:
        kept.setdefault(form(member), member)
    if len(kept) < len(members):
        notes.append(f"{path}: {len(members) - len(kept)} given twice, left out")
    return list(kept.values())


def _pair_form(pair: Mapping[str, str]) -> tuple[str, str]:
    return choice_form(pair["left"]), choice_form(pair["right"])


def _is_pair(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(side), str) for side in ("left", "right"))


def _objects(value: object) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a list, each with its place; none when it is no list."""
    members = value if isinstance(value, list) else []
    return [(index, member) for index, member in enumerate(members) if isinstance(member, dict)]


_REQUIRED = object()
_ENUM_FALLBACK: dict[type[enum.Enum], enum.Enum] = {
    Role: Role.OTHER,
    Register: Register.POLITE,
    ComprehensionMode: ComprehensionMode.READ,
}


def _practice_class(kind: str) -> type[BaseModel]:
    return _PRACTICE_CLASSES.get(kind, ProductionPractice)


def _absence(hint: Any) -> object:
    """What stands for a field that was left out: None, an empty list, a harmless member; or that it must be there."""
    inner, optional = _bare(hint)
    if optional:
        return None
    if get_origin(inner) is tuple and not _has_minimum(hint):
        return []
    fallback = _ENUM_FALLBACK.get(inner) if is_kind(inner, enum.Enum) else None
    return fallback.value if fallback else _REQUIRED


def _has_minimum(hint: Any) -> bool:
    if get_origin(hint) is not Annotated:
        return False
    return any(
        getattr(rule, "min_length", None) for entry in hint.__metadata__ for rule in getattr(entry, "metadata", [])
    )


def _bare(hint: Any) -> tuple[Any, bool]:
    """The bare type, and whether None is allowed. A Literal is a string here: the model that has it checks it."""
    inner, optional = without_none(hint)
    inner = bare(inner)
    return (str if get_origin(inner) is Literal else inner), optional
