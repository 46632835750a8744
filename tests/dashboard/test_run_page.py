"""The page of a run: its files, and its data quality against the records that were uploaded."""

from __future__ import annotations

import json
import re
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.dqm.metrics import METRICS, planes_of
from dashboard.runs.choice import Choice
from dashboard.runs.quality import Judged, table, trend

NOW = 1_718_795_400.0
RUN = 27296
V1 = f"/runs/{RUN}?campaign=pdhd-prompt&version=v1"


def text_of(html: str) -> str:
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", html))


def plots_of(html: str) -> Any:
    match = re.search(r'id="plots-data">(.*?)</script>', html, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


@pytest.fixture
def judged_run(ledger: Any, upload: Any, record: Any) -> list[dict[str, Any]]:
    """Seven files, of which 0 to 4 are done and 0, 1, 3, 4 judged, two elements each; 5 runs, 6 is parked."""
    ledger.campaign()
    for i in range(7):
        ledger.task(RUN, i, state="done" if i < 5 else "running" if i == 5 else "parked", message="cut off" if i == 6 else None)
    ledger.task(27290, 0, state="done")
    ledger.task(27299, 0)
    ledger.write()
    records = [record(RUN, i) for i in (0, 1, 3, 4)]
    for content in records:
        assert upload(content, pictures={}).status_code == 201
    return records


def name_of(content: dict[str, Any]) -> str:
    return str(content["input_did"].partition(":")[2])


def test_every_file_has_a_cell_that_tells_its_state(client: Any, judged_run: Any) -> None:
    html = client.get(V1).text
    cells = re.findall(r'<a class="(cell [^"]*)"[^>]*title="([^"]*)"', html)
    assert [cell[0].split()[1] for cell in cells] == ["done"] * 5 + ["work", "parked"]
    assert [("judged" in kind) for kind, _ in cells] == [True, True, False, True, True, False, False]
    assert cells[6][1] == "file 6: parked (cut off)"
    assert "shown" in cells[4][0]


def test_runs_are_linked_to_their_neighbours(client: Any, judged_run: Any) -> None:
    html = client.get(f"/runs/{RUN}").text
    assert re.search(r'href="/runs/27290[^"]*" rel="prev"', html)
    assert re.search(r'href="/runs/27299[^"]*" rel="next"', html)


def test_the_table_has_the_file_and_the_median_of_the_run(client: Any, judged_run: Any) -> None:
    summaries = client.get(f"/api/v1/dqm/runs/{RUN}").json()
    rows = [
        Judged(s["id"], s["input_did"], s["file_index"], s["attempt"], "pdhd", 0.0, "", s["summary"], planes_of(s["summary"]))
        for s in summaries
    ]
    shown = rows[1]
    content = judged_run[1]
    found = table("pdhd", rows, shown)
    assert [(row.element, row.plane) for row in found] == [(e, p) for e in ("P02SU", "P02NL", "P01SU", "P01NL") for p in "UVW"]
    for row in found[:6]:
        planes = [
            next(p for e in other["elements"] if e["element"] == row.element for p in e["planes"] if p["plane"] == row.plane)
            for other in judged_run
        ]
        mine = planes[judged_run.index(content)]
        cells = {cell.metric.key: cell for cell in row.cells}
        assert cells["rms_nf_adc"].value == mine["rms_nf_adc"]["median"]
        assert (cells["rms_nf_adc"].low, cells["rms_nf_adc"].high) == (mine["rms_nf_adc"]["p05"], mine["rms_nf_adc"]["p95"])
        assert cells["rms_nf_adc"].of_run == median(plane["rms_nf_adc"]["median"] for plane in planes)
        assert cells["n_dead"].value == mine["n_dead"]
        assert cells["hits"].of_run == median(plane["hits"] for plane in planes)
        assert cells["charge_e"].value == mine["charge_e"]
    assert all(row.cells == [] and not row.in_file for row in found[6:])


def test_what_is_absent_is_no_data(client: Any, judged_run: Any) -> None:
    html = client.get(V1).text
    assert "4 of 7 files judged" in text_of(html)
    table_html = html.partition('<table class="list metrics">')[2].partition("</table>")[0]
    assert table_html.count("no data") == 2
    of_unjudged = client.get(V1 + "&file=np04hd_raw_run027296_0005_dataflow0_datawriter_0_20240619T110330.hdf5").text
    assert "no data of np04hd_raw_run027296_0005" in text_of(of_unjudged)
    assert plots_of(of_unjudged)["plots"] is None
    empty = client.get("/runs/27290").text
    assert "0 of 1 files judged" in text_of(empty)
    assert empty.partition('<table class="list metrics">')[2].partition("</table>")[0].count("no data") == 4


def test_the_latest_file_is_shown_and_any_other_can_be_chosen(client: Any, judged_run: Any) -> None:
    latest = plots_of(client.get(f"{V1}&element=P02NL&plane=U").text)["plots"]
    assert latest["channels"] == judged_run[3]["elements"][1]["planes"][0]["channels"]
    chosen = plots_of(client.get(f"{V1}&element=P02NL&plane=V&file={name_of(judged_run[0])}").text)["plots"]
    assert chosen["channels"] == judged_run[0]["elements"][1]["planes"][1]["channels"]
    assert chosen["spectrum"] == judged_run[0]["elements"][1]["planes"][1]["spectrum"]
    assert chosen["hit_charge_e"] == judged_run[0]["elements"][1]["planes"][1]["hit_charge_e"]


def test_a_trend_has_a_gap_where_a_file_was_not_judged(client: Any, judged_run: Any) -> None:
    found = plots_of(client.get(f"{V1}&element=P02SU&trend=hits").text)["trend"]
    of_u = [content["elements"][0]["planes"][0]["hits"] for content in judged_run]
    assert found["planes"]["U"] == [of_u[0], of_u[1], None, of_u[2], of_u[3], None, None]
    assert found["index"] == [0, 1, 2, 3, 4, 5, 6]
    assert found["shown"] == 4


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_every_metric_can_be_a_trend(client: Any, judged_run: Any, metric: Any) -> None:
    found = plots_of(client.get(f"{V1}&trend={metric.key}").text)["trend"]
    assert sum(value is not None for value in found["planes"]["W"]) == 4


def test_event_displays_are_shown_side_by_side_when_they_came(client: Any, ledger: Any, upload: Any, record: Any, make_png: Any) -> None:
    ledger.campaign()
    ledger.task(RUN, 0, state="done")
    ledger.write()
    content = record(RUN, 0, elements=1)
    of_w = [picture["name"] for picture in content["pictures"] if picture["plane"] == "W"]
    upload(content, pictures={name: make_png() for name in of_w[:2]})
    html = client.get(f"{V1}&plane=W").text
    images = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', html)
    assert [image[0].rpartition("/")[2] for image in images] == of_w[:2]
    assert all(client.get(image[0]).status_code == 200 for image in images)
    assert "was not uploaded" in html


def test_a_run_is_seen_by_the_newest_campaign_unless_another_is_chosen(client: Any, ledger: Any) -> None:
    ledger.campaign(version="v1")
    ledger.campaign(version="v2")
    ledger.task(RUN, 0, campaign=1, state="done")
    ledger.task(RUN, 0, campaign=2)
    ledger.write()
    assert "0.0" not in text_of(client.get(f"/runs/{RUN}").text).partition("Files")[0]
    assert "0 of 1 files" in text_of(client.get(f"/runs/{RUN}").text)
    assert "1 of 1 files" in text_of(client.get(f"/runs/{RUN}?version=v1").text)
    assert client.get(f"/runs/{RUN}?version=v9").status_code == 404


def test_a_staged_file_shows_the_stage_it_is_at(client: Any, ledger: Any) -> None:
    ledger.campaign(layout="staged")
    for step, state in (("nf_sp", "done"), ("declare", "parked"), ("evaluate", "blocked"), ("dqm_upload", "blocked")):
        ledger.task(RUN, 0, step=step, state=state)
    for step in ("nf_sp", "declare", "evaluate", "dqm_upload"):
        ledger.task(RUN, 1, step=step, state="done")
    ledger.write()
    cells = re.findall(r'<a class="cell (\w+)', client.get(f"/runs/{RUN}").text)
    assert cells == ["parked", "done"]


def test_a_record_whose_file_is_gone_is_no_data(client: Any, judged_run: Any, site: Any) -> None:
    for path in (site.workspace / "dqm").rglob("record.json"):
        path.unlink()
    answer = client.get(V1)
    assert answer.status_code == 200
    assert plots_of(answer.text)["plots"] is None


@given(st.builds(Choice, run=st.integers(0, 10**6), campaign=st.none() | st.text(max_size=9), file=st.none() | st.text(max_size=9)))
def test_the_address_keeps_the_whole_choice(choice: Choice) -> None:
    from urllib.parse import parse_qs, urlsplit

    parts = urlsplit(choice.link(element="P02NL"))
    query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    assert parts.path == f"/runs/{choice.run}"
    assert query == {
        key: value for key, value in {"campaign": choice.campaign, "file": choice.file, "element": "P02NL"}.items() if value is not None
    }


def test_a_trend_without_a_ledger_still_has_its_records() -> None:
    summary = {"elements": []}
    judged = [Judged(1, "hd:a.hdf5", 3, "x", "pdhd", 0.0, "", summary, {})]
    found = trend([], judged, "P02SU", METRICS[0], judged[0])
    assert (found["files"], found["index"], found["planes"]["U"], found["shown"]) == (["a.hdf5"], [3], [None], 0)
