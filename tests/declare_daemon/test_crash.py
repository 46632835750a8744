"""The daemon may be killed at any point, again and again: the end is the same, each good file exactly once in the catalogue."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

PARTS = 4


@pytest.fixture
def play(world_class: Any, store_file: Path, new_stream: Any, tmp_path: Path) -> Callable[[int | None], tuple[Any, int]]:
    """Plays one scene with a kill at a point (None: without) and returns how it ended, and how many points there were.

    In the scene: a good raw file with an output, a raw file with a wrong checksum, an output that is not on disk, and a file of
    trigger primitives whose time in the buffer is over.
    """

    def play(kill_at: int | None) -> tuple[Any, int]:
        root = tmp_path / "scene"
        released = root / "released"
        tp = new_stream("tp", "np04hd_tp_run*.hdf5", release={"move_to": str(released)}, lifetime="1h")
        world = world_class(root, store_file, streams=(new_stream(process=True), tp))
        released.mkdir()
        try:
            good = world.put(0)
            world.put(1, data=b"data", sidecar=world.sidecar(world.raw_name(1), b"atad"))
            world.put(0, kind="tp")
            world.now = (world.buffer / good).stat().st_mtime + 2 * 3600
            world.hand_over()
            lost = world.hand_over("lost.npz")
            (world.outbox / "attempts" / "A1" / lost.name).unlink()
            with pytest.MonkeyPatch.context() as patch:
                world.faults.around_file_changes(patch)
                patch.setattr("declare_daemon.verdicts.DATA_TRIES", 2)
                end = world.now + 20
                killed = world.settle_with_crash(-1 if kill_at is None else kill_at, lambda: world.settle_for(end - world.now, tick=10))
                if killed:
                    world.settle_for(10, tick=10)
            assert killed == (kill_at is not None)
            return (world.states(), world.tree(), world.in_catalog(), world.in_intake()), world.faults.passed
        finally:
            world.close()
            shutil.rmtree(root)

    return play


@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_at_any_point_changes_nothing_in_the_end(play: Callable[[int | None], tuple[Any, int]], part: int) -> None:
    expected, points = play(None)
    states, _, catalog, intake = expected
    assert sorted(states.values()) == ["declared", "declared", "left", "quarantined", "quarantined"]
    assert len(catalog) == 3
    assert len(intake) == 1
    assert points > 50
    for point in range(part, points, PARTS):
        assert play(point)[0] == expected, f"after a kill at point {point}"


def test_any_order_of_arrivals_kills_and_outages_ends_well(world_class: Any, store_file: Path) -> None:
    class Operation(RuleBasedStateMachine):
        """Files come, the daemon is killed, catalogue and buffer go away and come back."""

        def __init__(self) -> None:
            super().__init__()
            self.root = Path(tempfile.mkdtemp())
            self.world = world_class(self.root / "world", store_file)
            self.patch = pytest.MonkeyPatch()
            self.good: set[str] = set()
            self.bad: set[str] = set()
            self.outputs: set[str] = set()
            self.mounted = True

        @precondition(lambda self: self.mounted)
        @rule(well=st.booleans())
        def a_file_is_closed(self, well: bool) -> None:
            index = len(self.good) + len(self.bad)
            name = self.world.raw_name(index)
            self.world.put(index, sidecar=... if well else self.world.sidecar(name, b"other data"))
            (self.good if well else self.bad).add(name)

        @precondition(lambda self: len(self.good) > len(self.outputs))
        @rule()
        def an_output_is_handed_over(self) -> None:
            index = min(
                number for number in range(99) if self.world.raw_name(number) in self.good and self._output(number) not in self.outputs
            )
            self.outputs.add(self.world.hand_over(of=index, attempt=f"A{index}").name)

        def _output(self, index: int) -> str:
            return f"{Path(self.world.raw_name(index)).stem}_pdhd-prompt_v1_gauss.npz"

        @rule(points=st.integers(0, 40))
        def the_daemon_is_killed_while_it_works(self, points: int) -> None:
            self.world.faults.around_file_changes(self.patch)
            self.world.settle_with_crash(points, self.world.settle)
            self.patch.undo()

        @rule(seconds=st.sampled_from([1, 5, 60]))
        def time_passes(self, seconds: int) -> None:
            self.world.advance(seconds)
            self.world.settle()

        @rule()
        def the_catalogue_goes_away_or_comes_back(self) -> None:
            self.world.catalog.away = not self.world.catalog.away

        @rule()
        def the_buffer_goes_away_or_comes_back(self) -> None:
            (self.world.unmount if self.mounted else self.world.mount)()
            self.mounted = not self.mounted

        def teardown(self) -> None:
            try:
                self.world.catalog.away = False
                if not self.mounted:
                    self.world.mount()
                self.world.settle_for(900, tick=100)
                states = self.world.states()
                assert {name for name, state in states.items() if state == "declared"} == self.good | self.outputs
                assert {name for name, state in states.items() if state == "quarantined"} == self.bad
                assert {did.partition(":")[2] for did in self.world.in_catalog()} == self.good | self.outputs
                assert sorted(self.world.in_intake()) == sorted(self.good)
                kept = {path.name for folder in ("buffer", "outbox") for path in (self.world.root / folder).rglob("*.*") if path.is_file()}
                assert self.good | self.outputs <= kept
                assert {path.name for path in (self.world.root / "quarantine").rglob("*.hdf5")} == self.bad
            finally:
                self.patch.undo()
                self.world.close()
                shutil.rmtree(self.root)

    run_state_machine_as_test(Operation, settings=settings(max_examples=12, stateful_step_count=12, deadline=None))
