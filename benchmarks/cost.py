"""Tokens and dollars of both stages on the built-in lessons: `make cost` writes docs/cost.md.

No model is asked. The prompts are those that leave the stages; the answers are the built-in lessons' own annotations
in the form that each mode asks for, beside the same annotations as the earlier system's JSON arrays. Tokens are counted
in the encoding o200k_base (gpt-4o and later) by the npm package gpt-tokenizer, which brings its vocabulary with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from content_service import prompts as stage1
from enhancer_service import prompts
from enhancer_service.japanese.annotator import JapaneseAnnotator
from lesson.items import cut
from lesson.models import Brief, Content, EnhancementMode, Item, Level, SectionName
from offline_model.answer import answer
from offline_model.bank import Bank, BankLesson, load_bank
from offline_model.request import read_data, read_request
from servicekit.llm.capabilities import Provider
from servicekit.llm.prices import TokenUsage, cost_usd

TOKENIZER = Path(__file__).parent / "tokenizer"
DOCUMENT = Path(__file__).parents[1] / "docs" / "cost.md"
MODELS = ("gpt-4.1", "gpt-4o-mini")
PRICED_ON = date(2026, 11, 23)
EARLIER = "earlier arrays"
# What the issue of the modes asked of each, as a share of the earlier arrays' output tokens.
BOUNDS = {EnhancementMode.MODEL: 0.5, EnhancementMode.REVIEW: 0.2, EnhancementMode.ANALYSER: 0.2}


@dataclass(frozen=True)
class Call:
    """One call of Stage 2: what is sent, and what a right answer is."""

    lesson: str
    section: SectionName
    mode: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class Counted:
    """A call in tokens."""

    call: Call
    input_tokens: int
    output_tokens: int


def calls(bank: Bank, annotator: JapaneseAnnotator) -> Iterator[Call]:
    """Every call of Stage 2 for every built-in lesson, in every mode, and the earlier form of its answer."""
    for lesson in bank.lessons:
        content = Content.model_validate(bank.stage1(lesson.can_do_id, [name.json_key for name in SectionName]))
        people = content.frame.characters if content.frame else ()
        names = {person.name: person.kana for person in people if person.kana}
        for name in SectionName:
            value = content.section(name)
            items = cut(name, value) if value else ()
            for mode in EnhancementMode:
                if any(item.needs_model(mode) for item in items):
                    yield _call(
                        bank,
                        annotator,
                        lesson=lesson,
                        content=content,
                        name=name,
                        items=items,
                        mode=mode,
                        names=names,
                    )
            asked = [item for item in items if item.needs_model(EnhancementMode.MODEL)]
            if asked:
                yield Call(lesson.can_do_id, name, EARLIER, "", _earlier(bank, annotator, asked, names))


def _call(
    bank: Bank,
    annotator: JapaneseAnnotator,
    *,
    lesson: BankLesson,
    content: Content,
    name: SectionName,
    items: Sequence[Item],
    mode: EnhancementMode,
    names: Mapping[str, str],
) -> Call:
    review = mode is EnhancementMode.REVIEW
    system = prompts.system_prompt(mode, with_shape=False)
    user = prompts.user_prompt(
        section=name,
        mode=mode,
        brief=_brief(lesson),
        frame=content.frame,
        items=items,
        shown={item.id: annotator.bracketed(item.text, names) for item in items} if review else {},
        asked=[item.id for item in items if item.needs_model(mode)],
        reask_reasons=(),
    )
    request = {
        "model": "nidan-offline",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
    }
    said = answer(
        bank, read_data(read_request(json.dumps(request).encode())), list(prompts.answer_schema(mode)["properties"])
    )
    return Call(lesson.can_do_id, name, mode.value, system + user, said.text)


def _brief(lesson: BankLesson) -> Brief:
    return Brief(
        can_do_id=lesson.can_do_id,
        topic=lesson.topic,
        level=lesson.level,
        learner_language=lesson.learner_language,
        can_do_text="",
        can_do_text_ja="",
        activity="",
    )


def _earlier(bank: Bank, annotator: JapaneseAnnotator, asked: Sequence[Item], names: Mapping[str, str]) -> str:
    """The same annotations as the earlier system had its model write them: each text again, its segments as objects."""
    entries = []
    for item in asked:
        told = annotator.annotate(item.text, names)
        known = bank.annotation(item.text.strip())
        entries.append(
            {
                "kanji": item.text,
                "romaji": told.romaji,
                "furigana": [{"text": segment.text, "ruby": segment.ruby} for segment in told.segments],
                "translation": known.translation if known else None,
            }
        )
    return json.dumps({"items": entries}, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Written:
    """Stage 1 of the lessons of a level, in tokens; the last three on average."""

    level: Level
    static: int
    """Of the system prompt, the same for every level: what providers cache, with the schema."""
    own: int
    """Of the system prompt, the level's."""
    schema: int
    """Of the answer's JSON Schema, which strict providers are sent beside the prompt."""
    data: float
    answer: float
    lessons: int


def written(bank: Bank) -> list[Written]:
    """Stage 1 by level."""
    schema = json.dumps(stage1.sections_schema(tuple(SectionName)), ensure_ascii=False, separators=(",", ":"))
    told = []
    for level in dict.fromkeys(lesson.level for lesson in sorted(bank.lessons, key=lambda one: one.level)):
        lessons = [lesson for lesson in bank.lessons if lesson.level is level]
        users = [stage1.user_prompt(_brief(lesson), tuple(SectionName), Content(), ()) for lesson in lessons]
        answers = [_stage1_answer(lesson) for lesson in lessons]
        prompt = stage1.system_prompt(level, with_shape=False)
        static = prompt[: prompt.index("# The level")]
        sizes = count([static, prompt, schema, *users, *answers])
        data, said = sizes[3 : 3 + len(users)], sizes[3 + len(users) :]
        means = sum(data) / len(lessons), sum(said) / len(lessons)
        told.append(Written(level, sizes[0], sizes[1] - sizes[0], sizes[2], *means, len(lessons)))
    return told


def _stage1_answer(lesson: BankLesson) -> str:
    sections = {key: json.loads(text) for key, text in lesson.sections.items()}
    return json.dumps(sections, ensure_ascii=False, separators=(",", ":"))


def stage1_report(told: Sequence[Written]) -> list[str]:
    """The document's table, a line each."""
    lines = [
        "| level | system, static | system, level | schema | data | answer | $ at gpt-5 | input alone |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in told:
        sent = round(one.static + one.own + one.schema + one.data)
        whole = _dollars("gpt-5", TokenUsage(sent, 0, round(one.answer), 0))
        part = _dollars("gpt-5", TokenUsage(sent, 0, 0, 0))
        lines.append(
            f"| {one.level} ({one.lessons} lessons) | {one.static} | {one.own} | {one.schema} | {one.data:.0f} |"
            f" {one.answer:.0f} | {whole:.4f} | {part:.4f} |"
        )
    return lines


def count(texts: Sequence[str]) -> list[int]:
    """The texts in tokens. Raises CalledProcessError when the tokenizer cannot be installed or run."""
    if not (TOKENIZER / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=TOKENIZER, check=True)  # noqa: S607
    told = subprocess.run(
        ["node", "count.mjs"],  # noqa: S607
        cwd=TOKENIZER, input=json.dumps(texts), capture_output=True, text=True, check=True,
    )  # fmt: skip
    tokens: list[int] = json.loads(told.stdout)
    return tokens


def counted(made: Sequence[Call]) -> list[Counted]:
    """The calls with their tokens."""
    tokens = count([text for call in made for text in (call.prompt, call.answer)])
    return [Counted(call, tokens[2 * index], tokens[2 * index + 1]) for index, call in enumerate(made)]


def report(told: Sequence[Counted]) -> list[str]:
    """The document's table, a line each."""
    lessons = len({one.call.lesson for one in told})
    earlier = _sums(told, EARLIER)[1] / lessons
    lines = [
        f"| mode | input tokens | output tokens | of the earlier arrays | {' | '.join(f'$ at {m}' for m in MODELS)} |",
        f"|---|---|---|---|{'---|' * len(MODELS)}",
    ]
    for mode in (*EnhancementMode, EARLIER):
        sent, written = (tokens / lessons for tokens in _sums(told, mode))
        usage = TokenUsage(round(sent), 0, round(written), 0)
        dollars = " | ".join(f"{_dollars(model, usage):.4f}" if sent else "" for model in MODELS)
        share = f"{written / earlier:.1%}"
        lines.append(f"| {mode} | {f'{sent:.0f}' if sent else ''} | {written:.0f} | {share} | {dollars} |")
    return lines


def _dollars(model: str, usage: TokenUsage) -> float:
    at = datetime.combine(PRICED_ON, datetime.min.time(), UTC)
    price = cost_usd(Provider.OPENAI, model, usage, at)
    if price is None:
        raise ValueError(f"no list price for {model}")
    return price


def _sums(told: Sequence[Counted], mode: str) -> tuple[int, int]:
    mine = [one for one in told if one.call.mode == mode]
    return sum(one.input_tokens for one in mine), sum(one.output_tokens for one in mine)


def above_bounds(told: Sequence[Counted]) -> list[str]:
    """What is above its bound, a line each; empty when all is well."""
    earlier = _sums(told, EARLIER)[1]
    shares = {mode: _sums(told, mode)[1] / earlier for mode in EnhancementMode}
    return [
        f"{mode}: {share:.1%}, more than {BOUNDS[mode]:.0%}" for mode, share in shares.items() if share > BOUNDS[mode]
    ]


def main() -> int:
    """Prints the tables, and with --write puts them into the document between their marks; 1 when a bound is passed."""
    bank = load_bank()
    told = counted(list(calls(bank, JapaneseAnnotator.load())))
    tables = {"stage 1": stage1_report(written(bank)), "stage 2": report(told)}
    print("\n\n".join("\n".join(lines) for lines in tables.values()))
    wrong = above_bounds(told)
    if "--write" in sys.argv[1:]:
        for mark, lines in tables.items():
            _write(mark, lines)
    print("\n".join(wrong) or "within the bounds")
    return 1 if wrong else 0


def _write(mark: str, lines: Sequence[str]) -> None:
    head, _, rest = DOCUMENT.read_text("utf-8").partition(f"<!-- {mark} -->\n")
    _, _, tail = rest.partition("<!-- end -->\n")
    DOCUMENT.write_text(f"{head}<!-- {mark} -->\n" + "\n".join(lines) + f"\n<!-- end -->\n{tail}", "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
