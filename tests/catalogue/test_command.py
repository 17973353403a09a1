"""`nidan catalogue`, as a process: listing, showing, searching, importing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway import admin
from gateway.catalogue.entries import Catalogue
from gateway.catalogue.local_file import read
from gateway.catalogue.search import search
from tests.catalogue.lists import Kept, row, rows, table, write_list
from tests.nidan.command import environment, services_of

_NEUTRAL = {
    "ids", "source", "edition", "kind", "number", "type", "level", "activity", "category", "topics", "topic_en",
    "text_ja", "text_en", "text_sha256", "licence_note", "offline",
}  # fmt: skip


def _objects(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def _words(text: str) -> str:
    """Without the frames and line breaks of a help page or a usage message."""
    return " ".join(text.replace("│", " ").split())


# --- list -------------------------------------------------------------------------------------------------------


def test_a_list_is_a_table_to_be_read_with_what_is_offline_marked(kept: Kept) -> None:
    status, out, err = kept.nidan("list", "--topic", "food")
    assert (status, err) == (0, "")
    assert "JF:349 *" in out
    assert "nidan:food-b2-1 " in out
    assert "Food and eating" in out
    assert "nidan:travel" not in out
    assert "4 entries.\n* The offline model has a lesson: nidan generate ID --offline\n" in out


def test_filters_narrow_the_list_together(kept: Kept) -> None:
    every = _objects(kept.nidan("list", "--json")[1])
    assert len(every) == 60
    assert set(every[0]) == _NEUTRAL
    some = _objects(kept.nidan("list", "--json", "--level", "a2", "--offline")[1])
    assert some == [entry for entry in every if entry["level"] == "A2" and entry["offline"]]
    assert len(some) == 4
    assert _objects(kept.nidan("list", "--json", "--topic", "旅行")[1]) == [
        entry for entry in every if entry["topics"] == ["旅行と交通"]
    ]


def test_a_list_of_nothing_is_a_failure_that_names_the_topics(kept: Kept) -> None:
    status, out, err = kept.nidan("list", "--topic", "astrology")
    assert (status, out) == (1, "")
    assert "Nothing to list (NOTHING_FOUND)" in err
    assert "食生活, " in err
    status, out, err = kept.nidan("list", "--level", "C2", "--json")
    assert (status, err, _objects(out)[0]["reason"]) == (1, "", "NOTHING_FOUND")


def test_a_reader_that_has_had_enough_is_no_failure(kept: Kept) -> None:
    kept.fill(rows(3_000))
    command = [sys.executable, "-W", "error", "-m", "nidan", "catalogue", "list", "--json"]
    with subprocess.Popen(
        command, env=environment(CATALOGUE_FILE=str(kept.file)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["ids"]
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


# --- show -------------------------------------------------------------------------------------------------------


def test_an_entry_is_shown_with_both_wordings_whole(kept: Kept) -> None:
    status, out, err = kept.nidan("show", "ｊｆ：349")
    assert (status, err) == (0, "")
    assert "ID        JF:349\nAlso      JFまるごと:349, nidan:food-a1-1\nLevel     A1\n" in out
    joined = "".join(line.strip() for line in out.splitlines())
    assert "簡単な言葉で話したり、相手に聞いたりすることができる。" in joined
    assert "ask somebody else the same." in _words(out)
    assert "nidan generate JF:349 --offline\n" in out


def test_an_imported_entry_says_where_it_is_from(kept: Kept) -> None:
    kept.fill(rows(3), "--source", "Our school")
    out = kept.nidan("show", "JF:2")[1]
    for part in ("文2を言うことができる。", "Our school, 2023-05", "JF, number 2", "terms of its source"):
        assert part in out
    (shown,) = _objects(kept.nidan("show", "JF:2", "--json")[1])
    assert set(shown) == _NEUTRAL
    assert (shown["kind"], shown["number"], shown["edition"]) == ("JF", 2, "2023-05")
    assert shown["text_sha256"] == read(kept.file)[1].text_sha256


def test_an_unknown_id_of_a_known_form_says_to_import_the_list_and_what_is_nearest(kept: Kept) -> None:
    kept.fill(rows(20))
    status, out, err = kept.nidan("show", "JF:9999")
    assert (status, out) == (1, "")
    assert "Not found (KNOWN_FORM): 'JF:9999' has a known form, but is not in your catalogue: import the list" in err
    assert "nidan catalogue import FILE" in err
    assert "Nearest: JF:349 (食生活, A1), JF:20 (食生活, A1), JF:19" in err
    status, out, err = kept.nidan("show", "SCHOOL:1", "--json")
    assert (status, err) == (1, "")
    assert _objects(out)[0]["reason"] == "UNKNOWN_CAN_DO"


def test_what_would_steer_a_terminal_is_left_out(kept: Kept, tmp_path: Path) -> None:
    _, _, err = kept.nidan("show", "JF:\x1b[31m1")
    assert "JF:" in err
    assert "\x1b" not in err
    file = tmp_path / "list.csv"
    file.write_text(table([row(1)], (*row(1), "note\x1b[31m")), encoding="utf-8")
    _, out, _ = kept.nidan("import", str(file))
    assert "Columns left out: note[31m." in out
    assert "\x1b" not in out


# --- search -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["駅", "電車"], "nidan:travel-a1-1"),
        (["駅　電車"], "nidan:travel-a1-1"),
        (["STATION", "train"], "nidan:travel-a1-1"),
        (["jf:349"], "JF:349"),
        (["食生活"], "JF:349"),
        (["ｆｏｏｄ"], "JF:349"),
        (["family-a1"], "nidan:family-a1-1"),
    ],
)
def test_a_search_finds_by_text_topic_and_id_in_either_language(words: list[str], first: str) -> None:
    assert search(Catalogue.shipped().entries, words)[0].ids[0] == first


def test_a_search_prefers_entries_that_hold_all_words() -> None:
    entries = Catalogue.shipped().entries
    station, train = search(entries, ["station"]), search(entries, ["train"])
    both = search(entries, ["station", "train"])
    assert both
    assert len(both) < max(len(station), len(train))
    assert {entry.ids for entry in both} == {entry.ids for entry in station} & {entry.ids for entry in train}
    assert search(entries, ["train", "qqqq"]) == train
    assert search(entries, ["qqqq"]) == search(entries, [" "]) == []


def test_a_search_shows_a_person_the_best_and_says_how_many_there_are(kept: Kept) -> None:
    kept.fill(rows(30, "ぬぬ"))
    out = kept.nidan("search", "ぬぬ", "言うこと")[1]
    assert "30 entries, the best 20 shown; more words find fewer." in out
    assert len(_objects(kept.nidan("search", "ぬぬ", "言うこと", "--json")[1])) == 30


def test_a_search_without_a_find_says_so(kept: Kept) -> None:
    status, out, err = kept.nidan("search", "qqqq")
    assert (status, out) == (1, "")
    assert "Try fewer or other words" in err


# --- import -----------------------------------------------------------------------------------------------------


def test_an_import_says_what_it_changed_and_the_same_again_changes_nothing(kept: Kept) -> None:
    out = kept.imported(rows(60))
    assert out.startswith("Imported: jf-cando-2023-05.csv: 60 new.\n")
    assert "Source: JF Can-do list. Edition: 2023-05 (from the file's name; --edition overrides it).\n" in out
    assert str(kept.file) in out
    before = (kept.file.read_bytes(), kept.file.stat().st_mtime_ns)
    assert kept.imported(rows(60)).startswith("Nothing to change: jf-cando-2023-05.csv: 60 unchanged.\n")
    assert (kept.file.read_bytes(), kept.file.stat().st_mtime_ns) == before
    changed = [*rows(59), row(60, text="別の文。"), row(61)]
    assert kept.imported(changed).startswith("Imported: jf-cando-2023-05.csv: 1 new, 1 updated, 59 unchanged.\n")
    assert "別の文。" in kept.nidan("show", "JF:60")[1]


def test_a_dry_run_says_the_same_and_writes_nothing(kept: Kept) -> None:
    out = kept.imported(rows(3), "--dry-run")
    assert out.startswith("Checked only, nothing written: jf-cando-2023-05.csv: 3 new.\n")
    assert not kept.file.parent.exists()


def test_an_edition_that_nothing_tells_is_asked_for(kept: Kept) -> None:
    assert "Edition: unknown: the file's name has no date. Give one with --edition" in kept.imported(
        rows(1), name="list.csv"
    )
    assert "Edition: 2016.\n" in kept.imported(rows(1), "--edition", "2016", name="list.csv")


def test_another_edition_takes_the_ids_and_says_so(kept: Kept) -> None:
    kept.fill(rows(2), "--edition=2010")
    out = kept.imported([row(2, text="新しい文。")], "--edition=2023")
    assert "Ids taken over from JF Can-do list, 2010: 1." in out
    assert "新しい文。" in kept.nidan("show", "JF:2")[1]
    assert "JF Can-do list, 2010" in kept.nidan("show", "JF:1")[1]


def test_an_import_in_json_is_one_object(kept: Kept, tmp_path: Path) -> None:
    names = (*row(1), "備考")
    file = tmp_path / "list.tsv"
    file.write_bytes(table([row(1, 言語活動="仲介", 備考="x")], names, "\t").encode("cp932"))
    status, out, err = kept.nidan("import", str(file), "--json")
    assert (status, err) == (0, "")
    (told,) = _objects(out)
    assert (told["kind"], told["rows"], told["new"], told["updated"], told["unchanged"]) == ("summary", 1, 1, 0, 0)
    assert (told["edition"], told["edition_given"], told["file"]) == ("unknown", False, str(kept.file))
    assert (told["ignored_columns"], told["unknown_activities"]) == (["備考"], {"仲介": 1})


def test_one_bad_row_keeps_all_out_and_every_fault_is_told(kept: Kept, tmp_path: Path) -> None:
    kept.fill(rows(2))
    before = kept.file.read_bytes()
    file = write_list(tmp_path / "bad.csv", [row(1), row("x", レベル="Z9"), row(1, text="二")])
    status, out, err = kept.nidan("import", str(file))
    assert (status, out) == (1, "")
    assert err.splitlines() == [
        "line 3, No: 'x' is not a number. Write the row's number in the list, such as 349.",
        "line 3, レベル: 'Z9' is not a level. Write one of A1, A2, B1, B2, C1, C2.",
        "line 4, No: JF:1 is already in line 2. Give each row of a kind its own number, or remove one row.",
        "Not imported (ROWS_REJECTED): 2 of 3 rows have errors, so nothing was imported.",
        "Fix the rows that are named and import the file again.",
    ]
    assert kept.file.read_bytes() == before
    status, out, err = kept.nidan("import", str(file), "--json")
    assert (status, err) == (1, "")
    *faults, failure = _objects(out)
    assert [(fault["kind"], fault["line"]) for fault in faults] == [("fault", 3), ("fault", 3), ("fault", 4)]
    assert (failure["outcome"], failure["reason"]) == ("FAILED", "ROWS_REJECTED")


def test_of_very_many_faults_the_first_are_told(kept: Kept, tmp_path: Path) -> None:
    file = write_list(tmp_path / "bad.csv", [row("x")] * 500)
    status, _, err = kept.nidan("import", str(file))
    assert status == 1
    assert err.count("is not a number") == 20
    assert "… and more; --json lists them all." not in err
    assert "… and more; --json lists up to 200." in err
    assert "500 of 500 rows" in err


@pytest.mark.parametrize(("name", "told"), [("nowhere.csv", "No such file"), (".", "Is a directory")])
def test_a_list_that_cannot_be_read_is_told(kept: Kept, tmp_path: Path, name: str, told: str) -> None:
    status, out, err = kept.nidan("import", str(tmp_path / name))
    assert (status, out) == (1, "")
    assert "Not imported (LIST_NOT_READ)" in err
    assert told in err
    assert "nidan catalogue import --help" in err


def test_a_catalogue_that_is_broken_is_told_by_every_command_with_its_setting(kept: Kept) -> None:
    kept.fill(rows(3))
    kept.file.write_bytes(kept.file.read_bytes()[:-50])
    for command in (
        ["list"],
        ["show", "JF:1"],
        ["search", "駅"],
        ["import", str(kept.folder / "jf-cando-2023-05.csv")],
    ):
        status, out, err = kept.nidan(*command)
        assert (status, out) == (1, "")
        assert "(CATALOGUE_NOT_USABLE): CATALOGUE_FILE: " in err
        assert "import the lists again" in err


def test_a_setting_that_is_wrong_is_named(kept: Kept) -> None:
    status, _, err = kept.nidan("list", LESSON_DEADLINE_SECONDS="soon")
    assert status == 1
    assert "(SETTINGS): LESSON_DEADLINE_SECONDS" in err


def test_unset_the_file_is_in_the_home_directory(kept: Kept, tmp_path: Path) -> None:
    home = {"CATALOGUE_FILE": "", "HOME": str(tmp_path)}
    status, out, _ = kept.nidan("import", str(write_list(tmp_path / "list.csv", rows(1))), **home)
    assert status == 0
    assert f"Kept in {tmp_path}/.nidan/catalogue.jsonl" in out
    assert kept.nidan("show", "JF:1", **home)[0] == 0
    assert kept.nidan("show", "JF:1")[0] == 1


def test_a_long_file_says_how_far_it_is(kept: Kept, tmp_path: Path) -> None:
    status, out, err = kept.nidan("import", str(write_list(tmp_path / "long.csv", rows(21_000))))
    assert (status, err) == (0, "Read 10,000 rows …\nRead 20,000 rows …\n")
    assert "21,000 new." in out


def test_ctrl_c_ends_the_import_and_what_it_started_and_the_file_is_as_it_was(kept: Kept, tmp_path: Path) -> None:
    kept.fill(rows(3))
    before = kept.file.read_bytes()
    file = write_list(tmp_path / "long.csv", rows(100_000))
    command = [sys.executable, "-W", "error", "-m", "nidan", "catalogue", "import", str(file)]
    with subprocess.Popen(
        command, env=environment(CATALOGUE_FILE=str(kept.file)), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Read 10,000 rows …\n"
        (admin,) = services_of(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read().endswith("Interrupted.\n")
    time.sleep(0.1)
    assert not Path(f"/proc/{admin}").exists()
    assert kept.file.read_bytes() == before


# --- usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "--level", "D1"], "A1, A2, B1, B2, C1, C2"),
        (["show", " "], "is empty"),
        (["search", " ", ""], "is empty"),
        (["search"], "Missing argument 'WORDS'"),
        (["import"], "Missing argument 'FILE'"),
        (["import", "list.csv", "--source", " "], "argument --source: a name of at most 100 letters"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_what_is_right(kept: Kept, arguments: list[str], told: str) -> None:
    status, out, err = kept.nidan(*arguments)
    assert (status, out) == (2, "")
    assert told in _words(err)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), ("list", "show", "search", "import", "nidan catalogue import list.csv")),
        (("list",), ("--level A1", "--offline", "jq -r '.ids[0]'", "Exit status")),
        (("show",), ("JF:349", "Exit status")),
        (("search",), ("駅 電車", "Exit status")),
        (("import",), ("CATALOGUE_FILE", "第1トピック", "cp932", "--dry-run", "Exit status")),
    ],
)
def test_help_teaches_by_examples(kept: Kept, arguments: tuple[str, ...], told: tuple[str, ...]) -> None:
    status, out, _ = kept.nidan(*arguments, "--help")
    assert status == 0
    for part in told:
        assert part in _words(out)


def test_the_admin_of_the_gateway_refuses_what_it_does_not_know() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "catalogue"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: python -m gateway" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["admin"], ""),
        (["admin", "catalogue"], ""),
        (["admin", "catalogue", "list", "--level", "D1"], ""),
        (
            ["admin", "catalogue", "import", "list.csv", "--edition", "x" * 101],
            "argument --edition: a name of at most 100 letters",
        ),
    ],
)
def test_the_admin_names_its_usage_for_every_wrong_command(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        admin.main(arguments, Path, Path)
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert "usage: python -m gateway" in err
    assert told in err
