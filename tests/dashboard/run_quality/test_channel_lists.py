"""The channels that are not well: as text on the page, and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.dqm.tables import result_table

LOW = {"U": 20.0, "V": 20.0, "W": 15.0}


@pytest.fixture
def record_id(store: Any, filled: Any) -> int:
    with store.read() as connection:
        statement = sa.select(result_table.c.id).where(result_table.c.input_did.endswith(filled.name(filled.bad)))
        return int(connection.execute(statement).scalar_one())


@pytest.fixture
def listed(client: Any, record_id: int) -> Any:
    def of(**chosen: Any) -> list[dict[str, str]]:
        answer = client.get(f"/api/v1/dqm/records/{record_id}/channels.csv", params=chosen)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"].startswith('attachment; filename="channels_run27304_record')
        return list(csv.DictReader(io.StringIO(answer.text)))

    return of


def expected(plane: Any, kind: str) -> list[int]:
    channels = enumerate(plane["channels"]["rms_raw_adc"], plane["channels"]["first"])
    fits = {
        "missing": lambda rms: rms is None,
        "dead": lambda rms: rms is not None and rms < 10,
        "noisy": lambda rms: rms is not None and rms > 50,
        "low": lambda rms: rms is not None and 10 <= rms < LOW[plane["plane"]],
        "high": lambda rms: rms is not None and rms > 100,
    }[kind]
    return [channel for channel, rms in channels if fits(rms)]


@pytest.mark.parametrize("kind", ["missing", "dead", "noisy", "low", "high"])
def test_a_list_has_the_channels_of_its_kind(listed: Any, filled: Any, kind: str) -> None:
    plane = filled.plane(filled.bad, "P02NL", "V")
    rows = listed(kind=kind, element="P02NL", plane="V")
    assert [int(row["channel"]) for row in rows] == expected(plane, kind)
    for row in rows:
        place = int(row["channel"]) - plane["channels"]["first"]
        assert float(row["rms_raw_adc"]) == plane["channels"]["rms_raw_adc"][place]
        assert float(row["charge_e"]) == plane["channels"]["charge_e"][place]


def test_without_a_kind_all_that_are_not_well_are_listed(listed: Any, filled: Any) -> None:
    rows = listed()
    planes = [(e["element"], p) for e in filled.of(filled.bad)["elements"] for p in e["planes"]]
    wanted = {
        (element, plane["plane"], channel)
        for element, plane in planes
        for kind in ("missing", "dead", "noisy", "low", "high")
        for channel in expected(plane, kind)
    }
    assert {(row["element"], row["plane"], int(row["channel"])) for row in rows} == wanted
    assert len(rows) == len(wanted)


def test_every_channel_can_be_had(listed: Any) -> None:
    rows = listed(kind="all")
    assert len(rows) == 9 * 800
    assert {row["kinds"] for row in rows} == {"", "dead", "noisy"}


def test_the_page_lists_them_as_text_with_neighbours_joined(look: Any, filled: Any) -> None:
    table = look(file=filled.name(filled.bad), element="P02NL", plane="V").section("plots").one("table", cls="channel-lists")
    rows = {row.one("th").text: [cell.text for cell in row.every("td")] for row in table.one("tbody").every("tr")}
    first = filled.plane(filled.bad, "P02NL", "V")["channels"]["first"]
    joined = [f"{first + begin + 1}–{first + begin + 9}" for begin in (120, 130, 140, 150)]
    assert rows["noisy"][:3] == ["36", ", ".join(joined), "RMS raw above 50 ADC"]
    assert rows["missing"][:2] == ["0", "–"]
    dead = expected(filled.plane(filled.bad, "P02NL", "V"), "dead")
    assert rows["dead"][0] == str(len(dead))
    assert all(str(channel) in rows["dead"][1] for channel in dead)


def test_limits_go_with_the_gain_and_missing_channels_have_no_number(client: Any, look: Any, put: Any, good_record: Any) -> None:
    content = good_record(27506, 0)
    content["gain_mv_per_fc"] = 7.0
    values = content["elements"][0]["planes"][0]["channels"]
    for name in ("pedestal_adc", "rms_raw_adc", "rms_nf_adc", "charge_e"):
        values[name][3] = None
    put(content)
    page = look(27506, element="P02SU", plane="U")
    rules = page.section("plots").one("table", cls="channel-lists").text
    assert "RMS raw below 5 ADC" in rules
    assert "RMS raw above 25 ADC" in rules
    plane = page.data["channels"][0]
    assert plane["rms_raw_adc"]["steps"][3] is None
    link = next(link.attributes["href"] for link in page.section("plots").every("a") if "kind=missing" in link.attributes["href"])
    [row] = csv.DictReader(io.StringIO(client.get(link).text))
    assert (row["channel"], row["kinds"], row["rms_raw_adc"]) == ("3", "missing", "")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/dqm/records/999999/channels.csv", 404),
        ("/api/v1/dqm/records/0/channels.csv", 422),
        ("/api/v1/dqm/records/1/channels.csv?kind=tired", 422),
        ("/api/v1/dqm/records/1/channels.csv?plane=X", 422),
    ],
)
def test_what_is_not_there_is_refused(client: Any, path: str, code: int) -> None:
    assert client.get(path).status_code == code


def test_a_hostile_element_name_cannot_enter_the_header(client: Any) -> None:
    answer = client.get("/api/v1/dqm/records/1/channels.csv", params={"element": 'x"\r\nSet-Cookie: a=b'})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.text.splitlines() == ["element,plane,channel,kinds,rms_raw_adc,rms_nf_adc,pedestal_adc,charge_e"]
