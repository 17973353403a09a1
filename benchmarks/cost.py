"""Tokens and dollars of both stages on the built-in lessons: `make cost` writes docs/cost.md and tokens.json.

No model is asked. The prompts are those that leave the stages; the answers are the built-in lessons' own annotations
in the form that each mode asks for, beside the same annotations as the earlier system's JSON arrays. Tokens are counted
in the encoding o200k_base (gpt-4o and later) by the npm package gpt-tokenizer, which brings its vocabulary with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.lesson_cost import (
    STAGE1_THINKING,
    STAGE2_THINKING,
    TARGET_USD,
    Choice,
    LessonTokens,
    Stage1Tokens,
    Stage2Tokens,
    mean,
    record,
)
from content_service import prompts as stage1
from enhancer_service import prompts
from enhancer_service.japanese.annotator import JapaneseAnnotator
from gateway.settings import GatewaySettings
from lesson.items import extract_items
from lesson.models import Brief, Content, EnhancementMode, Item, SectionName
from offline_model.answer import answer
from offline_model.bank import Bank, BankLesson, load_bank
from offline_model.request import read_data, read_request
from servicekit.llm.capabilities import capabilities

TOKENIZER = Path(__file__).parent / "tokenizer"
DOCUMENT = Path(__file__).parents[1] / "docs" / "cost.md"
MODELS = ("gpt-4.1", "gpt-4o-mini", "gpt-6-luna")
FLEX = "flex"
PRICED_AT = datetime(2026, 11, 25, tzinfo=UTC)
EARLIER = "earlier arrays"
# What the issue of the modes asked of each, as a share of the earlier arrays' output tokens.
BOUNDS = {EnhancementMode.MODEL: 0.5, EnhancementMode.REVIEW: 0.2, EnhancementMode.ANALYSER: 0.2}


@dataclass(frozen=True)
class Call:
    """One call of Stage 2: its request and a right answer."""

    lesson: str
    section: SectionName
    mode: str
    system: str
    schema: str
    user: str
    answer: str

    @property
    def texts(self) -> tuple[str, str, str, str]:
        return self.system, self.schema, self.user, self.answer


@dataclass(frozen=True)
class Written:
    """Stage 1 of one lesson: the parts of its request in order, and a right answer."""

    static: str
    level: str
    schema: str
    user: str
    answer: str
    plan: str

    @property
    def texts(self) -> tuple[str, ...]:
        return self.static, self.level, self.schema, self.user, self.answer, self.plan


def calls(bank: Bank, annotator: JapaneseAnnotator) -> Iterator[Call]:
    """Every call of Stage 2 for every built-in lesson, in every mode, and the earlier form of its answer."""
    for lesson in bank.lessons:
        content = Content.model_validate(bank.stage1(lesson.can_do_id, [name.json_key for name in SectionName]))
        people = content.frame.characters if content.frame else ()
        names = {person.name: person.kana for person in people if person.kana}
        for name in SectionName:
            value = content.section(name)
            items = extract_items(name, value) if value else ()
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
                yield Call(lesson.can_do_id, name, EARLIER, "", "", "", _earlier(bank, annotator, asked, names))


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
        wanted_ids=[item.id for item in items if item.needs_model(mode)],
        reask_reasons=(),
    )
    request = {
        "model": "nidan-offline",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
    }
    written = answer(
        bank, read_data(read_request(json.dumps(request).encode())), list(prompts.answer_schema(mode)["properties"])
    )
    return Call(lesson.can_do_id, name, mode.value, system, _compact(prompts.answer_schema(mode)), user, written.text)


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
        annotated = annotator.annotate(item.text, names)
        known = bank.annotation(item.text.strip())
        entries.append(
            {
                "kanji": item.text,
                "romaji": annotated.romaji,
                "furigana": [{"text": segment.text, "ruby": segment.ruby} for segment in annotated.segments],
                "translation": known.translation if known else None,
            }
        )
    return _compact({"items": entries})


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def written(lesson: BankLesson) -> Written:
    """Stage 1 of a built-in lesson."""
    sections = {key: json.loads(text) for key, text in lesson.sections.items()}
    prompt = stage1.system_prompt(lesson.level, with_shape=False)
    own = prompt.index("# The level")
    return Written(
        static=prompt[:own],
        level=prompt[own:],
        schema=_compact(stage1.sections_schema(tuple(SectionName))),
        user=stage1.user_prompt(_brief(lesson), tuple(SectionName), Content(), ()),
        answer=_compact(sections),
        plan=_compact(sections[SectionName.LESSON_PLAN.json_key]),
    )


def characters(one: Written, asked: Iterable[Call]) -> int:
    """The sum over all counted parts of a lesson."""
    return sum(len(text) for text in (*one.texts, *(text for call in asked for text in call.texts)))


def count(texts: Sequence[str]) -> list[int]:
    """The texts in tokens. Raises CalledProcessError when the tokenizer cannot be installed or run."""
    if not (TOKENIZER / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=TOKENIZER, check=True)  # noqa: S607
    counted_tokens = subprocess.run(
        ["node", "count.mjs"],  # noqa: S607
        cwd=TOKENIZER, input=json.dumps(texts), capture_output=True, text=True, check=True,
    )  # fmt: skip
    tokens: list[int] = json.loads(counted_tokens.stdout)
    return tokens


@dataclass(frozen=True)
class Report:
    """All lessons in tokens, and what the earlier arrays would have been, a lesson on average."""

    lessons: list[LessonTokens]
    earlier: float


def counted(bank: Bank, made: Sequence[Call]) -> Report:
    """Every text once through the tokenizer."""
    ones = {lesson.can_do_id: written(lesson) for lesson in bank.lessons}
    texts = [text for one in ones.values() for text in one.texts] + [text for call in made for text in call.texts]
    unique = list(dict.fromkeys(texts))
    sizes = dict(zip(unique, count(unique), strict=True))
    lessons = []
    for lesson in sorted(bank.lessons, key=lambda one: one.level):
        one, mine = ones[lesson.can_do_id], [call for call in made if call.lesson == lesson.can_do_id]
        lessons.append(
            LessonTokens(
                lesson=lesson.can_do_id,
                level=lesson.level,
                characters=characters(one, mine),
                stage1=Stage1Tokens(*(sizes[text] for text in one.texts)),
                stage2={mode: _stage2([call for call in mine if call.mode == mode], sizes) for mode in EnhancementMode},
            )
        )
    earlier = sum(sizes[call.answer] for call in made if call.mode == EARLIER)
    return Report(lessons, earlier / len(lessons))


def _stage2(asked: Sequence[Call], sizes: Mapping[str, int]) -> Stage2Tokens:
    sums = [sum(sizes[text] for text in part) for part in zip(*(call.texts for call in asked), strict=True)]
    return Stage2Tokens(len(asked), *sums)


# --- the document's tables, a line each -------------------------------------------------------------------------------


def lesson_report(report: Report) -> list[str]:
    """What a lesson costs by default, by part."""
    choice = Choice.default(PRICED_AT)
    lessons = report.lessons
    one = [(tokens.stage1, tokens.stage2[choice.mode]) for tokens in lessons]
    sent, wrote = "sent", "written"
    parts = [
        (choice.stage1, "system prompt, static", sent, mean(a.static for a, _ in one)),
        (choice.stage1, "system prompt, the level's", sent, mean(a.level for a, _ in one)),
        (choice.stage1, "schema of the answer", sent, mean(a.schema for a, _ in one)),
        (choice.stage1, "data", sent, mean(a.data for a, _ in one)),
        (choice.stage1, "answer, without the plan", wrote, mean(a.answer - a.plan for a, _ in one)),
        (choice.stage1, "answer, the plan", wrote, mean(a.plan for a, _ in one)),
        (choice.stage2, "prompts", sent, mean(b.prompts for _, b in one)),
        (choice.stage2, "schemas of the answers", sent, mean(b.schemas for _, b in one)),
        (choice.stage2, "items", sent, mean(b.items for _, b in one)),
        (choice.stage2, "answers", wrote, mean(b.answers for _, b in one)),
    ]
    lines = ["| part | model | tokens | | $ |", "|---|---|---|---|---|"]
    for at, (model, name, way, tokens) in enumerate(parts):
        usd = choice.usd(model, sent=tokens) if way is sent else choice.usd(model, written=tokens)
        lines.append(f"| Stage {1 if at < 6 else 2}: {name} | {model} | {tokens:.0f} | {way} | {usd:.4f} |")
    first, second = mean(map(choice.stage1_usd, lessons)), mean(map(choice.stage2_usd, lessons))
    return [
        *lines,
        f"| Stage 1 | {choice.stage1} | | | {first:.4f} |",
        f"| Stage 2, mode `{choice.mode}` | {choice.stage2} | | | {second:.4f} |",
        f"| **a lesson** | | | | **{first + second:.4f}** |",
        f"| the target | | | | {TARGET_USD:.4f} |",
    ]


def thinking_report(report: Report) -> list[str]:
    """The estimated cost of reasoning, for the models that reason."""
    default, economical = Choice.default(PRICED_AT), Choice.economical(PRICED_AT)
    calls = mean(tokens.stage2[default.mode].calls for tokens in report.lessons)
    stage2 = tuple(round(calls * tokens) for tokens in STAGE2_THINKING)
    lines = ["| reasoning at effort `low`, estimated | model | tokens a lesson | $ |", "|---|---|---|---|"]
    for stage, choice, thought in ((1, default, STAGE1_THINKING), (2, default, stage2), (2, economical, stage2)):
        model = choice.stage1 if stage == 1 else choice.stage2
        reasons = capabilities(choice.provider, model).reasons
        low, high = (mean(choice.thinking_usd(one)[stage - 1][end] for one in report.lessons) for end in (0, 1))
        tokens = f"{thought[0]} to {thought[1]} | {low:.4f} to {high:.4f}" if reasons else "does not reason | 0"
        lines.append(f"| Stage {stage} | {model} | {tokens} |")
    with_it = {
        "a lesson by default, with it": default,
        f"the same with `AI_SERVICE_TIER={FLEX}`": default.with_tier(FLEX),
        "a lesson by the economical chain, with it": economical,
    }
    return [*lines, *(f"| {name} | | | {_with_thinking(report, choice)} |" for name, choice in with_it.items())]


def _with_thinking(report: Report, choice: Choice) -> str:
    plain = mean(map(choice.lesson_usd, report.lessons))
    ranges = [choice.thinking_usd(tokens) for tokens in report.lessons]
    low, high = (plain + mean(one[end] + two[end] for one, two in ranges) for end in (0, 1))
    return f"{low:.4f} to {high:.4f}"


def chains_report(report: Report) -> list[str]:
    """Both chains, at the standard tier and with flex: the arithmetic of each."""
    lines = [
        "| chain | Stage 1 | Stage 2 | Stage 1, $ | Stage 2, $ | a lesson, $ | of the target |",
        "|---|---|---|---|---|---|---|",
    ]
    chains = {"the default (quality)": Choice.default(PRICED_AT), "the economical one": Choice.economical(PRICED_AT)}
    for name, choice in chains.items():
        for label, priced in ((name, choice), (f"{name}, `AI_SERVICE_TIER={FLEX}`", choice.with_tier(FLEX))):
            one, two = mean(map(priced.stage1_usd, report.lessons)), mean(map(priced.stage2_usd, report.lessons))
            models = " | ".join(_named(priced, model) for model in (priced.stage1, priced.stage2))
            share = f"{(one + two) / TARGET_USD:.0%}"
            lines.append(f"| {label} | {models} | {one:.4f} | {two:.4f} | {one + two:.4f} | {share} |")
    return lines


def _named(choice: Choice, model: str) -> str:
    """The model, with the factor of its price where it has the tier."""
    factor = capabilities(choice.provider, model).tiers.get(choice.tier)
    return model if factor is None else f"{model} x {factor:g}"


def cases_report(report: Report) -> list[str]:
    """The same lesson otherwise."""
    default, economical, lessons = Choice.default(PRICED_AT), Choice.economical(PRICED_AT), report.lessons
    plain, cheap = mean(map(default.lesson_usd, lessons)), mean(map(economical.lesson_usd, lessons))
    default_stage2 = mean(map(default.stage2_usd, lessons))
    calls = mean(tokens.stage2[default.mode].calls for tokens in lessons)
    dear, low = default.stage2, economical.stage2
    cases = {
        "the default": plain,
        "the default, Stage 1's static prompt and schema cached": mean(
            default.lesson_usd(tokens, cached=True) for tokens in lessons
        ),
        "the economical chain": cheap,
        f"the economical chain, one section asked of {dear}, too, for the faults of {low}'s whole answer": cheap
        + default_stage2 / calls,
        f"the economical chain, all sections asked of {dear}, too": cheap + default_stage2,
    }
    for model in GatewaySettings.model_construct().stage1_models[1:]:
        cases[f"Stage 1 by {model}, as when {default.stage1} has ended"] = mean(
            map(default.with_stage1(model).lesson_usd, lessons)
        )
    return [
        "| case | $ | of the target |",
        "|---|---|---|",
        *(f"| {name} | {usd:.4f} | {usd / TARGET_USD:.0%} |" for name, usd in cases.items()),
    ]


def level_report(report: Report) -> list[str]:
    """The default by level."""
    choice = Choice.default(PRICED_AT)
    parts = "system, static | system, level | schema | data | answer"
    lines = [
        f"| level | {parts} | Stage 1, $ | of it sent | Stage 2, $ | a lesson, $ |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for level in dict.fromkeys(tokens.level for tokens in report.lessons):
        mine = [lesson for lesson in report.lessons if lesson.level is level]
        ones = [lesson.stage1 for lesson in mine]
        tokens = [(one.static, one.level, one.schema, one.data, one.answer) for one in ones]
        sizes = " | ".join(f"{mean(part):.0f}" for part in zip(*tokens, strict=True))
        sent = choice.usd(choice.stage1, sent=mean(one.sent for one in ones))
        dollars = [mean(map(price, mine)) for price in (choice.stage1_usd, choice.stage2_usd, choice.lesson_usd)]
        lines.append(
            f"| {level} ({len(mine)} lessons) | {sizes} | {dollars[0]:.4f} | {sent:.4f} | {dollars[1]:.4f} |"
            f" {dollars[2]:.4f} |"
        )
    return lines


def mode_report(report: Report) -> list[str]:
    """Stage 2 by mode and model."""
    choice = Choice.default(PRICED_AT)
    lines = [
        f"| mode | input tokens | output tokens | of the earlier arrays | {' | '.join(f'$ at {m}' for m in MODELS)} |",
        f"|---|---|---|---|{'---|' * len(MODELS)}",
    ]
    for mode in EnhancementMode:
        sums = [tokens.stage2[mode] for tokens in report.lessons]
        sent, wrote = mean(one.sent for one in sums), mean(one.answers for one in sums)
        dollars = " | ".join(f"{choice.usd(model, sent=sent, written=wrote):.4f}" for model in MODELS)
        lines.append(f"| {mode} | {sent:.0f} | {wrote:.0f} | {wrote / report.earlier:.1%} | {dollars} |")
    return [*lines, f"| {EARLIER} | | {report.earlier:.0f} | 100.0% |{' |' * len(MODELS)}"]


def above_bounds(report: Report) -> list[str]:
    """A line for each figure above its bound."""
    shares = {mode: mean(one.stage2[mode].answers for one in report.lessons) / report.earlier for mode in BOUNDS}
    wrong = [
        f"{mode}: {share:.1%}, more than {BOUNDS[mode]:.0%}" for mode, share in shares.items() if share > BOUNDS[mode]
    ]
    below = {
        "the economical chain": Choice.economical(PRICED_AT),
        f"the default with {FLEX}": Choice.default(PRICED_AT).with_tier(FLEX),
    }
    dollars = {name: mean(map(choice.lesson_usd, report.lessons)) for name, choice in below.items()}
    return wrong + [
        f"{name}: ${usd:.4f}, not below ${TARGET_USD}" for name, usd in dollars.items() if usd >= TARGET_USD
    ]


def main() -> int:
    """Prints the tables, and with --write puts them into the document between their marks; 1 when a bound is passed."""
    bank = load_bank()
    report = counted(bank, list(calls(bank, JapaneseAnnotator.load())))
    tables = {
        "chains": chains_report(report),
        "a lesson": lesson_report(report),
        "reasoning": thinking_report(report),
        "cases": cases_report(report),
        "levels": level_report(report),
        "modes": mode_report(report),
    }
    print("\n\n".join("\n".join(lines) for lines in tables.values()))
    wrong = above_bounds(report)
    if "--write" in sys.argv[1:]:
        record(report.lessons)
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
