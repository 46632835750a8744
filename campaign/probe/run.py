"""Sends a probe and watches it until it is through, failed or late. Safe to be killed anywhere: the next one clears up after it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
import structlog
from ulid import ULID

from campaign.definition import Campaign
from campaign.probe import history, raw_file
from campaign.probe.history import Probe
from campaign.probe.hops import DONE, RULES, Progress, follow
from campaign.probe.verdict import Outcome, differences, durations, slowest, usual
from declare_daemon.catalogs import Catalogs, Copies
from declare_daemon.journal.files import files_by_name
from dune_prompt import __version__
from dune_prompt.errors import ConfigError, DataError, DunePromptError, TransientError
from dune_prompt.records import read_json
from dune_prompt.settings import Site, StreamSettings
from dune_prompt.settings.probe import ProbeSettings
from dune_prompt.store import Lease, Store

log = structlog.get_logger(__name__)

LEASE = "probe"
LEASE_S = 60.0
LOOK_EVERY_S = 0.5
RULES_EVERY_S = 15.0
# Older probes are not looked at again.
LOOK_BACK_S = 3 * 86400.0
USUAL_FROM = 200


@dataclass(frozen=True, slots=True)
class Prober:
    """What a probe works with. `clock` gives seconds since the Unix epoch, `sleep` waits for some."""

    site: Site
    settings: ProbeSettings
    campaign: Campaign
    store: Store
    catalogs: Catalogs
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    @property
    def stream(self) -> StreamSettings:
        stream = self.site.stream(self.settings.stream)
        if stream is None:
            raise ConfigError(f"probe.stream: there is no stream {self.settings.stream!r}")
        return stream

    @property
    def folder(self) -> Path:
        return self.site.workspace / "probe"


def choose_campaign(campaigns: Sequence[Campaign], settings: ProbeSettings) -> Campaign:
    """The campaign whose results of the probe are compared.

    Raises:
        ConfigError: none processes the probe's stream and run.
    """
    fitting = [
        campaign
        for campaign in campaigns
        if campaign.stream == settings.stream
        and campaign.canary is None
        and settings.campaign in (None, campaign.campaign)
        and campaign.inputs.covers(settings.run, dict(campaign.inputs.where))
    ]
    if not fitting:
        named = f"campaign {settings.campaign!r} does not process" if settings.campaign else "no campaign processes"
        raise ConfigError(
            f"probe: {named} run {settings.run} of stream {settings.stream!r}; look at stream and inputs of the campaign files"
        )
    return fitting[0]


def probe(prober: Prober) -> Probe:
    """Send one file and watch it to its end.

    Raises:
        LeaseHeldError: another probe is under way.
        TransientError: store or buffer are away. ConfigError: the probe's file would not be processed.
    """
    lease = Lease.acquire(prober.store, LEASE, now=prober.clock(), duration_s=LEASE_S)
    try:
        clear_up(prober)
        return _watch(prober, lease, _send(prober))
    finally:
        shutil.rmtree(prober.folder, ignore_errors=True)
        lease.release()


def clear_up(prober: Prober) -> list[Probe]:
    """Mark the probes whose process has died, take away what they left half-done, and complete what is known of earlier ones.

    Only for the holder of the lease. Returns the lost ones.
    """
    now = prober.clock()
    with prober.store.read() as connection:
        died = history.under_way(connection)
        unsent = history.unsent(connection, now - LOOK_BACK_S)
        known = files_by_name(connection, "buffer", [item.name for item in unsent])
    for item in unsent:
        raw_file.clean(prober.site, prober.stream, item.name, known=item.name in known)
    lost = []
    with prober.store.write() as connection:
        for item in died:
            progress = _follow(prober, connection, item)
            message = f"its process ended before it did; {'the file was processed' if progress.done else progress.where}"
            history.waive(connection, item.did, "its probe was lost", now)
            lost.append(history.end(connection, _with(item, progress), Outcome.LOST, message, now))
    _complete_earlier(prober, now)
    return lost


def _complete_earlier(prober: Prober, now: float) -> None:
    """Hops that earlier probes have passed since they ended; those that did not get through hold the buffer no longer."""
    with prober.store.read() as connection:
        earlier = history.unfinished(connection, now - LOOK_BACK_S)
        found = [(item, _follow(prober, connection, item)) for item in earlier]
    for item, progress in found:
        after = _with(item, progress)
        if progress.done and RULES not in item.hops and _rules_satisfied(prober, progress):
            after = replace(after, hops=dict(after.hops) | {RULES: now})
        with prober.store.write() as connection:
            if after != item:
                history.write(connection, after)
            if not progress.done:
                history.waive(connection, item.did, f"its probe was {item.outcome}", now)


def _send(prober: Prober) -> Probe:
    with prober.store.read() as connection:
        before = history.newest(connection, 1)
    if before and int(before[0].made_at) == int(prober.clock()):
        prober.sleep(1.0)  # the time in the file's name has whole seconds
    now = prober.clock()
    file = raw_file.make(prober.folder, prober.settings, prober.stream, prober.campaign.detector, now)
    raw_file.check_stream(prober.site, prober.settings, file.record)
    if not prober.campaign.inputs.covers(prober.settings.run, file.record.metadata):
        raise ConfigError(f"probe: campaign {prober.campaign.campaign} does not process it: look at inputs.where in its file")
    item = Probe(
        id=str(ULID.from_timestamp(now)),
        name=file.record.name,
        did=file.record.did,
        campaign=prober.campaign.campaign,
        version=prober.campaign.version,
        code_version=__version__,
        raw=file.raw,
        made_at=now,
    )
    with prober.store.write() as connection:
        history.begin(connection, item)
    try:
        raw_file.send(prober.site, prober.stream, file)
    except DunePromptError as error:
        with prober.store.write() as connection:
            history.end(connection, item, Outcome.FAILED, f"the file could not be put into the buffer: {error}", prober.clock())
        raise
    item = replace(item, sent_at=prober.clock())
    with prober.store.write() as connection:
        history.write(connection, item)
    log.info("probe sent", file=item.name, campaign=item.campaign, version=item.version)
    return item


def _watch(prober: Prober, lease: Lease, item: Probe) -> Probe:
    """Look again and again until the probe is through, failed or late."""
    begin = item.sent_at or item.made_at
    late_at, rules_at = begin + prober.settings.late_after, 0.0
    progress = Progress({}, "nothing is known of it")
    while True:
        now = prober.clock()
        try:
            lease.renew(now)
            with prober.store.read() as connection:
                progress = _follow(prober, connection, item)
        except TransientError as error:
            log.warning("store away; the probe is looked for again", error=str(error)[:300])
        if progress.done and RULES not in item.hops and now >= rules_at:
            rules_at = now + RULES_EVERY_S
            if _rules_satisfied(prober, progress):
                item = replace(item, hops=dict(item.hops) | {RULES: now})
        item = _with(item, progress)
        if progress.done and (RULES in item.hops or not prober.settings.rules):
            return _judge(prober, item, now)
        if progress.failed is not None:
            return _give_up(prober, item, Outcome.FAILED, progress.failed, now)
        if now >= late_at:
            where = "its outputs are declared, but their rules are not satisfied yet" if progress.done else progress.where
            return _give_up(prober, item, Outcome.LATE, f"after {now - begin:.0f} s {where}", now)
        prober.sleep(min(LOOK_EVERY_S, max(late_at - now, 0.01)))


def _judge(prober: Prober, item: Probe, now: float) -> Probe:
    """It is through: are its results the expected ones, and was it in time?"""
    total = item.hops[DONE] - (item.sent_at or item.made_at)
    with prober.store.write() as connection:
        expected = _expected(prober.settings) or history.expected(connection, item)
        earlier = [durations(other.hops, other.sent_at) for other in history.newest(connection, USUAL_FROM) if other.id != item.id]
        if expected is None:
            history.expect(connection, item, now)
            return history.end(
                connection, item, Outcome.OK, f"processed after {total:.1f} s; its numbers are the expected ones from now on", now
            )
        if different := differences(item.numbers, expected, prober.settings.tolerance):
            return history.end(connection, item, Outcome.DIFFERENT, "; ".join(different), now)
        if total > prober.settings.late_after:
            return history.end(connection, item, Outcome.LATE, f"processed only after {total:.0f} s", now)
        words = [f"processed after {total:.1f} s", slowest(durations(item.hops, item.sent_at), usual(earlier))]
        return history.end(connection, item, Outcome.OK, "; ".join(word for word in words if word), now)


def _give_up(prober: Prober, item: Probe, outcome: Outcome, message: str, now: float) -> Probe:
    with prober.store.write() as connection:
        history.waive(connection, item.did, f"its probe was {outcome}", now)
        return history.end(connection, item, outcome, message, now)


def _follow(prober: Prober, connection: sa.Connection, item: Probe) -> Progress:
    return follow(connection, prober.site.workspace, item.name, item.did, item.campaign, item.version)


def _with(item: Probe, progress: Progress) -> Probe:
    """The probe with what is known of it now; what was known before stays."""
    return replace(
        item,
        hops=dict(item.hops) | progress.hops,
        numbers=progress.numbers or item.numbers,
        launcher=progress.launcher or item.launcher,
        host=progress.host or item.host,
    )


def _rules_satisfied(prober: Prober, progress: Progress) -> bool:
    """Whether every catalogue of copies has those that the rules of the outputs ask for. One that is away says nothing."""
    keeping = prober.campaign.outputs.keeping
    by_dataset: dict[str, list[str]] = {}
    for output in progress.outputs:
        if output.dataset is not None and output.did is not None:
            by_dataset.setdefault(output.dataset, []).append(output.did)
    try:
        return all(
            _complete(catalog.replicas.copies(dids, dataset, keeping, closely=False), dids)
            for catalog in prober.catalogs.all
            if catalog.replicas is not None
            for dataset, dids in by_dataset.items()
        )
    except DunePromptError as error:
        log.warning("catalogue does not tell of copies", error=str(error)[:300])
        return False


def _complete(copies: Mapping[str, Copies], dids: Sequence[str]) -> bool:
    return all(did in copies and copies[did].complete for did in dids)


def _expected(settings: ProbeSettings) -> dict[str, float] | None:
    """The numbers of the file that the site file names."""
    if settings.expected is None:
        return None
    try:
        content = read_json(settings.expected)
        return {str(key): float(value) for key, value in content.items()}
    except OSError as error:
        raise ConfigError(f"probe.expected: {settings.expected}: {error.strerror}") from None
    except (DataError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"probe.expected: {settings.expected}: not a JSON object of numbers ({error})") from None
