"""Where an input is found among the places it can be at."""

from __future__ import annotations

from pathlib import Path

import pytest

from dune_prompt.records import InputFile
from stages.errors import InputAwayError
from stages.stage import find


def test_the_first_place_that_has_the_file_is_taken(tmp_path: Path) -> None:
    for name in ("second", "third"):
        (tmp_path / name).touch()
    item = InputFile("x.hdf5", tuple(str(tmp_path / name) for name in ("first", "second", "third")))
    assert find(item) == tmp_path / "second"


def test_a_place_on_a_server_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert find(InputFile("x", ("root://nowhere//x", str(tmp_path / "x")))) == tmp_path / "x"


def test_a_file_that_is_nowhere_costs_no_try_and_all_its_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputAwayError, match=r"x: not found at .*/gone or root://s//x") as raised:
        find(InputFile("x", (str(tmp_path / "gone"), "root://s//x")))
    assert raised.value.error_class == "input"
    assert raised.value.exit_code == 20
