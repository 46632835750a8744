"""Whether the slots can carry the rate: arithmetic for `dune-prompt check`. What-if questions are answered by `campaign.simulation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from campaign.definition import Campaign
from dune_prompt.settings import Site

# ProtoDUNE-HD: a raw file of 4 GB holds 40 trigger records of 4 APAs; noise filter and signal processing of one take seconds.
APA_EVENTS = 160
APA_EVENT_S = 5.0
FILE_BYTES = 4 * 10**9


@dataclass(frozen=True, slots=True)
class Load:
    """What the ledger measured of one campaign: new files per second, their size, how long a job on one takes. None: not measured."""

    files_per_s: float | None = None
    file_bytes: int | None = None
    job_s: float | None = None


def warnings(
    site: Site, campaigns: Sequence[Campaign], loads: Mapping[tuple[str, str], Load] | None = None, *, apa_event_s: float = APA_EVENT_S
) -> list[str]:
    """One sentence, with its numbers and what to set, if `slots.max` cannot carry what comes; none if it can or nothing is known.

    `loads` is by (campaign, version). A rate that was not measured is taken as the most the buffer can live with: its capacity within
    the shortest lifetime of the processed streams.
    """
    if not campaigns:
        return []
    shares = [
        _need(site, campaign, (loads or {}).get((campaign.campaign, campaign.version), Load()), apa_event_s) for campaign in campaigns
    ]
    known = [share for share in shares if share is not None]
    needed = sum(share.slots for share in known)
    if needed <= site.slots.max:
        return []
    carried = site.slots.max / needed
    what = "; ".join(share.sentence for share in known)
    return [
        f"slots.max: {site.slots.max} slots carry {carried:.0%} of what comes ({what}); the buffer would fill and files become late: "
        f"set slots.max to {ceil(needed)} or more, if the batch system has them"
    ]


@dataclass(frozen=True, slots=True)
class _Need:
    slots: float
    sentence: str


def _need(site: Site, campaign: Campaign, load: Load, apa_event_s: float) -> _Need | None:
    """The slots a campaign keeps busy; None when nothing tells the rate."""
    stream = site.stream(campaign.stream)
    size = load.file_bytes or FILE_BYTES
    if load.files_per_s is not None:
        rate, source = load.files_per_s, "measured"
    elif stream is not None and site.buffer.capacity is not None:
        processed = [item.lifetime for item in site.streams if item.process]
        rate = site.buffer.capacity * site.buffer.high_water / min(processed or [stream.lifetime]) / size
        source = f"at most: {site.buffer.capacity / 1e12:g} TB of buffer within {min(processed or [stream.lifetime]) / 3600:g} h"
    else:
        return None
    job_s = load.job_s if load.job_s is not None else APA_EVENTS * apa_event_s * size / FILE_BYTES
    job = f"{job_s:.4g} s a file, " + ("measured" if load.job_s is not None else _assumed(size, apa_event_s))
    sentence = f"{campaign.campaign} {campaign.version}: {rate * size / 1e9:.3g} GB/s, {source}; {job}: {ceil(rate * job_s)} slots"
    return _Need(rate * job_s, sentence)


def _assumed(size: int, apa_event_s: float) -> str:
    events = APA_EVENTS * size / FILE_BYTES
    return f"assumed: {events:.0f} APA-events x {apa_event_s:g} s"
