"""Which services are at work, by their leases in the store."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from campaign.installation import LEASE
from declare_daemon.journal.writer import lease_name
from dune_prompt.store.lease import holder_of


@dataclass(frozen=True, slots=True)
class Services:
    """Who holds the leases now: host, process id and start time of the process; None: nobody, so nothing happens there."""

    engine: str | None
    daemon: str | None


def read_services(connection: sa.Connection, buffer: str, now: float) -> Services:
    """Which of the two services is at work."""
    return Services(holder_of(connection, LEASE, now=now), holder_of(connection, lease_name(buffer), now=now))
