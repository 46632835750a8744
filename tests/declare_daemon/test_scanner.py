"""The scanner: what it tells of a folder, and how little it looks at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.scanner import Scanner, list_folder
from declare_daemon.storage.local import LocalStorage
from dune_prompt.errors import TransientError

NAME = "np04hd_raw_run028049_0000_dataflow0_datawriter_0_20240718T054941.hdf5"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".buffer").touch()
    return tmp_path


@pytest.fixture
def scanner(folder: Path, new_stream: Any) -> Scanner:
    return Scanner(str(folder), ".buffer", (new_stream(),))


def scan(scanner: Scanner, known: frozenset[str] = frozenset()) -> tuple[set[str], set[str], set[str]]:
    found = scanner.scan(lambda: known)
    scanner.accept(found)
    return set(found.closed), set(found.unmatched), set(found.vanished)


def test_a_data_file_is_closed_when_its_sidecar_is_in_the_same_listing(folder: Path, scanner: Scanner) -> None:
    (folder / NAME).touch()
    assert scan(scanner) == (set(), set(), set())
    assert scanner.without_sidecar == {NAME}
    (folder / f"{NAME}.json").touch()
    assert scan(scanner) == ({NAME}, set(), set())
    assert scanner.without_sidecar == set()


def test_a_sidecar_alone_is_nothing(folder: Path, scanner: Scanner) -> None:
    (folder / f"{NAME}.json").touch()
    assert scan(scanner) == (set(), set(), set())
    (folder / NAME).touch()
    assert scan(scanner) == ({NAME}, set(), set())


def test_only_changes_are_told(folder: Path, scanner: Scanner) -> None:
    (folder / NAME).touch()
    (folder / f"{NAME}.json").touch()
    assert scan(scanner) == ({NAME}, set(), set())
    assert scan(scanner) == (set(), set(), set())
    (folder / NAME).unlink()
    assert scan(scanner) == (set(), set(), {NAME})


def test_a_scan_that_was_not_accepted_is_told_again(folder: Path, scanner: Scanner) -> None:
    scan(scanner)
    (folder / NAME).touch()
    (folder / f"{NAME}.json").touch()
    assert scanner.scan(frozenset).closed == {NAME}
    assert scanner.scan(frozenset).closed == {NAME}


def test_after_a_restart_known_files_are_neither_new_nor_looked_at(folder: Path, scanner: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / NAME).touch()
    (folder / f"{NAME}.json").touch()
    monkeypatch.setattr(LocalStorage, "stat", lambda *_: pytest.fail("looked at a known file"))
    assert scan(scanner, frozenset({NAME, "np04hd_raw_gone.hdf5"})) == (set(), set(), {"np04hd_raw_gone.hdf5"})


def test_a_file_replaced_by_another_is_told_again(folder: Path, scanner: Scanner) -> None:
    (folder / NAME).touch()
    (folder / f"{NAME}.json").touch()
    scan(scanner)
    (folder / "other").touch()
    (folder / "other").rename(folder / NAME)
    assert scan(scanner)[0] == {NAME}


def test_a_listing_without_the_sentinel_is_an_outage(folder: Path) -> None:
    (folder / ".buffer").unlink()
    with pytest.raises(TransientError, match="sentinel"):
        list_folder(str(folder), ".buffer")


def test_a_folder_that_cannot_be_listed_is_an_outage(folder: Path) -> None:
    with pytest.raises(TransientError, match="cannot be listed"):
        list_folder(str(folder / "nowhere"), ".buffer")


def test_streams_that_share_a_pattern_wait_for_the_sidecar_if_one_has_them(folder: Path, new_stream: Any) -> None:
    scanner = Scanner(str(folder), ".buffer", (new_stream("a", sidecar=False), new_stream("b")), stable_polls=1)
    (folder / NAME).touch()
    for _ in range(3):
        assert scan(scanner)[0] == set()
    (folder / f"{NAME}.json").touch()
    assert scan(scanner)[0] == {NAME}


def test_a_file_without_sidecar_must_keep_size_and_time_over_some_scans(folder: Path, new_stream: Any) -> None:
    scanner = Scanner(str(folder), ".buffer", (new_stream(sidecar=False),), stable_polls=2)
    path = folder / NAME
    path.write_bytes(b"1")
    assert [bool(scan(scanner)[0]) for _ in range(2)] == [False, False]
    path.write_bytes(b"12")
    assert [bool(scan(scanner)[0]) for _ in range(3)] == [False, False, True]
    os.utime(path, (1, 1))
    assert scan(scanner) == (set(), set(), set())


_names = st.sampled_from(["a.hdf5", "b.hdf5", "strange.txt"])
_suffixes = st.sampled_from(["", "", ".json", ".json", ".writing", ".json.tmp"])


@given(st.lists(st.tuples(st.booleans(), _names, _suffixes), max_size=20))
def test_what_is_told_over_time_adds_up_to_what_is_there(
    new_stream: Any, tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[bool, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("buffer")
    (folder / ".buffer").touch()
    scanner = Scanner(str(folder), ".buffer", (new_stream("s", "*.hdf5"),))
    present: set[str] = set()
    for create, name, suffix in actions:
        path = folder / (name + suffix)
        if create:
            path.touch()
        else:
            path.unlink(missing_ok=True)
        closed, unmatched, vanished = scan(scanner)
        present = (present | closed | unmatched) - vanished
    there = {path.name for path in folder.iterdir()}
    closed_now = {name for name in ("a.hdf5", "b.hdf5") if {name, f"{name}.json"} <= there}
    assert closed_now <= present <= there
    assert ("strange.txt" in present) == ("strange.txt" in there)
