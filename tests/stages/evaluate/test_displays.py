"""Which event displays are drawn, and in which order the budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.records import InputFile
from stages.evaluate import displays, pictures
from stages.evaluate.displays import Drawn
from stages.evaluate.quality_file import QualityArrays
from stages.evaluate.record import Picture
from stages.nf_sp.quality_file import QualityWriter
from stages.stage import Payload, StageContext


def element(name: str, anode: int, *idents: int) -> dict[str, Any]:
    return {
        "element": name,
        "anode": anode,
        "planes": [{"plane": plane} for plane in "UVW"],
        "pictures": [{"ident": ident, "plane": plane, "kind": kind} for kind in ("sp", "raw", "nf") for plane in "UVW" for ident in idents],
    }


def test_the_budget_is_spent_on_the_first_record_first_and_on_the_collection_plane() -> None:
    shots = displays.in_order([element("P02NL", 1, 1, 4), element("P02SU", 0, 1, 4)])
    order = [(shot.image["ident"], shot.element["element"], shot.plane["plane"], shot.image["kind"]) for shot in shots]
    assert len(order) == 36
    assert order[:4] == [(1, "P02SU", "W", "raw"), (1, "P02SU", "W", "nf"), (1, "P02SU", "W", "sp"), (1, "P02SU", "U", "raw")]
    assert [ident for ident, *_ in order] == [1] * 18 + [4] * 18
    assert order[9][1] == "P02NL"


def picture(number: int) -> Picture:
    return Picture(f"{number}.png", "", "P02NL", "W", "raw", 5, 0, 4160, 960, 1, 640, 512.0, -100.0, 100.0, "ADC")


@given(sizes=st.lists(st.integers(1, 50)), budget=st.integers(1, 300))
def test_pictures_are_drawn_until_one_does_not_fit(sizes: list[int], budget: int) -> None:
    asked: list[int] = []

    def draw() -> Iterator[Drawn]:
        for number, size in enumerate(sizes):
            asked.append(number)
            yield Drawn(picture(number), b"x" * size)

    kept = [len(one.png) for one in displays.within(budget, draw())]
    assert kept == sizes[: len(kept)]
    assert sum(kept) <= budget
    if len(kept) < len(sizes):
        assert sum(sizes[: len(kept) + 1]) > budget
        assert len(asked) == len(kept) + 1


def test_a_budget_that_is_met_exactly_is_kept() -> None:
    assert len(list(displays.within(20, [Drawn(picture(1), b"x" * 10), Drawn(picture(2), b"x" * 10)]))) == 2
    assert list(displays.within(9, [Drawn(picture(1), b"x" * 10)])) == []


Write = Callable[[], tuple[list[Picture], list[str]]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Draws two small images: a trigger record that was read out in two parts. Two ticks share a pixel."""
    common = {"plane": "W", "kind": "raw", "record": 17, "ticks_per_pixel": 2, "n_ticks": 59, "tick_ns": 512.0, "limit": 120.0}
    info = {
        "element": "P02NL",
        "anode": 1,
        "planes": [{"plane": "W", "first_channel": 4160, "n_channels": 4}],
        "pictures": [common | {"array": f"picture_{ident}", "ident": ident, "sequence": ident - 1} for ident in (1, 2)],
    }
    with QualityWriter(tmp_path / "q.npz") as file:
        for ident in (1, 2):
            file.add("P02NL", f"picture_{ident}", np.ones((4, 30), np.int8))
    payload = Payload("pdhd-prompt", "v1", "pdhd", "0" * 64, "0.1", {}, {})
    context = StageContext("evaluate", payload, "01J0", InputFile("np04hd.hdf5", ()), {}, tmp_path)

    def draw() -> tuple[list[Picture], list[str]]:
        with QualityArrays(tmp_path / "q.npz") as arrays:
            return displays.write(context, [info], arrays)

    return draw


def test_the_parts_of_a_split_record_have_pictures_of_their_own(write: Write, tmp_path: Path) -> None:
    written, notes = write()
    assert notes == []
    assert [one.name for one in written] == [
        "np04hd_pdhd-prompt_v1_P02NL_W_raw_17.png",
        "np04hd_pdhd-prompt_v1_P02NL_W_raw_17.1.png",
    ]
    assert written[1].title == "P02NL W, trigger record 17.1: pedestal subtracted, ±120 ADC"
    assert all((tmp_path / one.name).is_file() for one in written)


def test_a_picture_says_how_many_ticks_share_a_pixel_also_when_it_was_too_large(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.ticks_per_pixel for one in write()[0]] == [2, 2]
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", 1)
    assert [one.ticks_per_pixel for one in write()[0]] == [64, 64]
    assert [one.n_ticks for one in write()[0]] == [59, 59]
