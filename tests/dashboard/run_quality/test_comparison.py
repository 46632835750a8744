"""The shown file over the reference run and over any other: channels, spectra, hits."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

import pytest

QUANTITIES = {"rms_raw_adc": 0.01, "rms_nf_adc": 0.01, "pedestal_adc": 0.1, "charge_e": 100.0}


def decoded(packed: Any) -> list[float | None]:
    return [None if value is None else (packed["from"] + value) * packed["step"] for value in packed["steps"]]


def near(found: Sequence[float | None], expected: Sequence[float], step: float) -> bool:
    return found == pytest.approx(expected, abs=0.51 * step)


def over_files(filled: Any, run: int, element: str, plane: str, read: Any, of: Any) -> list[float]:
    columns = zip(*(read(filled.plane(i, element, plane, run)) for i in filled.indices(run)), strict=True)
    return [of(column) for column in columns]


@pytest.mark.parametrize("compare", ["reference", "other"])
def test_channels_lie_over_the_median_of_another_run(look: Any, filled: Any, compare: str) -> None:
    run = filled.reference_run if compare == "reference" else filled.other_run
    chosen = {} if compare == "reference" else {"compare": run}
    page = look(file=filled.name(filled.bad), element="P02NL", plane="V", **chosen)
    data = page.data
    assert data["comparison"] == ("reference " if compare == "reference" else "") + f"run {run}"
    [plane] = data["channels"]
    mine = filled.plane(filled.bad, "P02NL", "V")["channels"]
    assert (plane["element"], plane["plane"], plane["first"], plane["size"]) == ("P02NL", "V", mine["first"], 800)
    for name, step in QUANTITIES.items():
        assert near(decoded(plane[name]), mine[name], step), name
        expected = over_files(filled, run, "P02NL", "V", lambda p, name=name: p["channels"][name], median)
        # What is kept of a reference is rounded itself.
        assert near(decoded(plane["other"][name]), expected, 2 * step), name
    assert f"laid over {data['comparison']} ({len(filled.indices(run))} files)" in page.section("plots").text


def test_spectrum_and_hits_lie_over_those_of_another_run(look: Any, filled: Any) -> None:
    plots = look(file=filled.name(filled.last), element="P02SU", plane="W").data["plots"]
    mine = filled.plane(filled.last, "P02SU", "W")
    assert plots["spectrum"] == mine["spectrum"]
    assert plots["hits"] == mine["hit_charge_e"]
    spectrum = over_files(filled, filled.reference_run, "P02SU", "W", lambda p: p["spectrum"]["before_adc"], mean)
    assert plots["other_spectrum"]["before_adc"] == pytest.approx(spectrum, abs=1e-3)
    counts = over_files(filled, filled.reference_run, "P02SU", "W", lambda p: p["hit_charge_e"]["counts"], sum)
    assert plots["other_hits"] == counts


def test_only_what_has_the_same_bins_is_laid_over(look: Any, filled: Any, put: Any, good_record: Any) -> None:
    content = good_record(27509, 0)
    for element in content["elements"]:
        for plane in element["planes"]:
            plane["spectrum"]["frequency_mhz"] = [2 * f for f in plane["spectrum"]["frequency_mhz"]]
    put(content)
    page = look(27509)
    assert page.data["plots"]["other_spectrum"] is None
    assert page.data["plots"]["other_hits"] is not None
    assert f"reference run {filled.reference_run} has other frequencies, or no such plane" in page.section("plots").text
    assert not page.has(id="spectrum-ratio")


def test_other_channels_lie_beside_what_they_are(look: Any, filled: Any) -> None:
    # The planes of small files begin at other channels than those of the reference.
    [plane] = look(file=filled.name(5), element="P02SU", plane="V").data["channels"]
    reference = filled.plane(0, "P02SU", "V", filled.reference_run)["channels"]
    assert plane["first"] + plane["size"] <= reference["first"]
    assert set(plane["other"]["rms_nf_adc"]["steps"]) == {None}


def test_channels_that_both_have_lie_upon_each_other(look: Any, filled: Any, put: Any, good_record: Any) -> None:
    content = good_record(27510, 0)
    for element in content["elements"]:
        for plane in element["planes"]:
            plane["channels"]["first"] += 790 - 40 * "UVW".index(plane["plane"])
    put(content)
    [plane] = look(27510, element="P02SU", plane="U").data["channels"]
    reference = over_files(filled, filled.reference_run, "P02SU", "U", lambda p: p["channels"]["rms_nf_adc"], median)
    assert (plane["first"], plane["size"]) == (790, 40)
    other = decoded(plane["other"]["rms_nf_adc"])
    assert near(other[:10], reference[790:], 0.02)
    assert other[10:] == [None] * 30


def test_an_element_and_the_whole_detector_are_drawn_in_the_order_of_channels(look: Any, filled: Any) -> None:
    of_element = look(view="element", element="P02NL").data["channels"]
    assert [(plane["element"], plane["plane"]) for plane in of_element] == [("P02NL", plane) for plane in "UVW"]
    every = look(view="all").data["channels"]
    assert len(every) == 9
    assert [plane["first"] for plane in every] == sorted(plane["first"] for plane in every)
    for plane in every:
        mine = filled.plane(filled.last, plane["element"], plane["plane"])["channels"]["rms_nf_adc"]
        assert near(decoded(plane["rms_nf_adc"]), mine, 0.1)


def test_without_javascript_spectrum_and_hits_are_tables(look: Any, filled: Any) -> None:
    page = look(element="P01SU", plane="U")
    mine = filled.plane(filled.last, "P01SU", "U")
    rows = [[cell.text for cell in row.every("td")] for row in page.one("table", id="hits-table").one("tbody").every("tr")]
    assert [int(row[2].replace(" ", "").replace("\u202f", "")) for row in rows] == mine["hit_charge_e"]["counts"]
    spectrum = page.one("table", id="spectrum-table").one("tbody").every("tr")
    assert len(spectrum) == len(mine["spectrum"]["frequency_mhz"])


def test_nothing_can_be_laid_over_and_a_run_without_data_is_said(look: Any, filled: Any) -> None:
    page = look(compare="none")
    assert page.data["channels"][0]["other"] is None
    assert page.data["plots"]["other_spectrum"] is None
    assert page.data["plots"]["other_hits"] is None
    assert not page.section("planes").has(cls="of-reference")
    page = look(compare="99")
    assert "pdhd-prompt v1 has no data quality of run 99" in page.section("plots").text
    page = look(compare="<b>x")
    assert "'<b>x' is no run number" in page.section("plots").text


def test_a_run_type_without_a_reference_says_so(look: Any, filled: Any, put: Any, good_record: Any) -> None:
    content = good_record(27501, 0)
    content["data_stream"] = "calibration"
    put(content)
    page = look(27501)
    assert "no reference run is set for pdhd calibration" in page.section("plots").text
    assert page.data["comparison"] == ""
