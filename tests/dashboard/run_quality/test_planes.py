"""The numbers of the planes: each is that of the record, beside the run's and the reference's."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
import pytest

from dashboard import words

PLANES = ("U", "V", "W")


def rows(page: Any) -> dict[tuple[str, str], dict[str, Any]]:
    table = page.section("planes").one("table")
    columns = [th.text for th in table.one("thead").every("th")[1:]]
    found, element = {}, ""
    for row in table.every("tr")[1:]:
        heads = row.every("th")
        if heads[0].attributes.get("scope") == "rowgroup":
            element = heads[0].text
        if row.every("td")[0].attributes.get("class") != "missing":
            found[element.split(" ")[0], heads[-1].text] = dict(zip(columns, row.every("td"), strict=True))
    return found


def single(value: float | None) -> float | None:
    """As it is kept: in single precision."""
    return None if value is None else float(np.float32(value))


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("index", ["bad", "last"])
def test_every_number_is_that_of_the_record(look: Any, filled: Any, index: str) -> None:
    chosen = getattr(filled, index)
    found = rows(look(file=filled.name(chosen)))
    assert set(found) == {(element, plane) for element in ("P02SU", "P02NL", "P01SU") for plane in PLANES}
    of_run = [filled.of(i) for i in filled.indices()]
    of_reference = [filled.of(i, filled.reference_run) for i in filled.indices(filled.reference_run)]

    def numbers(contents: list[Any], element: str, plane: str, read: Any) -> Any:
        values = [
            read(item)
            for content in contents
            for one in content["elements"]
            if one["element"] == element
            for item in one["planes"]
            if item["plane"] == plane
        ]
        known = [single(value) for value in values if value is not None]
        return single(median(known)) if known else None

    quantities = {
        "RMS raw ADC": (lambda p: p["rms_raw_adc"]["median"], words.number),
        "RMS filtered ADC": (lambda p: p["rms_nf_adc"]["median"], words.number),
        "pedestal ADC": (lambda p: p["pedestal_adc"]["median"], words.number),
        "coherent": (lambda p: p["coherent_fraction"], words.percent),
        "dead": (lambda p: p["n_dead"], words.count),
        "noisy": (lambda p: p["n_noisy"], words.count),
        "missing": (lambda p: p["n_missing"], words.count),
        "hits /record": (lambda p: p["hits"], words.number),
        "charge e/record": (lambda p: p["charge_e"], words.number),
        "SP gain": (lambda p: p.get("sp_gain"), words.number),
    }
    for (element, plane), cells in found.items():
        for name, (read, shown) in quantities.items():
            mine, run, reference = (
                squeezed(shown(numbers(contents, element, plane, read))) for contents in ([filled.of(chosen)], of_run, of_reference)
            )
            cell = cells[name]
            beside = cell.one(cls="beside-it")
            assert (beside.one(cls="of-run").text, beside.one(cls="of-reference").text) == (run, reference), (element, plane, name)
            assert cell.text.removeprefix("bad ").removeprefix("medium ").startswith(mine), (element, plane, name)
        spread = filled.plane(chosen, element, plane)["rms_nf_adc"]
        assert f"{words.number(single(spread['p05']))}–{words.number(single(spread['p95']))}" in cells["RMS filtered ADC"].text


def test_what_is_outside_its_limits_is_marked_with_a_word(look: Any, filled: Any) -> None:
    found = rows(look(file=filled.name(filled.bad)))
    marked = {
        (*plane, name): cell.attributes["class"].split()[-1]
        for plane, cells in found.items()
        for name, cell in cells.items()
        if "cell-" in cell.attributes["class"]
    }
    assert marked == {("P02NL", "V", "RMS filtered ADC"): "cell-bad", ("P02NL", "V", "noisy"): "cell-medium"}
    assert found["P02NL", "V"]["RMS filtered ADC"].text.startswith("bad 31.0")
    assert "above the alarm limit" in found["P02NL", "V"]["RMS filtered ADC"].attributes["title"]
    assert found["P02SU", "U"]["RMS filtered ADC"].attributes["title"] == "inside every limit"
    assert found["P02SU", "U"]["SP gain"].attributes["title"].startswith("not judged")


def test_an_element_without_data_is_named_and_grey(look: Any) -> None:
    missing = look().section("planes").one("td", cls="missing")
    assert missing.text == "no data in any file of the run"
    row = next(row for row in look().section("planes").every("tr") if row.has("td", cls="missing"))
    assert row.one("th").text == "P01NL"


def test_an_element_that_only_this_file_lacks_shows_the_run(look: Any, filled: Any, put: Any, good_record: Any) -> None:
    put(good_record(filled.run, 400, elements=1))
    page = look(file=filled.name(400))
    cell = rows(page)["P02NL", "U"]["dead"]
    assert cell.text.startswith("–")
    assert cell.one(cls="of-run").text not in ("–", "")
    assert "not in this file" in page.section("planes").text


def test_findings_are_listed_with_the_versions_they_were_made_with(look: Any, filled: Any) -> None:
    section = look(file=filled.name(filled.bad)).section("shown-file")
    findings = [item.text for item in section.one(cls="findings").every("li")]
    assert findings[0].startswith("bad P02NL V:")
    assert any(item.startswith("medium file trigger records that cannot be used") for item in findings)
    assert "limits version 1" in section.text
    assert f"reference run {filled.reference_run}" in section.text


def test_limits_are_drawn_at_the_gain_of_the_file(look: Any, put: Any, good_record: Any) -> None:
    content = good_record(27502, 0)
    content["gain_mv_per_fc"] = 7.0
    put(content)
    at_14, at_7 = (look(run, trend="rms_nf_adc").data["trend"]["limits"]["V"] for run in (27304, 27502))
    assert at_14 == {"low_alarm": 8, "low_warn": 11, "high_warn": 19, "high_alarm": 28}
    assert at_7 == {name: value / 2 for name, value in at_14.items()}
    assert look(27502, trend="hits").data["trend"]["limits"] == look(trend="hits").data["trend"]["limits"]


def test_the_trend_names_the_extremes_and_their_files(look: Any, filled: Any) -> None:
    page = look(element="P02NL", trend="rms_nf_adc", plane="V")
    of_file = {i: single(filled.plane(i, "P02NL", "V")["rms_nf_adc"]["median"]) for i in filled.indices()}
    row = next(row for row in page.section("trend").one("table").every("tr") if row.every("th")[0].text == "V")
    cells = [cell.text for cell in row.every("td")]
    lowest = min(of_file, key=lambda i: of_file[i])
    assert cells[:3] == [words.number(single(median(of_file.values()))), words.number(of_file[lowest]), f"file {lowest}"]
    assert cells[3:] == ["31.0", f"file {filled.bad}", "300"]


def test_the_trend_draws_every_file_with_its_gap(look: Any, filled: Any) -> None:
    trend = look(element="P01SU", trend="hits").data["trend"]
    order = sorted([*filled.indices(), *filled.without])
    assert (trend["files"], trend["index"]) == (302, order)
    assert trend["gaps"] == [[order.index(filled.without[0]), order.index(filled.without[-1])]]
    names = [trend["prefix"] + middle + trend["suffix"] for middle in trend["names"]]
    assert names == [filled.name(i) for i in order]
    for place, index in enumerate(order):
        value = trend["planes"]["W"][place]
        assert value is None if index in filled.without else value == pytest.approx(filled.plane(index, "P01SU", "W")["hits"], rel=1e-4)
