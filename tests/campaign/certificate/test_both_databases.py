"""SQLite and PostgreSQL give the same answers and the same signature."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from campaign.certificate.certificate import Certificate, certify
from campaign.states import TaskState
from campaign.why.file import FileAnswer, why_file
from campaign.why.run import RunAnswer, why_run
from declare_daemon.journal import FileState
from tests.campaign.why.rows import NOW, Books, raw_name
from tests.servers.postgres import Postgres


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Books, Books]]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as postgres:
        opened = [
            Books.open(tmp_path_factory.mktemp("sqlite")),
            Books.open(tmp_path_factory.mktemp("books"), url=postgres.address("postgres", "psycopg")),
        ]
        for books in opened:
            _fill(books)
        yield opened[0], opened[1]
        for books in opened:
            books.store.close()


def _fill(books: Books) -> None:
    campaign = books.campaign()
    for index, state in enumerate([TaskState.DONE, TaskState.PARKED, TaskState.READY, TaskState.READY, TaskState.DONE]):
        name = raw_name(index if index < 4 else 7)
        books.raw(name)
        task = books.task(campaign, state, name=name, deadline=NOW + index, error_class="data" if state is TaskState.PARKED else None)
        if state is TaskState.DONE:
            books.output(task, books.attempt(task), raw=name)
    books.raw(raw_name(5), FileState.QUARANTINED, run=None, did=None, reason="bad checksum")


def test_the_signature_is_the_same(both: tuple[Books, Books]) -> None:
    def signed(books: Books) -> Certificate:
        with books.store.read() as connection:
            return certify(connection, books.site, 28086, NOW)

    sqlite, postgres = (signed(books) for books in both)
    assert postgres.content == sqlite.content
    assert postgres.sha256 == sqlite.sha256
    assert sqlite.content["campaigns"][0]["made_with"]["code_versions"] == ["0.1.0"]


@pytest.mark.parametrize("what", [raw_name(0), raw_name(3), raw_name(6), f"{raw_name(0)[:-5]}_pdhd-prompt_v1_gauss.npz", "28086", "28000"])
def test_the_answer_is_the_same(both: tuple[Books, Books], what: str) -> None:
    def lines(books: Books) -> list[str]:
        with books.store.read() as connection:
            run = int(what) if what.isdecimal() else None
            answer: FileAnswer | RunAnswer
            answer = why_file(connection, books.site, what, NOW) if run is None else why_run(connection, books.site, run, NOW)
        return [line.replace(str(books.folder), "FOLDER") for line in answer.lines()]

    sqlite, postgres = (lines(books) for books in both)
    assert postgres == sqlite
