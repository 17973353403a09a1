"""A list made entries: whatever form its table has, and every fault by its line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue.entries import CanDo, text_hash
from gateway.catalogue.list_import import (
    COLUMNS,
    MOST_BYTES,
    CanDoList,
    ListError,
    edition_of,
    joined,
    kind_of,
    load,
    merge,
    read_list,
)
from lesson.models import Level
from tests.catalogue.lists import NAMES, ROW, row, rows, table

JA, EN = "JF Can-do (日本語)", "JF Can-do (English)"


def read(text: str | bytes, source: str = "S", edition: str = "E") -> CanDoList:
    return read_list(text.encode() if isinstance(text, str) else text, source, edition, lambda _: None)


def faults(*given: dict[str, str]) -> list[tuple[int, str, str]]:
    found = read(table(given))
    assert all(error.next_step for error in found.errors)
    return [(error.line, error.column, error.problem) for error in found.errors]


def test_a_row_becomes_an_entry_that_keeps_where_it_is_from() -> None:
    found = read(table([ROW | {"第2トピック": "健康"}], (*NAMES, "第2トピック")), "JF list", "2023-05")
    assert found.errors == ()
    assert found.entries == (
        CanDo(
            ids=("JF:349",),
            level=Level.A1,
            text_ja=ROW[JA],
            text_en=ROW[EN],
            topics=("食生活", "健康"),
            activity="interaction",
            category="情報交換する",
            source="JF list",
            edition="2023-05",
            kind="JF",
            number=349,
            type="活動",
            licence_note=found.entries[0].licence_note,
            text_sha256=text_hash(ROW[JA], ROW[EN]),
        ),
    )
    assert "terms of its source" in found.entries[0].licence_note


# --- the table's form -------------------------------------------------------------------------------------------

WHOLE = read(table(rows(3)))
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "cp932"])


@given(st.permutations(NAMES), st.sampled_from([",", "\t"]), ENCODINGS, st.sampled_from(["\r\n", "\n", "\r"]))
def test_order_separator_encoding_and_line_ends_change_nothing(
    names: list[str], delimiter: str, encoding: str, end: str
) -> None:
    text = table(rows(3), names, delimiter).replace("\r\n", end)
    assert read(text.encode(encoding)) == WHOLE


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("No", "No."),
        ("No", "Ｎｏ．"),
        ("No", "№"),
        ("言語活動", "活動"),
        ("第1トピック", "第１トピック"),
        ("カテゴリー", "ｶﾃｺﾞﾘｰ"),
        (JA, "JF Can-do（日本語）"),
        (JA, "JF\nCan‑do (日本語)"),
        (EN, "jf can-do(english)"),
    ],
)
def test_a_column_is_known_by_any_of_its_spellings(name: str, other: str) -> None:
    names = [other if known == name else known for known in NAMES]
    given = [{other if key == name else key: cell for key, cell in given.items()} for given in rows(3)]
    assert read(table(given, names)) == WHOLE


def test_blank_rows_and_unknown_columns_are_left_out() -> None:
    text = table([*rows(2), {}, *rows(3)[2:], {}], (*NAMES, "備考", "公開日・更新日"))
    found = read(f"\n,,\n{text}")
    assert found.entries == WHOLE.entries
    assert (found.rows, found.ignored_columns) == (3, ("備考",))


@pytest.mark.parametrize("missing", [column.name for column in COLUMNS.values() if column.required])
def test_a_list_without_a_column_is_refused_and_the_column_named(missing: str) -> None:
    with pytest.raises(ListError) as refused:
        read(table(rows(1), [name for name in NAMES if name != missing]))
    assert f"lacks the column {missing}." in str(refused.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "lacks the columns No, "),
        (table([]), "no row below the column names"),
        (table(rows(1)).encode("utf-16"), "iconv -f UTF-16"),
        (b"PK\x03\x04rest", "spreadsheet"),
        (table(rows(2)).encode() + b"\xff\xff\n", "line 4 is neither UTF-8 nor Shift_JIS (cp932): byte 0xFF"),
        (table(rows(2)).encode().replace("文2".encode(), b"\x83"), "line 3 is neither UTF-8 nor Shift_JIS"),
        (table(rows(1), (*NAMES, "レベル")), "two columns are named レベル"),
        (table(rows(1)) + '1,"JF', "line 3 is not a row of a table"),
        (table(rows(1)) + '1,"JF" x,', "line 3 is not a row of a table"),
        (table(rows(1)) + "1," + "長" * 200_000, "line 3 is not a row of a table"),
    ],
)
def test_what_is_no_list_is_refused_with_what_to_do(data: str | bytes, told: str) -> None:
    with pytest.raises(ListError) as refused:
        read(data)
    assert told in str(refused.value)


def test_a_list_has_bounds(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="more than 100,000 rows"):
        read(table([ROW]) + "1,,,,,,,,\n" * 100_000)
    file = tmp_path / "big.csv"
    file.write_bytes(b"x" * MOST_BYTES)
    assert len(load(file)) == MOST_BYTES
    file.write_bytes(b"x" * (MOST_BYTES + 1))
    with pytest.raises(ListError, match="more than 20 MB"):
        load(file)
    with pytest.raises(ListError, match="No such file"):
        load(tmp_path / "nowhere.csv")
    with pytest.raises(ListError, match="Is a directory"):
        load(tmp_path)


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: (table(rows(1)) + text).encode("utf-8", "replace"))
)
def test_any_bytes_are_entries_or_faults_or_a_refusal(data: bytes) -> None:
    try:
        found = read(data)
    except ListError:
        return  # any other error fails the test
    assert found.rows >= 1
    assert len(found.entries) + len({error.line for error in found.errors}) == found.rows


def test_it_says_how_far_it_is() -> None:
    told: list[int] = []
    read_list(table(rows(4_001)).encode(), "S", "E", told.append)
    assert told == [2_000, 4_000]


# --- cells ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("好きな食べ\n物を言う\r\nことができる。", "好きな食べ物を言うことができる。"),
        ("Can say what\none  likes\r\n  to eat.", "Can say what one  likes to eat."),
        ("JF\nCan-do\n（日本語）", "JF Can-do（日本語）"),
        (" \n\n a \n\n", "a"),
        ("a\tb", "a b"),
        ("", ""),
    ],
)
def test_a_cell_is_one_line(cell: str, line: str) -> None:
    assert joined(cell) == line
    if line:
        assert read(table([row(1, text=cell)])).entries[0].text_ja == line


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("JF", "JF"),
        ("ＪＦ　Ｃａｎ－ｄｏ", "JF"),
        ("JF Can-do", "JF"),
        ("JF Can‐do", "JF"),
        ("CEFR Can-do", "CEFR"),
        ("CEFR", "CEFR"),
        ("JFまるごと", "JFまるごと"),
        ("JF 生活日本語 Can-do", "JF生活日本語"),
        ("Can-do", ""),
    ],
)
def test_a_kind_is_as_ids_have_it(cell: str, kind: str) -> None:
    assert kind_of(cell) == kind


@pytest.mark.parametrize(
    ("cell", "activity"),
    [
        ("受容", "reception"),
        ("産出", "production"),
        ("やり取り", "interaction"),
        ("産出・受容", "production"),
        ("", ""),
    ],
)
def test_the_language_activity_is_one_of_three_or_none(cell: str, activity: str) -> None:
    found = read(table([row(1, 言語活動=cell)]))
    assert found.entries[0].activity == activity
    assert found.unknown_activities == {}


def test_a_language_activity_that_is_not_known_is_left_out_and_told() -> None:
    found = read(table([row(1, 言語活動="仲介"), row(2, 言語活動="仲介")]))
    assert [entry.activity for entry in found.entries] == ["", ""]
    assert found.unknown_activities == {"仲介": 2}


def test_what_may_be_missing_has_something_in_its_place() -> None:
    empty = {"第1トピック": "", EN: "", "種類": "", "言語活動": ""}
    with_category, without = read(table([row(1, **empty), row(2, カテゴリー="", **empty)])).entries
    assert (with_category.topic, without.topic) == ("情報交換する", ROW[JA])
    assert with_category.text_in("en") == with_category.text_in("ja") == ROW[JA]


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ({"No": ""}, ("No", "is empty")),
        ({"No": "12a"}, ("No", "'12a' is not a number")),
        ({"No": "-1"}, ("No", "'-1' is not a number")),
        ({"No": "1" * 10}, ("No", f"'{'1' * 10}' is not a number")),
        ({"種別": ""}, ("種別", "is empty")),
        ({"種別": "Can-do"}, ("種別", "'Can-do' cannot begin an id")),
        ({"種別": "JF：A"}, ("種別", "'JF:A' cannot begin an id")),
        ({"種別": "J" * 41}, ("種別", "has 41 characters; at most 40")),
        ({"レベル": ""}, ("レベル", "is empty")),
        ({"レベル": "A3"}, ("レベル", "'A3' is not a level")),
        ({JA: " \n "}, (JA, "is empty")),
        ({JA: "長" * 1001}, (JA, "has 1,001 characters; at most 1,000")),
        ({EN: "a\x07b"}, (EN, "contains U+0007, a control character")),
        ({"第1トピック": "\ue000"}, ("第1トピック", "contains U+E000, a private character")),
    ],
)
def test_a_fault_is_told_by_line_and_column(cells: dict[str, str], fault: tuple[str, str]) -> None:
    assert faults(row(1), row(2, **cells)) == [(3, *fault)]


def test_a_row_that_stands_twice_is_told_with_the_line_of_the_first() -> None:
    assert faults(row(349), row(350), row("０３４９", 種別="jf")) == [(4, "No", "jf:349 is already in line 2")]
    assert faults(row(349), row(349, 種別="JFまるごと")) == []


def test_lines_are_those_of_the_file_also_behind_cells_of_many_lines() -> None:
    assert faults(row(1, text="一\n二\n三"), row("x")) == [(5, "No", "'x' is not a number")]


def test_all_faults_of_all_rows_are_told() -> None:
    found = faults(row("x", レベル="Z9"), row(2), row(3, text=""))
    assert [(line, column) for line, column, _ in found] == [(2, "No"), (2, "レベル"), (4, JA)]


def test_a_cell_too_many_is_a_fault_and_one_too_few_is_empty() -> None:
    text = table(rows(2)).splitlines()
    text[1] += ",,stray"
    text[2] = text[2].rpartition(",")[0]
    found = read("\n".join(text))
    assert [(error.line, error.problem) for error in found.errors] == [(2, "1 more cells than columns")]
    assert [(entry.number, entry.text_en) for entry in found.entries] == [(2, "")]


@pytest.mark.parametrize(
    ("name", "edition"),
    [
        ("jf-cando-2023-05.csv", "2023-05"),
        ("cando_20230531.tsv", "2023-05-31"),
        ("２０１６年04月.csv", "2016-04"),
        ("list 2010.csv", "2010"),
        ("list-123456.csv", "unknown"),
        ("list.csv", "unknown"),
    ],
)
def test_the_edition_may_stand_in_the_files_name(name: str, edition: str) -> None:
    assert edition_of(name) == edition


# --- merging ----------------------------------------------------------------------------------------------------


def test_the_same_again_is_unchanged_and_another_text_is_an_update() -> None:
    first = read(table(rows(3))).entries
    begun = merge((), first)
    assert (begun.new, begun.updated, begun.unchanged) == (3, 0, 0)
    again = merge(begun.entries, first)
    assert (again.new, again.updated, again.unchanged) == (0, 0, 3)
    assert again.entries == begun.entries
    changed = merge(begun.entries, read(table([row(2, text="別の文。"), row(4)])).entries)
    assert (changed.new, changed.updated, changed.unchanged) == (1, 1, 0)
    assert [entry.number for entry in changed.entries] == [1, 2, 3, 4]


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 6), st.sampled_from("xy")), max_size=20))
def test_any_order_of_imports_keeps_one_entry_for_each_row_of_each_edition(
    imports: list[tuple[str, int, str]],
) -> None:
    kept: tuple[CanDo, ...] = ()
    last: dict[tuple[str, int], str] = {}
    for edition, number, text in imports:
        kept = merge(kept, read(table([row(number, text=text)]), edition=edition).entries).entries
        last[edition, number] = text
    assert {(entry.edition, entry.number): entry.text_ja for entry in kept} == last
    assert len(kept) == len(last)
    if imports:
        assert kept[-1].edition == imports[-1][0]


def test_of_two_editions_the_one_imported_last_has_the_ids() -> None:
    old, new = (read(table(rows(3)), edition=edition).entries for edition in ("2010", "2023"))
    both = merge(merge((), old).entries, new)
    assert both.overruled == {("S", "2010"): 3}
    assert [entry.edition for entry in both.entries] == ["2010"] * 3 + ["2023"] * 3
    back = merge(both.entries, old)
    assert (back.unchanged, back.overruled) == (3, {("S", "2023"): 3})
    assert [entry.edition for entry in back.entries] == ["2023"] * 3 + ["2010"] * 3


def test_a_file_of_many_rows_is_read_whatever_their_order() -> None:
    given = rows(200)
    random.Random(7).shuffle(given)  # noqa: S311 - no secret
    assert {entry.number for entry in read(table(given)).entries} == set(range(1, 201))
