"""What people decided about versions and runs: pauses, roles, exclusions and second passes, each with who and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import campaign_table, exclusion_table, redo_table
from campaign.ledger.tasks import ROOM, chunks
from campaign.versions.roles import Role, role_of
from declare_daemon.journal.tables import obligation_table
from dune_prompt.errors import ConfigError
from dune_prompt.store import Event, event_table, record_events

ALL_CAMPAIGNS = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A campaign's version as the ledger knows it. `role` is what holds now, its file and people's decisions together."""

    id: int
    name: str
    version: str
    stream: str
    layout: str
    role: Role
    required: bool
    first_seen: float
    paused_at: float | None
    paused_by: str | None
    paused_why: str | None

    @property
    def subject(self) -> str:
        """How events call it."""
        return f"campaign:{self.name}:{self.version}"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A run that is not processed, by the campaign `campaign` or ('') by any."""

    run: int
    campaign: str
    at: float
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Redo:
    """A run that a version processes though its `inputs` do not cover it. `retired_at`: the older versions' files were retired then."""

    campaign_id: int
    run: int
    at: float
    by: str
    retire_old: bool
    taken_in_at: float | None
    retired_at: float | None


def versions(connection: sa.Connection, name: str | None = None) -> list[Version]:
    """The versions of the campaign `name`, or of all, in the order in which they began here."""
    statement = sa.select(campaign_table).order_by(campaign_table.c.id)
    if name is not None:
        statement = statement.where(campaign_table.c.name == name)
    return [
        Version(
            id=row.id,
            name=row.name,
            version=row.version,
            stream=row.stream,
            layout=row.layout,
            role=role_of(row.role, row.content),
            required=bool(row.required),
            first_seen=row.first_seen,
            paused_at=row.paused_at,
            paused_by=row.paused_by,
            paused_why=row.paused_why,
        )
        for row in connection.execute(statement)
    ]


def find(connection: sa.Connection, name: str | None, version: str | None) -> list[Version]:
    """The versions that fit what is given.

    Raises:
        ConfigError: there is none.
    """
    known = versions(connection)
    found = [item for item in known if name in (None, item.name) and version in (None, item.version)]
    if not found:
        wanted = " ".join(part for part in (name or "any campaign", f"version {version}" if version else "") if part)
        there = ", ".join(f"{item.name} {item.version}" for item in known) or "none"
        raise ConfigError(f"{wanted}: not in the ledger; there are: {there}")
    return found


def pause(connection: sa.Connection, campaign_id: int, now: float, by: str, why: str) -> bool:
    """Let the version start nothing new; its running jobs go on. False when it was paused before: that one's reason stays."""
    c = campaign_table.c
    statement = sa.update(campaign_table).where(c.id == campaign_id, c.paused_at.is_(None))
    if connection.execute(statement.values(paused_at=now, paused_by=by, paused_why=why)).rowcount == 0:
        return False
    record_events(connection, [Event(now, ROOM, _subject(connection, campaign_id), None, "paused", by, why)])
    return True


def resume(connection: sa.Connection, campaign_id: int, now: float, by: str) -> bool:
    """Let the version start jobs again. False when it was not paused."""
    c = campaign_table.c
    statement = sa.update(campaign_table).where(c.id == campaign_id, c.paused_at.is_not(None))
    if connection.execute(statement.values(paused_at=None, paused_by=None, paused_why=None, resumed_at=now)).rowcount == 0:
        return False
    record_events(connection, [Event(now, ROOM, _subject(connection, campaign_id), "paused", "resumed", by)])
    return True


def _subject(connection: sa.Connection, campaign_id: int) -> str:
    return next(item.subject for item in versions(connection) if item.id == campaign_id)


def set_role(connection: sa.Connection, version: Version, role: Role, now: float, by: str, why: str) -> None:
    """Give a version another role. The event of it is also what `role_since` reads."""
    connection.execute(sa.update(campaign_table).where(campaign_table.c.id == version.id).values(role=role.value))
    record_events(connection, [Event(now, ROOM, version.subject, version.role.value, role.value, by, why)])


def role_since(connection: sa.Connection, version: Version) -> float | None:
    """When somebody gave the version its role; None when it has the one of its file."""
    c = event_table.c
    statement = sa.select(sa.func.max(c.at)).where(c.subject == version.subject, c.room == ROOM, c.after == version.role.value)
    at: float | None = connection.execute(statement).scalar_one()
    return at


def exclusions(connection: sa.Connection) -> list[Exclusion]:
    """All runs that are not processed."""
    c = exclusion_table.c
    return [Exclusion(**row._mapping) for row in connection.execute(sa.select(exclusion_table).order_by(c.run, c.campaign))]


def exclude(connection: sa.Connection, exclusion: Exclusion) -> bool:
    """Write an exclusion down. False when it was there before: that one's reason stays."""
    c = exclusion_table.c
    same = sa.select(c.run).where(c.run == exclusion.run, c.campaign == exclusion.campaign)
    if connection.execute(same).first() is not None:
        return False
    values = {"run": exclusion.run, "campaign": exclusion.campaign, "at": exclusion.at, "by": exclusion.by, "why": exclusion.why}
    connection.execute(sa.insert(exclusion_table).values(**values))
    event = Event(exclusion.at, ROOM, f"run:{exclusion.run}", None, "excluded", exclusion.by, _of(exclusion.campaign) + exclusion.why)
    record_events(connection, [event])
    return True


def include(connection: sa.Connection, run: int, campaign: str, now: float, by: str) -> bool:
    """Take an exclusion back. False when there was none."""
    c = exclusion_table.c
    if connection.execute(sa.delete(exclusion_table).where(c.run == run, c.campaign == campaign)).rowcount == 0:
        return False
    record_events(connection, [Event(now, ROOM, f"run:{run}", "excluded", "included", by, _of(campaign) or None)])
    return True


def _of(campaign: str) -> str:
    return "" if campaign == ALL_CAMPAIGNS else f"{campaign}: "


def redos(connection: sa.Connection) -> list[Redo]:
    """All second passes that were asked for, by run."""
    c = redo_table.c
    return [Redo(**row._mapping) for row in connection.execute(sa.select(redo_table).order_by(c.run, c.campaign_id))]


def redo(connection: sa.Connection, asked: Redo) -> None:
    """Write a second pass down. Asked for before, it can still be told to retire what older versions made, never not to."""
    c = redo_table.c
    same = (c.campaign_id == asked.campaign_id, c.run == asked.run)
    if connection.execute(sa.select(c.run).where(*same)).first() is None:
        values = {"campaign_id": asked.campaign_id, "run": asked.run, "at": asked.at, "by": asked.by, "retire_old": asked.retire_old}
        connection.execute(sa.insert(redo_table).values(**values))
        record_events(
            connection, [Event(asked.at, ROOM, f"run:{asked.run}", None, "redo", asked.by, _subject(connection, asked.campaign_id))]
        )
    elif asked.retire_old:
        connection.execute(sa.update(redo_table).where(*same, c.retire_old.is_(False)).values(retire_old=True))


def redo_is(connection: sa.Connection, campaign_id: int, run: int, **times: float) -> None:
    """Note when a second pass was taken in (`taken_in_at`), or its older versions' files were retired (`retired_at`)."""
    c = redo_table.c
    connection.execute(sa.update(redo_table).where(c.campaign_id == campaign_id, c.run == run).values(**times))


def restore_obligations(connection: sa.Connection, restored: Sequence[tuple[str, str, str]], by: str, now: float) -> None:
    """The waivers of these `(did, campaign, version)` are taken back: their files are kept again until they are processed."""
    c = obligation_table.c
    keys = [dict(zip(("this_did", "this_campaign", "this_version"), item, strict=True)) for item in restored]
    if keys:
        mine = c.did == sa.bindparam("this_did"), c.campaign == sa.bindparam("this_campaign"), c.version == sa.bindparam("this_version")
        statement = sa.update(obligation_table).where(*mine, c.waived_by.is_not(None))
        connection.execute(statement.values(waived_by=None, waived_why=None), keys)
        record_events(connection, [Event(now, ROOM, did, "waived", "restored", by, f"{name} {version}") for did, name, version in restored])


def reopen_obligations(connection: sa.Connection, reopened: Sequence[tuple[str, str, str]]) -> None:
    """What had met the obligations `(did, campaign, version)` is gone: their files are kept until it is made again."""
    c = obligation_table.c
    keys = [dict(zip(("this_did", "this_campaign", "this_version"), item, strict=True)) for item in reopened]
    if keys:
        mine = c.did == sa.bindparam("this_did"), c.campaign == sa.bindparam("this_campaign"), c.version == sa.bindparam("this_version")
        connection.execute(sa.update(obligation_table).where(*mine).values(met_at=None), keys)


def open_obligations(connection: sa.Connection, version: Version, dids: Sequence[str]) -> set[str]:
    """Which of these files are kept for the version."""
    c = obligation_table.c
    found: set[str] = set()
    for part in chunks(sorted(dids)):
        mine = (c.campaign == version.name, c.version == version.version, c.did.in_(part), c.met_at.is_(None), c.waived_by.is_(None))
        found |= set(connection.execute(sa.select(c.did).where(*mine)).scalars())
    return found


def without_obligation(connection: sa.Connection, version: Version, dids: Sequence[str]) -> list[str]:
    """Which of these files have no obligation for the version at all, neither open nor met nor waived."""
    c = obligation_table.c
    found: set[str] = set()
    for part in chunks(sorted(dids)):
        mine = (c.campaign == version.name, c.version == version.version, c.did.in_(part))
        found |= set(connection.execute(sa.select(c.did).where(*mine)).scalars())
    return sorted(set(dids) - found)


def excluded_runs(exclusions_: Sequence[Exclusion], name: str) -> Mapping[int, Exclusion]:
    """The runs that the campaign `name` does not process; an exclusion from it alone goes before one from all."""
    found: dict[int, Any] = {item.run: item for item in exclusions_ if item.campaign == ALL_CAMPAIGNS}
    return found | {item.run: item for item in exclusions_ if item.campaign == name}


def namespace_of(connection: sa.Connection, version: Version) -> str:
    """The namespace of what the version makes."""
    content = connection.execute(sa.select(campaign_table.c.content).where(campaign_table.c.id == version.id)).scalar_one()
    return str(content["outputs"]["namespace"])
