"""`dune-prompt campaign probe`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import json_option, print_table, site_option

if TYPE_CHECKING:
    from campaign.probe.history import Probe
    from campaign.probe.run import Prober
    from dune_prompt.settings import Site
    from dune_prompt.settings.probe import ProbeSettings
    from dune_prompt.store import Store


@click.command()
@site_option
@json_option
@click.option("--history", is_flag=True, help="show the probes that were sent and how long each hop takes; send none")
@click.option("--last", type=click.IntRange(min=1), default=24, show_default=True, help="how many probes the history shows")
@click.option("--accept", is_flag=True, help="from now on expect the numbers of the last probe that was through; send none")
@click.option("--dry-run", is_flag=True, help="say what would be sent or accepted; write nothing")
def probe(site_path: Path, as_json: bool, history: bool, last: int, accept: bool, dry_run: bool) -> None:
    """Send a small known file through the whole chain, time every hop and compare its results.

    Exit code 0: it was through in time, with the expected numbers. 10: its file or its task has failed. 20: it was late. 40: its numbers
    are not the expected ones.
    """
    from contextlib import closing

    from campaign.probe.verdict import EXIT_CODES
    from dune_prompt import log
    from dune_prompt.errors import ConfigError
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    log.configure()
    site = load_site(site_path)
    if site.probe is None:
        raise ConfigError(f"{site_path}: probe: is missing; give it at least a run number that is kept for probes, and a stream")
    with closing(open_store(site.store_url)) as store:
        if history:
            _show_history(store, last, as_json)
            return
        if accept:
            _accept(store, as_json, dry_run)
            return
        prober, close = _prober(site, site.probe, site_path, store)
        try:
            if dry_run:
                _show_plan(prober, as_json)
                return
            from campaign.probe.run import probe as send

            sent = send(prober)
            _show(store, sent, as_json)
        finally:
            close()
    if sent.outcome is not None:
        click.get_current_context().exit(EXIT_CODES[sent.outcome])


def _prober(site: Site, settings: ProbeSettings, site_path: Path, store: Store) -> tuple[Prober, Callable[[], None]]:
    """What the probe works with, and the function that closes it."""
    import time

    from campaign.definition import load_campaigns
    from campaign.probe.run import Prober, choose_campaign
    from declare_daemon.catalogs import open_catalogs

    campaign = choose_campaign([file.settings for file in load_campaigns(site, site_path)], settings)
    catalogs = open_catalogs(site)
    return Prober(site, settings, campaign, store, catalogs, time.time, time.sleep), catalogs.close


def _show_plan(prober: Prober, as_json: bool) -> None:
    from campaign.probe.raw_file import content_of

    row = {
        "stream": prober.stream.name,
        "run": prober.settings.run,
        "content": content_of(prober.settings, prober.campaign.detector),
        "to": prober.site.buffer.path,
        "campaign": prober.campaign.campaign,
        "version": prober.campaign.version,
        "late_after_s": prober.settings.late_after,
    }
    print_table([row], as_json=as_json)


def _accept(store: Store, as_json: bool, dry_run: bool) -> None:
    import time

    from campaign.probe import history
    from dune_prompt.errors import ConfigError

    with store.read() as connection:
        through = next((item for item in history.newest(connection, 100) if "done" in item.hops and item.numbers), None)
    if through is None:
        raise ConfigError("no probe has been through yet: there are no numbers to accept")
    if not dry_run:
        with store.write() as connection:
            history.expect(connection, through, time.time())
    print_table([{"number": key, "expected": value} for key, value in sorted(through.numbers.items())], as_json=as_json)
    if not as_json:
        click.echo(f"{'would be' if dry_run else 'are'} the numbers expected of {through.campaign} {through.version} from now on")


def _show(store: Store, sent: Probe, as_json: bool) -> None:
    """How the probe went, hop by hop."""
    from campaign.probe import history
    from campaign.probe.hops import HOPS
    from campaign.probe.run import USUAL_FROM
    from campaign.probe.verdict import durations, usual

    with store.read() as connection:
        earlier = [item for item in history.newest(connection, USUAL_FROM) if item.id != sent.id]
    habits = usual([durations(item.hops, item.sent_at) for item in earlier])
    taken = durations(sent.hops, sent.sent_at)
    begin = sent.sent_at or sent.made_at
    rows = [
        {
            "hop": hop.key,
            "words": hop.words,
            "after_s": sent.hops[hop.key] - begin if hop.key in sent.hops else None,
            "took_s": taken.get(hop.key),
            "usual_s": habits[hop.key].p50 if hop.key in habits else None,
        }
        for hop in HOPS
        if hop.key in sent.hops or not hop.optional
    ]
    if as_json:
        click.echo(json.dumps(_row(sent) | {"hops": rows, "numbers": dict(sent.numbers)}, indent=1))
        return
    print_table(rows, as_json=False, columns=["words", "after_s", "took_s", "usual_s"])
    click.echo(f"{sent.outcome}: {sent.message}")


def _show_history(store: Store, last: int, as_json: bool) -> None:
    from campaign.probe import history

    with store.read() as connection:
        probes = history.newest(connection, last)
    hops = _hop_rows(probes)
    if as_json:
        click.echo(json.dumps({"probes": [_row(item) for item in probes], "hops": hops}, indent=1))
        return
    if not probes:
        click.echo("no probe has been sent yet")
        return
    shown = [_row(item) | {"sent": _utc(item.sent_at or item.made_at)} for item in probes]
    print_table(shown, as_json=False, columns=["sent", "outcome", "campaign", "version", "total_s", "launcher", "host", "message"])
    click.echo("")
    print_table(hops, as_json=False, columns=["words", "probes", "p50_s", "p95_s", "longest_s", "last_s"])


def _hop_rows(probes: Sequence[Probe]) -> list[dict[str, Any]]:
    """What each hop takes: percentiles over `probes`, and the newest one."""
    from campaign.probe.hops import HOPS
    from campaign.probe.verdict import durations, usual

    each = [durations(item.hops, item.sent_at) for item in probes]
    habits = usual(each)
    return [
        {
            "hop": hop.key,
            "words": hop.words,
            "probes": habits[hop.key].n,
            "p50_s": habits[hop.key].p50,
            "p95_s": habits[hop.key].p95,
            "longest_s": habits[hop.key].longest,
            "last_s": each[0].get(hop.key),
        }
        for hop in HOPS
        if hop.key in habits
    ]


def _row(item: Probe) -> dict[str, Any]:
    done = item.hops.get("done")
    return {
        "probe": item.id,
        "file": item.name,
        "campaign": item.campaign,
        "version": item.version,
        "code_version": item.code_version,
        "sent_at": item.sent_at,
        "outcome": None if item.outcome is None else item.outcome.value,
        "total_s": None if done is None else done - (item.sent_at or item.made_at),
        "launcher": item.launcher,
        "host": item.host,
        "message": item.message,
    }


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
