"""`campaign why` and `campaign report` on the command line: words, JSON, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from campaign.states import TaskState
from dune_prompt.cli.campaign.report import report
from dune_prompt.cli.campaign.why import why
from dune_prompt.errors import ConfigError, DataError
from tests.campaign.why.rows import Books, raw_name

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "np04hd_raw_*.hdf5", process: true, lifetime: 1h}
"""


@pytest.fixture
def site(books: Books) -> Path:
    path = books.folder / "site.yaml"
    path.write_text(SITE + f"store: sqlite:///{books.folder / 'books.sqlite'}\n")
    campaign = books.campaign()
    for index in range(2):
        books.raw(raw_name(index))
        task = books.task(campaign, TaskState.DONE if index else TaskState.PARKED, name=raw_name(index), error_class="data", message="bad")
        books.output(task, books.attempt(task), raw=raw_name(index))
    return path


def run(command: object, site: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--site", str(site), *arguments])  # type: ignore[arg-type]


def test_why_a_file_is_answered_in_words_and_as_data(site: Path) -> None:
    words = run(why, site, raw_name(0))
    assert words.exit_code == 0
    assert words.output.splitlines()[0].startswith(f"{raw_name(0)}: pdhd-prompt v1: parked")
    data = json.loads(run(why, site, "--json", raw_name(0)).output)
    assert data["campaigns"][0]["state"] == "parked"


def test_why_a_number_is_about_the_run(site: Path) -> None:
    words = run(why, site, "28086")
    assert words.output.startswith("Run 28086: 2 raw files; pdhd-prompt v1: 1 of 2 processed, 1 parked")
    assert json.loads(run(why, site, "--json", "28086").output)["campaigns"][0]["processed"] == 1


def test_why_the_unknown_is_answered_too(site: Path) -> None:
    answer = run(why, site, raw_name(9))
    assert answer.exit_code == 0
    assert "has never been seen here" in answer.output
    assert raw_name(0) in answer.output


def test_a_report_is_printed_and_written(site: Path, tmp_path: Path) -> None:
    result = run(report, site, "28086")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Run 28086 is NOT complete: pdhd-prompt v1: 1 file parked.")
    folder = site.parent / "certificates" / "28086"
    written = json.loads((folder / "certificate.json").read_text())
    assert written["sha256"] in result.output
    assert "Run 28086 is NOT complete" in (folder / "certificate.html").read_text()
    elsewhere = tmp_path / "else"
    printed = json.loads(run(report, site, "28086", "--json", "--output", str(elsewhere)).stdout)
    assert printed["sha256"] == written["sha256"] == json.loads((elsewhere / "certificate.json").read_text())["sha256"]


def test_a_dry_run_writes_nothing(site: Path) -> None:
    assert run(report, site, "28086", "--dry-run").exit_code == 0
    assert not (site.parent / "certificates").exists()


def test_a_written_report_can_be_checked(site: Path, books: Books) -> None:
    run(report, site, "28086")
    path = site.parent / "certificates" / "28086" / "certificate.json"
    result = run(report, site, "--verify", str(path))
    assert result.exit_code == 0
    assert result.output.endswith("nothing is otherwise now\n")
    books.raw(raw_name(2))
    assert "raw.files: 2 -> 3" in run(report, site, "--verify", str(path)).output
    assert json.loads(run(report, site, "--json", "--verify", str(path)).output)["differences"]
    path.write_text(path.read_text().replace("parked", "packed"))
    assert isinstance(run(report, site, "--verify", str(path)).exception, DataError)


def test_wrong_questions_are_refused(site: Path) -> None:
    assert run(report, site).exit_code == 2
    assert run(report, site, "1", "--verify", "x").exit_code == 2
    assert isinstance(run(report, site, "1").exception, ConfigError)
