"""What each catalogue knows of a file."""

from __future__ import annotations

import sqlalchemy as sa

from campaign.why.circumstances import Circumstances
from campaign.why.file_sentences import Registration
from campaign.why.spelled import moment
from declare_daemon.journal import JournalFile, queue
from declare_daemon.journal.tables import queue_table
from declare_daemon.registration.pauses import waivers
from declare_daemon.registration.steps import CONFIRM, METADATA, PLACE, PLACED, REPLICA

STEPS = (METADATA, PLACE, PLACED, REPLICA, CONFIRM)


def registrations(connection: sa.Connection, around: Circumstances, file: JournalFile) -> list[Registration]:
    """What each catalogue of the site knows of the file, in their order."""
    confirmed = queue.confirmed(connection, [file.id]).get(file.id, {})
    q = queue_table.c
    # The catalogues are named, because they come first in the key.
    kinds = [settings.kind for settings in around.site.catalogs]
    waits = connection.execute(sa.select(q.catalog, q.step).where(q.catalog.in_(kinds), q.step.in_(STEPS), q.file_id == file.id)).all()
    waived = waivers(connection, [file.id]).get(file.id, {})
    found = []
    for kind in kinds:
        mine = {step: at for (catalog, step), at in sorted(confirmed.items()) if catalog == kind}
        waiver = waived.get(kind)
        words = f"waived by {waiver.by} at {moment(waiver.at)}: {waiver.why}" if waiver else None
        found.append(Registration(kind, mine, tuple(row.step for row in waits if row.catalog == kind), words, around.catalog_holds(kind)))
    return found
