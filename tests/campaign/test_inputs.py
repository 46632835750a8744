"""Inputs are found when they are no longer in the buffer: where they were moved, on another disk, on tape; the step never waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.draining import known
from campaign.draining.known import CatalogInput
from campaign.draining.tables import recall_table
from campaign.engine.intake import Intake
from campaign.inputs import Gone, InputFinder, Places, Waiting, recall_statuses
from campaign.inputs.places import Answer
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import Move, NewTask
from campaign.states import TaskState
from declare_daemon.catalogs import Catalogs, Found, OpenCatalog, Replica, RuleState
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, proof_table
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.records import FileRecord
from tests.campaign.draining.installation import NOW, SITE, ScriptedCatalog, Small, entry, eventually, raw

TAPE, EOS = Found("FNAL_TAPE", "root://tape//x", tape=True), Found("DUNE_CERN_EOS", "root://eos//eos/x")
RECALL = "{recall: {rse: DUNE_CERN_EOS, most: 10kB, at_once: 3}}"


class Search:
    """A finder on an installation, and the replica catalogue it asks."""

    def __init__(self, small: Small, catalog: Any, **change: Any) -> None:
        self.small, self.catalog = small, catalog
        catalogs = Catalogs((OpenCatalog("metacat", catalog, None), OpenCatalog("rucio", None, catalog)))
        values: dict[str, Any] = {"open_own_catalogs": lambda: catalogs, "wall": lambda: NOW, "linger_s": 20.0} | change
        self.finder = InputFinder(small.installation, small.write, **values)

    def ask(self, **change: Any) -> Mapping[str, Answer]:
        """What the finder says of the inputs of all tasks, by DID."""
        tasks = [task for task in self.small.tasks() if all(getattr(task, key) == value for key, value in change.items())]
        with self.small.installation.store.read() as connection:
            answers = self.finder.places(connection, tasks)
        return {task.input_did: answers[task.id] for task in tasks}

    def only(self) -> Answer:
        (answer,) = self.ask().values()
        return answer


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    small = Small.at(tmp_path)
    yield small
    small.close()


@pytest.fixture
def catalog() -> ScriptedCatalog:
    return ScriptedCatalog("rucio")


@pytest.fixture
def open_search(small: Small, catalog: ScriptedCatalog) -> Iterator[Callable[..., Search]]:
    opened: list[Search] = []

    def start(of: Small = small, **change: Any) -> Search:
        opened.append(Search(of, catalog, **change))
        return opened[-1]

    yield start
    if catalog.hang is not None:
        catalog.hang.set()
    for search in opened:
        search.finder.close()


@pytest.fixture
def search(open_search: Callable[..., Search]) -> Search:
    return open_search()


@pytest.fixture
def recalling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    small = Small.at(tmp_path_factory.mktemp("recalling"), inputs=RECALL)
    yield small
    small.close()


def journal(small: Small, state: FileState = FileState.VERIFIED, count: int = 1, **values: Any) -> list[str]:
    """Files that came through the journal and have tasks, and are in `state` now."""
    dids = small.journal(count)
    Intake(small.installation, small.write).take_in(NOW)
    with small.installation.store.write() as connection:
        connection.execute(sa.update(file_table).where(file_table.c.did.in_(dids)).values(state=state.value, **values))
    return dids


def declared_by_others(small: Small, *records: FileRecord, kept: bool = True) -> list[str]:
    """Files of a catalogue's dataset that have tasks."""
    with small.write() as connection:
        if kept:
            known.keep(connection, [CatalogInput.of(entry(record)) for record in records], "hd-protodune:run_1", NOW)
        for record in records:
            runs = record.metadata["core.runs"]
            new = NewTask(small.campaign.id, record.did, "chain", TaskState.READY, runs[0], 0, record.size_bytes, NOW, 3, None, NOW)
            ledger_tasks.create(connection, [new], NOW)
    return [record.did for record in records]


# -- in the buffer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [FileState.VERIFIED, FileState.DECLARED])
def test_a_file_in_the_buffer_is_answered_without_any_catalogue(
    small: Small, search: Search, catalog: ScriptedCatalog, state: FileState
) -> None:
    journal(small, state)
    path = str(small.folder / "buffer" / raw().name)
    assert search.only() == Places(raw().name, (path,), 1000, "00000001", raw().metadata)
    assert catalog.asked == []


def test_workers_elsewhere_are_told_their_own_address_of_the_buffer_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = SITE.replace("{path: buffer}", "{path: buffer, worker_url: root://eos.example//eos/np04/}")
    small = Small.at(tmp_path_factory.mktemp("workers"), site=site)
    journal(small)
    search = Search(small, ScriptedCatalog())
    answer = search.only()
    assert isinstance(answer, Places)
    assert answer.places == (f"root://eos.example//eos/np04/{raw().name}", str(small.folder / "buffer" / raw().name))
    search.finder.close()
    small.close()


def test_a_file_that_is_being_moved_is_offered_at_both_places(small: Small, search: Search) -> None:
    (did,) = journal(small)
    with small.installation.store.write() as connection:
        file_id = connection.execute(sa.select(file_table.c.id).where(file_table.c.did == did)).scalar_one()
        proof = {"file_id": file_id, "made_at": NOW, "action": "move", "checks": []}
        proof_id = connection.execute(sa.insert(proof_table).values(**proof).returning(proof_table.c.id)).scalar_one()
        values = {"state": FileState.LEAVING.value, "target": "/eos/processed/x", "proof": proof_id}
        connection.execute(sa.update(file_table).where(file_table.c.did == did).values(**values))
    answer = search.only()
    assert isinstance(answer, Places)
    assert answer.places == (str(small.folder / "buffer" / raw().name), "/eos/processed/x")


def test_a_file_in_quarantine_is_bad_data(small: Small, search: Search) -> None:
    journal(small, FileState.QUARANTINED, reason="checksum differs")
    assert search.only() == Gone("data", "the input is quarantined: checksum differs")


def test_a_file_that_is_being_checked_again_is_waited_for(small: Small, search: Search) -> None:
    journal(small, FileState.FOUND)
    assert isinstance(search.only(), Waiting)


def test_what_could_not_be_read_in_the_buffer_is_offered_elsewhere_too(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    (did,) = journal(small, FileState.DECLARED)
    catalog.copies[did] = (EOS,)
    with small.write() as connection:
        moved = Move(small.tasks()[0], TaskState.SUBMITTING)
        ledger_tasks.apply(connection, [moved], NOW)
    with small.write() as connection:
        again = Move(small.tasks()[0], TaskState.WAITING_RETRY, "unreadable", {"error_class": "input"})
        ledger_tasks.apply(connection, [again], NOW)
    answer = search.only()
    assert isinstance(answer, Places)
    assert answer.places == (str(small.folder / "buffer" / raw().name), EOS.place)


# -- no longer in the buffer -----------------------------------------------------------------------------------------------


def test_a_file_that_was_moved_is_found_where_the_journal_moved_it(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    moved = small.folder / "processed"
    moved.write_bytes(b"x")
    journal(small, FileState.LEFT, path=str(moved))
    assert search.only() == Places(raw().name, (str(moved),), 1000, "00000001", raw().metadata)
    assert catalog.asked == []


def test_the_buffer_copy_is_gone_and_another_disk_has_one(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    (did,) = journal(small, FileState.LEFT, path="/nowhere/x")
    catalog.copies[did] = (Found("LOCAL", "/also/nowhere"), EOS, TAPE)
    assert search.only() == Places(raw().name, (EOS.place,), 1000, "00000001", raw().metadata)


def test_a_file_somebody_moved_away_is_looked_for(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    (did,) = journal(small, FileState.GONE)
    catalog.copies[did] = (EOS,)
    answer = search.only()
    assert isinstance(answer, Places)
    assert answer.places == (EOS.place,)


def test_a_file_that_others_declared_is_found_with_what_is_kept_of_it(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    (did,) = declared_by_others(small, raw())
    catalog.copies[did] = (EOS,)
    assert search.only() == Places(raw().name, (EOS.place,), 1000, "00000001", raw().metadata)
    assert catalog.asked == ["find"]


def test_a_file_only_the_catalogue_knows_is_asked_for_there(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    (did,) = declared_by_others(small, raw(), kept=False)
    catalog.files["hd-protodune:run_1"] = [raw()]
    catalog.copies[did] = (EOS,)
    assert search.only() == Places(raw().name, (EOS.place,), 1000, "00000001", raw().metadata)


def test_what_nobody_knows_is_gone(small: Small, search: Search) -> None:
    declared_by_others(small, raw(0), kept=False)
    assert search.only() == Gone("data", "neither the journal nor a catalogue knows the input")


def test_what_has_no_copy_is_gone(small: Small, search: Search) -> None:
    journal(small, FileState.LEFT, path="/nowhere/x")
    assert search.only() == Gone("input", "the input is no longer in the buffer, and no catalogue knows a copy of it")


def test_an_answer_is_asked_for_once_and_used_again(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    dids = journal(small, FileState.GONE, count=5)
    catalog.copies = dict.fromkeys(dids, (EOS,))
    for _ in range(3):
        assert all(isinstance(answer, Places) for answer in search.ask().values())
    assert catalog.asked == ["find"]


def test_a_catalogue_that_hangs_holds_nobody_up(small: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search]) -> None:
    catalog.hang = threading.Event()
    search = open_search(linger_s=0.01)
    (did,) = journal(small, FileState.GONE)
    catalog.copies[did] = (EOS,)
    assert isinstance(search.only(), Waiting)
    assert search.finder.health().waiting == 1
    catalog.hang.set()
    assert eventually(lambda: isinstance(search.only(), Places))


@pytest.mark.parametrize("error", [TransientError("rucio: 500"), ConfigError("rucio: the token has expired")])
def test_in_an_outage_inputs_wait_and_are_found_after_it(
    small: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search], error: Any
) -> None:
    clock = [0.0]
    search = open_search(clock=lambda: clock[0])
    (did,) = journal(small, FileState.GONE)
    catalog.copies[did], catalog.error = (EOS,), error
    answer = search.only()
    assert isinstance(answer, Waiting)
    assert str(error) in answer.sentence
    health = search.finder.health()
    assert (health.out_since, health.message) == (NOW, str(error))
    catalog.error = None
    clock[0] += answer.again_s
    assert isinstance(search.only(), Places)
    assert search.finder.health().ok


def test_in_an_outage_the_last_answer_is_used(small: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search]) -> None:
    clock = [0.0]
    search = open_search(clock=lambda: clock[0])
    (did,) = journal(small, FileState.GONE)
    catalog.copies[did] = (EOS,)
    first = search.only()
    clock[0] += 1e6
    catalog.error = TransientError("away")
    assert search.only() == first


def test_a_mount_that_hangs_is_an_answer_that_is_not_known(small: Small, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    journal(small, FileState.LEFT, path="/eos/processed/x")
    search.catalog.copies[raw().did] = (Found("LOCAL", "/eos/other/x"),)
    monkeypatch.setattr("campaign.inputs.mounts.exists", lambda place: (_ for _ in ()).throw(OSError(5, "I/O error", place)))
    answer = search.only()
    assert isinstance(answer, Waiting)
    assert "/eos/other/x: the file system does not answer" in answer.sentence


def test_a_task_that_does_not_read_its_input_needs_no_copy_of_it(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    journal(small, FileState.LEFT, path="/nowhere/x")
    declared_by_others(small, raw(5))
    tasks = small.tasks()
    with small.installation.store.read() as connection:
        answers = search.finder.places(connection, tasks, {task.id for task in tasks})
    assert [answers[task.id] for task in tasks] == [
        Places(raw(0).name, ("/nowhere/x",), 1000, "00000001", raw(0).metadata),
        Places(raw(5).name, (), 1000, "00000001", raw(5).metadata),
    ]
    assert catalog.asked == []


# -- on tape ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_read_back_from_tape_by_accident(small: Small, search: Search, catalog: ScriptedCatalog) -> None:
    (did,) = journal(small, FileState.GONE)
    catalog.copies[did] = (TAPE,)
    answer = search.only()
    assert isinstance(answer, Gone)
    assert "only on tape (FNAL_TAPE); `inputs.recall` in the campaign file would let it be read back" in answer.sentence
    assert catalog.recalls == []


def test_what_a_run_lacks_is_read_back_together_and_then_used(
    recalling: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search]
) -> None:
    dids = declared_by_others(recalling, raw(0), raw(1), raw(2, run=2))
    catalog.copies = dict.fromkeys(dids, (TAPE,))
    search = open_search(recalling, follow_s=0.05)
    first = search.ask(run=1)
    assert all(isinstance(answer, Waiting) for answer in first.values())
    eventually(lambda: catalog.recalls)
    recall = catalog.recalls[0]
    assert set(recall.dids) == set(dids[:2])
    assert (recall.rse, recall.lifetime_s) == ("DUNE_CERN_EOS", 2 * 86400)
    assert recall.dataset.startswith("hd-protodune:recall_test-prompt_v1_1_")
    eventually(lambda: "rule rule0 is REPLICATING" in str(search.ask(run=1)[dids[0]]))
    assert numbers(recalling) == (2, 0, 2000, 0)
    catalog.copies[dids[0]] = (EOS, TAPE)
    eventually(lambda: isinstance(search.ask(run=1)[dids[0]], Places))
    eventually(lambda: numbers(recalling) == (2, 1, 2000, 1000))
    catalog.copies[dids[1]] = (EOS, TAPE)
    catalog.rules[recall.dataset] = RuleState("rule0", "OK")
    eventually(lambda: open_rules(recalling) == 0)
    assert numbers(recalling) == (2, 2, 2000, 2000)
    assert len(catalog.recalls) == 1


def numbers(small: Small) -> tuple[int, ...]:
    with small.installation.store.read() as connection:
        (status,) = recall_statuses(connection)
    return status.files_asked, status.files_read_back, status.bytes_asked, status.bytes_read_back


def open_rules(small: Small) -> int:
    with small.installation.store.read() as connection:
        return recall_statuses(connection)[0].rules_open


def test_no_more_files_come_at_once_than_allowed(recalling: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search]) -> None:
    dids = declared_by_others(recalling, *[raw(index) for index in range(5)])
    catalog.copies = dict.fromkeys(dids, (TAPE,))
    search = open_search(recalling, follow_s=1e6)
    search.ask()
    eventually(lambda: catalog.recalls)
    assert len(catalog.recalls[0].dids) == 3
    answers = search.ask()
    waiting = [answer for did, answer in answers.items() if did not in catalog.recalls[0].dids]
    assert all("3 others are being read back first" in str(answer) for answer in waiting)
    assert len(catalog.recalls) == 1


def test_no_more_bytes_are_asked_back_than_allowed_in_all(
    recalling: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search]
) -> None:
    dids = declared_by_others(recalling, raw(0, size_bytes=6000), raw(1, size_bytes=6000))
    catalog.copies = dict.fromkeys(dids, (TAPE,))
    search = open_search(recalling, follow_s=1e6)
    search.ask()
    eventually(lambda: numbers_or_none(recalling) == (1, 0, 6000, 0))
    answer = search.ask()[dids[1]]
    assert isinstance(answer, Gone)
    assert "`inputs.recall.most` allows" in answer.sentence


def numbers_or_none(small: Small) -> tuple[int, ...] | None:
    with small.installation.store.read() as connection:
        return numbers(small) if recall_statuses(connection) else None


def test_a_recall_that_a_crash_cut_off_is_asked_for_again_and_once(
    recalling: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search]
) -> None:
    (did,) = declared_by_others(recalling, raw(0))
    catalog.copies[did] = (TAPE,)
    asked: list[str] = []
    recall = catalog.recall

    def away(wanted: Any) -> RuleState:
        asked.append(wanted.dataset)
        if len(asked) == 1:
            raise TransientError("the answer was lost")
        return recall(wanted)

    catalog.recall = away  # type: ignore[method-assign]
    first = open_search(recalling, follow_s=1e6)
    first.ask()
    eventually(lambda: asked)
    first.finder.close()
    second = open_search(recalling, follow_s=1e6)
    eventually(lambda: catalog.recalls)
    assert len(set(asked)) == 1
    assert "rule0" in str(eventually(lambda: "rule0" in str(second.only()) and second.only()))


def test_a_rule_that_is_gone_lets_its_files_be_asked_for_again(
    recalling: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search]
) -> None:
    (did,) = declared_by_others(recalling, raw(0))
    catalog.copies[did] = (TAPE,)
    search = open_search(recalling, follow_s=0.05)
    search.ask()
    eventually(lambda: catalog.recalls)
    eventually(lambda: recalling.rows(sa.select(recall_table.c.rule))[0].rule)
    catalog.rules.clear()
    eventually(lambda: search.ask() and len(catalog.recalls) == 2)
    assert catalog.recalls[0].dataset != catalog.recalls[1].dataset
    assert numbers(recalling) == (2, 0, 2000, 0)


def test_trouble_with_a_recall_is_told(recalling: Small, catalog: ScriptedCatalog, open_search: Callable[..., Search]) -> None:
    (did,) = declared_by_others(recalling, raw(0))
    catalog.copies[did] = (TAPE,)

    def refuse(_: Any) -> RuleState:
        raise ConfigError("rucio: no quota at DUNE_CERN_EOS")

    catalog.recall = refuse  # type: ignore[method-assign]
    search = open_search(recalling, follow_s=1e6)
    search.ask()
    eventually(lambda: "no quota at DUNE_CERN_EOS" in str(search.only()))
    with recalling.installation.store.read() as connection:
        assert recall_statuses(connection)[0].trouble == "rucio: no quota at DUNE_CERN_EOS"


# -- on the embedded catalogue ---------------------------------------------------------------------------------------------


def test_on_the_embedded_catalogue_a_copy_is_found_when_the_buffers_is_removed(small: Small) -> None:
    elsewhere = small.folder / "elsewhere.hdf5"
    elsewhere.write_bytes(b"x")
    small.declare([raw(0), raw(1)], "hd-protodune:run_1")
    catalog = small.embedded
    for index, place in enumerate((elsewhere, small.folder / "buffer" / raw(1).name)):
        catalog.add([Replica(raw(index).did, 1000, "00000001", str(place))], "hd-protodune:run_1")
    journal(small, FileState.GONE, count=2)
    finder = InputFinder(small.installation, small.write, linger_s=20.0)
    with small.installation.store.read() as connection:
        found, lost = finder.places(connection, small.tasks()).values()
    assert found == Places(raw(0).name, (str(elsewhere),), 1000, "00000001", raw(0).metadata)
    assert isinstance(lost, Gone)
    finder.close()
