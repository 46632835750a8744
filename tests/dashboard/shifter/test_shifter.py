"""The shifter's page: what is bad is said with what to do, and what is stale or absent is grey, never green."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from dashboard.dqm.metrics import ELEMENTS, Group
from dashboard.dqm.scalars import PLANES, SCALARS
from dashboard.dqm.tables import result_table
from dashboard.quality.flags import Flag
from dashboard.quality.shifter.matrix import STALE_S, advice, matrix
from dashboard.quality.shifter.recent import RECENT, RecentRecord, read_recent

NOW = 1_000_000.0
ELEMENT, *OTHERS = ELEMENTS["pdhd"]


def recent(number: int, flag: Flag, *, age_s: float = 10.0, elements: tuple[str, ...] = (ELEMENT,)) -> RecentRecord:
    finding = {"element": ELEMENT, "plane": "V", "check": "rms_nf_adc", "group": "noise", "flag": int(flag), "words": f"{40 + number} ADC"}
    return RecentRecord(
        id=number,
        run=1,
        input_did=f"x:file{number}.hdf5",
        file_index=number,
        detector="pdhd",
        run_type="",
        received_at=NOW - age_s,
        data_at=None,
        flag=flag,
        elements=elements,
        scalars=np.full((len(elements), len(PLANES), len(SCALARS)), 12.0, np.float32),
        tiles={ELEMENT: {"noise": int(flag)}} if flag is not Flag.NULL else {},
        findings=[finding] if flag >= Flag.MEDIUM else [],
        limits_version=1,
        reference_id=None,
    )


def noise(rows: Any, element: str = ELEMENT) -> Any:
    (row,) = [row for row in rows if row.element == element]
    return next(tile for tile in row.tiles if tile.group is Group.NOISE)


flags = st.sampled_from(list(Flag))


@given(st.lists(st.tuples(flags, st.floats(0, 3 * STALE_S)), max_size=RECENT))
def test_a_tile_is_never_better_than_what_was_judged_freshly(files: list[tuple[Flag, float]]) -> None:
    records = [recent(number, flag, age_s=age) for number, (flag, age) in enumerate(files)]
    tile = noise(matrix("pdhd", records, NOW))
    judged = [(flag, age) for flag, age in files if flag is not Flag.NULL]
    if not judged or min(age for _, age in judged) > STALE_S:
        assert tile.flag is Flag.NULL
    else:
        assert tile.flag is max(flag for flag, _ in judged)
    assert tile.stale == bool(judged and tile.flag is Flag.NULL)
    assert tile.counts == Counter(flag for flag, _ in files)
    assert tile.judged == len(judged)


def test_every_element_of_the_detector_has_a_row_and_those_without_data_are_not_judged() -> None:
    rows = matrix("pdhd", [recent(0, Flag.GOOD)], NOW)
    assert [row.element for row in rows] == list(ELEMENTS["pdhd"])
    for other in OTHERS:
        tile = noise(rows, other)
        assert (tile.flag, tile.present, tile.at) == (Flag.NULL, False, None)
    assert all(tile.flag is not Flag.GOOD for row in rows[1:] for tile in row.tiles)


def test_advice_names_the_worst_first_with_what_to_do() -> None:
    records = [recent(0, Flag.MEDIUM), recent(1, Flag.BAD), recent(2, Flag.GOOD), recent(3, Flag.MEDIUM)]
    (item,) = advice(matrix("pdhd", records, NOW), records, {"rms_nf_adc": ("it is loud", "call somebody")})
    assert (item.flag, item.files, item.of_files) == (Flag.BAD, 3, 4)
    assert (item.words, item.means, item.do, item.input_did) == ("41 ADC", "it is loud", "call somebody", "x:file1.hdf5")


def test_what_is_stale_needs_no_advice() -> None:
    records = [recent(0, Flag.BAD, age_s=2 * STALE_S)]
    assert advice(matrix("pdhd", records, NOW), records, {}) == []


@pytest.fixture
def running(ledger: Any, upload: Any, record: Any) -> Callable[..., None]:
    """A run whose files come in; the index in `loud` is noisy in V of P02NL."""

    def come(files: int, loud: tuple[int, ...] = (), run: int = 27304) -> None:
        ledger.campaign()
        for index in range(files):
            ledger.task(run, index, state="done", done_at=time.time())
        ledger.write()
        for index in range(files):
            content = record(run, index, elements=4)
            content["records"] |= {"n_unusable": 0, "n_with_error_bits": 0, "n_problems": 0, "problems": [], "n_used": 2}
            for element in content["elements"]:
                for plane in element["planes"]:
                    plane["n_dead"] = 0
                    if index in loud and (element["element"], plane["plane"]) == ("P02NL", "V"):
                        plane["rms_nf_adc"] = {key: 3 * value for key, value in plane["rms_nf_adc"].items()}
            assert upload(content, pictures={}).status_code == 201

    return come


def tile_of(page: str, element: str, group: str) -> str:
    """The text of a tile, as a reader without colours reads it."""
    row = re.search(rf'<th scope="row">{element}.*?</tr>', page, re.DOTALL)
    assert row
    cell = re.search(rf'<span class="group">{group}</span>.*?</td>', row[0], re.DOTALL)
    assert cell
    return " ".join(re.sub(r"<[^>]+>", " ", cell[0]).split())


def test_a_bad_tile_says_how_often_and_what_to_do(client: Any, running: Any) -> None:
    running(12, loud=(5, 7))
    page = client.get("/quality").text
    assert "bad 2 of 10 files" in tile_of(page, "P02NL", "noise")
    assert "good" in tile_of(page, "P02SU", "noise")
    assert "P02NL noise" in page
    assert "<b>Do:</b>" in page
    assert "10 of 10" in page
    assert "file=np04hd_raw_run027304_0007" in page


def test_a_tile_shows_the_numbers_of_the_newest_file(client: Any, running: Any, record: Any) -> None:
    running(3)
    planes = record(27304, 2, elements=4)["elements"][2]["planes"]
    shown = tile_of(client.get("/quality").text, "P01SU", "noise")
    for plane in planes:
        assert f"{plane['rms_nf_adc']['median']:.1f}" in shown


def test_a_detector_that_was_judged_in_part_is_not_called_good(client: Any, running: Any, upload: Any, record: Any) -> None:
    running(2)
    assert re.search(r"<h1>.*Good</h1>", client.get("/quality").text)
    content = record(27305, 0, elements=3)
    content["records"] |= {"n_unusable": 0, "n_with_error_bits": 0, "n_problems": 0, "problems": []}
    upload(content, pictures={})
    page = client.get("/quality").text
    assert re.search(r"<h1>.*Partly judged</h1>", page)
    assert "Nothing was judged of P01NL." in page
    assert 'class="panel full verdict null"' in page


def test_without_fresh_files_nothing_is_green(client: Any, running: Any, store: Any) -> None:
    running(4)
    assert 'class="quality-tile good"' in client.get("/quality").text
    with store.write() as connection:
        connection.execute(sa.update(result_table).values(received_at=time.time() - STALE_S - 60))
    page = client.get("/quality").text
    assert "Nothing fresh" in page
    assert "stale" in tile_of(page, "P02SU", "noise")
    assert 'quality-tile good"' not in page
    assert 'class="sign good"' not in page


def test_without_any_record_the_page_says_so(client: Any, ledger: Any) -> None:
    assert "No data" in client.get("/quality").text
    ledger.campaign()
    ledger.write()
    page = client.get("/quality").text
    assert "No data-quality record has come yet of pdhd-prompt v1" in page
    assert "quality-tile good" not in page


def test_only_files_of_the_newest_run_are_on_the_page(client: Any, running: Any, store: Any, upload: Any, record: Any) -> None:
    running(3)
    upload(record(27305, 0, elements=1), pictures={})
    with store.read() as connection:
        records = read_recent(connection, "pdhd-prompt", "v1")
    assert [(one.run, one.file_index) for one in records] == [(27305, 0)]


def test_a_chosen_campaign_is_kept_in_the_address(client: Any, running: Any, ledger: Any) -> None:
    running(2)
    ledger.campaign("other", "v7")
    ledger.write()
    page = client.get("/quality?campaign=other&version=v7").text
    assert "No data-quality record has come yet of other v7" in page
    assert 'aria-current="true">other v7' in page
