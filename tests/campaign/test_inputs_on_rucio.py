"""The buffer copy is removed: inputs are found on another disk of a real Rucio, and read back from its tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from campaign.inputs import Gone, InputFinder, Places, Waiting, recall_statuses
from campaign.inputs.places import Answer
from dune_prompt.records import FileRecord
from tests.campaign.draining.installation import SITE, Small, eventually, raw
from tests.campaign.test_inputs import declared_by_others
from tests.declare_daemon.catalogs.rucio_world import FAR, NEAR, SCOPE, World, needs_rucio, shared, world

__all__ = ["shared", "world"]  # fixtures

pytestmark = needs_rucio

TAPE = "TAPE"


@pytest.fixture(scope="module")
def tape(shared: World) -> str:
    shared.server.add_rse(TAPE, shared.folder / TAPE)
    shared.server.change_rse(TAPE, rse_type="TAPE")
    shared.server.connect(TAPE, NEAR)
    return TAPE


@pytest.fixture
def open_installation(world: World, tmp_path: Path) -> Iterator[Callable[[str], Small]]:
    opened: list[Small] = []

    def start(inputs: str) -> Small:
        rucio = f"{{kind: rucio, rse: {NEAR}, config: {world.server.client_config()}, timeout: 60s}}"
        opened.append(Small.at(tmp_path, inputs=inputs, site=f"{SITE}catalogs: [{{kind: embedded}}, {rucio}]\n"))
        return opened[-1]

    yield start
    for small in opened:
        small.close()


@pytest.fixture
def finder_of() -> Iterator[Callable[[Small], InputFinder]]:
    opened: list[InputFinder] = []

    def start(small: Small) -> InputFinder:
        opened.append(InputFinder(small.installation, small.write, linger_s=30.0, follow_s=0.1))
        return opened[-1]

    yield start
    for finder in opened:
        finder.close(30.0)


def record(world: World, *, run: int = 1) -> FileRecord:
    """A file of a name of its own that others declared."""
    name = world.did("raw").split(":")[1]
    return raw(run=run, namespace=SCOPE, name=f"{name}.hdf5")


def on(world: World, rse: str, record: FileRecord) -> None:
    file = {"scope": record.namespace, "name": record.name, "bytes": record.size_bytes, "adler32": record.adler32}
    world.server.add_replicas(rse, [file])


def place_on(world: World, rse: str, record: FileRecord) -> Path:
    """The file itself, where the storage element has it."""
    path = Path(world.replica(record.did, rse).path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * record.size_bytes)
    return path


def ask(small: Small, finder: InputFinder) -> Mapping[str, Answer]:
    tasks = small.tasks()
    with small.installation.store.read() as connection:
        answers = finder.places(connection, tasks)
    return {task.input_did: answers[task.id] for task in tasks}


def test_a_copy_on_disk_is_used_that_of_the_site_first(
    world: World, open_installation: Callable[[str], Small], finder_of: Callable[[Small], InputFinder]
) -> None:
    small = open_installation("{}")
    both, far = record(world), record(world)
    for item in (both, far):
        on(world, FAR, item)
    on(world, NEAR, both)
    near_path, far_path = place_on(world, NEAR, both), place_on(world, FAR, far)
    declared_by_others(small, both, far)
    answers = ask(small, finder_of(small))
    assert answers[both.did] == Places(both.name, (str(near_path),), 1000, "00000001", both.metadata)
    assert answers[far.did] == Places(far.name, (str(far_path),), 1000, "00000001", far.metadata)


def test_without_leave_nothing_is_read_back(
    world: World, tape: str, open_installation: Callable[[str], Small], finder_of: Callable[[Small], InputFinder]
) -> None:
    small = open_installation("{}")
    item = record(world)
    on(world, tape, item)
    declared_by_others(small, item)
    assert isinstance(ask(small, finder_of(small))[item.did], Gone)
    assert world.server.rows("select count(*) from rules where rse_expression = ? and comments like '%dune-prompt%'", NEAR) == [(0,)]


def test_a_run_is_read_back_from_tape_by_one_rule_and_used(
    world: World, tape: str, open_installation: Callable[[str], Small], finder_of: Callable[[Small], InputFinder]
) -> None:
    small = open_installation(f"{{recall: {{rse: {NEAR}, lifetime: 2d, most: 1MB}}}}")
    items = [record(world) for _ in range(3)]
    for item in items:
        on(world, tape, item)
    declared_by_others(small, *items)
    finder = finder_of(small)
    answers = ask(small, finder)
    assert all(isinstance(answer, Waiting) for answer in answers.values())
    _until(small, finder, lambda now: all("REPLICATING" in str(answer) for answer in now.values()))
    rules = world.server.rows("select name, account, grouping, expires_at is not null from rules where name like 'recall_test-prompt%'")
    assert [rule[1:] for rule in rules] == [("root", "D", 1)]
    assert world.attached(f"{SCOPE}:{rules[0][0]}") == sorted(item.name for item in items)
    paths = [place_on(world, NEAR, item) for item in items]
    finder.close(30.0)  # the server's daemons want it idle: SQLite has one writer
    world.server.tick("submitter", "poller", "finisher")
    finder = finder_of(small)
    now = _until(small, finder, lambda now: all(isinstance(answer, Places) for answer in now.values()))
    assert [now[item.did] for item in items] == [
        Places(item.name, (str(path),), 1000, "00000001", item.metadata) for item, path in zip(items, paths, strict=True)
    ]
    _until(small, finder, lambda _: _numbers(small) == (3, 3, 3000, 3000, 0))


def _numbers(small: Small) -> tuple[int, ...]:
    with small.installation.store.read() as connection:
        (status,) = recall_statuses(connection)
    return status.files_asked, status.files_read_back, status.bytes_asked, status.bytes_read_back, status.rules_open


def _until(small: Small, finder: InputFinder, what: Callable[[Mapping[str, Answer]], bool]) -> Mapping[str, Answer]:
    """The finder's answers as soon as they are such."""
    found: Mapping[str, Answer] = eventually(lambda: next((answers for answers in [ask(small, finder)] if what(answers)), None))
    return found
