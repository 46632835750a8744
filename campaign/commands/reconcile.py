"""The ledger is brought back into agreement with catalogues, journal and itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from campaign.commands.protocol import Arguments, Command, Rows
from campaign.reconcile.finding import table
from campaign.reconcile.reconciling import reconcile as reconcile_ledger

if TYPE_CHECKING:
    from campaign.engine import Engine


class ReconcileArguments(Arguments):
    """One run or all; `repair` has processed again what is done in the ledger but not in the catalogue."""

    run: int | None = Field(None, ge=0)
    repair: bool = False


def reconcile(engine: Engine, arguments: ReconcileArguments, now: float) -> Rows:
    """Bring the ledger back into agreement; what was found, how often, and whether it was put right."""
    findings = reconcile_ledger(engine, run=arguments.run, now=now, by=arguments.by, change=not arguments.dry_run, repair=arguments.repair)
    return table(findings)


RECONCILE = Command("reconcile", ReconcileArguments, reconcile)
