"""One reconciliation, part after part, each in transactions of its own: it may be killed anywhere and be begun again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from campaign.ledger import versions as ledger_versions
from campaign.reconcile import children, commits, itself, lost_tasks
from campaign.reconcile.finding import Finding
from campaign.versions import retirement, waiving
from campaign.versions.inputs import catalogs_of
from declare_daemon.catalogs import Catalogs
from dune_prompt.errors import TransientError

if TYPE_CHECKING:
    from campaign.engine import Engine


def reconcile(engine: Engine, *, run: int | None, now: float, by: str, change: bool, repair: bool) -> list[Finding]:
    """Compare the ledger with itself, the journal and the catalogue; with `change` put right what is wrong.

    `repair`: also have processed again what the ledger says is done and the catalogue does not have. With the catalogue away, what
    depends on it is left as it is, and said so. What the batch system knows is the business of the engine's step.
    """
    installation = engine.installation

    def transaction() -> AbstractContextManager[sa.Connection]:
        return engine.writing() if change else installation.store.read()

    findings: list[Finding] = []
    with transaction() as connection:
        findings += itself.check(connection, installation.campaigns, run, now, change=change)
        findings += commits.check(connection, installation, run, now, change=change)
    with catalogs_of(installation) as catalogs:
        try:
            for finding in _against_catalogue(engine, catalogs, run, now, by, change=change, repair=repair):
                findings.append(finding)
        except TransientError as error:
            findings.append(Finding("catalogue away", f"{error}", "nothing: what depends on it is left as it is"))
    with transaction() as connection:
        findings += _excluded(connection, now, change=change)
        findings += itself.check_blocked(connection, run, now, change=change)
        findings += itself.check_counts(connection, change=change)
    return findings


def _against_catalogue(
    engine: Engine, catalogs: Catalogs, run: int | None, now: float, by: str, *, change: bool, repair: bool
) -> Iterator[Finding]:
    installation = engine.installation
    for campaign in installation.campaigns.values():
        yield from lost_tasks.check(installation, catalogs.truth, engine.writing, campaign, run, now, change=change)
        yield from children.check(installation, catalogs.truth, engine.writing, campaign, run, now, change=change, repair=repair)
    with installation.store.read() as connection:
        due = retirement.due(connection, list(installation.campaigns))
    for item in due:
        if run not in (None, item.redo.run):
            continue
        what, subject = "second pass whose older results are to be retired", f"run {item.redo.run}"
        if item.waits_for is not None:
            yield Finding(what, subject, f"nothing: waits for {item.waits_for}")
        else:
            if change:
                retirement.retire(installation.store, catalogs, engine.writing, item, now, by)
            yield Finding(what, subject, "retired", change)


def _excluded(connection: sa.Connection, now: float, *, change: bool) -> list[Finding]:
    """What waits though its run is excluded: it failed after that, or its exclusion was cut short."""
    findings = []
    for exclusion in ledger_versions.exclusions(connection):
        unkept = waiving.kept_for_nothing(connection, exclusion)
        tasks = waiving.waive_run(connection, exclusion, now) if change else waiving.of_excluded(connection, exclusion)
        findings += [Finding("kept for nothing, as its run is excluded", did, "may leave", change) for _, did in unkept]
        findings += [Finding("waits though its run is excluded", task.input_did, "waived", change) for task in tasks]
    return findings
