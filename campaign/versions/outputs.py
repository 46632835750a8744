"""Where the committed outputs of a version are now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa

from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import chunks
from campaign.ledger.versions import Version
from declare_daemon.journal import files_by_did


def output_files(connection: sa.Connection, version: Version, dids: Sequence[str], stage: str, suffix: str) -> Iterator[tuple[str, Path]]:
    """The declared outputs of `stage` whose names end with `suffix`, with the input each was made of, as this machine sees them."""
    c = task_table.c
    inputs: dict[int, str] = {}
    for part in chunks(sorted(dids)):
        rows = connection.execute(sa.select(c.input_id, c.input_did).where(c.campaign_id == version.id, c.input_did.in_(part)).distinct())
        inputs |= {row.input_id: row.input_did for row in rows}
    names = {
        output.name: inputs[input_id]
        for input_id, stages in ledger_attempts.committed(connection, inputs).items()
        if stage in stages
        for output in stages[stage].outputs
        if output.declared and output.name.endswith(suffix)
    }
    namespace = ledger_versions.namespace_of(connection, version)
    for did, file in files_by_did(connection, [f"{namespace}:{name}" for name in names]).items():
        yield names[did.partition(":")[2]], Path(file.path)
