"""`slots.max` against what comes."""

from __future__ import annotations

import pytest

from campaign.capacity import Load, warnings
from campaign.definition import Campaign
from dune_prompt.settings import Site

CAMPAIGN = Campaign.model_validate(
    {
        "campaign": "pdhd-prompt",
        "detector": "pdhd",
        "stream": "physics",
        "version": "v1",
        "outputs": {"namespace": "reco", "data_tier": "decoded-raw"},
    }
)
KEY = ("pdhd-prompt", "v1")


def site_of(slots: int, capacity: str | None = "200TB", lifetime: str = "24h") -> Site:
    buffer = {"path": "/buffer"} | ({"capacity": capacity} if capacity else {})
    streams = [{"name": "physics", "pattern": "*", "process": True, "lifetime": lifetime}]
    return Site.model_validate({"site": "test", "buffer": buffer, "streams": streams, "slots": {"min": 1, "max": slots}})


def test_slots_that_carry_the_rate_need_no_warning() -> None:
    assert warnings(site_of(600), [CAMPAIGN], {KEY: Load(files_per_s=0.7)}) == []
    assert warnings(site_of(1), [], {}) == []


def test_too_few_slots_for_the_measured_rate_are_told_with_numbers() -> None:
    (text,) = warnings(site_of(400), [CAMPAIGN], {KEY: Load(files_per_s=0.75, file_bytes=4 * 10**9)})
    assert "400 slots carry 67% of what comes" in text
    assert "pdhd-prompt v1: 3 GB/s, measured; 800 s a file, assumed: 160 APA-events x 5 s: 600 slots" in text
    assert "set slots.max to 600 or more" in text


def test_a_measured_job_time_goes_before_the_assumed_one() -> None:
    load = Load(files_per_s=0.75, job_s=100.0)
    assert warnings(site_of(75), [CAMPAIGN], {KEY: load}) == []
    (text,) = warnings(site_of(74), [CAMPAIGN], {KEY: load})
    assert "100 s a file, measured" in text


def test_without_a_measured_rate_the_buffer_bounds_it() -> None:
    # 180 TB in a day are 2.08 GB/s, 0.52 files/s, 417 slots.
    assert warnings(site_of(417), [CAMPAIGN]) == []
    (text,) = warnings(site_of(400), [CAMPAIGN])
    assert "at most: 200 TB of buffer within 24 h" in text
    assert "set slots.max to 417 or more" in text


def test_the_shorter_the_lifetime_the_more_is_needed() -> None:
    (text,) = warnings(site_of(417), [CAMPAIGN], None) or warnings(site_of(417, lifetime="12h"), [CAMPAIGN])
    assert "set slots.max to 834" in text


def test_campaigns_share_the_slots() -> None:
    second = CAMPAIGN.model_copy(update={"version": "v2"})
    loads = {KEY: Load(files_per_s=0.5), ("pdhd-prompt", "v2"): Load(files_per_s=0.5)}
    assert warnings(site_of(800), [CAMPAIGN, second], loads) == []
    (text,) = warnings(site_of(799), [CAMPAIGN, second], loads)
    assert "v1" in text
    assert "v2" in text


def test_nothing_known_is_no_warning() -> None:
    assert warnings(site_of(1, capacity=None), [CAMPAIGN]) == []


def test_smaller_files_hold_fewer_events() -> None:
    (text,) = warnings(site_of(1), [CAMPAIGN], {KEY: Load(files_per_s=1.0, file_bytes=10**9)})
    assert "200 s a file, assumed: 40 APA-events" in text


@pytest.mark.parametrize("seconds", [1.0, 10.0])
def test_the_time_of_an_apa_event_can_be_given(seconds: float) -> None:
    (text,) = warnings(site_of(1), [CAMPAIGN], {KEY: Load(files_per_s=1.0)}, apa_event_s=seconds)
    assert f"set slots.max to {160 * seconds:.0f} or more" in text
