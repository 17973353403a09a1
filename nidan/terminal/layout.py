"""Lays a lesson out for reading on a terminal. Pure: a Lesson in, rich renderables out, in the order of a lesson.

Learners see no answers: answer key and lesson plan are for teachers. Text from the wire is never markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from lesson.items import sentences
from lesson.models import (
    Attempt,
    Character,
    Comprehension,
    CultureNote,
    Dialogue,
    Frame,
    GrammarPoint,
    Issue,
    JapaneseText,
    Lesson,
    Outcome,
    PlanStep,
    Reading,
    SectionName,
    SectionState,
    Stage,
)
from nidan.terminal.annotated import Annotated, View, indented, learner_text, marked
from nidan.terminal.exercises import choices, key_entries, practice
from nidan.terminal.lines import Lines, side_by_side
from nidan.terminal.ruby import Unit
from servicekit.llm.capabilities import Provider

SAMPLE_LABEL = "built-in lesson, not reviewed by a teacher"
"""Labels a lesson of the embedded offline model that names no origin."""
_TEACHER_HINT = "--teacher shows answers and lesson plan"
_TRANSLATION_HINT = "--translation translates sentences"
NARROWEST, WIDEST = 40, 100
"""Columns: longer lines are hard to read, and a table needs room."""


def page(lesson: Lesson, width: int, colour: bool, view: View) -> str:
    """The lesson as text, `width` columns wide, with escape codes only if `colour`."""
    return printed(layout(lesson, view), width, colour)


def printed(what: RenderableType, width: int, colour: bool) -> str:
    """Any renderable as text, in lines of `width` columns without trailing spaces."""
    out = StringIO()
    console = Console(
        file=out,
        width=max(NARROWEST, min(width, WIDEST)),
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    console.print(what)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def layout(lesson: Lesson, view: View) -> Group:
    """All parts of the lesson. A section that does not exist is left out, and the header says so."""
    given, content, frame = Annotated(lesson, view), lesson.content, lesson.content.frame
    parts: list[RenderableType] = [header(lesson)]
    if frame:
        parts += _section("Characters", characters(given, frame))
        parts += _section("Vocabulary", [vocabulary(given, frame)] if frame.target_words else [])
    if content.reading:
        parts += _section("Reading", reading(given, content.reading))
    if content.dialogue:
        parts += _section("Dialogue", dialogue(given, content.dialogue, frame))
    parts += _section("Grammar", grammar(given, content.grammar))
    parts += _section("Culture", culture(given, content.culture))
    parts += _section("Practice", _practices(given))
    if frame:
        parts += _section("Self-check", self_check(given, frame))
    if view.teacher:
        parts += _section("Lesson plan", lesson_plan(content.lesson_plan))
        parts += _section("Answer key", answer_key(given))
    return Group(*parts, Rule(style="dim"), *closing_lines(lesson, view))


def _section(title: str, body: Iterable[RenderableType]) -> list[RenderableType]:
    body = list(body)
    return [Text(), Rule(Text(title, style="bold cyan"), align="left", style="dim"), *body] if body else []


# --- header ---------------------------------------------------------------------------------------------------


def header(lesson: Lesson) -> Panel:
    """Topic, objective, facts, the origin of a built-in lesson, the outcome, and what a partial lesson lacks."""
    brief, frame = lesson.brief, lesson.content.frame
    lines: list[RenderableType] = [Lines(brief.topic, "bold")]
    objective = frame.objective if frame else brief.can_do_text
    lines += [Lines(objective)] if objective else []
    lines += [Lines(" · ".join(chips(lesson)), "cyan")]
    lines += [Lines(lesson.sample_note or SAMPLE_LABEL, "magenta")] if lesson.sample else []
    return Panel(Group(*lines, *_outcome(lesson)), border_style="cyan")


def chips(lesson: Lesson) -> list[str]:
    """Level, Can-do id, register, minutes and the learner's language; those that are known."""
    content = lesson.content
    spoken = (content.dialogue.register_ if content.dialogue else None) or (
        content.frame.register_ if content.frame else None
    )
    minutes = sum(step.minutes or 0 for step in content.lesson_plan)
    facts = [lesson.brief.level.value, lesson.brief.can_do_id, f"{spoken.value.lower()} speech" if spoken else ""]
    facts += [f"{minutes} min" if minutes else "", lesson.brief.learner_language]
    return [fact for fact in facts if fact]


def _outcome(lesson: Lesson) -> Iterator[RenderableType]:
    if lesson.outcome is Outcome.COMPLETE:
        yield Text(lesson.outcome.name, style="green")
        return
    yield Text(lesson.outcome.name, style="bold yellow")
    for section in lesson.sections:
        if section.state is not SectionState.ENHANCED:
            name = section.name.value.replace("_", " ")
            why = f": {section.reason}" if section.reason else ""
            yield Lines(f"  {name} is {section.state.value}{why}", "yellow", hang=4)


# --- sections -------------------------------------------------------------------------------------------------


def characters(given: Annotated, frame: Frame) -> Iterator[RenderableType]:
    """The scenario, then the characters."""
    if frame.scenario:
        yield learner_text(frame.scenario)
        yield Text()
    table = Table.grid(padding=(0, 2))
    for index, person in enumerate(frame.characters):
        name = given.head(f"frame.characters.{index}.name", person.name, "bold")
        table.add_row("", *side_by_side(name, Lines(_who(person))))
    yield table


def _who(person: Character) -> str:
    return " · ".join(part for part in (person.label, person.relationship or person.role.value) if part)


def vocabulary(given: Annotated, frame: Frame) -> Table:
    """Word, reading, meaning, and romaji if the view shows them."""
    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=True)
    for title in ("Word", "Reading", *(["Romaji"] if given.view.romaji else []), "Meaning"):
        table.add_column(title)
    for index, word in enumerate(frame.target_words):
        text = given.text(f"frame.target_words.{index}.surface")
        kana = text.reading if text and text.reading else word.reading or ""
        romaji = [Lines(text.romaji if text else "", "dim italic")] if given.view.romaji else []
        table.add_row(Lines(word.surface, "bold"), Lines(kana), *romaji, Lines(word.meaning))
    return table


def reading(given: Annotated, section: Reading) -> Iterator[RenderableType]:
    """The title and the text, then the questions."""
    if section.title:
        yield from given.block("reading.title", section.title, "bold")
        yield Text()
    yield from _sentences(given, section.text) if given.view.has_lines_below else _paragraphs(given, section.text)
    yield from _questions(given, "reading", section.comprehension)


def _sentences(given: Annotated, text: str) -> Iterator[RenderableType]:
    """Each sentence alone, with the lines below it."""
    pieces = sentences(text)
    for index, sentence in enumerate(pieces):
        yield from given.block(f"reading.text.{index}", sentence)
        if sentence.endswith("\n") and index + 1 < len(pieces):
            yield Text()


def _paragraphs(given: Annotated, text: str) -> Iterator[RenderableType]:
    """Paragraphs as Stage 1 wrote them, a blank line between them."""
    paragraphs: list[list[Unit]] = [[]]
    for index, sentence in enumerate(sentences(text)):
        paragraphs[-1] += given.units(f"reading.text.{index}", sentence)
        if sentence.endswith("\n"):
            paragraphs.append([])
    for number, units in enumerate(filter(None, paragraphs)):
        yield indented(given.set(units), above=int(number > 0))


def dialogue(given: Annotated, section: Dialogue, frame: Frame | None) -> Iterator[RenderableType]:
    """Title and setting, the turns with the speakers' names, then the questions."""
    if section.title:
        yield from given.block("dialogue.title", section.title, "bold")
    if section.setting:
        yield learner_text(section.setting)
    yield Text()
    people = {person.id: (index, person.name) for index, person in enumerate(frame.characters if frame else ())}
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(max_width=16)
    table.add_column(ratio=1)
    for index, turn in enumerate(section.turns):
        path, (at, name) = f"dialogue.turns.{index}.text", people.get(turn.speaker_id, (-1, turn.speaker_id))
        speaker, speech = side_by_side(
            given.head(f"frame.characters.{at}.name", name, "bold"), given.head(path, turn.text)
        )
        note = [marked("*", turn.note, "yellow", indent=0)] if turn.note else []
        table.add_row("", speaker, Group(speech, *given.below(path, 2), *note))
    yield table
    yield from _questions(given, "dialogue", section.comprehension)


def _questions(given: Annotated, section: str, questions: Sequence[Comprehension]) -> Iterator[RenderableType]:
    if questions:
        yield indented(Text("Questions", style="bold"), above=1)
    for index, question in enumerate(questions):
        path, lead = f"{section}.comprehension.{index}", f"{index + 1}. "
        yield from given.block(f"{path}.question", question.question, lead=lead)
        if question.choices:
            yield indented(given.set(choices(given, path, question.choices)), 2 + len(lead))


def grammar(given: Annotated, points: Sequence[GrammarPoint]) -> Iterator[RenderableType]:
    """Pattern, meaning, how it is formed, explanation, examples."""
    for index, point in enumerate(points):
        path = f"grammar.{index}"
        if index:
            yield Text()
        yield indented(given.set(given.units(f"{path}.pattern", point.pattern), "bold"))
        if point.meaning:
            yield learner_text(point.meaning, "italic")
        yield learner_text(point.explanation)
        for line in (*point.formation, *point.notes):
            yield marked("-", line)
        yield from given.blocks(f"{path}.examples", point.examples, indent=4)


def culture(given: Annotated, notes: Sequence[CultureNote]) -> Iterator[RenderableType]:
    """Each note with its sentences and its question to the learner."""
    for index, note in enumerate(notes):
        if index:
            yield Text()
        if note.title:
            yield from given.block(f"culture.{index}.title", note.title, "bold")
        yield learner_text(note.body)
        yield from given.blocks(f"culture.{index}.japanese", note.japanese, indent=4)
        if note.question:
            yield marked("→", note.question)


def _practices(given: Annotated) -> Iterator[RenderableType]:
    for index, one in enumerate(given.content.practice):
        kind = one.kind.value.replace("_", " ")
        yield indented(Text(f"Practice {index + 1} · {kind}", style="bold"), above=1 if index else 0)
        yield learner_text(one.instruction)
        yield from practice(given, f"practice.{index}", one)


def self_check(given: Annotated, frame: Frame) -> Iterator[RenderableType]:
    """The Can-do to check, with its key phrases."""
    yield marked("☐", frame.can_do_text)
    yield from given.blocks("frame.key_phrases", frame.key_phrases, indent=4)


# --- for the teacher --------------------------------------------------------------------------------------------


def lesson_plan(steps: Sequence[PlanStep]) -> Iterator[RenderableType]:
    """Phase, minutes, grouping and sections of each step, the task, and notes for the teacher."""
    for index, step in enumerate(steps):
        phase = step.phase.value.replace("_", " ").capitalize() if step.phase else f"Step {index + 1}"
        where = ", ".join(reference.replace("_", " ") for reference in step.section_refs)
        facts = [phase, f"{step.minutes} min" if step.minutes else "", step.grouping or "", where]
        yield indented(Lines(" · ".join(fact for fact in facts if fact), "bold"), above=1 if index else 0)
        yield learner_text(step.student_task)
        if step.teacher_notes:
            yield marked("→", step.teacher_notes, "yellow")


def answer_key(given: Annotated) -> Iterator[RenderableType]:
    """Every answer, with the number of its question."""
    table = Table.grid(padding=(0, 2))
    for name, ((_, first), *others) in key_entries(given):
        left, right = side_by_side(Lines(name, "bold"), first)
        table.add_row("", left, Group(right, *(indented(line, indent) for indent, line in others)))
    if table.row_count:
        yield table


# --- how the lesson was made --------------------------------------------------------------------


def closing_lines(lesson: Lesson, view: View) -> Iterator[Lines]:
    """The origin of readings and translations; models, cost and time; options that show more."""
    texts = [text for section in lesson.sections for text in section.texts]
    stages = [f"Stage {number}: {_models(lesson, stage)}" for number, stage in enumerate(Stage, start=1)]
    parts = f"Stage 1 {lesson.stage1_seconds:.1f} s, Stage 2 {lesson.stage2_seconds:.1f} s"
    lines = [provenance(texts), *(f"note: {note}" for note in lesson.notes if view.teacher or not _gives_answer(note))]
    lines += [" · ".join(stages), f"{cost(lesson.attempts)} · {lesson.duration_seconds:.1f} s ({parts})"]
    yield from (Lines(line, "dim") for line in lines)
    hints = [*([] if view.teacher else [_TEACHER_HINT]), *([] if view.translation else [_TRANSLATION_HINT])]
    if hints:
        yield Lines(" · ".join(hints))


def _gives_answer(note: Issue) -> bool:
    """Whether it may quote an answer: it is of a question or an exercise."""
    return note.section is SectionName.PRACTICE or ".comprehension." in note.path


def provenance(texts: Sequence[JapaneseText]) -> str:
    """Counts, such as: 62 readings: 40 model, 20 analyser, 2 frame · 41 translations: model."""
    readings = Counter(text.reading_provenance.value for text in texts)
    needed = [text for text in texts if text.needs_translation]
    translations = Counter(text.translation_provenance.value for text in needed)
    return f"{_counted('readings', readings)} · {_counted('translations', translations)}"


def _counted(what: str, counts: Counter[str]) -> str:
    named = [(("missing" if name == "none" else name), count) for name, count in counts.most_common()]
    shown = named[0][0] if len(named) == 1 else ", ".join(f"{count} {name}" for name, count in named)
    return f"{counts.total()} {what}: {shown}" if shown else f"0 {what}"


def _models(lesson: Lesson, stage: Stage) -> str:
    names = dict.fromkeys(attempt.model for attempt in lesson.attempts if attempt.stage is stage)
    return ", ".join(names) or "no model"


def cost(attempts: Sequence[Attempt]) -> str:
    """The cost of the calls, as far as it is known."""
    known = sum(attempt.cost_usd or 0.0 for attempt in attempts)
    if any(attempt.cost_usd is None for attempt in attempts):
        return f"cost unknown (${known:.4f} of it known, at list price)"
    if all(attempt.provider == Provider.OFFLINE for attempt in attempts):
        return f"${known:.4f}: offline model"
    return f"${known:.4f} at list price"
