"""What the daemon tells of itself is what was done."""

from __future__ import annotations

from typing import Any


def test_the_snapshot_counts_what_was_done_since_the_start(world: Any) -> None:
    good = world.put(0)
    world.put(1, sidecar="{")
    world.settle_for(60)
    told = world.daemon.snapshot()
    assert told.files == {("buffer", "declared"): 1, ("buffer", "quarantined"): 1}
    assert (told.declared_total, told.quarantined_total, told.released_total) == (1, 1, 0)
    assert told.declared_bytes_total == (world.buffer / good).stat().st_size
    assert told.last_scan_at == told.last_step_at == world.now
    assert told.steps_waiting == {}
    assert told.requests["embedded"].count > 0
    assert told.oldest_unprocessed_age_s is not None


def test_the_snapshot_tells_what_is_away_and_what_waits_for_it(world: Any) -> None:
    world.catalog.away = True
    world.put()
    world.settle_for(200, tick=10)
    told = world.daemon.snapshot()
    assert told.away["catalog:embedded"].error == "embedded: no answer"
    assert list(told.alarms) == ["catalog:embedded"]
    assert told.steps_waiting == {"embedded": 1}
