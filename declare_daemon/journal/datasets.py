"""How the files of a dataset are kept: storage element, rules and their lifetime, where a campaign says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from declare_daemon.catalogs.protocol import Keeping
from declare_daemon.journal.rows import batches, insert_missing
from declare_daemon.journal.tables import dataset_table

BATCH = 500


def keepings(connection: sa.Connection, datasets: Iterable[str]) -> dict[str, Keeping]:
    """How these datasets are kept; absent: as the site file says."""
    c = dataset_table.c
    found = {}
    for batch in batches(datasets, BATCH):
        for row in connection.execute(sa.select(dataset_table).where(c.did.in_(batch))):
            found[row.did] = Keeping(row.rse, None if row.rules is None else tuple(row.rules), row.lifetime_s)
    return found


def keep(connection: sa.Connection, datasets: Mapping[str, Keeping]) -> None:
    """Write down how datasets are kept. What was written first stays: rules are made once."""
    rows = [
        {"did": did, "rse": item.rse, "rules": None if item.rules is None else list(item.rules), "lifetime_s": item.lifetime_s}
        for did, item in datasets.items()
        if item != Keeping()
    ]
    insert_missing(connection, dataset_table, rows)
