"""Which files a version is tried on: a fraction of its inputs, or the newest ones. The same file always gets the same answer."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa

from campaign.definition import Campaign
from declare_daemon.journal.engine_side import KNOWN
from declare_daemon.journal.tables import file_table


def in_fraction(did: str, fraction: float) -> bool:
    """Whether a file is among the `fraction` of all files that canaries are tried on.

    Its name decides, by a hash: any two processes agree, and a larger fraction holds all files of a smaller one.
    """
    digest = hashlib.blake2b(did.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < fraction * 2.0**64


def newest(connection: sa.Connection, settings: Campaign, began: float, last: int) -> frozenset[str]:
    """The DIDs of the `last` newest inputs of a version that `began` then; if there were fewer, those that came next fill up."""
    c, inputs = file_table.c, settings.inputs
    known = sa.select(c.did, c.run, c.metadata).where(
        c.stream == settings.stream, c.origin == "buffer", c.state.in_(KNOWN), c.did.is_not(None), c.run.not_in(inputs.exclude_runs)
    )
    if inputs.from_run is not None:
        known = known.where(c.run >= inputs.from_run)
    if inputs.to_run is not None:
        known = known.where(c.run <= inputs.to_run)
    if not inputs.where:
        known = known.limit(last)
    chosen: list[str] = []
    for files in (known.where(c.found_at <= began).order_by(c.id.desc()), known.where(c.found_at > began).order_by(c.id)):
        if len(chosen) == last:
            break
        # Where the metadata may say no, rows are read until enough have said yes.
        with connection.execute(files, execution_options={"stream_results": True}) as rows:
            for row in rows:
                if len(chosen) == last:
                    break
                if inputs.covers(row.run or 0, row.metadata or {}):
                    chosen.append(row.did)
    return frozenset(chosen)
