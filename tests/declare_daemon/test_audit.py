"""The audit finds every way in which disk, journal and catalogues can differ, and repair adds what is missing, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from declare_daemon.audit import Finding, Report, What, audit, audit_by_dataset, repair
from declare_daemon.audit.disk import FOUND_AFTER_S
from declare_daemon.catalogs import Catalogs, OpenCatalog, Replica, open_catalogs
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.journal.tables import file_table, step_table
from declare_daemon.registration import pauses
from dune_prompt.errors import ConfigError, DataError, TransientError
from dune_prompt.records import FileRecord
from dune_prompt.store import Store, event_table
from tests.servers.catalogues import Catalogues
from tests.servers.rucio import RucioServer

RAW_DATASET = "hd-protodune:hd-protodune_28049"
OUT_DATASET = "hd-protodune-det-reco:pdhd-prompt_v1_gauss_028049"


def with_two_catalogs(world: Any, kinds: tuple[str, str] = ("embedded", "second")) -> Any:
    """A second catalogue that keeps metadata only."""
    world.second = EmbeddedCatalog.at(world.root / "second.sqlite")
    faulty = type(world.catalog)(world.second, world.faults, "second")
    world.second_faulty = faulty
    first = OpenCatalog(kinds[0], world.catalog, world.catalog, gives_fid=kinds[0] == "sam")
    world.catalogs = Catalogs((first, OpenCatalog(kinds[1], faulty, None)))
    return world


@pytest.fixture
def world(world: Any) -> Iterator[Any]:
    yield with_two_catalogs(world)
    world.second.close()


def did(name: str) -> str:
    return f"hd-protodune:{name}"


def look(world: Any, run: int | None = None, *, with_files: bool = False) -> Report:
    return audit(world.site, world.store, world.catalogs, run=run, now=world.now, with_files=with_files)


def found(report: Report) -> set[tuple[str, str, What]]:
    return {(finding.subject, finding.where, finding.what) for finding in report.findings}


def the_finding(report: Report, what: What, where: str | None = None) -> Finding:
    (finding,) = [item for item in report.findings if item.what is what and where in (None, item.where)]
    return finding


def put_right(world: Any, report: Report) -> None:
    """Repair, and let the daemon do what it was told."""
    repair(report, world.store, by="ana", now=world.now)
    world.settle_for(200, tick=10)


def change(catalog: EmbeddedCatalog, *statements: str, **values: Any) -> None:
    """Somebody has been at a catalogue's database."""
    with catalog._database.write() as connection:
        for statement in statements:
            connection.execute(sa.text(statement), {key: value for key, value in values.items() if f":{key}" in statement})


def forget_file(catalog: EmbeddedCatalog, subject: str) -> None:
    of_file = "(SELECT id FROM file WHERE did = :did)"
    change(
        catalog,
        f"DELETE FROM replica WHERE file_id = {of_file}",
        f"DELETE FROM member WHERE file_id = {of_file}",
        f"DELETE FROM parent WHERE child_id = {of_file} OR parent_id = {of_file}",
        "DELETE FROM file WHERE did = :did",
        did=subject,
    )


def content(catalog: EmbeddedCatalog) -> set[tuple[Any, ...]]:
    """Everything a catalogue has, without its own numbers."""
    queries = (
        "SELECT 'file', did, size_bytes, adler32, retired, campaign, version, stage, metadata FROM file",
        "SELECT 'member', d.did, f.did FROM member m JOIN dataset d ON d.id = m.dataset_id JOIN file f ON f.id = m.file_id",
        "SELECT 'parent', p.did, c.did FROM parent l JOIN file p ON p.id = l.parent_id JOIN file c ON c.id = l.child_id",
        "SELECT 'replica', f.did, r.rse, r.path FROM replica r JOIN file f ON f.id = r.file_id",
    )
    with catalog._database.read() as connection:
        return {tuple(row) for query in queries for row in connection.execute(sa.text(query))}


@contextmanager
def answering(world: Any, catalog: EmbeddedCatalog, method: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """A catalogue whose answers are changed."""
    with pytest.MonkeyPatch.context() as patch:
        original = getattr(catalog, method)
        patch.setattr(catalog, method, lambda *args, **keywords: change(original(*args, **keywords)))
        yield


def grow_old(world: Any, *paths: Path) -> None:
    """The files are so old that the daemon must have seen them."""
    at = world.now - 2 * FOUND_AFTER_S
    for path in paths:
        os.utime(path, (at, at))


# -- all agree ---------------------------------------------------------------------------------------------------------


def test_where_all_agree_there_is_nothing_to_find(world: Any) -> None:
    raw, record = world.put(), world.hand_over()
    tp = world.put(kind="tp")
    world.settle_for(5)
    report = look(world, with_files=True)
    assert report.findings == []
    assert report.clean
    assert report.complete
    assert (report.datasets, report.compared) == (2, 3)
    declared = {"disk": "present", "journal": "declared", "embedded": "declared, copy at LOCAL", "second": "declared"}
    assert {row.subject: dict(row.sides) for row in report.files} == {did(raw): declared, did(tp): declared, record.did: declared}


def test_files_on_their_way_are_no_findings(world: Any) -> None:
    world.catalog.away = True
    names = [world.put(), world.put(1, sidecar="{")]
    world.settle()
    world.catalog.away = False
    assert look(world).findings == []
    assert set(world.states().values()) == {"verified", "found"}
    rows = {row.subject: row.sides for row in look(world, with_files=True).files}
    assert rows[did(names[0])] == {"disk": "present", "journal": "verified", "embedded": "-, -", "second": "declared"}
    assert rows[names[1]]["journal"] == "found"


def test_only_the_run_that_is_asked_for_is_compared(world: Any) -> None:
    world.put()
    world.settle()
    forget_file(world.second, did(world.raw_name(0)))
    (world.buffer / world.raw_name(5)).touch()
    (world.buffer / f"{world.raw_name(5)}.json").touch()
    grow_old(world, world.buffer / world.raw_name(5))
    assert look(world, 11111).findings == []
    assert {finding.what for finding in look(world, 28049).findings} == {What.MISSING, What.NOT_JOURNALED}
    assert look(world, 28049).findings == look(world).findings


def test_a_released_file_is_not_expected_in_the_buffer(make_world: Any, new_stream: Any, tmp_path: Path) -> None:
    world = make_world(streams=(new_stream("tp", "np04hd_tp_run*.hdf5", release={"move_to": str(tmp_path / "out")}, lifetime="1h"),))
    (tmp_path / "out").mkdir()
    name = world.put(kind="tp")
    world.settle()
    world.now = (world.buffer / ".buffer").stat().st_mtime + 7200
    world.settle_for(30)
    assert world.states() == {name: "left"}
    assert look(world).findings == []


def test_what_a_person_waived_is_not_missing(world: Any) -> None:
    world.second_faulty.away = True
    name = world.put()
    world.settle()
    with world.store.write() as connection:
        pauses.waive(connection, "second", [world.file(name)], "ana", "it is being rebuilt", world.now)
    world.settle()
    world.second_faulty.away = False
    assert world.states() == {name: "declared"}
    assert look(world).findings == []


# -- disk and journal --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sidecar", [..., None])
def test_a_file_on_disk_that_the_journal_does_not_know_is_found(world: Any, sidecar: Any) -> None:
    world.settle()
    name = world.put(sidecar=sidecar)
    assert look(world).findings == []  # it is young: the scanner may not have been there yet
    grow_old(world, world.buffer / name)
    finding = the_finding(look(world), What.NOT_JOURNALED)
    assert (finding.subject, finding.where, finding.repairable) == (did(name) if sidecar is ... else name, "disk", False)
    assert ("sidecar" in finding.detail) is (sidecar is None)
    assert "leaves it to the scanner" in finding.detail


def test_a_released_name_that_is_on_disk_again_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    with Store(world.store.engine).write() as connection:
        connection.execute(sa.update(file_table).values(state="left"))
    grow_old(world, world.buffer / name)
    assert "left in the journal" in the_finding(look(world), What.NOT_JOURNALED).detail


def test_a_placed_file_that_the_journal_does_not_know_is_found(world: Any) -> None:
    world.put()
    record = world.hand_over()
    world.settle_for(5)
    stray = Path(world.file(record.name).path).with_name("stray.npz")
    stray.write_bytes(b"?")
    assert look(world).findings == []
    grow_old(world, stray)
    assert found(look(world)) == {("stray.npz", "disk", What.NOT_JOURNALED)}


def test_a_file_that_is_not_on_disk_though_the_journal_says_so_is_found(world: Any) -> None:
    names = [world.put(), world.put(1)]
    record = world.hand_over()
    world.settle_for(5)
    with Store(world.store.engine).write() as connection:  # one that is in no dataset yet
        connection.execute(sa.update(file_table).where(file_table.c.name == names[1]).values(state="found", dataset=None, did=None))
    for path in (world.buffer / names[0], world.buffer / names[1], Path(world.file(record.name).path)):
        path.unlink()
    report = look(world)
    assert {item for item in found(report) if item[1] == "disk"} == {
        (subject, "disk", What.NOT_ON_DISK) for subject in (did(names[0]), names[1], record.did)
    }
    assert not any(finding.repairable for finding in report.findings)


def test_a_file_that_is_on_its_way_to_its_place_is_on_disk_at_either(world: Any) -> None:
    record = world.hand_over()
    folder = world.outbox / "hd-protodune-det-reco" / "pdhd-prompt_v1_gauss_028049"
    folder.mkdir(parents=True)
    (world.outbox / ".outbox").touch()
    assert look(world).findings == []
    (world.outbox / "attempts" / "A1" / record.name).rename(folder / record.name)
    assert look(world).findings == []
    (folder / record.name).unlink()
    assert found(look(world)) == {(record.did, "disk", What.NOT_ON_DISK)}


def test_a_vanished_file_whose_copy_is_still_registered_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    (world.buffer / name).unlink()
    world.settle_for(10)
    assert world.states() == {name: "gone"}
    finding = the_finding(look(world), What.NOT_ON_DISK)
    assert "embedded still has a copy" in finding.detail
    assert not finding.repairable


def test_another_size_on_disk_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    with (world.buffer / name).open("ab") as file:
        file.write(b"more")
    assert found(look(world)) == {(did(name), "disk", What.DIFFERS)}


@pytest.mark.parametrize("what", ["buffer", "outbox"])
def test_a_disk_that_is_away_says_nothing_about_files(world: Any, what: str) -> None:
    raw, record = world.put(), world.hand_over()
    world.settle_for(5)
    if what == "buffer":
        world.unmount()
    else:
        world.outbox.rename(world.root / "away")
    report = look(world, with_files=True)
    assert {(finding.where, finding.what) for finding in report.findings} == {("disk", What.NOT_ASKED)}
    assert not report.complete
    away = did(raw) if what == "buffer" else record.did
    assert {row.subject: row.sides["disk"] for row in report.files} == {did(raw): "present", record.did: "present"} | {away: "not asked"}


# -- catalogues --------------------------------------------------------------------------------------------------------


def test_a_declared_file_that_a_catalogue_does_not_know_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    forget_file(world.second, did(name))
    assert found(look(world)) == {(did(name), "second", What.MISSING)}
    assert the_finding(look(world), What.MISSING).repairable
    forget_file(world.embedded, did(name))
    assert found(look(world)) == {
        (did(name), "second", What.MISSING),
        (did(name), "embedded", What.MISSING),
        (did(name), "embedded", What.NO_COPY),
    }


def test_a_step_that_was_confirmed_counts_before_the_file_is_declared(world: Any) -> None:
    world.second_faulty.away = True
    name = world.put()
    world.settle()
    forget_file(world.embedded, did(name))
    world.second_faulty.away = False
    assert {item[1:] for item in found(look(world))} == {("embedded", What.MISSING), ("embedded", What.NO_COPY)}


def test_a_member_the_journal_does_not_know_is_an_orphan(world: Any, raw_metadata: Any) -> None:
    world.put()
    world.settle()
    stranger = FileRecord("hd-protodune", "stranger.hdf5", 7, "00000007", raw_metadata)
    world.second.declare([stranger], RAW_DATASET)
    assert found(look(world)) == {(stranger.did, "second", What.ORPHAN)}
    assert not the_finding(look(world), What.ORPHAN).repairable
    world.second.retire([stranger.did])
    assert look(world).findings == []


def test_a_copy_the_journal_does_not_know_is_an_orphan_unless_it_is_retired(world: Any, raw_metadata: Any) -> None:
    world.put()
    world.settle()
    stranger = FileRecord("hd-protodune", "stranger.hdf5", 7, "00000007", raw_metadata)
    with answering(world, world.embedded, "replicas_of", lambda dids: [*dids, stranger.did]):
        assert found(look(world)) == {(stranger.did, "embedded", What.ORPHAN)}
    world.embedded.declare([stranger], RAW_DATASET)
    world.embedded.add([Replica(stranger.did, 7, "00000007", "/x")], RAW_DATASET)
    assert found(look(world)) == {(stranger.did, "embedded", What.ORPHAN)}
    world.embedded.retire([stranger.did])
    assert look(world).findings == []


def test_a_file_that_was_found_just_now_is_no_orphan(world: Any, raw_metadata: Any) -> None:
    world.put()
    world.settle()
    name = world.put(1, sidecar="{")
    world.settle()
    assert world.states()[name] == "found"
    world.second.declare([FileRecord("hd-protodune", name, 7, "00000007", raw_metadata)], RAW_DATASET)
    assert look(world).findings == []


def test_orphans_that_differ_between_catalogues_are_found(world: Any, raw_metadata: Any) -> None:
    world.put()
    world.settle()
    for size, catalog in enumerate((world.embedded, world.second)):
        catalog.declare([FileRecord("hd-protodune", "stranger.hdf5", size, "00000007", raw_metadata)], RAW_DATASET)
    assert ("hd-protodune:stranger.hdf5", "second", What.DIFFERS) in found(look(world))


def test_a_declared_file_with_its_sidecar_on_disk_that_the_journal_does_not_know_is_found_once(world: Any, raw_metadata: Any) -> None:
    world.put()
    world.settle()
    lost, elsewhere = world.put(1), world.put(2)
    for name, dataset in ((lost, RAW_DATASET), (elsewhere, "hd-protodune:other")):
        grow_old(world, world.buffer / name)
        world.second.ensure_dataset(dataset)
        world.second.declare([FileRecord("hd-protodune", name, 7, "00000007", raw_metadata)], dataset)
    report = look(world, with_files=True)
    assert sorted((finding.subject, finding.where, finding.what) for finding in report.findings) == sorted(
        (did(name), where, what)
        for name in (lost, elsewhere)
        for where, what in (("disk", What.NOT_JOURNALED), ("second", What.DECLARED_UNJOURNALED))
    )
    sides = {"disk": "present", "journal": "-", "embedded": "-", "second": "declared"}
    assert [row.sides for row in report.files if row.subject in (did(lost), did(elsewhere))] == [sides, sides]
    world.second_faulty.away = True
    report = look(world, with_files=True)
    assert {row.sides["second"] for row in report.files if row.subject in (did(lost), did(elsewhere))} == {"not asked"}


def test_a_placed_output_that_is_declared_and_not_journaled_is_found(world: Any) -> None:
    world.put()
    record, other = world.hand_over(), world.hand_over("other.npz", attempt="A2")
    world.settle_for(5)
    path = Path(world.file(other.name).path)
    with Store(world.store.engine).write() as connection:
        connection.execute(sa.delete(step_table).where(step_table.c.file_id == world.file(other.name).id))
        connection.execute(sa.delete(file_table).where(file_table.c.name == other.name))
    grow_old(world, path)
    assert found(look(world)) == {
        (other.did, "disk", What.NOT_JOURNALED),
        (other.did, "embedded", What.DECLARED_UNJOURNALED),
        (other.did, "second", What.DECLARED_UNJOURNALED),
    }
    assert record.did not in {finding.subject for finding in look(world).findings}


@pytest.mark.parametrize("catalog", ["embedded", "second"])
def test_a_file_that_is_not_in_its_dataset_is_found(world: Any, catalog: str) -> None:
    name = world.put()
    world.settle()
    change(getattr(world, catalog), "DELETE FROM member")
    assert found(look(world)) == {(did(name), catalog, What.NOT_IN_DATASET)}


def test_a_copy_that_is_not_in_its_dataset_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    with answering(world, world.embedded, "replicas_of", lambda _: []):
        finding = the_finding(look(world), What.NOT_IN_DATASET)
    assert (finding.subject, finding.where, finding.steps) == (did(name), "embedded", ("replica",))


@pytest.mark.parametrize("column", ["size_bytes = 1", "adler32 = '00000000'"])
def test_another_content_in_a_catalogue_is_found(world: Any, column: str) -> None:
    name = world.put()
    world.settle()
    change(world.second, f"UPDATE file SET {column}")
    assert found(look(world)) == {(did(name), "second", What.DIFFERS)}


def test_a_copy_registered_with_other_content_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    smaller = lambda copies: {key: replace(value, size_bytes=1) for key, value in copies.items()}  # noqa: E731
    with answering(world, world.embedded, "copies", smaller):
        assert found(look(world)) == {(did(name), "embedded", What.DIFFERS)}


def test_a_retired_file_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    world.second.retire([did(name)])
    assert found(look(world)) == {(did(name), "second", What.RETIRED)}


def test_a_copy_that_is_not_registered_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    change(world.embedded, "DELETE FROM replica")
    assert found(look(world)) == {(did(name), "embedded", What.NO_COPY)}
    assert the_finding(look(world), What.NO_COPY).repairable
    change(world.embedded, "INSERT INTO replica SELECT id, 'ELSEWHERE', '/x' FROM file")
    elsewhere = lambda copies: {key: replace(value, places={"ELSEWHERE": "/x"}) for key, value in copies.items()}  # noqa: E731
    with answering(world, world.embedded, "copies", elsewhere):
        assert "none at LOCAL, only at ELSEWHERE" in the_finding(look(world), What.NO_COPY).detail


def test_a_copy_that_nobody_can_see_is_not_registered_again(world: Any) -> None:
    """A rule that ended has deleted it."""
    name = world.put()
    world.settle()
    with Store(world.store.engine).write() as connection:
        connection.execute(sa.update(file_table).values(state="left", path="/nowhere/at/all"))
    change(world.embedded, "DELETE FROM replica")
    grow_old(world, world.buffer / name)
    finding = the_finding(look(world), What.NO_COPY)
    assert not finding.repairable
    assert "none can be seen at /nowhere/at/all" in finding.detail


def test_a_copy_at_another_place_is_found(world: Any) -> None:
    name = world.put()
    world.settle()
    change(world.embedded, "UPDATE replica SET path = '/elsewhere'")
    assert found(look(world)) == {(did(name), "embedded", What.WRONG_PLACE)}
    assert not the_finding(look(world), What.WRONG_PLACE).repairable


def test_an_address_and_a_path_are_the_same_place(world: Any) -> None:
    world.put()
    world.settle()
    change(world.embedded, "UPDATE replica SET path = 'root://eosuser.cern.ch:1094/' || path")
    assert look(world).findings == []


def test_a_rule_that_is_not_satisfied_is_one_finding_for_its_dataset(world: Any) -> None:
    for index in range(3):
        world.put(index)
    world.settle()
    waiting = lambda copies: {key: replace(value, rules={"A": "OK", "B": "REPLICATING"}) for key, value in copies.items()}  # noqa: E731
    with answering(world, world.embedded, "copies", waiting):
        report = look(world, with_files=True)
    finding = the_finding(report, What.RULE)
    assert (finding.subject, finding.where, finding.repairable) == (RAW_DATASET, "embedded", False)
    assert finding.detail.startswith("B: REPLICATING; 3 files")
    assert report.files[0].sides["embedded"] == "declared, copy at LOCAL, rule B: REPLICATING"


def test_a_missing_parent_is_found(world: Any) -> None:
    raw, record = world.put(), world.hand_over()
    world.settle_for(5)
    change(world.second, "DELETE FROM parent")
    finding = the_finding(look(world), What.NO_PARENT)
    assert (finding.subject, finding.where, finding.repairable) == (record.did, "second", False)
    assert did(raw) in finding.detail


def test_an_output_that_was_never_confirmed_is_found(world: Any) -> None:
    world.put()
    record = world.hand_over()
    world.settle_for(5)
    recorded = {"dune.output_status": "recorded"}
    change(world.second, "UPDATE file SET metadata = json_patch(metadata, :change)", change=json.dumps(recorded))
    assert found(look(world)) == {(record.did, "second", What.UNCONFIRMED)}
    put_right(world, look(world))
    assert look(world).findings == []


def test_an_id_that_is_not_sams_is_found(make_world: Any) -> None:
    world = with_two_catalogs(make_world(), ("sam", "metacat"))
    with closing(world.second):
        name = world.put()
        world.settle()

        def numbered(fid: str) -> Callable[[Any], Any]:
            return lambda entries: {key: replace(value, fid=fid) for key, value in entries.items()}

        with answering(world, world.embedded, "look", numbered("123")), answering(world, world.second, "look", numbered("123")):
            assert look(world).findings == []
        with answering(world, world.embedded, "look", numbered("123")), answering(world, world.second, "look", numbered("abc")):
            finding = the_finding(look(world), What.OTHER_ID)
        assert (finding.subject, finding.where, finding.repairable) == (did(name), "second", False)
        assert finding.detail == "abc; embedded has 123"


def test_sam_knows_files_by_their_name_alone(make_world: Any) -> None:
    """SAM's answer about a dataset has the dataset's namespace, whatever those of the files are."""
    world = with_two_catalogs(make_world(), ("sam", "second"))
    with closing(world.second):
        world.put()
        world.settle()
        for method in ("members", "replicas_of"):
            assert world.embedded.__getattribute__(method)(RAW_DATASET)

        def renamed(answer: Any) -> Any:
            pairs = {f"other:{key.partition(':')[2]}": value for key, value in dict.fromkeys(answer).items()}
            return {key: answer[f"hd-protodune:{key.partition(':')[2]}"] for key in pairs} if isinstance(answer, dict) else list(pairs)

        with answering(world, world.embedded, "members", renamed), answering(world, world.embedded, "replicas_of", renamed):
            assert look(world).findings == []


@pytest.mark.parametrize("error", [TransientError("no answer"), ConfigError("token expired"), DataError("no such name")])
def test_a_catalogue_that_does_not_answer_says_nothing_and_holds_nothing_up(world: Any, error: Exception) -> None:
    names = [world.put(), world.put(kind="tp")]
    world.hand_over()
    world.settle_for(5)
    for name in names:
        forget_file(world.second, did(name))

    def refuse(_: Any) -> None:
        raise error

    with answering(world, world.embedded, "members", refuse):
        report = look(world, with_files=True)
    away = [finding for finding in report.findings if finding.what is What.NOT_ASKED]
    assert {finding.where for finding in away} == {"embedded"}
    assert all(str(error) in finding.detail for finding in away)
    assert len(away) == (2 if isinstance(error, DataError) else 1)
    assert {item for item in found(report) if item[2] is What.MISSING} == {(did(name), "second", What.MISSING) for name in names}
    assert {row.sides["embedded"] for row in report.files} == {"not asked"}
    assert not report.complete


def test_a_paused_catalogue_is_not_called(world: Any) -> None:
    name = world.put()
    world.settle()
    forget_file(world.embedded, did(name))
    with world.store.write() as connection:
        pauses.pause(connection, "embedded", None, "ana", "maintenance", world.now)
    world.catalog.calls.clear()
    assert found(look(world)) == {("embedded", "embedded", What.NOT_ASKED)}
    assert world.catalog.calls == []


def test_what_the_daemon_changes_meanwhile_is_no_finding(world: Any) -> None:
    name = world.put()
    world.settle()
    forget_file(world.second, did(name))

    def quarantined(answer: Any) -> Any:
        with Store(world.store.engine).write() as connection:
            connection.execute(sa.update(file_table).values(state="conflict"))
        return answer

    with answering(world, world.second, "members", quarantined):
        assert look(world).findings == []


def test_many_files_are_compared_in_few_calls(world: Any) -> None:
    for index in range(60):
        world.put(index)
    world.settle()
    world.catalog.calls.clear()
    assert look(world).findings == []
    assert sorted(world.catalog.calls) == ["copies", "look", "members", "replicas_of"]


def test_an_audit_comes_dataset_by_dataset(world: Any) -> None:
    world.put()
    world.hand_over()
    world.settle_for(5)
    parts = audit_by_dataset(world.site, world.store, world.catalogs, run=None, now=world.now)
    assert [(part.dataset, len(part.files)) for part in parts] == [(OUT_DATASET, 1), (RAW_DATASET, 1), (None, 0)]


def test_a_report_is_plain_data(world: Any) -> None:
    name = world.put()
    world.settle()
    forget_file(world.second, did(name))
    content = json.loads(json.dumps(look(world, 28049, with_files=True).to_json()))
    assert content["summary"] == {"datasets": 1, "files": 1, "findings": 1, "repairable": 1}
    assert content["counts"] == [{"where": "second", "what": "missing", "files": 1}]
    detail = {"detail": "declared in the journal"}
    assert content["findings"] == [{"subject": did(name), "where": "second", "what": "missing", "repairable": True} | detail]
    row = {"disk": "present", "journal": "declared", "embedded": "declared, copy at LOCAL", "second": "missing"}
    assert content["files"] == [{"subject": did(name), "dataset": RAW_DATASET, "run": 28049} | row]
    assert content["columns"] == ["disk", "journal", "embedded", "second"]


# -- repair ------------------------------------------------------------------------------------------------------------


def test_a_repaired_file_is_registered_again_and_stays_declared(world: Any) -> None:
    names = [world.put(index) for index in range(3)]
    world.settle()
    before = content(world.second)
    forget_file(world.second, did(names[1]))
    done = repair(look(world), world.store, by="ana", now=world.now)
    assert [(item.subject, item.catalog, item.steps) for item in done] == [(did(names[1]), "second", ("metadata",))]
    assert set(world.states().values()) == {"declared"}
    assert "queued" in the_finding(look(world), What.MISSING).detail
    world.second_faulty.calls.clear()
    world.catalog.calls.clear()
    world.settle_for(10)
    assert world.second_faulty.calls.count("declare") == 1
    assert world.catalog.calls == []
    assert look(world).findings == []
    assert content(world.second) == before
    assert set(world.states().values()) == {"declared"}


def test_a_repair_is_an_event_of_who_asked_for_it(world: Any) -> None:
    name = world.put()
    world.settle()
    forget_file(world.embedded, did(name))
    repair(look(world), world.store, by="ana", now=world.now)
    e = event_table.c
    with world.store.read() as connection:
        rows = connection.execute(sa.select(e.subject, e.message).where(e.by == "ana")).all()
    assert [tuple(row) for row in rows] == [(did(name), "embedded: metadata, replica")]


def test_a_copy_elsewhere_is_not_made_again(world: Any) -> None:
    """A declared file may have no other copy left; where its copy was placed stays as it is."""
    name = world.put()
    world.settle()
    with Store(world.store.engine).write() as connection:
        file_id = world.file(name).id
        rows = [{"file_id": file_id, "catalog": "embedded", "step": step, "done_at": 1.0} for step in ("place", "placed")]
        connection.execute(sa.insert(step_table), rows)
    forget_file(world.embedded, did(name))
    repair(look(world), world.store, by="ana", now=world.now)
    with world.store.read() as connection:
        left = {tuple(row) for row in connection.execute(sa.select(step_table.c.catalog, step_table.c.step))}
    assert left == {("embedded", "place"), ("embedded", "placed"), ("second", "metadata")}


def test_a_dataset_that_vanished_is_made_again(world: Any) -> None:
    world.put()
    world.settle()
    before = content(world.second)
    change(world.second, "DELETE FROM member", "DELETE FROM dataset")
    put_right(world, look(world))
    assert look(world).findings == []
    assert content(world.second) == before


def test_nothing_is_repaired_of_a_file_with_two_truths(world: Any) -> None:
    names = [world.put(index) for index in range(4)]
    world.settle()
    change(world.second, "UPDATE file SET size_bytes = 1 WHERE did = :did", did=did(names[0]))
    world.second.retire([did(names[1])])
    (world.buffer / names[2]).write_bytes(b"something else")
    for name in names[:3]:
        forget_file(world.embedded, did(name))
    before = content(world.embedded), content(world.second)
    report = look(world)
    assert {finding.subject for finding in report.findings} == {did(name) for name in names[:3]}
    assert repair(report, world.store, by="ana", now=world.now) == []
    world.settle_for(100, tick=10)
    assert (content(world.embedded), content(world.second)) == before


def test_a_file_that_is_leaving_is_not_repaired(world: Any) -> None:
    name = world.put()
    world.settle()
    forget_file(world.second, did(name))
    report = look(world)
    with Store(world.store.engine).write() as connection:
        connection.execute(sa.update(file_table).values(state="gone"))
    assert repair(report, world.store, by="ana", now=world.now) == []


def test_a_catalogue_that_was_added_later_is_filled_by_repair(make_world: Any) -> None:
    world = make_world()
    names = [world.put(index) for index in range(3)]
    world.put(kind="tp")
    record = world.hand_over()
    world.settle_for(5)
    world.kill()
    with closing(with_two_catalogs(world).second):
        world.settle()
        assert content(world.second) == set()
        report = look(world)
        assert {finding.what for finding in report.findings} == {What.MISSING}
        put_right(world, report)
        assert look(world).findings == []
        assert set(world.second.look([did(names[0]), record.did])) == {did(names[0]), record.did}


@pytest.mark.skipif(RucioServer.missing() is not None, reason=str(RucioServer.missing()))
def test_what_sam_metacat_and_rucio_have_lost_is_found_and_brought_back(
    make_world: Any, derived_metadata: dict[str, Any], tmp_path: Path
) -> None:
    with Catalogues(tmp_path / "servers") as servers:
        world = make_world(catalogs=yaml.safe_load(servers.site_catalogs(direct=True))["catalogs"])
        with closing(open_catalogs(world.site)) as catalogs:
            world.catalogs = catalogs
            first, second = world.put(0), world.put(1)
            record = world.hand_over(metadata=derived_metadata | {"core.data_tier": "decoded-raw", "core.file_format": "npz"})
            world.settle_for(30, tick=2)
            assert look(world).findings == []
            before = servers.state(28049)

            sam, _, rucio = (item.metadata or item.replicas for item in catalogs.all)
            sam._client.remove_location(first, f"cern-eos:{Path(world.file(first).place).parent}")
            in_metacat = "file_id = (SELECT id FROM files WHERE name = %s)"
            servers.metacat.execute(f"DELETE FROM files_datasets WHERE {in_metacat}", (first,))
            servers.metacat.execute(f"DELETE FROM files_datasets WHERE {in_metacat}", (second,))
            servers.metacat.execute("DELETE FROM files WHERE name = %s", (second,))
            recorded = json.dumps({"dune.output_status": "recorded"})
            servers.metacat.execute("UPDATE files SET metadata = metadata || %s::jsonb WHERE name = %s", (recorded, record.name))
            dataset, member = OUT_DATASET.split(":"), {"scope": record.namespace, "name": record.name}
            rucio._connection.ask(lambda client: client.detach_dids(*dataset, [member]))
            assert servers.state(28049) != before

            report = look(world)
            assert found(report) >= {
                (did(first), "sam", What.NO_COPY),
                (did(first), "metacat", What.NOT_IN_DATASET),
                (did(second), "metacat", What.MISSING),
                (record.did, "metacat", What.UNCONFIRMED),
            }
            assert {(finding.subject, finding.where) for finding in report.findings} >= {(record.did, "rucio")}
            assert all(finding.repairable for finding in report.findings)
            put_right(world, report)
            assert look(world).findings == []
            assert servers.state(28049) == before
            world.kill()


FILES = 4


@pytest.fixture
def settled(world: Any) -> Any:
    """A run of which everything is declared everywhere."""
    for index in range(FILES):
        world.put(index)
        world.hand_over(of=index, attempt=f"A{index}")
    world.settle_for(10)
    assert set(world.states().values()) == {"declared"}
    return world


REMOVALS = {
    "file": lambda catalog, raw, child: (forget_file(catalog, child), forget_file(catalog, raw)),
    "child": lambda catalog, raw, child: forget_file(catalog, child),
    "member": lambda catalog, raw, child: change(catalog, "DELETE FROM member WHERE file_id = (SELECT id FROM file WHERE did = :d)", d=raw),
    "copy": lambda catalog, raw, child: change(catalog, "DELETE FROM replica WHERE file_id = (SELECT id FROM file WHERE did = :d)", d=raw),
    "dataset": lambda catalog, raw, child: change(
        catalog,
        "DELETE FROM member WHERE dataset_id = (SELECT id FROM dataset WHERE did = :d)",
        "DELETE FROM dataset WHERE did = :d",
        d=RAW_DATASET,
    ),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    removals=st.lists(st.tuples(st.sampled_from(("embedded", "second")), st.sampled_from(sorted(REMOVALS)), st.integers(0, FILES - 1))),
    conflicting=st.none() | st.tuples(st.sampled_from(("embedded", "second")), st.integers(0, FILES - 1)),
)
def test_whatever_rows_are_lost_repair_brings_them_back_and_changes_no_others(
    settled: Any, removals: list[tuple[str, str, int]], conflicting: tuple[str, int] | None
) -> None:
    world = settled
    children = {file.parents[0]: file.did for file in world.files().values() if file.origin == "outbox"}
    before = {name: content(getattr(world, name)) for name in ("embedded", "second")}
    stopped: set[str] = set()
    if conflicting is not None:
        raw = did(world.raw_name(conflicting[1]))
        stopped = {raw, children[raw]}
        change(getattr(world, conflicting[0]), "UPDATE file SET adler32 = '00000000' WHERE did = :did", did=raw)
    wrong = {name: content(getattr(world, name)) for name in before}
    for catalog, what, index in removals:
        raw = did(world.raw_name(index))
        if raw not in stopped:
            REMOVALS[what](getattr(world, catalog), raw, children[raw])
    lost = {name: content(getattr(world, name)) for name in before}
    report = look(world)
    assert (lost == wrong) is not any(finding.repairable for finding in report.findings)
    put_right(world, report)
    for name, rows in lost.items():
        now = content(getattr(world, name))
        assert rows <= now
        assert {row for row in wrong[name] - now if not stopped & set(row)} == set()
        assert now <= wrong[name]
    assert all(finding.subject in stopped for finding in look(world).findings)
    if conflicting is not None:
        raw = did(world.raw_name(conflicting[1]))
        good = next(row[3] for row in before[conflicting[0]] if row[:2] == ("file", raw))
        change(getattr(world, conflicting[0]), "UPDATE file SET adler32 = :good WHERE did = :did", good=good, did=raw)
        put_right(world, look(world))
    assert look(world).findings == []
    assert {name: content(getattr(world, name)) for name in before} == before
    assert set(world.states().values()) == {"declared"}
