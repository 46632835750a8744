"""What is absent, late, incomplete or hostile is said, and is never green."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient

from campaign.ledger.tables import campaign_table, count_table
from dashboard.app import create_app
from dashboard.dqm.storage import RECORD
from dashboard.dqm.tables import result_table, run_table
from dashboard.quality.limits import PACKAGED, load_limits, set_limits

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def test_a_run_that_only_the_ledger_knows(look: Any, ledger: Any) -> None:
    ledger.campaign()
    for i in range(5):
        ledger.task(28000, i)
    ledger.write()
    page = look(28000)
    assert "No data-quality record of run 28000 has come; 5 files are known, judged 0 of 5" in page.one(id="no-record").text
    assert "No file has a record" in page.section("shown-file").text
    assert {cell.text for cell in page.section("planes").every("td", cls="missing")} == {"no data in this run"}
    assert not page.one("main").has("svg", cls="strip")
    for section in ("standouts", "shown-file", "planes", "plots", "trend", "displays"):
        assert not page.section(section).has(cls="good"), section


def test_a_record_without_elements(look: Any, put: Any, good_record: Any) -> None:
    content = good_record(27503, 0)
    content |= {"payload": "noop", "records": None, "elements": [], "pictures": []}
    put(content)
    page = look(27503)
    assert "The record holds no element of the detector (payload noop)" in page.section("shown-file").text
    assert len(page.section("planes").every("td", cls="missing")) == 4
    assert "no data" in page.section("trend").text
    assert page.data["channels"] == []
    assert "– of – could be used" in page.section("standouts").text


def test_a_file_that_has_no_record_yet(look: Any, filled: Any) -> None:
    page = look(file=filled.name(filled.without[0]))
    assert f"There is no data-quality record of {filled.name(filled.without[0])}" in page.one(id="file-without").text
    assert page.data["channels"] == []


def test_a_record_whose_file_is_gone_still_has_its_scalars(look: Any, filled: Any, site: Any, store: Any) -> None:
    with store.read() as connection:
        folder = connection.execute(
            sa.select(result_table.c.folder).where(result_table.c.input_did.endswith(filled.name(filled.bad)))
        ).scalar_one()
    (site.workspace / folder / RECORD).unlink()
    page = look(file=filled.name(filled.bad), element="P02NL", plane="V")
    assert "is gone from the workspace" in page.section("shown-file").text
    assert "31.0" in page.section("planes").text
    assert "There is no record to draw" in page.section("plots").text
    assert "No record of the file can be read" in page.section("standouts").text
    (site.workspace / folder / RECORD).write_text("{ half a rec")
    assert "is gone from the workspace" in look(file=filled.name(filled.bad)).section("shown-file").text


def test_a_stale_roll_up_says_so_and_a_new_file_can_be_opened_at_once(look: Any, filled: Any, put: Any, good_record: Any) -> None:
    look()
    put(good_record(filled.run, 500), at=1_718_799_000.0, roll=False)
    page = look()
    assert "records came since then" in page.section("standouts").text
    assert page.one(id="coverage").text == "300 of 302 files judged"
    assert page.section("shown-file").one("h2").text == f"File {filled.last}"
    assert look(file=filled.name(500)).section("shown-file").one("h2").text == "File 500"


def test_a_run_before_its_first_roll_up(look: Any, put: Any, good_record: Any) -> None:
    put(good_record(27504, 0), roll=False)
    page = look(27504)
    assert "the records are being counted" in page.section("standouts").text
    assert page.section("shown-file").one("h2").text == "File 0"


def test_the_history_of_a_file_is_shown_and_can_be_looked_at(look: Any, filled: Any, put: Any, store: Any) -> None:
    again = copy.deepcopy(filled.of(filled.bad))
    again["attempt"] = "01J00000000000000000009999"
    for element in again["elements"]:
        for plane in element["planes"]:
            plane["hits"] = 777.0
    put(again)
    name = filled.name(filled.bad)
    page = look(file=name)
    items = [item.text for item in page.section("shown-file").one(cls="history").every("li")]
    assert len(items) == 2
    assert items[0].startswith(again["attempt"])
    assert "counts" in items[0]
    assert "history" in items[1]
    assert "777" in page.section("planes").text
    older = filled.of(filled.bad)["attempt"]
    page = look(file=name, attempt=older)
    assert "This record is history: it does not count for the run" in page.section("shown-file").text
    assert "777" not in page.section("planes").one("table").text.replace("of-run", "").split("P02NL")[0].split("P02SU")[1][:200]
    assert f"attempt={older}" in page.section("shown-file").one(cls="history").every("a")[1].attributes["href"]
    assert look(file=name, attempt="nonsense").section("shown-file").one("h2").text == f"File {filled.bad}"


def test_a_file_judged_by_older_limits_says_so(look: Any, filled: Any, store: Any) -> None:
    content = load_limits(PACKAGED)
    checks = tuple(check for check in content.checks if check.key != "rms_nf_adc")
    with store.write() as connection:
        set_limits(connection, content.model_copy(update={"checks": checks}), after_version=1, by="expert", why="try", now=1.0)
    page = look(file=filled.name(filled.bad))
    assert "limits version 1 (2 is in force now)" in page.section("shown-file").text
    # It was judged good by the version that was in force.
    titles = [cell.attributes.get("title") for cell in page.section("planes").every("td")]
    assert "inside every limit" in titles
    assert page.data["trend"]["limits"] == {}


def test_a_campaign_without_records_does_not_hide_one_that_has_some(look: Any, filled: Any, store: Any) -> None:
    with store.write() as connection:
        row = dict(connection.execute(sa.select(campaign_table)).mappings().one())
        connection.execute(sa.insert(campaign_table).values(row | {"id": 2, "version": "v2", "first_seen": row["first_seen"] + 1}))
        count = {"campaign_id": 2, "run": filled.run, "step": "chain", "state": "ready", "late": False, "tasks": 302}
        connection.execute(sa.insert(count_table).values(count))
    assert look().data["choice"]["version"] == "v1"
    page = look(version="v2")
    assert "No data-quality record" in page.one(id="no-record").text
    assert "v1" in page.section("run-head").one("nav", **{"aria-label": "Campaign"}).text


def test_script_in_names_stays_text(client: Any, look: Any, put: Any, good_record: Any, filled: Any) -> None:
    content = good_record(27505, 0)
    content["notes"] = [EVIL]
    content["records"] |= {"n_problems": 1, "problems": [{"record": 1, "sequence": 0, "element": None, "problem": EVIL}]}
    content["data_stream"] = EVIL[:64]
    put(content)
    for query in ({}, {"file": EVIL}, {"element": EVIL}, {"compare": EVIL}, {"campaign": EVIL}):
        text = client.get("/runs/27505/quality", params=query).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    page = look(27505)
    assert EVIL in page.section("shown-file").text
    assert page.data["choice"]["element"] == "P02SU"
    assert look(27505, element=EVIL).data["choice"]["element"] == EVIL


def test_what_people_say_is_shown_with_its_history(client: Any, look: Any, filled: Any) -> None:
    page = look()
    assert "Nobody has said anything" in page.one(id="run-flags").text
    form = page.one("form", id="flag-form")
    fields = {field.attributes["name"] for tag in ("select", "input") for field in form.every(tag)}
    for flag, comment in (("bad", "V noisy in P02NL"), ("medium", "one file only")):
        assert fields == {"flag", "comment"}
        answer = client.post(
            form.attributes["data-act"],
            json={"flag": flag, "comment": comment},
            headers={"Authorization": "Bearer operator-token-of-the-tests"},
        )
        assert answer.status_code == 200
    page = look()
    rows = [[cell.text for cell in row.every("td")][:3] for row in page.one(id="run-flags").one("tbody").every("tr")]
    assert rows == [["medium", "one file only", "operator"], ["bad", "V noisy in P02NL", "operator"]]
    assert "medium" in page.section("run-head").text


def test_a_read_only_page_has_no_form(site: Any, store: Any, filled: Any) -> None:
    only_shows = site.model_copy(update={"service": site.service.model_copy(update={"read_only": True})})
    app = create_app(only_shows, store, None, authenticate=lambda _: None, slots=lambda: SimpleNamespace(wanted=1, reason=""))
    text = TestClient(app).get(f"/runs/{filled.run}/quality").text
    assert "Nobody has said anything" in text
    assert "data-act" not in text
    assert "<dialog" not in text


def test_a_run_table_row_without_files_is_no_error(look: Any, filled: Any, store: Any) -> None:
    with store.write() as connection:
        connection.execute(sa.update(result_table).where(result_table.c.run == filled.other_run).values(shown=False))
        connection.execute(
            sa.update(run_table).where(run_table.c.run == filled.other_run).values(files=0, n_good=0, tiles={}, rolled_at=2e9)
        )
    page = look(filled.other_run)
    assert page.one(id="coverage").text == "0 of 0 files judged"
    assert "No file has a record" in page.section("shown-file").text
