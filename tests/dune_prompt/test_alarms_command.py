"""`dune-prompt alarms`: what is open, who looks after it, and whether notices arrive."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from dashboard.alarms.book import Book
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.transitions import Looked
from dune_prompt.cli import program
from dune_prompt.errors import ConfigError, ConflictError
from dune_prompt.settings import load_site
from dune_prompt.store import event_table, open_store

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "*.hdf5", lifetime: 1h}
"""


class Line:
    """The command line at one site."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "site.yaml"
        self.write()

    def write(self, more: str = "") -> None:
        self.path.write_text(SITE + more)

    def __call__(self, command: str, *arguments: str) -> Result:
        return CliRunner().invoke(program, ["alarms", command, "--site", str(self.path), *arguments])

    def look(self, *subjects: str) -> None:
        site = load_site(self.path)
        findings = [Finding("parked", subject, Severity.WARNING, f"{subject}: 9 tasks are parked", "/jobs") for subject in subjects]
        with closing(open_store(site.store_url)) as store:
            Book(store, site, ()).enter(Looked(time.time(), findings))


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_the_list_shows_what_is_open(line: Line) -> None:
    assert line("list").output == ""
    for _ in range(2):
        line.look("a", "b")
    line.look("b")
    shown = line("list").output
    assert "b: 9 tasks are parked" in shown
    assert "a: 9 tasks" not in shown
    rows = json.loads(line("list", "--json").output)
    assert [(row["subject"], row["state"], row["severity"], row["owner"]) for row in rows] == [("b", "raised", "warning", "shifter")]
    both = json.loads(line("list", "--all", "--json").output)
    assert [(row["subject"], row["state"]) for row in both] == [("b", "raised"), ("a", "cleared")]
    assert len(json.loads(line("list", "--all", "--json", "--limit", "1").output)) == 1


def test_an_acknowledgement_is_kept_with_who_made_it(line: Line) -> None:
    for _ in range(2):
        line.look("a")
    result = line("acknowledge", "1", "--why", "known", "--until", "8h")
    assert result.exit_code == 0, result.output
    assert "acknowledged" in result.output
    (row,) = json.loads(line("list", "--json").output)
    assert (row["state"], row["acknowledged_why"]) == ("acknowledged", "known")
    assert row["acknowledged_until"] == pytest.approx(time.time() + 8 * 3600, abs=60)
    e = event_table.c
    with closing(open_store(load_site(line.path).store_url)) as store, store.read() as connection:
        by = connection.execute(sa.select(e.by).where(e.after == "acknowledged")).scalar_one()
    assert "@" in by


def test_what_cannot_be_acknowledged_is_said(line: Line) -> None:
    line.look("a")
    assert isinstance(line("acknowledge", "9", "--why", "x").exception, ConfigError)
    assert isinstance(line("acknowledge", "1", "--why", "x").exception, ConflictError)
    assert "--until: 'soon' is neither a duration such as 8h nor a date" in line("acknowledge", "1", "--why", "x", "--until", "soon").output
    assert line("acknowledge", "1").exit_code == 2


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web server that takes what is posted to /good and refuses all else."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            good = self.path == "/good"
            got.extend([body] if good else [])
            self.send_response(204 if good else 403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", got
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_test_notice_goes_to_every_target_and_what_happened_is_said(line: Line, hook: tuple[str, list[dict[str, Any]]]) -> None:
    address, got = hook
    targets = f"{{name: good, url: '{address}/good'}}, {{name: other, url: '{address}/geheim'}}"
    line.write(f"alarms: {{webhook: [{targets}], mail: {{server: '127.0.0.1:1', from: a@b.ch, to: [c@d.ch]}}}}")
    result = line("test")
    assert result.exit_code == 20
    good, other, mail = result.output.splitlines()[1:]
    assert good.split()[:2] == ["webhook:good", "yes"]
    assert "no" in other.split()
    assert other.endswith("it answers with HTTP 403")
    assert "Connection refused" in mail
    assert "geheim" not in result.output
    assert [body["what"] for body in got] == ["test"]
    line.write(f"alarms: {{webhook: [{{name: good, url: '{address}/good'}}]}}")
    assert line("test").exit_code == 0
    rows = json.loads(line("test", "--json").output)
    assert [(row["target"], row["delivered"]) for row in rows] == [("webhook:good", True)]


def test_without_targets_a_test_says_that_nobody_is_told(line: Line) -> None:
    result = line("test")
    assert isinstance(result.exception, ConfigError)
    assert "nobody is told of alarms" in str(result.exception)
