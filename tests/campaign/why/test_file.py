"""`why FILE`: one answer in words for every state of every state machine, for what is paused, away or excluded, and for the unknown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa

from campaign.draining.tables import recall_file_table, recall_table
from campaign.ledger.tables import attempt_table, campaign_table, exclusion_table, launcher_table, redo_table, task_table
from campaign.places import job_dir
from campaign.states import AttemptState, TaskState
from campaign.why.file import FileAnswer, why_file
from campaign.why.file_sentences import FILE_SENTENCES
from campaign.why.sentences import ATTEMPT_SENTENCES, TASK_SENTENCES
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, intake_table, obligation_table, pause_table, proof_table, waiver_table
from dune_prompt.store import event_table
from tests.campaign.why.rows import NOW, Books, raw_name


def ask(books: Books, what: str | None = None) -> FileAnswer:
    with books.store.read() as connection:
        return why_file(connection, books.site, what or raw_name(0), NOW)


def only(answer: FileAnswer) -> Any:
    assert len(answer.campaigns) == 1
    return answer.campaigns[0]


# What the answer must say of each state. A state without its line here fails the tests below.

TASKS: dict[TaskState, tuple[str, str]] = {
    TaskState.BLOCKED: ("waits for the stage before it, nf_sp: a job works on it", "when nf_sp is done"),
    TaskState.READY: ("waits for a free slot: it is the next to start", "when a slot is free"),
    TaskState.SUBMITTING: ("is being handed to local (attempt 1)", "takes it"),
    TaskState.SUBMITTED: ("waits in local as job 4711", "local starts its job"),
    TaskState.RUNNING: ("a job works on it on worker7", "its report"),
    TaskState.REPORTED: ("its job succeeded", "the engine's next step ends it"),
    TaskState.DONE: ("processed at", "nothing: it is done"),
    TaskState.WAITING_RETRY: ("an attempt failed (memory: the job held more memory than allowed); killed", "tried again at"),
    TaskState.PARKED: (
        "parked after 3 attempts and 3 failures of 3 allowed (payload: the payload failed); boom",
        "retry --parked --run 28086",
    ),
    TaskState.WAIVED: ("waived by anna", "nothing, unless"),
}
VALUES: dict[TaskState, dict[str, Any]] = {
    TaskState.WAITING_RETRY: {"error_class": "memory", "message": "killed", "failures": 1, "attempts": 1, "ready_at": NOW + 90},
    TaskState.PARKED: {"error_class": "payload", "message": "boom", "failures": 3, "attempts": 3},
}
IN_FLIGHT = {
    TaskState.SUBMITTING: AttemptState.SUBMITTING,
    TaskState.SUBMITTED: AttemptState.SUBMITTED,
    TaskState.RUNNING: AttemptState.RUNNING,
}


@pytest.mark.parametrize("state", TaskState)
def test_every_state_of_a_task_has_its_sentence(books: Books, state: TaskState) -> None:
    says, next_ = TASKS[state]
    assert state in TASK_SENTENCES
    layout = "staged" if state is TaskState.BLOCKED else "fused"
    campaign = books.campaign(layout=layout)
    books.raw()
    if state is TaskState.BLOCKED:
        books.attempt(books.task(campaign, TaskState.RUNNING, step="nf_sp"), AttemptState.RUNNING)
    task = books.task(campaign, state, step="declare" if state is TaskState.BLOCKED else "chain", **VALUES.get(state, {}))
    if state in IN_FLIGHT:
        books.attempt(task, IN_FLIGHT[state])
    if state is TaskState.WAIVED:
        books.insert(
            event_table, at=NOW, room="campaign", subject=f"task:{task}", before="parked", after="waived", by="anna", message="test"
        )
    with books.store.read() as connection:
        from campaign.ledger import attempts, tasks
        from campaign.why.circumstances import read_circumstances
        from campaign.why.sentences import say_task
        from campaign.why.work import situation

        around = read_circumstances(connection, books.site, NOW)
        every = tasks.select(connection)
        tried = attempts.of_tasks(connection, [item.id for item in every])
        row = around.campaigns[campaign]
        before = situation(connection, around, row, every[0], tried) if state is TaskState.BLOCKED else None
        said = say_task(situation(connection, around, row, every[-1], tried, before=before))
    assert says in said.now
    assert next_ in said.next
    if state is not TaskState.BLOCKED:
        answer = only(ask(books))
        assert (answer.state, answer.says, answer.next) == (state.value, said.now, said.next)


ATTEMPTS: dict[AttemptState, str] = {
    AttemptState.SUBMITTING: "attempt 1 (local) is being handed over since",
    AttemptState.SUBMITTED: "attempt 1 (local) waits in the batch system since",
    AttemptState.RUNNING: "attempt 1 (local) runs on worker7 since",
    AttemptState.SUCCEEDED: "attempt 1 (local) succeeded on worker7 at",
    AttemptState.FAILED: "attempt 1 (local) failed on worker7 at",
    AttemptState.LOST: "attempt 1 (local) was lost on worker7 at",
}


@pytest.mark.parametrize("state", AttemptState)
def test_every_state_of_an_attempt_has_its_sentence_and_its_log(books: Books, state: AttemptState) -> None:
    assert state in ATTEMPT_SENTENCES
    books.raw()
    attempt = books.attempt(books.task(books.campaign(), TaskState.RUNNING), state, error_class="payload", message="boom")
    (tried,) = only(ask(books)).tried
    assert tried.says.startswith(ATTEMPTS[state])
    assert tried.log == str(job_dir(books.folder, attempt) / "job.log")
    assert state not in (AttemptState.FAILED, AttemptState.LOST) or "boom" in tried.says


FILES: dict[FileState, tuple[str, str]] = {
    FileState.FOUND: ("are not checked yet; tried 2 times: no sidecar", "the daemon checks it again at"),
    FileState.VERIFIED: ("it waits for embedded", "the daemon registers it"),
    FileState.DECLARED: ("declared since", "it stays in the buffer"),
    FileState.IGNORED: ("is not declared, so it is left alone", "nothing"),
    FileState.UNMATCHED: ("it fits no stream", "until the site file has a stream"),
    FileState.REJECTED: ("it is bad (no sidecar)", "moves it into the quarantine"),
    FileState.QUARANTINED: ("it is in the quarantine", "dune-prompt declare retry"),
    FileState.RETURNING: ("on its way out of the quarantine", "moves it back"),
    FileState.CONFLICT: ("two truths about it: no sidecar", "a person has decided"),
    FileState.LEAVING: ("proven safe to release (proof 1", "moved to /archive/x"),
    FileState.LEFT: ("it left the buffer at", "nothing"),
    FileState.GONE: ("vanished from the buffer", "if it comes back"),
}


@pytest.mark.parametrize("state", FileState)
def test_every_state_of_a_file_has_its_sentence(books: Books, state: FileState) -> None:
    says, next_ = FILES[state]
    assert state in FILE_SENTENCES
    waiting = state not in (FileState.VERIFIED, FileState.DECLARED, FileState.LEAVING, FileState.LEFT)
    values = {"reason": "no sidecar", "tries": 2, "next_try": NOW + 60} if waiting else {}
    if state in (FileState.LEAVING, FileState.LEFT):
        # The proof comes first: nothing leaves without one.
        file_id = books.raw(state=FileState.DECLARED)
        proof = books.insert(proof_table, file_id=file_id, made_at=NOW - 60, action="move", target="/archive/x", checks=[])
        books.update(file_table, file_id, state=state.value, proof=proof, left_at=NOW - 50)
    else:
        books.raw(state=state, **values)
    answer = ask(books)
    assert answer.state == state.value
    assert says in answer.where
    assert next_ in (answer.next or "")
    assert answer.where in "\n".join(answer.lines())


def test_no_sentence_is_left_over() -> None:
    assert (set(TASKS), set(ATTEMPTS), set(FILES)) == (set(TASK_SENTENCES), set(ATTEMPT_SENTENCES), set(FILE_SENTENCES))


def test_a_file_is_found_by_did_name_and_path(books: Books) -> None:
    books.campaign()
    books.raw()
    name = raw_name(0)
    answers = [ask(books, what) for what in (name, f"hd-protodune:{name}", str(books.folder / "buffer" / name))]
    assert {answer.did for answer in answers} == {f"hd-protodune:{name}"}
    elsewhere = ask(books, f"/somewhere/else/{name}")
    assert elsewhere.did == f"hd-protodune:{name}"
    assert "not at /somewhere/else" in elsewhere.where


def test_an_input_that_others_declared_is_found_in_the_ledger(books: Books) -> None:
    books.task(books.campaign(), name=raw_name(3))
    for what in (raw_name(3), f"hd-protodune:{raw_name(3)}"):
        answer = ask(books, what)
        assert answer.kind == "raw"
        assert "others declared it" in answer.where
        assert only(answer).state == "ready"


def test_the_place_in_the_queue_is_that_of_the_engine(books: Books) -> None:
    campaign = books.campaign()
    books.raw()
    books.task(campaign, deadline=NOW + 100)
    for index, values in enumerate(
        [
            {"deadline": NOW + 50},
            {"deadline": NOW + 100},  # the same deadline, a later task: behind
            {"deadline": NOW + 200},
            {"deadline": NOW - 50, "late": True},
        ]
    ):
        books.task(campaign, name=raw_name(index + 1), **values)
    books.task(campaign, TaskState.DONE, name=raw_name(9), deadline=NOW)
    assert "1 task before it in the queue" in only(ask(books)).says
    assert "2 tasks before it in the queue" in only(ask(books, raw_name(2))).says
    assert "4 tasks before it in the queue" in only(ask(books, raw_name(4))).says
    with books.store.read() as connection:
        from campaign.ledger import tasks

        order = [task.input_did for task in tasks.queue(connection, [campaign], NOW, 10)]
    assert order.index(f"hd-protodune:{raw_name(0)}") == 1
    assert order.index(f"hd-protodune:{raw_name(4)}") == 4


def test_when_it_starts_follows_from_the_rate_of_late(books: Books) -> None:
    campaign = books.campaign()
    books.raw()
    books.task(campaign, deadline=NOW + 100)
    for index in range(1, 7):
        books.task(campaign, name=raw_name(index), deadline=NOW + 50)
        done = books.task(campaign, TaskState.DONE, name=raw_name(index + 10))
        books.attempt(done, ended_at=NOW - 10)
    answer = only(ask(books))
    assert answer.next == "at the rate of the last minutes it starts in about 10 min"
    assert answer.next_at == NOW + 600


def test_a_paused_campaign_holds_its_tasks_up_and_nobody_elses(books: Books) -> None:
    paused, other = books.campaign(), books.campaign("other")
    books.raw()
    books.update(campaign_table, paused, paused_at=NOW - 60, paused_by="anna", paused_why="bad payload")
    books.task(paused, deadline=NOW)
    books.task(other, deadline=NOW + 5)
    by_name = {item.campaign: item for item in ask(books).campaigns}
    assert "pdhd-prompt v1 is paused by anna" in by_name["pdhd-prompt"].says
    assert "bad payload" in by_name["pdhd-prompt"].says
    assert "resumes" in by_name["pdhd-prompt"].next
    assert "it is the next to start" in by_name["other"].says


def test_an_excluded_run_says_who_and_why(books: Books) -> None:
    books.campaign()
    books.raw()
    books.insert(exclusion_table, run=28086, campaign="", at=NOW, by="anna", why="cryostat door open")
    answer = only(ask(books))
    assert answer.state is None
    assert "run 28086 is excluded by anna" in answer.says
    assert "cryostat door open" in answer.says


def test_a_launcher_that_is_out_is_named(books: Books) -> None:
    task = books.task(books.campaign())
    books.raw()
    books.insert(launcher_table, name="local", refused=3, out_since=NOW - 600, message="schedd is silent")
    assert "no batch system takes jobs: local is out since" in only(ask(books)).says
    books.update(task_table, task, state=TaskState.SUBMITTED.value)
    books.attempt(task, AttemptState.SUBMITTED)
    assert "local is out since" in only(ask(books)).says
    assert "schedd is silent" in only(ask(books)).says


def test_without_an_engine_or_a_daemon_it_says_what_to_start(books: Books) -> None:
    books.task(books.campaign())
    file_id = books.raw(state=FileState.VERIFIED)
    books.lease("engine", held=False)
    books.lease(f"buffer:{books.folder / 'buffer'}", held=False)
    answer = ask(books)
    assert "no engine runs" in only(answer).says
    assert "dune-prompt serve" in only(answer).next
    assert "no daemon runs" in (answer.next or "")
    assert file_id


def test_a_paused_and_an_absent_catalogue_are_told_apart(books: Books) -> None:
    books.raw(state=FileState.VERIFIED)
    assert any("embedded: waits for metadata" in line for line in ask(books).registered)
    away = {"at": NOW - 90, "room": "declare", "subject": "catalog:embedded", "before": "back", "after": "away", "message": "disk full"}
    books.insert(event_table, **away)
    assert "embedded does not answer since" in ask(books).where
    assert "disk full" in ask(books).where
    books.insert(pause_table, catalog="embedded", since=NOW - 10, until=NOW + 3600, by="anna", why="migration")
    assert "embedded is paused by anna until" in ask(books).where


def test_a_waived_catalogue_names_the_person(books: Books) -> None:
    file_id = books.raw()
    books.insert(waiver_table, file_id=file_id, catalog="embedded", at=NOW, by="anna", why="SAM is gone")
    assert any("waived by anna" in line and "SAM is gone" in line for line in ask(books).registered)


def test_a_reported_task_names_the_outputs_it_waits_for(books: Books) -> None:
    task = books.task(books.campaign(), TaskState.REPORTED, reported_at=NOW - 30)
    books.raw()
    name = books.output(task, books.attempt(task), state=FileState.VERIFIED)
    assert f"{name} is verified, waits for embedded" in only(ask(books)).says


def test_the_buffer_keeps_a_file_for_whom_it_is_not_processed(books: Books, tmp_path: Any) -> None:
    streams = [{"name": "physics", "pattern": "*", "process": True, "lifetime": "1h", "release": {"move_to": "/archive"}}]
    books = Books.open(tmp_path / "b", streams=streams)
    books.raw()
    books.insert(obligation_table, did=f"hd-protodune:{raw_name(0)}", campaign="pdhd-prompt", version="v1", child="evaluate")
    assert "not processed yet by pdhd-prompt v1" in (ask(books).next or "")
    books.raw(raw_name(1), closed_at=NOW - 60)
    young = ask(books, raw_name(1))
    assert "its time in the buffer ends at" in (young.next or "")
    assert young.next_at == NOW - 60 + 3600
    books.store.close()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"from_run": 30000}, "run 28086 is before inputs.from_run (30000)"),
        ({"to_run": 20000}, "run 28086 is after inputs.to_run (20000)"),
        ({"exclude_runs": [28086]}, "run 28086 is in inputs.exclude_runs"),
        ({"where": {"core.run_type": "cosmics"}}, "inputs.where wants core.run_type to be 'cosmics', it is None"),
    ],
)
def test_a_version_that_does_not_cover_the_file_says_by_which_line(books: Books, inputs: dict[str, Any], words: str) -> None:
    campaign = books.campaign(inputs=inputs)
    books.raw()
    assert words in only(ask(books)).says
    books.insert(redo_table, campaign_id=campaign, run=28086, at=NOW, by="anna", retire_old=False)
    assert words not in only(ask(books)).says


def test_an_input_on_its_way_from_tape_is_told(books: Books) -> None:
    campaign = books.campaign()
    books.raw()
    books.task(campaign)
    recall = {"dataset": "d:s", "rse": "DISK", "lifetime_s": 1.0, "rule": "abc", "state": "REPLICATING", "asked_at": NOW}
    books.insert(recall_table, id="r", campaign_id=campaign, run=28086, **recall)
    books.insert(recall_file_table, recall_id="r", did=f"hd-protodune:{raw_name(0)}", size_bytes=1)
    assert "its input is not on disk: read back from tape to DISK" in only(ask(books)).says


def test_a_task_that_must_not_start_yet_says_when_and_why(books: Books) -> None:
    books.raw()
    books.task(books.campaign(), ready_at=NOW + 300, message="its copy is on tape only")
    answer = only(ask(books))
    assert answer.says == "it waits; its copy is on tape only"
    assert answer.next_at == NOW + 300


def test_a_version_that_is_tried_on_other_files_says_so(books: Books) -> None:
    books.campaign(canary={"last": 1})
    books.raw()
    books.raw(raw_name(1), found_at=NOW - 2e6)
    answer = only(ask(books))
    assert answer.role == "canary"
    assert "is tried on other files (the newest 1)" in answer.says


def test_a_verified_file_without_a_task_waits_for_the_engines_next_step(books: Books) -> None:
    books.campaign()
    file_id = books.raw()
    books.insert(intake_table, file_id=file_id)
    assert only(ask(books)).next == "the engine's next step makes its task"


def test_a_staged_file_tells_the_step_it_is_at(books: Books) -> None:
    campaign = books.campaign(layout="staged")
    books.raw()
    first = books.task(campaign, TaskState.DONE, step="nf_sp")
    books.attempt(books.task(campaign, TaskState.RUNNING, step="declare", input_id=first), AttemptState.RUNNING)
    books.task(campaign, TaskState.BLOCKED, step="evaluate", input_id=first)
    answer = only(ask(books))
    assert (answer.step, answer.state) == ("declare", "running")
    assert answer.steps == {"nf_sp": "done", "declare": "running", "evaluate": "blocked"}


def test_deadlines_say_late_or_when(books: Books) -> None:
    campaign = books.campaign()
    books.raw()
    task = books.task(campaign, deadline=NOW + 3600)
    assert only(ask(books)).deadline_says.endswith("(in 1 h)")
    books.update(task_table, task, deadline=NOW - 3600)
    assert only(ask(books)).deadline_says.startswith("late")


def test_the_next_attempts_needs_are_told(books: Books) -> None:
    books.raw()
    needs = {"memory_bytes": 6_000_000_000, "avoid_hosts": ["worker7"]}
    books.task(books.campaign(), TaskState.WAITING_RETRY, error_class="memory", failures=1, ready_at=NOW + 30, needs=needs)
    answer = only(ask(books))
    assert "6 GB of memory and another host than worker7" in answer.next
    assert answer.next_at == NOW + 30


def test_history_names_people_and_not_the_engine(books: Books) -> None:
    books.raw()
    task = books.task(books.campaign())
    event = {"room": "campaign", "subject": f"task:{task}", "before": "parked", "after": "ready", "message": "retry asked for"}
    books.insert(event_table, at=NOW - 20, by="engine", **event)
    books.insert(event_table, at=NOW - 10, by="anna", **event)
    first, second = ask(books).history
    assert (first.who, second.who) == (None, "anna")
    assert second.what == "chain: parked → ready (retry asked for)"


def test_an_output_tells_its_place_and_how_it_was_made(books: Books) -> None:
    task = books.task(books.campaign(), TaskState.DONE)
    books.raw()
    name = books.output(task, books.attempt(task))
    answer = ask(books, name)
    assert answer.kind == "output"
    assert answer.provenance is not None
    assert answer.provenance.inputs == (f"hd-protodune:{raw_name(0)}",)
    text = "\n".join(answer.lines())
    assert "it lies in the outbox" in text
    assert "code version 0.1.0" in text


def test_the_beginning_of_a_name_is_enough_when_only_one_file_begins_so(books: Books) -> None:
    for index in range(2):
        books.raw(raw_name(index))
    beginning = raw_name(1).partition("_dataflow")[0]
    assert ask(books, beginning).kind != "unknown"
    assert ask(books, beginning[:-1]).kind == "unknown"
    assert raw_name(1) in ask(books, beginning[:-1]).near


def test_what_is_unknown_says_what_is_near_and_what_to_do(books: Books) -> None:
    for index in range(3):
        books.raw(raw_name(index))
    answer = ask(books, raw_name(7))
    assert answer.kind == "unknown"
    assert answer.near[0] in {raw_name(index) for index in range(3)}
    assert any("sidecar" in line for line in answer.to_do)
    assert not any("later files" in line for line in answer.to_do)
    books.raw(raw_name(9), file_index=9)
    assert any(f"later files of its run and writer are here ({raw_name(9)})" in line for line in ask(books, raw_name(7)).to_do)
    typo = ask(books, raw_name(1).replace("hd_raw", "hd_rwa"))
    assert raw_name(1) in typo.near
    nonsense = ask(books, "qqq")
    assert nonsense.near == ()
    assert any("fits no stream" in line for line in nonsense.to_do)


def test_commands_that_answers_name_exist() -> None:
    import campaign.certificate
    import campaign.why
    from dune_prompt.cli import program

    context = click.Context(program)
    named = set()
    for package in (campaign.why, campaign.certificate):
        for path in Path(package.__path__[0]).glob("*.py"):
            named |= set(re.findall(r"`dune-prompt ([a-z]+)(?: ([a-z]+))?((?: --[a-z-]+)*)", path.read_text()))
    assert ("campaign", "retry", " --parked --run") in named
    for group, name, options in named:
        command = program.get_command(context, group)
        assert command is not None, group
        if isinstance(command, click.Group):
            command = command.get_command(context, name)
            assert command is not None, f"{group} {name}"
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options.split()) <= known, f"{group} {name}{options}"


def test_an_answer_writes_nothing(books: Books) -> None:
    books.attempt(books.task(books.campaign(), TaskState.RUNNING), AttemptState.RUNNING)
    books.raw()
    with books.store.read() as connection:
        connection.exec_driver_sql("PRAGMA query_only = 1")
        why_file(connection, books.site, raw_name(0), NOW)
        connection.exec_driver_sql("PRAGMA query_only = 0")


def test_a_task_of_many_is_found_by_its_index(books: Books) -> None:
    """No query of an answer reads a whole table of files, tasks or attempts."""
    books.attempt(books.task(books.campaign(), deadline=NOW))
    books.raw()
    queries: list[tuple[str, Any]] = []
    listener = lambda _c, _cursor, statement, parameters, _context, _many: queries.append((statement, parameters))  # noqa: E731
    sa.event.listen(books.store.engine, "before_cursor_execute", listener)
    try:
        ask(books)
    finally:
        sa.event.remove(books.store.engine, "before_cursor_execute", listener)
    with books.store.read() as connection:
        for statement, parameters in queries:
            if statement.lstrip().startswith("SELECT"):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                scans = [row[3] for row in plan if row[3].startswith("SCAN") or "rowid>" in row[3]]
                big = [
                    line
                    for line in scans
                    if line.split()[1] in ("task", "attempt", "journal_file", "journal_step", "journal_queue", "event")
                ]
                assert not big, (statement, big)
    assert attempt_table.name == "attempt"
