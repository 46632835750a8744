"""The parameters a simulation starts from: the site file, the campaigns, and what the ledger has measured; each with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaign.capacity import APA_EVENT_S, APA_EVENTS, FILE_BYTES
from campaign.definition import Campaign
from campaign.layout import ALL_STAGES
from campaign.simulation.distributions import empirical
from campaign.simulation.measured import ENOUGH, Measured
from campaign.simulation.parameters import OUTPUT_BYTES, Parameters
from campaign.simulation.quantities import duration_text
from dune_prompt.settings import Site

RATE = "3GB/s"  # what ProtoDUNE takes when it runs
LATENCY_S = {"local": 0.0, "htcondor": 60.0, "jobsub": 300.0}
SUBMIT_S = {"local": 0.0, "htcondor": 1.0, "jobsub": 10.0}
INTAKE_S, DECLARE_S, SIGMA = 2.0, 5.0, 0.25
LOCAL_POLL_S = 0.0  # the ends of local jobs are seen at once

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a parameter comes from: a setting, measured, or assumed."""

    key: str
    value: str
    source: str


def defaults(
    site: Site | None = None, campaigns: Sequence[Campaign] = (), measured: Mapping[Key, Measured] | None = None
) -> tuple[Parameters, list[Source]]:
    """Parameters and where each of the interesting ones comes from. `measured` is by (campaign, version)."""
    found = _Found()
    content: dict[str, Any] = {
        "streams": _streams(found, site, campaigns, measured or {}),
        "launchers": _launchers(found, site, campaigns, measured or {}),
        "engine": _engine(found, site, campaigns, measured or {}),
    }
    if site is None:
        found.add("slots.max", "600", "assumed")
        found.add("buffer.capacity", "any amount", "assumed")
    else:
        slots = site.slots.model_dump() | {name: duration_text(getattr(site.slots, name)) for name in ("drain_within", "hold")}
        content["slots"] = slots
        found.add("slots.max", str(site.slots.max), "site file")
        content["buffer"] = {
            "high_water": site.buffer.high_water,
            "low_water": site.buffer.low_water,
            **({"capacity": f"{site.buffer.capacity}B"} if site.buffer.capacity else {}),
        }
        capacity = f"{site.buffer.capacity / 1e12:g} TB" if site.buffer.capacity else "any amount"
        found.add("buffer.capacity", capacity, "site file" if site.buffer.capacity else "assumed: the site file does not say")
    return Parameters.model_validate(content), found.sources


class _Found:
    def __init__(self) -> None:
        self.sources: list[Source] = []

    def add(self, key: str, value: str, source: str) -> None:
        self.sources.append(Source(key, value, source))


def _last(seen: Measured) -> str:
    return f"in the last {seen.hours:g} h"


def _streams(found: _Found, site: Site | None, campaigns: Sequence[Campaign], measured: Mapping[Key, Measured]) -> list[dict[str, Any]]:
    streams: list[dict[str, Any]] = []
    by_stream: dict[str, list[Campaign]] = {}
    for item in campaigns:
        by_stream.setdefault(item.stream, []).append(item)
    for name, mine in (by_stream or {"physics": []}).items():
        place = f"streams.{len(streams)}"
        campaign = next((one for one in mine if one.required), mine[0] if mine else None)
        if len(mine) > 1 and campaign is not None:
            found.add(place, name, f"several campaigns process it; simulated: {campaign.campaign} {campaign.version}")
        seen = measured.get((campaign.campaign, campaign.version), Measured(0.0)) if campaign else Measured(0.0)
        streams.append({"name": name} | _as_seen(found, place, seen) | _as_set(found, place, name, site, campaign))
    return streams


def _as_seen(found: _Found, place: str, seen: Measured) -> dict[str, Any]:
    content: dict[str, Any] = {}
    size = seen.file_bytes or FILE_BYTES
    content["file_size"] = f"{size}B"
    found.add(f"{place}.file_size", f"{size / 1e9:.3g} GB", f"measured: {seen.files} files {_last(seen)}" if seen.file_bytes else "assumed")
    if seen.files_per_s is not None:
        content["files_per_s"] = seen.files_per_s
        rate = f"{seen.files_per_s:.3g} files/s = {seen.files_per_s * size / 1e9:.3g} GB/s"
        found.add(f"{place}.rate", rate, f"measured: {seen.files} files {_last(seen)}")
    else:
        content["rate"] = RATE
        found.add(f"{place}.rate", RATE, "assumed")
    if seen.job_s:
        quantiles = [duration_text(value) for value in empirical(seen.job_s).quantiles]
        content["job_time"] = {"kind": "empirical", "quantiles": quantiles}
        text = f"{seen.job_mean_s:.4g} s on average"
        found.add(f"{place}.job_time", text, f"measured: {len(seen.job_s)} files {_last(seen)}")
    else:
        content["job_time"] = {"kind": "lognormal", "median": duration_text(APA_EVENTS * APA_EVENT_S), "sigma": SIGMA}
        text = f"median {APA_EVENTS * APA_EVENT_S:g} s, sigma {SIGMA:g}"
        found.add(f"{place}.job_time", text, f"assumed: {APA_EVENTS} APA-events a file x {APA_EVENT_S:g} s")
    content["failures"] = dict(seen.failures)
    text = ", ".join(f"{name} {share:.2%}" for name, share in seen.failures) or "none"
    found.add(f"{place}.failures", text, f"measured: {seen.attempts} attempts {_last(seen)}" if seen.attempts >= ENOUGH else "assumed")
    output = seen.output_bytes or OUTPUT_BYTES
    content["output_size"] = f"{output}B"
    found.add(f"{place}.output_size", f"{output / 1e9:.3g} GB", f"measured {_last(seen)}" if seen.output_bytes else "assumed")
    return content


def _as_set(found: _Found, place: str, name: str, site: Site | None, campaign: Campaign | None) -> dict[str, Any]:
    """What the site file says of the stream, and the campaign file of its jobs."""
    content: dict[str, Any] = {}
    stream = site.stream(name) if site is not None else None
    if site is not None and stream is not None:
        content["lifetime"] = duration_text(stream.lifetime)
        content["min_age"] = duration_text(stream.release.min_age)
        content["leaves"] = stream.release.any
        content["sacrifice"] = name in site.buffer.sacrifice
    hours = f"{(stream.lifetime if stream else 86400.0) / 3600:g} h"
    found.add(f"{place}.lifetime", hours, "site file" if stream else "assumed")
    if stream is not None and not stream.release.any:
        found.add(f"{place}.leaves", "never", "site file: the stream has no release, so the buffer only fills")
    if campaign is not None:
        limits = [campaign.stages.limits(stage) for stage in ALL_STAGES]
        content["required"] = campaign.required
        content["retries"] = campaign.retries
        content["cpus"] = max(limit.cpus for limit in limits)
        content["memory"] = f"{max(limit.memory for limit in limits)}B"
        content["disk"] = f"{max(limit.disk for limit in limits)}B"
        content["time_limit"] = duration_text(sum(limit.lifetime for limit in limits))
    return content


def _launchers(found: _Found, site: Site | None, campaigns: Sequence[Campaign], measured: Mapping[Key, Measured]) -> list[dict[str, Any]]:
    if site is None:
        found.add("launchers.0.latency", "60 s", "assumed")
        return [{"name": "batch"}]
    content: list[dict[str, Any]] = []
    latencies = sorted(value for item in campaigns for value in measured.get((item.campaign, item.version), Measured(0.0)).latency_s)
    for number, launcher in enumerate(site.launchers):
        kind = launcher.kind
        settings: dict[str, Any] = {"name": kind, "submit": duration_text(SUBMIT_S[kind])}
        if launcher.kind == "local":
            settings |= {"poll_every": duration_text(LOCAL_POLL_S), "out_after": None}
        else:
            settings |= {
                "poll_every": duration_text(launcher.poll_every),
                "slice": launcher.slice,
                "out_after": launcher.out_after,
                "silent_after": duration_text(launcher.silent_after),
                # Jobs that share our files speak to nobody: the queue alone tells that they have ended.
                "reports_pushed": not launcher.share_files,
            }
        if latencies and number == 0:
            quantiles = [duration_text(value) for value in empirical(latencies).quantiles]
            settings["latency"] = {"kind": "empirical", "quantiles": quantiles}
            middle = latencies[len(latencies) // 2]
            found.add("launchers.0.latency", f"median {middle:.3g} s", f"measured: {len(latencies)} jobs")
        else:
            settings["latency"] = duration_text(LATENCY_S[kind])
            found.add(f"launchers.{number}.latency", f"{LATENCY_S[kind]:g} s", "assumed")
        content.append(settings)
    return content


def _engine(found: _Found, site: Site | None, campaigns: Sequence[Campaign], measured: Mapping[Key, Measured]) -> dict[str, Any]:
    seen = [measured[item.campaign, item.version] for item in campaigns if (item.campaign, item.version) in measured]
    intake = next((item.intake_s for item in seen if item.intake_s is not None), None)
    declare = next((item.declare_s for item in seen if item.declare_s is not None), None)
    for key, value, assumed in (("engine.intake", intake, INTAKE_S), ("engine.declare", declare, DECLARE_S)):
        found.add(key, f"{assumed if value is None else value:.3g} s", "assumed" if value is None else "measured")
    return {
        "intake": duration_text(INTAKE_S if intake is None else intake),
        "declare": duration_text(DECLARE_S if declare is None else declare),
        **({"interval": duration_text(site.service.interval)} if site is not None else {}),
    }
