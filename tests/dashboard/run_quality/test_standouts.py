"""What stands out comes first, with how much was looked at."""

from __future__ import annotations

import re
from collections import Counter
from statistics import median
from typing import Any

import numpy as np
import sqlalchemy as sa

from dashboard.dqm.tables import result_table
from dashboard.quality.run_page.outliers import outlying_records
from dashboard.quality.run_page.strip import strip
from dashboard.quality.tables import verdict_table


def test_one_bad_file_of_three_hundred_is_the_first_thing_named(look: Any, filled: Any) -> None:
    page = look()
    first = page.section("standouts").one(cls="outlier-files").every("li")
    assert len(first) == 1
    assert first[0].text.startswith(f"bad file {filled.bad}")
    assert "P02NL V: noise after filtering" in first[0].text
    assert f"file={filled.name(filled.bad)}" in first[0].one("a").attributes["href"]
    sections = [node.attributes.get("id") for node in page.one("main").every("section")]
    assert sections.index("standouts") < sections.index("shown-file") < sections.index("planes")


def test_coverage_is_counted_again_from_the_rows(look: Any, filled: Any, store: Any) -> None:
    with store.read() as connection:
        flags = Counter(connection.execute(sa.select(result_table.c.flag).where(result_table.c.run == filled.run)).scalars())
    known = len(filled.indices()) + len(filled.without)
    assert (flags[3], flags[0], flags.total()) == (1, 0, 300)
    section = look().section("standouts")
    assert section.one(id="coverage").text == f"{flags.total()} of {known} files judged"
    legend = section.one(cls="coverage").one("ul").text
    assert f"bad {flags[3]} medium {flags[2]} good {flags[1]} not judged 0 no record {len(filled.without)}" in legend


def test_a_record_without_a_verdict_is_not_judged_and_not_good(look: Any, filled: Any, put: Any, good_record: Any, store: Any) -> None:
    content = good_record(27500, 0)
    content["elements"], content["detector"], content["records"] = [], "pdsp", None
    put(content)
    page = look(27500)
    assert page.one(id="coverage").text == "0 of 1 files judged"
    assert "No file was judged" in page.section("standouts").text
    assert page.section("shown-file").one("header").has(cls="null")


def test_tiles_count_the_verdicts(look: Any, filled: Any, store: Any) -> None:
    v, d = verdict_table.c, result_table.c
    with store.read() as connection:
        tiles = connection.execute(
            sa.select(v.tiles).join_from(verdict_table, result_table, v.id == d.verdict_id).where(d.run == filled.run)
        ).scalars()
        counts = Counter(
            (element, group, flag) for of_file in tiles for element, groups in of_file.items() for group, flag in groups.items()
        )
    table = look().section("standouts").one("table", cls="element-tiles")
    groups = [th.text for th in table.one("thead").every("th")]
    rows = {row.one("th").text: row.every("td") for row in table.one("tbody").every("tr")}
    assert list(rows) == ["P02SU", "P02NL", "P01SU", "P01NL", "file"]
    for element, cells in rows.items():
        for group, cell in zip(groups, cells, strict=True):
            bad, medium, good = (counts["" if element == "file" else element, group, flag] for flag in (3, 2, 1))
            expected = f"{bad or medium} {'bad' if bad else 'medium'}" if bad or medium else "good" if good else "not judged"
            assert cell.text == expected, (element, group)
    assert rows["P02NL"][groups.index("noise")].text == "1 bad"
    assert {cell.text for cell in rows["P01NL"]} == {"not judged"}


def test_trigger_records_that_stand_out_are_named(look: Any, filled: Any) -> None:
    section = look(file=filled.name(filled.bad)).section("standouts").one(cls="outlier-records")
    assert "11 of 12 could be used" in section.text
    problem, odd = section.every("li")
    assert problem.text == "problem record 9 trigger record header has marker 0x0"
    hits = [
        of_plane["hits"]
        for element in filled.of(filled.bad)["elements"]
        if element["element"] == "P02NL"
        for item in element["by_record"]
        for of_plane in item["planes"]
        if of_plane["plane"] == "V"
    ]
    assert f"record {filled.odd_record}, P02NL V" in odd.text.replace(" ,", ",")
    assert f"hits 12.0, usual in this file {median(hits):.0f}" in odd.text
    assert look().section("standouts").one(cls="outlier-records").text.endswith("None of 12 stands out.")


def test_with_few_trigger_records_nothing_is_called_unusual(filled: Any) -> None:
    record = filled.of(filled.bad)
    short = {
        "elements": [
            {**element, "by_record": element["by_record"][filled.odd_record - 2 : filled.odd_record + 1]} for element in record["elements"]
        ]
    }
    assert outlying_records(record)
    assert outlying_records(short) == []


def test_one_bad_file_of_twelve_thousand_is_seen_in_the_strip() -> None:
    flags = np.ones(12_000, np.int8)
    flags[4321] = 3
    stretches = strip(flags)
    assert [(s.first <= 4321 <= s.last, int(s.flag), s.worst, s.opens) for s in stretches if s.flag > 1] == [(True, 3, 1, 4321)]
    assert [s.first for s in stretches[1:]] == [s.last + 1 for s in stretches[:-1]]
    assert (stretches[0].first, stretches[-1].last) == (0, 11_999)


def test_the_strip_has_every_file_once(look: Any, filled: Any) -> None:
    svg = look().section("standouts").one("svg", cls="strip")
    rects = [rect for link in svg.every("a") for rect in link.every("rect")]
    assert sum(int(rect.attributes["width"]) for rect in rects) == len(filled.indices())
    bad = [rect for rect in rects if rect.attributes["class"] == "fill-bad"]
    assert len(bad) == 1
    begin = int(bad[0].attributes["x"])
    assert begin <= filled.indices().index(filled.bad) < begin + int(bad[0].attributes["width"])
    assert re.search(r": 1 bad$", bad[0].text)
