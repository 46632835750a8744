"""Data-quality records: taken in whole, once, from those who may; everything else is refused with a reason."""

from __future__ import annotations

import copy
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import commit_table
from campaign.service.tokens import Principal
from dashboard.dqm import storage
from dashboard.dqm.record import DqmRecord, read_record
from dashboard.dqm.rollup import Roller
from dashboard.dqm.storage import DqmStorage
from dashboard.dqm.tables import result_table
from dashboard.quality.flags import Flag
from dashboard.quality.judging import Judgement

OLD, NEW = "01J0QZ5W3V5T9H0F1N2M3P4Q5R", "01J0QZ9999999999999999999R"
NAME = "np04hd_raw_run027296_0000_dataflow0_datawriter_0_20240619T110330"


def unjudged(_: DqmRecord) -> Judgement:
    return Judgement(1, None, Flag.NULL, {}, [])


def rows(store: Any) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(sa.select(result_table).order_by(result_table.c.id)).all())


def folders(site: Any) -> list[str]:
    root = site.workspace / "dqm"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir() and not any(p.is_dir() for p in path.iterdir()))


def test_a_record_is_kept_with_its_pictures(upload: Any, record: Any, client: Any, site: Any, store: Any, make_png: Any) -> None:
    content = record(attempt=OLD, elements=1)
    answer = upload(content)
    assert answer.status_code == 201
    assert answer.json() == {"id": 1, "attempt": OLD, "shown": True, "pictures": 9, "pictures_missing": []}
    assert folders(site) == [f"pdhd-prompt/v1/run027296/{NAME}/{OLD}"]
    assert client.get("/api/v1/dqm/records/1").json() == content
    picture = client.get(f"/dqm/pictures/1/{content['pictures'][0]['name']}")
    assert (picture.content, picture.headers["content-type"]) == (make_png(), "image/png")
    assert "immutable" in picture.headers["cache-control"]
    summaries = client.get("/api/v1/dqm/runs/27296").json()
    assert len(summaries) == 1
    plane, sent = summaries[0]["elements"]["P02SU"]["U"], content["elements"][0]["planes"][0]
    for part, key in (("median", "rms_nf_adc"), ("p05", "rms_nf_adc_p05"), ("p95", "rms_nf_adc_p95")):
        assert plane[key] == pytest.approx(sent["rms_nf_adc"][part], rel=1e-6)
    assert (plane["n_dead"], plane["sp_gain"]) == (sent["n_dead"], None)
    assert "channels" not in plane
    assert client.get("/api/v1/dqm/runs/27296?version=v2").json() == []


def test_the_record_may_come_without_a_file_name(upload: Any, record: Any) -> None:
    assert upload(record(elements=1), pictures={}, as_file=False).status_code == 201


def test_the_same_attempt_again_changes_nothing(upload: Any, record: Any, store: Any, site: Any) -> None:
    content = record(attempt=OLD, elements=1)
    first = upload(content)
    before = rows(store)
    again = upload(content)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert rows(store) == before
    assert len(folders(site)) == 1


def test_a_partial_upload_is_visible_and_can_be_completed(upload: Any, record: Any, store: Any, make_png: Any) -> None:
    content = record(attempt=OLD, elements=1)
    names = [picture["name"] for picture in content["pictures"]]
    answer = upload(content, pictures={names[0]: make_png()})
    assert answer.json()["pictures_missing"] == names[1:]
    assert rows(store)[0].pictures_missing == names[1:]
    answer = upload(content, pictures={name: make_png() for name in names[1:]})
    assert (answer.status_code, answer.json()["pictures_missing"]) == (200, [])
    assert rows(store)[0].pictures_missing == []


def test_two_uploads_of_one_attempt_at_once_tell_in_the_end_what_is_there(
    record: Any, store: Any, site: Any, make_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes, with the other pictures, after the first has written its files and before it writes its row."""
    content = json.dumps(record(attempt=OLD, elements=1)).encode()
    parsed, keep = read_record(content), DqmStorage(store, site.workspace, unjudged)
    first, *others = (picture.name for picture in parsed.pictures)
    write = storage._write
    came: list[bool] = []

    def write_with_a_rival(path: Path, data: Any) -> None:
        write(path, data)
        if path.name == storage.RECORD and not came:
            came.append(True)
            keep.keep(parsed, content, {name: io.BytesIO(make_png()) for name in others}, 2.0)

    monkeypatch.setattr(storage, "_write", write_with_a_rival)
    assert keep.keep(parsed, content, {first: io.BytesIO(make_png())}, 1.0).pictures_missing == []
    assert rows(store)[0].pictures_missing == []


def shown(store: Any) -> list[str]:
    """The attempts whose record counts."""
    return [row.attempt for row in rows(store) if row.shown]


def test_a_newer_attempt_is_shown_and_the_older_stays_as_history(upload: Any, record: Any, store: Any, site: Any, client: Any) -> None:
    content = record(attempt=OLD, elements=1)
    upload(content)
    answer = upload({**content, "attempt": NEW})
    assert (answer.status_code, answer.json()["shown"]) == (201, True)
    assert shown(store) == [NEW]
    assert folders(site) == [f"pdhd-prompt/v1/run027296/{NAME}/{OLD}", f"pdhd-prompt/v1/run027296/{NAME}/{NEW}"]
    assert [row["attempt"] for row in client.get("/api/v1/dqm/runs/27296").json()] == [NEW]
    assert [row["attempt"] for row in client.get("/api/v1/dqm/runs/27296?history=true").json()] == [OLD, NEW]
    assert [client.get(f"/api/v1/dqm/records/{number}").json()["attempt"] for number in (1, 2)] == [OLD, NEW]


def test_an_older_attempt_that_comes_late_is_history(upload: Any, record: Any, store: Any, client: Any) -> None:
    upload(record(attempt=NEW, elements=1))
    answer = upload(record(attempt=OLD, elements=1))
    assert (answer.status_code, answer.json()["shown"]) == (201, False)
    assert shown(store) == [NEW]


def test_the_committed_attempt_is_shown_whatever_is_newer(upload: Any, record: Any, store: Any, ledger: Any) -> None:
    ledger.campaign()
    task = ledger.task(27296, 0, state="done")
    first, second = ledger.attempt(task, 1), ledger.attempt(task, 2)
    ledger.commits.append({"input_id": 1, "stage": "evaluate", "attempt_id": first["id"]})
    ledger.write()
    upload(record(attempt=second["id"], elements=1))
    assert shown(store) == [second["id"]]
    upload(record(attempt=first["id"], elements=1))
    assert shown(store) == [first["id"]]


def test_a_commit_that_comes_after_the_records_decides_too(upload: Any, record: Any, store: Any, ledger: Any) -> None:
    ledger.campaign()
    task = ledger.task(27296, 0, state="reported")
    first, second = ledger.attempt(task, 1), ledger.attempt(task, 2)
    ledger.write()
    for attempt in (first, second):
        upload(record(attempt=attempt["id"], elements=1))
    roller = Roller(store)
    roller.roll_stale(time.time())
    assert shown(store) == [second["id"]]
    with store.write() as connection:
        connection.execute(sa.insert(commit_table).values(input_id=1, stage="evaluate", attempt_id=first["id"]))
    assert roller.roll_stale(time.time()) == 1
    assert shown(store) == [first["id"]]
    assert roller.roll_stale(time.time()) == 0


def test_of_two_attempts_at_once_one_is_shown(record: Any, store: Any, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer one comes between the older one's look and its writing."""
    keep = DqmStorage(store, site.workspace, unjudged)
    older, newer = (read_record(json.dumps(record(attempt=attempt, elements=1)).encode()) for attempt in (OLD, NEW))
    write = storage._write
    came: list[bool] = []

    def write_with_a_rival(path: Path, content: Any) -> None:
        write(path, content)
        if not came:
            came.append(True)
            keep.keep(newer, b"{}", {}, 2.0)

    monkeypatch.setattr(storage, "_write", write_with_a_rival)
    assert not keep.keep(older, b"{}", {}, 1.0).shown
    assert shown(store) == [NEW]


def test_a_kill_before_the_row_is_written_leaves_the_old_record_and_the_next_try_repairs(
    upload: Any, record: Any, store: Any, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(record(attempt=OLD, elements=1))
    content = json.dumps(record(attempt=NEW, elements=1)).encode()

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> int:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("dashboard.dqm.storage._write_row", die)
        DqmStorage(store, site.workspace, unjudged).keep(read_record(content), content, {}, 1.0)
    assert shown(store) == [OLD]
    assert upload(record(attempt=NEW, elements=1)).status_code == 201
    assert shown(store) == [NEW]


def test_by_hand_the_later_made_record_is_shown(upload: Any, record: Any, store: Any) -> None:
    upload({**record(attempt="by-hand", elements=1), "made_at": 100.0})
    upload({**record(attempt=OLD, elements=1), "made_at": 200.0})
    assert shown(store) == [OLD]
    upload({**record(attempt="by-hand-again", elements=1), "made_at": 150.0})
    assert shown(store) == [OLD]


def test_stages_have_records_of_their_own(upload: Any, record: Any, store: Any) -> None:
    upload(record(attempt=OLD, elements=1))
    upload({**record(attempt=NEW, elements=1), "stage": "evaluate_again"})
    assert shown(store) == [OLD, NEW]


@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_without_a_good_token_nothing_is_taken(upload: Any, record: Any, store: Any, token: str | None) -> None:
    answer = upload(record(elements=1), token=token)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert rows(store) == []


def test_an_attempt_uploads_the_record_of_its_own_input_only(upload: Any, record: Any, ledger: Any, tokens: Any, store: Any) -> None:
    ledger.campaign()
    mine, others = ledger.attempt(ledger.task(27296, 0, state="running")), ledger.attempt(ledger.task(27296, 1, state="running"))
    ledger.write()
    tokens.known["mine"] = Principal("attempt", mine["id"])
    assert upload(record(index=0, attempt=mine["id"], elements=1), token="mine").status_code == 201
    for content in (
        record(index=1, attempt=others["id"], elements=1),
        record(index=1, attempt=mine["id"], elements=1),
        record(index=0, attempt=others["id"], elements=1),
        {**record(index=0, attempt=mine["id"], elements=1), "version": "v2"},
        {**record(index=0, attempt=mine["id"], elements=1), "campaign": "another"},
    ):
        assert upload(content, token="mine").status_code == 403
    assert len(rows(store)) == 1


def test_with_a_job_a_stage_the_upload_may_carry_the_evaluation_that_counts(upload: Any, record: Any, ledger: Any, tokens: Any) -> None:
    ledger.campaign(layout="staged")
    evaluate = ledger.attempt(ledger.task(27296, 0, step="evaluate", state="done"), state="succeeded")
    uploads = ledger.attempt(ledger.task(27296, 0, step="dqm_upload", state="running"))
    tokens.known["upload"] = Principal("attempt", uploads["id"])
    ledger.write()
    content = record(attempt=evaluate["id"], elements=1)
    assert upload(content, token="upload").status_code == 403
    ledger.commits.append({"input_id": 1, "stage": "evaluate", "attempt_id": evaluate["id"]})
    ledger.write()
    assert upload(content, token="upload").status_code == 201


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The record with one field set; `del` removes it."""
    content = copy.deepcopy(content)
    *parents, last = path.split(".")
    place: Any = content
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    if value == "del":
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return content


WRONG = [
    ("schema", 2, "schema 2: this service reads schema 1"),
    ("schema", "del", "schema is missing"),
    ("run", -1, "run"),
    ("run", "27296", "run"),
    ("campaign", "../../etc", "campaign"),
    ("version", "v1/../..", "version"),
    ("version", ".hidden", "version"),
    ("attempt", "..", "attempt"),
    ("attempt", "x" * 27, "attempt"),
    ("input_did", "hd-protodune:../../etc/passwd", "passwd"),
    ("input_did", "hd-protodune:", "letters, digits"),
    ("elements.0.element", "P02 SU", "elements.0.element"),
    ("elements.0.planes.0.plane", "X", "elements.0.planes.0.plane"),
    ("elements.0.planes.0.n_dead", -1, "n_dead"),
    ("elements.0.planes.0.hits", "many", "hits"),
    ("elements.0.planes.0.channels.rms_nf_adc", [1.0], "differ in length"),
    ("elements.0.planes.0.spectrum.after_adc", [], "differ in length"),
    ("elements.0.planes.0.hit_charge_e.edges", [0.0], "edges"),
    ("elements.0.planes.1.plane", "U", "a plane is given twice"),
    ("pictures.0.name", "../../evil.png", "pictures.0.name"),
    ("pictures.0.name", "evil.svg", "only .png"),
    ("pictures.0.name", ".png", "letters, digits"),
    ("pictures", "del", "pictures"),
    ("performance.input_bytes", None, "input_bytes"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_wrong_record_is_refused_and_told_where(
    upload: Any, record: Any, store: Any, site: Any, path: str, value: Any, message: str
) -> None:
    answer = upload(changed(record(elements=1), path, value), pictures={})
    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert rows(store) == []
    assert not (site.workspace / "dqm").exists()


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b"null", b'{"schema": 1', b"\xff\xfe", b'{"schema": NaN}'])
def test_what_is_no_record_is_refused(upload: Any, content: bytes) -> None:
    assert upload(content, pictures={}).status_code == 422


def test_numbers_that_are_none_are_refused(upload: Any, record: Any) -> None:
    text = json.dumps(changed(record(elements=1), "elements.0.planes.0.hits", float("nan"))).encode()
    assert b"NaN" in text
    assert upload(text, pictures={}).status_code == 422


def test_fields_added_later_are_kept_and_ignored(upload: Any, record: Any, client: Any) -> None:
    content = changed(record(elements=1), "elements.0.planes.0.added_later", {"x": 1})
    assert upload(content, pictures={}).status_code == 201
    assert client.get("/api/v1/dqm/records/1").json() == content


def test_pictures_are_png_files_that_the_record_lists(upload: Any, record: Any, store: Any, make_png: Any) -> None:
    content = record(elements=1)
    name = content["pictures"][0]["name"]
    for pictures, message in (
        ({"other.png": make_png()}, "not listed"),
        ({"../../evil.png": make_png()}, "letters, digits"),
        ({name: b"GIF89a"}, "not a PNG"),
        ({name: b""}, "not a PNG"),
    ):
        answer = upload(content, pictures=pictures)
        assert answer.status_code == 422
        assert message in answer.json()["detail"]
    assert rows(store) == []


def test_what_is_too_large_is_refused(upload: Any, record: Any, client: Any, monkeypatch: pytest.MonkeyPatch, make_png: Any) -> None:
    content = record(elements=1)
    name = content["pictures"][0]["name"]
    assert upload(content, pictures={name: make_png() + bytes(5_000_001)}).status_code == 413
    assert upload(b" " * 20_000_001, pictures={}).status_code == 413
    headers = {"Authorization": "Bearer operator-token-of-the-tests", "Content-Type": "multipart/form-data; boundary=x"}
    assert client.put("/api/v1/dqm/records", content=bytes(100_000_001), headers=headers).status_code == 413


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [("picture", ("a.png", b"x", "image/png"))],
        [("something", ("a", b"x", "text/plain"))],
        [("record", ("a", b"{}", "application/json")), ("record", ("b", b"{}", "application/json"))],
    ],
)
def test_other_parts_are_refused(client: Any, parts: Any) -> None:
    headers = {"Authorization": "Bearer operator-token-of-the-tests"}
    assert client.put("/api/v1/dqm/records", files=parts, headers=headers).status_code in (400, 422)


@pytest.mark.parametrize("name", ["record.json", "..%2frecord.json", "%2e%2e", "x.png", ".png", "..png"])
def test_only_pictures_of_the_record_are_served(upload: Any, record: Any, client: Any, name: str) -> None:
    upload(record(attempt=OLD, elements=1))
    assert client.get(f"/dqm/pictures/1/{name}").status_code == 404
    assert client.get("/dqm/pictures/7/x.png").status_code == 404


def test_a_full_disk_is_told_as_something_that_passes(upload: Any, record: Any, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dashboard.dqm.storage._write", full)
        answer = upload(record(elements=1))
    assert answer.status_code == 503
    assert "No space left" in answer.json()["detail"]
    assert rows(store) == []
    assert upload(record(elements=1)).status_code == 201


def test_no_draft_is_left_beside_the_files(upload: Any, record: Any, site: Any) -> None:
    upload(record(elements=1))
    upload(record(elements=1))
    names = [name for _, _, files in os.walk(site.workspace / "dqm") for name in files]
    assert len(names) == 10
    assert not any(name.startswith(".") for name in names)
