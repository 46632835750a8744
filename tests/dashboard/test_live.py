"""The stream of updates: one reading for all tabs, exactly what a tab missed, and old numbers that say so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.operations.live import LiveOperations
from dashboard.operations.routes import render_parts
from dashboard.operations.snapshot import OperationsReader
from dashboard.rendering import Pages
from dune_prompt.errors import TransientError

NOW = 1_718_795_400.0


class Reader:
    """Stands for the store: each reading is one number later."""

    def __init__(self) -> None:
        self.readings = 0
        self.away = False

    def read(self, now: float) -> Any:
        if self.away:
            raise TransientError("store: away")
        self.readings += 1
        return SimpleNamespace(at=now, number=self.readings)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        self.now += 1
        return self.now


def make_live(reader: Any) -> LiveOperations:
    """`slow` changes at every third sample, `fixed` never."""

    def render(operations: Any) -> dict[str, str]:
        return {"fast": str(operations.number), "slow": str(operations.number // 3), "fixed": "x"}

    return LiveOperations(reader, render, lambda message: f"<p>{message}</p>", clock=Clock(), sample_s=0.01)


async def take(live: LiveOperations, last_id: str | None, number: int) -> list[tuple[str, dict[str, str]]]:
    stream = live.follow(last_id)
    updates = []
    async for update in stream:
        updates.append((update.id, json.loads(update.data)["parts"]))
        if len(updates) == number:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    return updates


def test_a_new_tab_gets_everything_then_only_what_changed() -> None:
    updates = asyncio.run(take(make_live(Reader()), None, 3))
    assert updates[0][1] == {"fast": "1", "slow": "0", "fixed": "x", "trouble": ""}
    assert updates[1][1] == {"fast": "2"}
    assert updates[2][1] == {"fast": "3", "slow": "1"}


def test_a_tab_that_was_away_gets_exactly_what_it_missed() -> None:
    async def scenario() -> None:
        live = make_live(Reader())
        first = await take(live, None, 1)
        for _ in range(4):
            live.sample()
        missed = await take(live, first[0][0], 1)
        assert missed[0][1] == {"fast": "5", "slow": "1"} or missed[0][1] == {"fast": "6", "slow": "2"}
        nothing = await take(live, missed[0][0], 1)
        assert "fixed" not in nothing[0][1]

    asyncio.run(scenario())


@pytest.mark.parametrize("last_id", ["", "garbage", "1.000/5", "1718795401.000/x", "1718795401.000/²", "1718795401.000/" + "9" * 5000])
def test_an_id_of_another_process_is_answered_with_everything(last_id: str) -> None:
    updates = asyncio.run(take(make_live(Reader()), last_id, 1))
    assert "fixed" in updates[0][1]


def test_an_id_from_the_future_waits_for_the_next_sample() -> None:
    async def scenario() -> None:
        live = make_live(Reader())
        last_id, _ = live.sample()
        epoch = last_id.partition("/")[0]
        updates = await take(live, f"{epoch}/999999", 1)
        assert "fixed" not in updates[0][1]

    asyncio.run(scenario())


def test_a_fault_in_the_code_does_not_end_the_updates(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        live = make_live(Reader())
        render, faults = live._render, [True, True]

        def faulty(operations: Any) -> Any:
            if faults:
                faults.pop()
                raise ValueError("a fault")
            return render(operations)

        live._render = faulty
        assert (await asyncio.wait_for(take(live, None, 1), 5))[0][1]["fixed"] == "x"

    asyncio.run(scenario())
    assert "a fault" in "".join(capsys.readouterr())


def test_all_tabs_share_one_reading_and_none_is_made_for_nobody() -> None:
    async def scenario() -> None:
        reader = Reader()
        live = make_live(reader)
        results = await asyncio.gather(*(take(live, None, 5) for _ in range(20)))
        assert live.watchers == 0
        assert all(len(updates) == 5 for updates in results)
        assert reader.readings < 12
        before = reader.readings
        await asyncio.sleep(0.05)
        assert reader.readings <= before + 1

    asyncio.run(scenario())


def test_all_tabs_are_sent_the_same_bytes_and_each_only_the_parts_it_wants() -> None:
    async def scenario() -> None:
        live = make_live(Reader())
        live.sample()
        one, other, few = [await anext(live.follow(None, wanted)) for wanted in (None, None, {"fixed"})]  # type: ignore[call-overload]
        assert one.frame is other.frame
        assert one.frame.decode() == f"event: update\ndata: {one.data}\nid: {one.id}\nretry: 2000\n\n"
        assert json.loads(few.data)["parts"].keys() == {"fixed", "trouble"}

    asyncio.run(scenario())


def test_when_the_store_is_away_the_old_numbers_stay_and_say_so() -> None:
    reader = Reader()
    live = make_live(reader)
    live.sample()
    reader.away = True
    _, parts = live.sample()
    assert parts["trouble"] == "<p>store: away</p>"
    assert parts["fast"] == "1"
    reader.away = False
    assert live.sample()[1]["trouble"] == ""


def test_without_any_numbers_an_outage_is_an_error() -> None:
    reader = Reader()
    reader.away = True
    with pytest.raises(TransientError):
        make_live(reader).sample()


def test_the_stream_starts_once_the_store_is_back() -> None:
    async def scenario() -> None:
        reader = Reader()
        reader.away = True
        live = make_live(reader)
        pending = asyncio.create_task(take(live, None, 1))
        await asyncio.sleep(0.03)
        assert not pending.done()
        reader.away = False
        assert (await asyncio.wait_for(pending, 5))[0][1]["fixed"] == "x"

    asyncio.run(scenario())


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


def test_the_store_is_read_once_a_second_however_often_numbers_are_asked_for(site: Any, store: Any, ledger: Any) -> None:
    ledger.campaign()
    ledger.task(1, 0)
    ledger.write()
    reader = OperationsReader(site, store, lambda: SimpleNamespace(wanted=1, reason="r"))
    first = reader.read(NOW)
    with statements(store.engine) as seen:
        assert reader.read(NOW + 0.5) is first
        assert seen == []
        assert reader.read(NOW + 1.1) is not first
        assert seen


def test_numbers_follow_the_ledger_and_every_part_can_be_drawn(site: Any, store: Any, ledger: Any) -> None:
    reader = OperationsReader(site, store, lambda: SimpleNamespace(wanted=1, reason="r"))
    ledger.write()
    empty = reader.read(NOW)
    assert (empty.work.files, empty.runs, empty.deadline) == (0, [], None)
    ledger.campaign()
    ledger.task(1, 0, state="parked", error_class="data", message="bad")
    ledger.task(1, 1)
    ledger.file("raw.hdf5", state="quarantined", reason="short")
    ledger.write()
    full = reader.read(NOW + 60)
    assert (full.work.files, full.work.parked, full.declaring.quarantined) == (2, 1, 1)
    pages = Pages(site)
    assert render_parts(pages, empty).keys() == render_parts(pages, full).keys()
