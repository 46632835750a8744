"""An output can be traced to input, campaign file, code and payload version, job, host and times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, commit_table
from campaign.places import job_dir
from campaign.provenance import Provenance, trace
from campaign.states import AttemptState, TaskState
from declare_daemon.journal.tables import file_table, step_table
from declare_daemon.metadata import MANDATORY_OF_DERIVED, completed
from dune_prompt.errors import ConfigError
from dune_prompt.records import FileRecord, InputFile, Output, Report, StageReport, read_json, write_json
from stages.derived import derived_name, write_sidecar
from stages.stage import Payload, StageContext
from tests.campaign.why.rows import NOW, Books, raw_name


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = Books.open(tmp_path)
    yield opened
    opened.store.close()


def ask(books: Books, what: str) -> Provenance:
    with books.store.read() as connection:
        return trace(connection, books.site, what)


def made(books: Books) -> tuple[str, str]:
    """An output of an attempt that counts; their names."""
    task = books.task(books.campaign(), TaskState.DONE)
    books.raw()
    attempt = books.attempt(task, cpu_s=12.5, rss_bytes=10**9)
    return books.output(task, attempt), attempt


def test_an_output_is_traced_from_the_ledger(books: Books) -> None:
    name, attempt = made(books)
    found = ask(books, name)
    assert found == ask(books, f"hd-protodune-det-reco:{name}")
    assert found.did == f"hd-protodune-det-reco:{name}"
    assert found.inputs == (f"hd-protodune:{raw_name(0)}",)
    assert (found.campaign, found.version, found.stage, found.payload) == ("pdhd-prompt", "v1", "nf_sp", "noop")
    assert (found.campaign_file, found.campaign_file_sha256, found.code_version) == ("pdhd-prompt.yaml", "c" * 64, "0.1.0")
    assert (found.attempt, found.number, found.counts) == (attempt, 1, True)
    assert (found.launcher, found.job, found.host) == ("local", "4711", "worker7")
    assert (found.started_at, found.ended_at, found.declared_at) == (NOW - 7148, NOW - 7110, NOW - 7108)
    assert (found.cpu_s, found.rss_bytes, found.adler32) == (12.5, 10**9, "0000000a")


def test_the_report_tells_the_times_of_the_stage_while_it_is_kept(books: Books) -> None:
    name, attempt = made(books)
    folder = job_dir(books.folder, attempt)
    folder.mkdir(parents=True)
    stage = StageReport("nf_sp", "ok", NOW - 7140, NOW - 7130, 8.5, 2 * 10**9, (Output(name, 100, "0000000a", declared=True),))
    sealed = StageReport("declare", "ok", NOW - 7130, NOW - 7129, 0.1, 10**6, stage.outputs)
    # In whatever order they are: what sealed a file did not make it.
    write_json(folder / "report.json", Report(attempt, "1", "pdhd-prompt", "v1", "node3", (sealed, stage)).to_json())
    found = ask(books, name)
    assert found.report == str(folder / "report.json")
    assert (found.started_at, found.ended_at, found.cpu_s) == (NOW - 7140, NOW - 7130, 8.5)
    (folder / "report.json").write_text("not json")
    assert ask(books, name).started_at == NOW - 7148


def test_an_output_is_traced_by_its_metadata_when_the_ledger_was_lost(books: Books) -> None:
    name, attempt = made(books)
    with books.store.write() as connection:
        connection.execute(sa.delete(commit_table))
        connection.execute(sa.delete(attempt_table))
    found = ask(books, name)
    assert (found.campaign, found.version, found.stage) == ("pdhd-prompt", "v1", "nf_sp")
    assert (found.attempt, found.host, found.code_version) == (attempt, None, "0.1.0")
    assert found.inputs == (f"hd-protodune:{raw_name(0)}",)


def test_an_output_that_is_not_declared_is_traced_by_its_name(books: Books) -> None:
    name, attempt = made(books)
    with books.store.write() as connection:
        connection.execute(sa.delete(step_table))
        connection.execute(sa.delete(file_table).where(file_table.c.name == name))
    found = ask(books, name)
    assert (found.attempt, found.stage, found.size_bytes) == (attempt, "nf_sp", 100)
    assert found.did == f"hd-protodune-det-reco:{name}"


def test_the_stage_that_made_it_is_told_and_not_the_one_that_sealed_it(books: Books) -> None:
    task = books.task(books.campaign(), TaskState.DONE)
    books.raw()
    first, second = books.attempt(task), books.attempt(task, number=2)
    sealed = [[f"{raw_name(0)[:-5]}_pdhd-prompt_v1_gauss.npz", 100, "0000000a", True]]
    with books.store.write() as connection:
        connection.execute(sa.insert(commit_table).values(input_id=task, stage="declare", attempt_id=second, outputs=sealed))
    name = books.output(task, first)
    found = ask(books, name)
    assert (found.stage, found.attempt, found.counts) == ("nf_sp", first, True)


def test_an_attempt_that_does_not_count_any_more_is_told(books: Books) -> None:
    name, _ = made(books)
    with books.store.read() as connection:
        task_id = connection.execute(sa.select(attempt_table.c.task_id)).scalar_one()
    other = books.attempt(task_id, AttemptState.SUCCEEDED, number=2)
    with books.store.write() as connection:
        connection.execute(sa.update(commit_table).values(attempt_id=other))
    found = ask(books, name)
    assert found.counts is False
    assert "another attempt counts for this stage now" in found.sentences()


def test_a_changed_campaign_file_is_told_with_both_hashes(books: Books) -> None:
    name, _ = made(books)
    with books.store.write() as connection:
        connection.exec_driver_sql("UPDATE campaign SET file_hash = 'dddd'")
    found = ask(books, name)
    assert (found.campaign_file_sha256, found.campaign_file_now) == ("c" * 64, "dddd")
    assert any("has changed since" in line for line in found.sentences())


@pytest.mark.parametrize("name", [raw_name(0), f"hd-protodune:{raw_name(0)}", "x_pdhd-prompt_v1_gauss.npz", "nothing"])
def test_what_no_job_made_has_no_provenance(books: Books, name: str) -> None:
    made(books)
    with pytest.raises(ConfigError, match="the ledger knows no output"):
        ask(books, name)


def test_the_sidecar_of_an_output_carries_its_provenance(tmp_path: Path) -> None:
    """Whoever has the file's metadata, from any catalogue, can trace it without this installation."""
    outputs: dict[str, Any] = {"namespace": "hd-protodune-det-reco", "data_tier": "decoded-raw"}
    payload = Payload("pdhd-prompt", "v1", "pdhd", "c" * 64, "0.1.0", outputs, {})
    raw = InputFile(raw_name(0), (), did=f"hd-protodune:{raw_name(0)}", metadata={"core.runs": [28086], "core.run_type": "hd-protodune"})
    context = StageContext("nf_sp", payload, "01HATTEMPT", raw, {}, tmp_path)
    name = derived_name(context, "gauss", "npz")
    (tmp_path / name).write_bytes(b"x")
    write_sidecar(context, name, what="gauss", data_tier="decoded-raw", file_format="npz")
    record = FileRecord.from_json(read_json(tmp_path / f"{name}.json"), name)
    metadata = record.metadata
    assert record.parents == (raw.did,)
    assert metadata["core.application.family"] == "dune-prompt"
    assert metadata["core.application.name"] == "nf_sp"
    assert metadata["core.application.version"] == "v1"
    assert metadata["dune.campaign"] == "pdhd-prompt"
    assert metadata["dune.config_file"] == "pdhd-prompt.yaml"
    assert metadata["dune.workflow"] == {"attempt": "01HATTEMPT", "campaign_file_sha256": "c" * 64, "code_version": "0.1.0"}
    assert set(MANDATORY_OF_DERIVED) <= metadata.keys()


def test_the_daemon_hands_the_provenance_on_to_the_catalogues() -> None:
    workflow = {"attempt": "01HATTEMPT", "campaign_file_sha256": "c" * 64, "code_version": "0.1.0"}
    metadata = {
        "core.application.family": "dune-prompt",
        "core.application.name": "nf_sp",
        "core.application.version": "v1",
        "core.data_stream": "physics",
        "core.data_tier": "decoded-raw",
        "core.end_time": 2.0,
        "core.file_format": "npz",
        "core.file_type": "detector",
        "core.run_type": "hd-protodune",
        "core.runs": [28086],
        "core.runs_subruns": [2808600001],
        "core.start_time": 1.0,
        "dune.campaign": "pdhd-prompt",
        "dune.config_file": "pdhd-prompt.yaml",
        "dune.workflow": workflow,
    }
    record = FileRecord("hd-protodune-det-reco", "x_gauss.npz", 1, "00000001", metadata, (), "hd-protodune-det-reco:set")
    kept = completed(record).metadata
    assert {key: kept[key] for key in metadata} == metadata
