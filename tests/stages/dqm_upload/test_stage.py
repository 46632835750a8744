"""Uploading the data-quality record."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from dune_prompt.errors import ConfigError, DataError, DunePromptError, TransientError
from dune_prompt.records import InputFile, Report
from stages.dqm_upload.own import PATIENCE_S, Dashboard
from stages.dqm_upload.upload import Upload, read_upload

Walk = Callable[..., tuple[Report, int]]
URL = "http://dashboard.example/api/v1/dqm/records"


def record(*pictures: str) -> bytes:
    content = {
        "campaign": "c",
        "version": "v1",
        "run": 27296,
        "input_did": "hd-protodune:raw_0000.hdf5",
        "attempt": "01J",
        "pictures": [{"name": name} for name in pictures],
    }
    return json.dumps(content).encode()


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    files = [tmp_path / "x_metrics.json", tmp_path / "a.png", tmp_path / "b.png"]
    files[0].write_bytes(record("a.png", "b.png"))
    for path in files[1:]:
        path.write_bytes(b"\x89PNG " + path.name.encode())
    return read_upload(files[0], tuple(files))


@pytest.fixture
def evaluated(upload: Upload, tmp_path: Path) -> tuple[InputFile, ...]:
    names = ("x_metrics.json", *upload.pictures)
    return tuple(InputFile(name, (str(tmp_path / name),), stage="evaluate") for name in names)


@dataclass
class Service:
    """A dashboard as small as can be: keeps what it is sent, refuses other tokens."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    received: dict[str, dict[str, bytes]] = field(default_factory=dict)


@pytest.fixture
def service() -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = state.answers.pop(0) if state.answers else self._store(body)
            self.send_response(status)
            self.end_headers()

        def _store(self, body: bytes) -> int:
            if self.headers["Authorization"] != "Bearer right" or self.path != "/api/v1/dqm/records":
                return 401
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
            parts = [(part.get_param("name", header="content-disposition"), part) for part in message.iter_parts()]  # type: ignore[attr-defined]
            assert [(name, part.get_content_type()) for name, part in parts] == [("record", "application/json")] + [
                ("picture", "image/png")
            ] * (len(parts) - 1)
            known = parts[0][1].get_content() in [stored["record.json"] for stored in state.received.values()]
            state.received["record"] = {str(part.get_filename()): part.get_payload(decode=True) for _, part in parts}
            return 200 if known else 201

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


OWN = {"dqm_upload": {"targets": [{"kind": "own"}]}}


def test_record_and_pictures_arrive_whole(walk: Walk, evaluated: Any, upload: Upload, service: Service) -> None:
    report, exit_code = walk("dqm_upload", settings=OWN, earlier=evaluated, service_url=service.url, token="right")
    assert exit_code == 0, report
    assert report.stages[0].metrics["targets"] == {"own": "stored"}
    received = service.received["record"]
    assert received["record.json"] == upload.record
    assert {name: received[name] for name in ("a.png", "b.png")} == {name: path.read_bytes() for name, path in upload.pictures.items()}


def test_a_repeated_upload_is_acknowledged_again(walk: Walk, evaluated: Any, service: Service) -> None:
    for _ in range(2):
        _, exit_code = walk("dqm_upload", settings=OWN, earlier=evaluated, service_url=service.url, token="right")
        assert exit_code == 0
    assert len(service.received) == 1


def test_a_short_outage_is_waited_out(upload: Upload, service: Service) -> None:
    service.answers = [503, 502]
    waited: list[float] = []
    assert Dashboard(service.url, "right", sleep=waited.append, jitter=lambda: 0.5).store(upload) == "stored"
    assert waited == [0.5, 1.0]


def test_a_wrong_token_is_a_wrong_setting_and_is_not_shown(
    walk: Walk, evaluated: Any, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    report, exit_code = walk("dqm_upload", settings=OWN, earlier=evaluated, service_url=service.url, token="s3cret")
    assert exit_code == 30
    assert "401" in str(report.stages[0].message)
    assert "s3cret" not in str(report) + "".join(capsys.readouterr())
    assert "s3cret" not in repr(Dashboard(service.url, "s3cret"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, DataError),
        (409, DataError),
        (413, DataError),
        (422, DataError),
        (401, ConfigError),
        (403, ConfigError),
        (404, ConfigError),
        (302, ConfigError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
@responses.activate
def test_the_answer_decides_what_happens(upload: Upload, status: int, error: type[DunePromptError]) -> None:
    responses.put(URL, status=status, body="because of this", headers={"Location": "http://elsewhere.example/"})
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(error, match=f"{status}.*because of this"):
        Dashboard("http://dashboard.example/", "right", sleep=sleep, clock=lambda: now[0], jitter=lambda: 0.5).store(upload)
    assert len(responses.calls) == (1 if error is not TransientError else 6)
    assert now[0] <= PATIENCE_S


@responses.activate
def test_no_answer_is_transient(upload: Upload) -> None:
    responses.put(URL, body=requests.ConnectionError("refused"))
    with pytest.raises(TransientError, match="ConnectionError"):
        Dashboard("http://dashboard.example", "right", sleep=lambda _: None, clock=iter(range(0, 1000, 15)).__next__).store(upload)


def test_an_address_that_is_none_is_a_wrong_setting(upload: Upload) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        Dashboard("dashboard", "right").store(upload)


def directory(tmp_path: Path) -> dict[str, Any]:
    return {"dqm_upload": {"targets": [{"kind": "directory", "path": str(tmp_path / "dqm")}]}}


def test_a_directory_gets_everything_once(walk: Walk, evaluated: Any, upload: Upload, tmp_path: Path) -> None:
    folder = tmp_path / "dqm" / "c" / "v1" / "027296" / "raw_0000"
    report, exit_code = walk("dqm_upload", settings=directory(tmp_path), earlier=evaluated)
    assert exit_code == 0
    assert report.stages[0].metrics["targets"] == {f"directory {tmp_path / 'dqm'}": "stored"}
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png", "record.json"]
    assert (folder / "record.json").read_bytes() == upload.record
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    (folder / "b.png").write_bytes(b"changed")
    report, _ = walk("dqm_upload", settings=directory(tmp_path), earlier=evaluated)
    assert report.stages[0].metrics["targets"] == {f"directory {tmp_path / 'dqm'}": "stored"}
    report, _ = walk("dqm_upload", settings=directory(tmp_path), earlier=evaluated)
    assert report.stages[0].metrics["targets"] == {f"directory {tmp_path / 'dqm'}": "there already"}
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"b.png"}
    assert (folder / "b.png").read_bytes() == upload.pictures["b.png"].read_bytes()


def test_the_record_comes_last(upload: Upload, tmp_path: Path) -> None:
    from stages.dqm_upload import directory as target

    blocked = tmp_path / "dqm" / "c" / "v1" / "027296" / "raw_0000" / "b.png"
    blocked.mkdir(parents=True)
    with pytest.raises(TransientError, match=r"b\.png"):
        target.store(tmp_path / "dqm", upload)
    assert sorted(path.name for path in blocked.parent.iterdir()) == ["a.png", "b.png"]


def test_a_target_that_fails_does_not_keep_the_others_from_theirs(walk: Walk, evaluated: Any, service: Service, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("a file where a folder should be")
    targets = [{"kind": "directory", "path": str(tmp_path / "full")}, {"kind": "own"}, *directory(tmp_path)["dqm_upload"]["targets"]]
    report, exit_code = walk(
        "dqm_upload", settings={"dqm_upload": {"targets": targets}}, earlier=evaluated, service_url=service.url, token="right"
    )
    assert exit_code == 20
    message = str(report.stages[0].message)
    assert f"directory {tmp_path / 'full'}: failed" in message
    assert "own: stored" in message
    assert f"directory {tmp_path / 'dqm'}: stored" in message
    assert "record" in service.received


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"kind": "ftp"}, "this version has own and directory"),
        ({}, "this version has own and directory"),
        ({"kind": "directory"}, "an absolute path is needed"),
        ({"kind": "directory", "path": "here"}, "an absolute path is needed"),
        ({"kind": "own"}, "needs the engine's service"),
    ],
)
def test_a_wrong_target_is_named(walk: Walk, evaluated: Any, target: dict[str, Any], message: str) -> None:
    report, exit_code = walk("dqm_upload", settings={"dqm_upload": {"targets": [target]}}, earlier=evaluated)
    assert exit_code == 30
    assert "targets[0]" in str(report.stages[0].message)
    assert message in str(report.stages[0].message)


@pytest.mark.parametrize("settings", [{}, {"dqm_upload": {"targets": []}}])
def test_without_a_target_the_setting_is_wrong(walk: Walk, evaluated: Any, settings: dict[str, Any]) -> None:
    report, exit_code = walk("dqm_upload", settings=settings, earlier=evaluated)
    assert exit_code == 30
    assert "targets is empty" in str(report.stages[0].message)


def test_a_record_whose_picture_is_gone_is_bad_data(walk: Walk, evaluated: Any, tmp_path: Path) -> None:
    report, exit_code = walk("dqm_upload", settings=directory(tmp_path), earlier=evaluated[:2])
    assert exit_code == 10
    assert "b.png (of 1 missing)" in str(report.stages[0].message)


@pytest.mark.parametrize("content", [b"no", b"[]", b"{}", record("../a.png"), record().replace(b'"c"', b'"../c"')])
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x_metrics.json").write_bytes(content)
    with pytest.raises(DataError):
        read_upload(tmp_path / "x_metrics.json", ())
