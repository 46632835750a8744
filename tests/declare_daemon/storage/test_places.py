"""Places as text: paths and addresses are taken apart and put together alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.storage import beside, is_xrootd, name_of, parent_of, path_below, sidecar_of, within
from declare_daemon.storage.places import ascii_name, part_of, split_address

FOLDERS = ("/", "/eos", "/eos/np04/raw", "root://host//", "root://host//eos", "root://eosuser.cern.ch:1094//eos/np04/raw")

_names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(st.sampled_from(FOLDERS), _names, _names)
def test_a_place_in_a_folder_has_that_folder_and_that_name(folder: str, name: str, other: str) -> None:
    place = within(folder, name)
    assert (parent_of(place), name_of(place)) == (folder, name)
    assert beside(place, other) == within(folder, other)
    assert path_below(place, folder) == name
    assert parent_of(sidecar_of(place)) == folder
    assert name_of(sidecar_of(place)) == f"{name}.json"
    assert name_of(part_of(place)) == f".{name}.part"
    if not is_xrootd(place):
        assert (Path(place).parent, Path(place).name) == (Path(folder), name)


def test_the_two_slashes_of_an_address_stay() -> None:
    assert parent_of("root://host//eos/x") == "root://host//eos"
    assert within("root://host//eos", ".buffer") == "root://host//eos/.buffer"
    assert split_address("root://host:1094//eos/np04/x") == ("root://host:1094", "/eos/np04/x")


@pytest.mark.parametrize(
    ("place", "folder"), [("/eos/np04-old/x", "/eos/np04"), ("/eos/np04", "/eos/np04"), ("root://a//eos/x", "root://b//eos")]
)
def test_a_place_elsewhere_is_not_below(place: str, folder: str) -> None:
    assert path_below(place, folder) is None


def test_a_name_no_catalogue_accepts_is_written_in_ascii() -> None:
    assert ascii_name(b"raw_\xff.hdf5".decode("utf-8", "surrogateescape")) == "raw_\\udcff.hdf5"
