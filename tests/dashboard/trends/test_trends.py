"""Trends: the points are the roll-ups of the runs, recounted from the records; limits are those in force; all state is in the address."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from html import unescape
from statistics import median
from typing import Any

import pytest

from dashboard.dqm.rollup import Roller
from dashboard.quality.limits import read_limits

RUNS = (27300, 27302, 27307)


@pytest.fixture
def contents(ledger: Any, store: Any, upload: Any, record: Any) -> dict[int, list[dict[str, Any]]]:
    """Four files of each of three runs, uploaded and rolled up; the records by run."""
    ledger.campaign()
    for run in RUNS:
        ledger.task(run, 0, state="done", done_at=time.time())
    ledger.write()
    by_run: dict[int, list[dict[str, Any]]] = {}
    for run in RUNS:
        for index in range(4):
            content = record(run, index, elements=3) | {"data_stream": "cosmics" if run != 27302 else "calibration"}
            content["start_time"] += run
            upload(content, pictures={})
            by_run.setdefault(run, []).append(content)
    Roller(store).roll_stale(time.time())
    return by_run


@pytest.fixture
def drawn(client: Any) -> Callable[[str], dict[str, Any]]:
    """What the plots of the page at an address are drawn from."""

    def read(query: str = "") -> dict[str, Any]:
        page = client.get(f"/trends{query}")
        assert page.status_code == 200
        found = re.search(r'id="trends-data">(.*?)</script>', page.text)
        assert found
        data: dict[str, Any] = json.loads(found[1])
        return data

    return read


def values(contents: list[dict[str, Any]], element: int, plane: int, key: str) -> list[float]:
    return [content["elements"][element]["planes"][plane][key] for content in contents]


def test_a_point_is_the_median_over_the_files_with_lowest_and_highest(drawn: Any, contents: Any) -> None:
    everything = drawn("?metric=hits")
    assert everything["axes"] == [{"run": list(RUNS)}]
    for plane, letter in enumerate("UVW"):
        middle, lowest, highest = drawn(f"?metric=hits&plane={letter}")["elements"]["P02NL"]["values"][letter]
        assert everything["elements"]["P02NL"]["values"][letter] == [middle]
        for place, run in enumerate(RUNS):
            of_files = values(contents[run], 1, plane, "hits")
            assert middle[place] == pytest.approx(median(of_files), rel=1e-4)
            assert (lowest[place], highest[place]) == (pytest.approx(min(of_files), rel=1e-4), pytest.approx(max(of_files), rel=1e-4))


def test_an_element_without_data_has_no_points(drawn: Any, contents: Any, client: Any) -> None:
    assert "P01NL" not in drawn()["elements"]
    assert "no data" in client.get("/trends").text.partition('id="trend-P01NL"')[2]


def test_runs_can_be_chosen_by_number_and_by_type(drawn: Any, contents: Any) -> None:
    def runs(query: str) -> list[int]:
        axes = drawn(query)["axes"]
        found: list[int] = axes[0]["run"] if axes else []
        return found

    assert runs("?from_run=27301") == [27302, 27307]
    assert runs("?from_run=27301&to_run=27305") == [27302]
    assert runs("?run_type=calibration") == [27302]
    assert runs("?from_run=&to_run=") == list(RUNS)
    assert runs("?from_run=99999") == []


def test_against_time_points_are_at_when_the_data_were_taken(drawn: Any, contents: Any) -> None:
    data = drawn("?against=time")
    assert data["against"] == "time"
    assert data["axes"][data["elements"]["P02SU"]["axis"]]["at"] == [min(one["start_time"] for one in contents[run]) for run in RUNS]


def test_the_limits_of_the_chosen_plane_are_drawn(drawn: Any, contents: Any, store: Any) -> None:
    assert drawn("?metric=rms_nf_adc")["limits"] is None
    with store.read() as connection:
        limit = read_limits(connection).limit_of("pdhd", "", "W", "rms_nf_adc")
    assert limit is not None
    assert drawn("?metric=rms_nf_adc&plane=W")["limits"] == [limit.low_alarm, limit.low_warn, limit.high_warn, limit.high_alarm]


def test_the_numbers_are_in_a_table_with_links_to_the_runs(client: Any, contents: Any) -> None:
    page = client.get("/trends?metric=hits&plane=U").text
    assert f"/runs/{RUNS[0]}/quality?campaign=pdhd-prompt" in unescape(page)
    assert page.count('<th scope="row"><a') == 3 * len(RUNS)


def test_links_keep_what_was_chosen(client: Any, contents: Any) -> None:
    page = unescape(client.get("/trends?metric=hits&plane=V&from_run=27301").text)
    link = re.search(r'href="([^"]+)"[^>]*>against time', page)
    assert link
    assert {"metric=hits", "plane=V", "from_run=27301", "against=time"} <= set(link[1].partition("?")[2].split("&"))
    again = client.get("/trends" + link[1])
    assert 'aria-current="true">against time' in again.text


@pytest.mark.parametrize("query", ["?metric=nothing", "?plane=X", "?campaign=none", "?run_type=%3Cscript%3E"])
def test_what_does_not_exist_is_left_aside(client: Any, contents: Any, query: str) -> None:
    answer = client.get(f"/trends{query}")
    assert answer.status_code == 200
    assert "<script>" not in answer.text.replace('<script type="application/json"', "").split("</head>")[1]


@pytest.mark.parametrize("query", ["?from_run=abc", "?against=moon", f"?metric={'x' * 70}&campaign={'y' * 70}"])
def test_what_cannot_be_understood_is_refused(client: Any, contents: Any, query: str) -> None:
    assert client.get(f"/trends{query}").status_code == 422


def test_an_empty_installation_says_so(client: Any) -> None:
    assert "No data-quality record has come yet" in client.get("/trends").text
