"""The file of imported entries: whole or as it was, whatever happens to the process, the disk, or the file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.catalogue.entries import CanDo, Catalogue
from gateway.catalogue.list_import import read_list
from gateway.catalogue.local_file import CatalogueFileError, locked, read, write
from tests.catalogue.lists import Kept, row, rows, table, write_list
from tests.nidan.command import environment

_IMPORT = [sys.executable, "-P", "-m", "gateway", "admin", "catalogue", "import"]


def _entries(count: int, edition: str = "E") -> tuple[CanDo, ...]:
    return read_list(table(rows(count)).encode(), "S", edition, lambda _: None).entries


def _admin(kept: Kept, *arguments: str, limit_blocks: int | None = None) -> subprocess.Popen[bytes]:
    """An import of its own, with a bound on the size of every file it writes where one is given."""
    command = [*_IMPORT, *arguments]
    if limit_blocks is not None:
        command = ["/bin/sh", "-c", f'ulimit -f {limit_blocks}; exec "$@"', "sh", *command]
    variables = environment(CATALOGUE_FILE=str(kept.file))
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.jsonl"
    assert read(file) == read(tmp_path / "no" / "such" / "place") == ()
    write(file, _entries(3))
    assert read(file) == _entries(3)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_link_stays_a_link_and_a_mode_stays_a_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    write(real, _entries(1))
    real.chmod(0o640)
    link.symlink_to(real)
    write(link, _entries(2))
    assert link.is_symlink()
    assert (read(real), real.stat().st_mode & 0o777) == (_entries(2), 0o640)


def _broken(good: bytes) -> Iterator[tuple[bytes, str]]:
    lines = good.splitlines(keepends=True)
    yield b"", "its first line does not say nidan-catalogue-1"
    yield b"No,\xe7\xa8\xae\xe5\x88\xa5\n", "Import a list (CSV, TSV) into another file."
    yield b"[1]\n", "its first line does not say"
    yield b"".join(lines[:-1]), "holds 2 of its 3 entries: it is truncated."
    yield good[:-200], "line 4: Invalid JSON"
    yield good.replace(b'"A1"', b'"A7"', 1), "line 2: level: "
    yield good.replace("文2を".encode(), "文7を".encode(), 1), "line 3: the text of JF:2 differs from the import"
    yield good.replace(b'["JF:3"]', b"[]", 1), "line 4: an entry needs an id and a text"
    yield good.replace(b'{"ids"', b'\xff{"ids"', 1), "line 2: Invalid JSON"


def test_a_file_that_was_changed_or_cut_is_refused_with_its_line_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.jsonl"
    write(file, _entries(3))
    for data, told in _broken(file.read_bytes()):
        file.write_bytes(data)
        with pytest.raises(CatalogueFileError) as refused:
            read(file)
        assert told in str(refused.value)
    file.unlink()
    file.mkdir()
    with pytest.raises(CatalogueFileError, match="Is a directory"):
        read(file)


def test_an_import_into_a_file_that_is_not_ours_leaves_it_alone(kept: Kept, tmp_path: Path) -> None:
    kept.file.parent.mkdir()
    kept.file.write_text("my own notes\n")
    status, out, err = kept.nidan("import", str(write_list(tmp_path / "list.csv", rows(2))))
    assert (status, out) == (1, "")
    assert "CATALOGUE_FILE: " in err
    assert kept.file.read_text() == "my own notes\n"


def test_a_disk_that_is_full_is_a_clear_error_and_the_file_is_as_it_was(kept: Kept, tmp_path: Path) -> None:
    kept.fill(rows(3))
    before = kept.file.read_bytes()
    full = _admin(kept, str(write_list(tmp_path / "list.csv", rows(2_000))), limit_blocks=64)
    out, _ = full.communicate(timeout=60)
    assert full.returncode == 1
    assert "Nothing was imported; the catalogue has not changed." in out.decode()
    assert kept.file.read_bytes() == before
    assert {path.name for path in kept.file.parent.iterdir()} == {kept.file.name, f"{kept.file.name}.lock"}
    assert "2,000 unchanged" not in kept.imported(rows(2_000))
    assert len(read(kept.file)) == 2_000


def test_a_folder_that_cannot_be_written_is_a_clear_error(kept: Kept, tmp_path: Path) -> None:
    kept.file.parent.write_text("a file where a folder should be")
    status, out, err = kept.nidan("import", str(write_list(tmp_path / "list.csv", rows(2))))
    assert (status, out) == (1, "")
    assert "CATALOGUE_FILE: cannot write beside" in err


def test_an_import_beside_another_one_is_refused_and_changes_nothing(kept: Kept, tmp_path: Path) -> None:
    kept.fill(rows(3))
    before = kept.file.read_bytes()
    with locked(kept.file):
        status, out, err = kept.nidan("import", str(write_list(tmp_path / "list.csv", rows(5))))
    assert (status, out) == (1, "")
    assert "another import into" in err
    assert "Wait until it ends." in err
    assert kept.file.read_bytes() == before


def test_of_many_imports_at_once_each_is_in_the_file_or_was_refused(kept: Kept, tmp_path: Path) -> None:
    lists = {f"E{number}": write_list(tmp_path / f"{number}.csv", rows(300, f"{number}の")) for number in range(4)}
    running = {edition: _admin(kept, f"--edition={edition}", str(file)) for edition, file in lists.items()}
    said = {edition: process.communicate(timeout=60)[0].decode() for edition, process in running.items()}
    taken = {edition for edition, process in running.items() if process.returncode == 0}
    assert taken
    assert all("another import into" in said[edition] for edition in lists.keys() - taken)
    assert {entry.edition for entry in read(kept.file)} == taken
    assert len(read(kept.file)) == 300 * len(taken)


def test_whoever_reads_while_imports_go_on_never_sees_half(kept: Kept, tmp_path: Path) -> None:
    lists = [write_list(tmp_path / f"{name}.csv", rows(500, name)) for name in ("一", "二")]
    kept.fill(rows(500, "一"), "--edition=E")
    seen, done = [], threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append({entry.text_ja[0] for entry in read(kept.file)})
            time.sleep(0.005)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for file in [lists[1], lists[0], lists[1]]:
            _, err = _admin(kept, "--edition=E", str(file)).communicate(timeout=60)
            assert err == b""
    finally:
        done.set()
        reader.join()
    assert len(seen) > 3
    assert all(texts in ({"一"}, {"二"}) for texts in seen)
    assert {"二"} in seen


def test_an_import_that_is_killed_leaves_the_old_file_or_the_new_one(kept: Kept, tmp_path: Path) -> None:
    kept.fill(rows(20), "--edition=E")
    file = write_list(tmp_path / "list.csv", rows(8_000))
    draft = kept.file.with_name(f".{kept.file.name}.new")
    for reports, drafted in ((1, False), (4, False), (4, True)):
        process = _admin(kept, "--edition=E", str(file))
        assert process.stdout is not None
        for _ in range(reports):  # one for every 2,000 rows
            assert b"progress" in process.stdout.readline()
        while drafted and not draft.exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(read(kept.file)) in (20, 8_000)
    draft.write_text("of an import that was killed")
    kept.fill([row(9_000)], "--edition=E")
    assert not draft.exists()
    assert len(read(kept.file)) in (21, 8_001)


# --- entries over entries ---------------------------------------------------------------------------------------


def _shipped_id(can_do_id: str, catalogue: Catalogue) -> CanDo:
    entry = catalogue.find(can_do_id)
    assert entry is not None
    return entry


def test_an_imported_entry_takes_its_id_and_ours_keeps_the_others() -> None:
    ours = Catalogue.shipped()
    mine = read_list(table([row(349)]).encode(), "S", "E", lambda _: None).entries
    both = ours.with_imported(mine)
    assert _shipped_id("ｊｆ：349", both).text_ja == mine[0].text_ja
    assert _shipped_id("nidan:food-a1-1", both).ids == ("JFまるごと:349", "nidan:food-a1-1")
    assert _shipped_id("nidan:food-a1-1", both).text_ja == _shipped_id("JF:349", ours).text_ja
    assert len(both.entries) == len(ours.entries) + 1


def test_an_entry_that_has_no_id_left_is_out() -> None:
    ours = Catalogue.shipped()
    mine = [*_entries(349, "2010"), *_entries(349, "2023")]
    both = ours.with_imported(mine)
    assert len(both.entries) == len(ours.entries) + 349
    assert {entry.edition for entry in both.entries if entry.kind} == {"2023"}


def test_an_imported_entry_is_offline_where_its_id_and_level_are() -> None:
    given = [row(349), row(350), row(349, 種別="JFまるごと", レベル="A2", 第1トピック="宇宙")]
    mine = read_list(table(given).encode(), "S", "E", lambda _: None).entries
    both = Catalogue.shipped().with_imported(mine)
    found = [_shipped_id(name, both) for name in ("JF:349", "JF:350", "JFまるごと:349")]
    assert [entry.offline for entry in found] == [True, False, False]
    assert [entry.topic_en for entry in found] == ["Food and eating", "Food and eating", ""]


def test_many_entries_are_found_and_missed_quickly() -> None:
    catalogue = Catalogue.shipped().with_imported(_entries(20_000))
    start = time.process_time()
    for number in range(1, 20_001, 20):
        assert catalogue.find(f"JF:{number}")
        assert catalogue.unknown(f"JF:{number + 50_000}").others[0][0] == "JF:20000"
        assert catalogue.unknown(f"nowhere:{number}").others
    assert time.process_time() - start < 1.0  # measured: 0.02


def test_no_catalogue_of_this_machine_is_meant_by_these_tests(kept: Kept) -> None:
    assert os.path.commonpath([kept.file, kept.folder]) == str(kept.folder)
    assert not kept.file.exists()
