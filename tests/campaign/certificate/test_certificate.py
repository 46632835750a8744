"""A run's certificate: it lists what is missing, is signed by its content alone, and can be checked later."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.certificate.certificate import CLOSED_AFTER_S, Certificate, build, canonical, certify, verify, write
from campaign.certificate.facts import RunFacts, collect
from campaign.certificate.page import page
from campaign.certificate.sequence import sequences, spelled
from campaign.ledger.tables import exclusion_table, redo_table
from campaign.states import AttemptState, TaskState
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import waiver_table
from dune_prompt.errors import ConfigError, DataError
from dune_prompt.store import event_table
from tests.campaign.why.rows import NOW, Books, raw_name

SECOND = "dataflow1_datawriter_0"


def certificate(books: Books, run: int = 28086) -> Certificate:
    with books.store.read() as connection:
        return certify(connection, books.site, run, NOW)


def fill(books: Books, files: int = 4) -> int:
    """A run of which everything went well."""
    campaign = books.campaign()
    for index in range(files):
        name = raw_name(index)
        books.raw(name)
        task = books.task(campaign, TaskState.DONE, name=name)
        books.output(task, books.attempt(task, host=f"worker{index}"), raw=name)
    return campaign


def test_a_complete_run_says_so_in_its_first_line(books: Books) -> None:
    fill(books)
    content = certificate(books).content
    assert content["headline"] == ("Run 28086 is complete: 4 files, all verified and declared; 4 processed by pdhd-prompt v1.")
    assert (content["complete"], content["state"], content["missing"], content["remarks"]) == (True, "closed", [], [])
    part = content["campaigns"][0]
    assert part["files"] == {"expected": 4, "processed": 4, "open": 0, "parked": 0, "waived": 0, "late": 0, "not_taken_in": 0}
    assert part["prompt"] == {"files": 4, "of": 4, "fraction": "1.0000"}
    assert part["closed_to_processed_ms"] == {"p50": 100_000, "p90": 100_000, "p95": 100_000, "p99": 100_000, "max": 100_000}
    assert part["made_with"] == {
        "campaign_file_sha256": ["c" * 64],
        "campaign_file_sha256_now": "c" * 64,
        "code_versions": ["0.1.0"],
        "payload": "noop",
        "payload_versions": ["v1"],
        "hosts": ["worker0", "worker1", "worker2", "worker3"],
    }
    assert part["outputs"]["catalogues"]["embedded"]["declared"] == 4
    assert content["raw"]["catalogues"]["embedded"] == {"declared": 4, "not_declared": [], "waived": []}
    assert content["raw"]["checksums"] == {"verified": 4, "not_verified": []}


def test_a_file_that_never_came_is_a_hole(books: Books) -> None:
    campaign = fill(books)
    name = raw_name(6)
    books.raw(name)
    books.task(campaign, TaskState.DONE, name=name)
    content = certificate(books).content
    assert content["raw"]["sequences"][0]["missing"] == [[4, 5]]
    assert content["headline"].startswith("Run 28086 is NOT complete: 2 sequence numbers of dataflow0_datawriter_0 are missing (4-5)")


def test_each_writer_counts_its_own_files(books: Books) -> None:
    fill(books, 2)
    books.raw(raw_name(1, writer=SECOND))
    found = {item["writer"]: item for item in certificate(books).content["raw"]["sequences"]}
    assert found["dataflow0_datawriter_0"]["missing"] == []
    assert found[SECOND]["missing"] == [[0, 0]]


def test_a_file_that_is_there_twice_is_listed(books: Books) -> None:
    fill(books)
    again = raw_name(1, created="20240718T060000")
    books.raw(again, adler32="0000000b")
    same = raw_name(4)
    books.raw(same, adler32="0000000b")
    content = certificate(books).content
    numbered, alike = content["raw"]["duplicates"]
    assert (numbered["number"], numbered["names"]) == (1, sorted([raw_name(1), again]))
    assert alike["names"] == sorted([again, same])
    assert any("the same sequence number" in line for line in content["remarks"])


def test_a_corrupt_file_is_listed_with_its_reason_though_its_run_was_never_read(books: Books) -> None:
    fill(books)
    name = raw_name(4)
    reason = "100 bytes with adler32 0000000a, its sidecar says 0000000b"
    books.raw(name, FileState.QUARANTINED, run=None, did=None, verified_at=None, declared_at=None, reason=reason)
    content = certificate(books).content
    assert content["raw"]["stopped"] == [{"file": name, "what": "quarantined", "reason": reason}]
    assert content["raw"]["checksums"] == {"verified": 4, "not_verified": [name]}
    assert f"1 file quarantined ({name})" in content["headline"]
    assert content["raw"]["sequences"][0]["missing"] == []


def test_parked_waived_and_late_files_are_named(books: Books) -> None:
    campaign = fill(books, 1)
    for index in (1, 2, 3):
        books.raw(raw_name(index))
    books.task(campaign, TaskState.PARKED, name=raw_name(1), error_class="memory", message="killed", failures=3)
    waived = books.task(campaign, TaskState.WAIVED, name=raw_name(2))
    books.insert(
        event_table, at=NOW, room="campaign", subject=f"task:{waived}", before="parked", after="waived", by="anna", message="noise"
    )
    books.task(campaign, TaskState.DONE, name=raw_name(3), done_at=NOW - 10)
    content = certificate(books).content
    part = content["campaigns"][0]
    assert part["parked"] == [{"file": raw_name(1), "step": "chain", "class": "memory", "message": "killed", "failures": 3}]
    assert part["waived"] == [{"file": raw_name(2), "by": "anna", "why": "noise"}]
    assert part["late"] == [raw_name(3)]
    assert part["prompt"] == {"files": 1, "of": 3, "fraction": "0.3333"}
    assert "pdhd-prompt v1: 1 file parked" in content["headline"]
    assert {"pdhd-prompt v1: 1 file waived", "pdhd-prompt v1: 1 file late"} <= set(content["remarks"])


def test_a_file_processed_after_the_buffer_let_it_go_is_not_prompt(books: Books) -> None:
    campaign = books.campaign()
    books.raw(left_at=NOW - 7150)
    books.task(campaign, TaskState.DONE, done_at=NOW - 7100)
    assert certificate(books).content["campaigns"][0]["prompt"]["files"] == 0


def test_an_excluded_run_names_the_person(books: Books) -> None:
    books.campaign()
    books.raw()
    books.insert(exclusion_table, run=28086, campaign="pdhd-prompt", at=NOW, by="anna", why="test pulses")
    part = certificate(books).content["campaigns"][0]
    assert part["excluded"]["by"] == "anna"
    assert part["excluded"]["why"] == "test pulses"
    assert part["missing"] == []


def test_an_open_run_is_not_complete(books: Books) -> None:
    fill(books)
    books.raw(raw_name(4), closed_at=NOW - CLOSED_AFTER_S + 1)
    content = certificate(books).content
    assert content["state"] == "open"
    assert "the run is open" in content["headline"]


def test_a_file_the_engine_has_not_taken_in_is_missed(books: Books) -> None:
    fill(books)
    books.raw(raw_name(4))
    content = certificate(books).content
    assert content["campaigns"][0]["not_taken_in"] == [raw_name(4)]
    assert "1 file without a task yet" in content["headline"]


def test_what_a_version_does_not_cover_is_not_missed_unless_it_is_done_again(books: Books) -> None:
    fill(books)
    other = books.campaign("other", "v2", required=False, inputs={"from_run": 30000})
    assert [part["campaign"] for part in certificate(books).content["campaigns"]] == ["pdhd-prompt"]
    books.insert(redo_table, campaign_id=other, run=28086, at=NOW, by="anna", retire_old=False)
    content = certificate(books).content
    assert content["campaigns"][0]["redone"]["by"] == "anna"
    assert content["campaigns"][0]["files"]["not_taken_in"] == 4
    assert content["complete"], "what is not required does not make a run incomplete"
    assert "other v2: 4 files without a task yet (not required)" in content["remarks"]


def test_a_catalogue_that_lacks_files_is_told_and_a_waiver_with_its_person(books: Books) -> None:
    fill(books)
    file_id = books.raw(raw_name(4), FileState.VERIFIED)
    books.confirm(file_id, step="replica")  # its copy is registered, its metadata are not
    books.insert(waiver_table, file_id=file_id, catalog="embedded", at=NOW, by="anna", why="read-only for a week")
    catalogue = certificate(books).content["raw"]["catalogues"]["embedded"]
    assert catalogue["not_declared"] == [raw_name(4)]
    assert catalogue["waived"] == [{"file": raw_name(4), "by": "anna", "why": "read-only for a week"}]


def test_a_staged_input_counts_once(books: Books) -> None:
    campaign = books.campaign(layout="staged")
    books.raw()
    first = books.task(campaign, TaskState.DONE, step="nf_sp")
    for step, state in (("declare", TaskState.RUNNING), ("evaluate", TaskState.BLOCKED), ("dqm_upload", TaskState.BLOCKED)):
        books.task(campaign, state, step=step, input_id=first)
    part = certificate(books).content["campaigns"][0]
    assert part["open"] == [{"file": raw_name(0), "step": "declare", "state": "running"}]
    assert part["files"]["expected"] == 1


def test_inputs_from_elsewhere_and_strange_names_are_remarked(books: Books) -> None:
    campaign = fill(books, 1)
    books.raw("np04hd_raw_oddly.hdf5")
    books.task(campaign, TaskState.DONE, name="np04hd_raw_oddly.hdf5")
    books.task(campaign, TaskState.DONE, name=raw_name(1))
    raw = certificate(books).content["raw"]
    assert raw["not_in_the_journal"] == [f"hd-protodune:{raw_name(1)}"]
    assert raw["strange_names"] == ["np04hd_raw_oddly.hdf5"]


def test_a_run_nobody_knows_has_no_certificate(books: Books) -> None:
    with pytest.raises(ConfigError, match="run 1: neither ledger nor journal"):
        certificate(books, 1)


def test_attempts_are_counted_by_how_they_ended(books: Books) -> None:
    campaign = fill(books, 1)
    books.raw(raw_name(1))
    task = books.task(campaign, TaskState.DONE, name=raw_name(1))
    books.attempt(task, AttemptState.LOST)
    books.attempt(task, AttemptState.SUCCEEDED, number=2)
    assert certificate(books).content["campaigns"][0]["attempts"] == {"succeeded": 2, "lost": 1}


# The signature.


def facts(books: Books) -> RunFacts:
    with books.store.read() as connection:
        return collect(connection, books.site, 28086)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Writes the same run in any order of its files; the hash of its certificate."""

    def written(order: list[int]) -> str:
        books = Books.open(tmp_path_factory.mktemp("order"))
        try:
            campaign = books.campaign()
            for index in order:
                name = raw_name(index)
                books.raw(name, adler32=f"{index:08x}")
                if index in (2, 5):
                    books.raw(raw_name(index + 10), FileState.QUARANTINED, reason=f"bad {index}")
                state = TaskState.PARKED if index == 3 else TaskState.DONE
                task = books.task(campaign, state, name=name, error_class="payload" if index == 3 else None)
                if index != 3:
                    books.output(task, books.attempt(task, host=f"worker{index}"), raw=name)
            return certificate(books).sha256
        finally:
            books.store.close()

    return written


def test_the_order_of_rows_does_not_change_the_signature(orders: Any) -> None:
    assert orders([0, 1, 2, 3, 5]) == orders([5, 3, 2, 1, 0]) == orders([3, 0, 5, 2, 1])


@given(st.randoms(use_true_random=False))
def test_any_order_of_facts_gives_the_same_bytes(shuffler: Any) -> None:
    from dataclasses import replace

    def shuffled(items: Any) -> list[Any]:
        return shuffler.sample(list(items), len(items))

    known = _KNOWN[0]
    campaigns = [
        replace(item, tasks=shuffled(item.tasks), attempts=shuffled(item.attempts), outputs=shuffled(item.outputs))
        for item in known.campaigns
    ]
    other = replace(known, raw=sorted(shuffled(known.raw), key=lambda file: file.name), campaigns=campaigns)
    assert canonical(build(other, NOW)) == canonical(build(known, NOW))


_KNOWN: list[RunFacts] = []


@pytest.fixture(scope="module", autouse=True)
def known_facts(tmp_path_factory: pytest.TempPathFactory) -> None:
    books = Books.open(tmp_path_factory.mktemp("facts"))
    campaign = fill(books)
    books.raw(raw_name(7))
    books.task(campaign, TaskState.PARKED, name=raw_name(7), error_class="data", message="bad")
    books.raw(raw_name(8, writer=SECOND))
    books.task(campaign, TaskState.READY, name=raw_name(8, writer=SECOND))
    _KNOWN[:] = [facts(books)]
    books.store.close()


def test_the_order_of_keys_is_not_signed() -> None:
    content = build(_KNOWN[0], NOW)
    assert canonical(dict(reversed(content.items()))) == canonical(content)


def test_the_time_of_printing_is_not_signed(books: Books) -> None:
    fill(books)
    with books.store.read() as connection:
        first, second = (certify(connection, books.site, 28086, at) for at in (NOW, NOW + 86400))
    assert first.printed_at != second.printed_at
    assert first.sha256 == second.sha256


def test_nothing_in_a_certificate_is_a_floating_point_number() -> None:
    def check(item: Any) -> None:
        assert not isinstance(item, float)
        for each in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            check(each)

    check(build(_KNOWN[0], NOW))


@given(st.data())
def test_a_changed_byte_is_noticed(data: Any) -> None:
    """Any other digit or letter in the signed part makes the check fail."""
    content = _signed(_KNOWN[0])
    text = json.dumps(content["certificate"])
    place = data.draw(st.sampled_from([i for i, char in enumerate(text) if char.isalnum()]))
    other = data.draw(st.sampled_from("0123456789abcxyz").filter(lambda char: char != text[place]))
    changed = text[:place] + other + text[place + 1 :]
    try:
        forged = json.loads(changed)
    except ValueError:
        return
    assert Certificate(forged, "").sha256 != content["sha256"]


def _signed(known: RunFacts) -> dict[str, Any]:
    return Certificate(build(known, NOW), "now").to_json()


def check(books: Books, path: Path) -> Any:
    with books.store.read() as connection:
        return verify(connection, books.site, path, NOW)


def test_a_certificate_that_was_changed_is_refused(books: Books, tmp_path: Path) -> None:
    fill(books)
    data, _ = write(certificate(books), tmp_path / "out")
    assert check(books, data).differences == ()
    data.write_text(data.read_text().replace('"processed": 4', '"processed": 5'))
    with pytest.raises(DataError, match="changed after it was signed"):
        check(books, data)


def test_what_is_no_certificate_is_refused(books: Books, tmp_path: Path) -> None:
    for text in ("[]", "{}", '{"certificate": {"run": 1}}', "nonsense"):
        path = tmp_path / "x.json"
        path.write_text(text)
        with pytest.raises(DataError):
            check(books, path)


def test_a_check_says_what_is_otherwise_now(books: Books, tmp_path: Path) -> None:
    fill(books)
    data, _ = write(certificate(books), tmp_path / "out")
    books.raw(raw_name(4))
    differences = check(books, data).differences
    assert any(line.startswith("raw.files: 4 -> 5") for line in differences)
    assert any(line.startswith("campaigns.pdhd-prompt v1.files.not_taken_in: 0 -> 1") for line in differences)
    assert not any("printed_at" in line for line in differences)


def test_a_run_that_is_not_known_any_more_is_a_difference(books: Books, tmp_path: Path) -> None:
    fill(books)
    data, _ = write(certificate(books), tmp_path / "out")
    empty = Books.open(tmp_path / "other")
    assert check(empty, data).differences == ("the run is not known here any more",)
    empty.store.close()


# The page.


def test_the_page_asks_for_nothing_else_and_escapes_everything(books: Books) -> None:
    campaign = fill(books, 1)
    books.raw(raw_name(2))
    evil = "<script>alert('x')</script>"
    books.task(campaign, TaskState.PARKED, name=raw_name(2), error_class="payload", message=evil)
    text = page(certificate(books))
    assert evil not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"(?:src|href|url)\s*[=(]", text)
    assert "<script" not in text
    assert "Run 28086 is NOT complete" in text
    assert certificate(books).sha256 in text
    assert "missing 1" in text


def test_sequences_are_spelled_as_ranges() -> None:
    found, strange = sequences([raw_name(0), raw_name(4), raw_name(5), raw_name(8), "x"])
    assert spelled(found[0].missing) == "1-3, 6-7"
    assert (found[0].holes, strange) == (5, ["x"])
