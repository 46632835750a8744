"""`why RUN`: counts, what holds the run up the most, what is parked, slow, late or missing."""

from __future__ import annotations

from campaign.ledger.tables import exclusion_table
from campaign.states import AttemptState, TaskState
from campaign.why.run import RunAnswer, why_run
from declare_daemon.journal import FileState
from tests.campaign.why.rows import NOW, Books, raw_name


def ask(books: Books, run: int = 28086) -> RunAnswer:
    with books.store.read() as connection:
        return why_run(connection, books.site, run, NOW)


def test_a_run_tells_its_counts_and_what_holds_it_up(books: Books) -> None:
    campaign = books.campaign()
    states = [TaskState.DONE, TaskState.READY, TaskState.READY, TaskState.RUNNING, TaskState.PARKED]
    for index, state in enumerate(states):
        books.raw(raw_name(index))
        values = {"error_class": "data", "message": "bad block"} if state is TaskState.PARKED else {}
        late = state is TaskState.READY
        task = books.task(campaign, state, name=raw_name(index), deadline=NOW + index, late=late, **values)
        if state is TaskState.RUNNING:
            books.attempt(task, AttemptState.RUNNING)
    answer = ask(books)
    (item,) = answer.campaigns
    assert (item.files, item.processed, item.late) == (5, 1, 2)
    assert item.states == {"ready": 2, "running": 1, "done": 1, "parked": 1}
    assert (item.holds or "").startswith("2 tasks ready (waits for a free slot); the first, ")
    assert raw_name(3) in (item.holds or ""), "late tasks go after what can still be prompt"
    assert [line.says for line in item.parked] == ["data: bad block"]
    assert [line.file for line in item.slowest] == [raw_name(3)]
    assert "1 of 5 processed, 1 parked and 2 late" in answer.headline
    assert "holds up" in "\n".join(answer.lines())


def test_missing_numbers_and_stopped_files_are_told(books: Books) -> None:
    books.campaign()
    for index in (0, 3):
        books.raw(raw_name(index))
    books.raw(raw_name(4), FileState.QUARANTINED, run=None, did=None, reason="bad checksum")
    answer = ask(books)
    assert answer.missing == ("2 sequence numbers of dataflow0_datawriter_0: 1-2",)
    assert [line.says for line in answer.stopped] == ["quarantined: bad checksum"]


def test_a_run_whose_tasks_are_all_parked_asks_for_a_person(books: Books) -> None:
    campaign = books.campaign()
    books.raw()
    books.task(campaign, TaskState.PARKED, error_class="data", message="bad")
    (item,) = ask(books).campaigns
    assert item.holds == "1 parked task: a person must look at the logs and ask for another try"
    assert "retry --parked --campaign pdhd-prompt" in (item.next or "")


def test_a_done_run_holds_nothing_up(books: Books) -> None:
    books.raw()
    books.task(books.campaign(), TaskState.DONE)
    (item,) = ask(books).campaigns
    assert (item.holds, item.next, item.slowest) == (None, None, ())


def test_an_excluded_run_says_who(books: Books) -> None:
    books.raw()
    books.task(books.campaign(), TaskState.WAIVED)
    books.insert(exclusion_table, run=28086, campaign="pdhd-prompt", at=NOW, by="anna", why="noise")
    assert "anna" in (ask(books).campaigns[0].excluded or "")


def test_an_unknown_run_names_its_neighbours_and_what_to_do(books: Books) -> None:
    books.raw(raw_name(0, 100), run=100)
    books.raw(raw_name(0, 300), run=300)
    answer = ask(books, 200)
    assert not answer.known
    assert answer.near == (100, 300)
    assert answer.to_do


def test_a_run_without_tasks_says_what_to_start(books: Books) -> None:
    books.raw()
    assert "no campaign has a task" in ask(books).to_do[0]
    books.lease("engine", held=False)
    assert "dune-prompt serve" in ask(books).to_do[0]
