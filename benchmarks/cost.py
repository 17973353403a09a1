"""Tokens and dollars of Stage 2 in each of its modes, on the built-in lessons: `make cost` writes docs/cost.md.

No model is asked. The prompts are those that leave the enhancer; the answers are the built-in lessons' own annotations
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

from enhancer_service import prompts
from enhancer_service.japanese.annotator import JapaneseAnnotator
from lesson.items import cut
from lesson.models import Brief, Content, EnhancementMode, Item, SectionName
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
    return Call(lesson.can_do_id, name, mode.value, system + user, said)


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


def counted(made: Sequence[Call]) -> list[Counted]:
    """The calls with their tokens. Raises CalledProcessError when the tokenizer cannot be installed or run."""
    if not (TOKENIZER / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=TOKENIZER, check=True)  # noqa: S607
    texts = [text for call in made for text in (call.prompt, call.answer)]
    told = subprocess.run(
        ["node", "count.mjs"],  # noqa: S607
        cwd=TOKENIZER, input=json.dumps(texts), capture_output=True, text=True, check=True,
    )  # fmt: skip
    tokens = json.loads(told.stdout)
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
    """Prints the table, and with --write puts it into the document between its marks; 1 when a bound is passed."""
    told = counted(list(calls(load_bank(), JapaneseAnnotator.load())))
    lines = report(told)
    print("\n".join(lines))
    wrong = above_bounds(told)
    if "--write" in sys.argv[1:]:
        text = DOCUMENT.read_text("utf-8")
        head, _, rest = text.partition("<!-- stage 2 -->\n")
        _, _, tail = rest.partition("<!-- end -->\n")
        DOCUMENT.write_text(f"{head}<!-- stage 2 -->\n" + "\n".join(lines) + f"\n<!-- end -->\n{tail}", "utf-8")
    print("\n".join(wrong) or "within the bounds")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
