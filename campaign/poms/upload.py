"""Brings a campaign into POMS: what would change, the upload, and the look at what came of it.

    plan(client, text)                          # nothing is written
    apply(client, settings, text, say=print)    # repeating it changes nothing

POMS overwrites a campaign in several transactions and answers 200 to failures, so that only what it has afterwards counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from campaign.poms import ini, lint
from campaign.poms.client import PomsClient, UploadAnswer
from campaign.poms.comparison import Change, changes, definitions
from campaign.poms.ini import Ini
from dune_prompt.errors import ConfigError, ConflictError, DataError
from dune_prompt.settings.launchers import PomsLauncherSettings

SHOWN = 8
NO_KEYWORDS = "keywords cannot be read back: whether POMS has them is not known"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an upload would do. `conflicts`: what POMS has under the same name with another content, and never changes; `detached`:
    stages only POMS has, which it would take out of the campaign; `held`: stages that launch nothing, before and after; `notes`: what
    cannot be known, or is worth knowing."""

    campaign: str
    exists: bool
    changes: tuple[Change, ...]
    conflicts: tuple[Change, ...]
    detached: tuple[str, ...]
    held: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether POMS has the campaign already, as far as can be seen."""
        return not (self.changes or self.conflicts or self.detached)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"empty": self.empty}


@dataclass(frozen=True, slots=True)
class Result:
    """What an upload did. `scheduled`: the stage POMS launches every `every_minutes`; None: it is held."""

    plan: Plan
    campaign_id: int
    stage_ids: Mapping[str, int]
    scheduled: str | None
    every_minutes: int | None
    page: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"plan": self.plan.to_json()}


def plan(client: PomsClient, ini_text: str) -> Plan:
    """What an upload of the ini would change.

    Raises:
        DataError: the ini cannot be read.
        ConflictError: POMS's own export cannot be.
    """
    wanted = ini.parse(ini_text)
    text = client.campaign_ini(wanted.name)
    server = _exported(text, wanted.name) if text else None
    stages = client.stages(wanted.name) if server else ()
    new, conflicts = definitions(server, wanted)
    return Plan(
        campaign=wanted.name,
        exists=text is not None,
        changes=new + changes(server, {stage.name: stage.dataset for stage in stages}, wanted),
        conflicts=conflicts,
        detached=tuple(stage.name for stage in server.stages if wanted.stage(stage.name) is None) if server else (),
        held=tuple(stage.name for stage in stages if stage.held),
        notes=tuple(_notes(server, wanted)),
    )


def apply(client: PomsClient, settings: PomsLauncherSettings, ini_text: str, *, say: Say, hold: bool = False) -> Result:
    """Upload the ini, look at what POMS made of it, and have POMS launch the first stage regularly, and no other on its own.

    A first stage that is held gets no schedule: POMS would queue the launches. With `hold` all stages are held.

    Raises:
        ConfigError: the ini has faults, or POMS refuses it.
        ConflictError: POMS has a login setup or job type of the same name and another content, or something else than was uploaded.
    """
    wanted = ini.parse(ini_text)
    complaints = lint.complaints(wanted, settings)
    if faults := [str(complaint) for complaint in complaints if not complaint.warning]:
        raise ConfigError(f"{wanted.name}: not uploaded, it has faults: {_listed(faults)}")
    for complaint in complaints:
        say(f"warning: {complaint}")
    first = first_stage(wanted)
    planned = plan(client, ini_text)
    if planned.conflicts:
        raise ConflictError(f"{wanted.name}: not uploaded: {_never_changed(planned)}")
    for note in planned.notes:
        say(note)
    _take_out(client, planned, say)
    answer = client.upload_ini(ini_text)
    _look(client, ini_text, wanted, answer)
    say(f"{wanted.name}: " + ("POMS had it already" if planned.empty else f"uploaded, {len(planned.changes)} values changed"))
    if hold:
        client.hold(list(answer.stage_ids.values()))
        say(f"held: {', '.join(answer.stage_ids)}")
    elif first in planned.held:
        say(f"{first} is held, and gets no schedule before it is released")
    scheduled = None if hold or first in planned.held else first
    if scheduled:
        schedule(client, answer.stage_ids, first, every_minutes(settings))
        say(f"POMS launches {first} every {every_minutes(settings)} min")
    return Result(
        plan=planned,
        campaign_id=answer.campaign_id,
        stage_ids=answer.stage_ids,
        scheduled=scheduled,
        every_minutes=every_minutes(settings) if scheduled else None,
        page=client.campaign_page(wanted.name),
    )


def every_minutes(settings: PomsLauncherSettings) -> int:
    """The time between two launches of the first stage, in what POMS can do."""
    return round(settings.every / 60)


def schedule(client: PomsClient, stage_ids: Mapping[str, int], first: str, minutes: int) -> None:
    """Have POMS launch the first stage every so many minutes, and no other: those follow from it."""
    for name, number in stage_ids.items():
        if name != first:
            client.unschedule(number)
    client.schedule(stage_ids[first], minutes)


def first_stage(campaign: Ini) -> str:
    """The one stage that follows from no other.

    Raises:
        ConfigError: there are more, or none.
    """
    first = [stage.name for stage in campaign.stages if not stage.depends_on]
    if len(first) != 1:
        raise ConfigError(f"{campaign.name}: one stage must depend on no other, not {', '.join(first) or 'none'}: POMS launches that one")
    return first[0]


def diff_text(planned: Plan) -> str:
    """The plan for people, in the form of a unified diff: `-` is what POMS has, `+` what the file has."""
    lines = [f"--- {planned.campaign} in POMS" + ("" if planned.exists else " (not there)"), f"+++ {planned.campaign} in the file"]
    where = None
    for change in planned.changes:
        if change.where != where:
            where = change.where
            lines.append(f"@@ {where} @@")
        lines += [f"{sign}{change.key}={value}" for sign, value in (("-", change.old), ("+", change.new)) if value is not None]
    for name in planned.detached:
        lines += [f"@@ stage {name} @@", "-(the whole stage: POMS would take it out of the campaign)"]
    lines += [f"! {change}; POMS never changes it" for change in planned.conflicts]
    lines += [f"# held: {', '.join(planned.held)}"] if planned.held else []
    lines += [f"# {note}" for note in planned.notes]
    return "\n".join(lines) + "\n"


def _exported(text: str, name: str) -> Ini | None:
    """POMS's campaign; None: it has one without stages, as a failed upload leaves behind."""
    if f"[{ini.STAGE} " not in text:
        return None
    try:
        return ini.parse(text)
    except DataError as error:
        raise ConflictError(f"{name}: what POMS exports cannot be read: {error}") from None


def _notes(server: Ini | None, wanted: Ini) -> list[str]:
    notes = [NO_KEYWORDS] if wanted.keywords else []
    if server is None:
        return notes
    if server.header.get("state") == "Inactive":
        notes.append("the campaign is inactive in POMS; its next launch makes it active")
    old, new = ({login.name for login in side.login_setups} | {job_type.name for job_type in side.job_types} for side in (server, wanted))
    if left := sorted(old - new):
        notes.append(f"no longer used, but kept by POMS: {', '.join(left)}")
    return notes


def _take_out(client: PomsClient, planned: Plan, say: Say) -> None:
    """Remove the schedules of stages that are about to leave the campaign: POMS would launch them for ever."""
    for stage in client.stages(planned.campaign) if planned.detached else ():
        if stage.name in planned.detached:
            client.unschedule(stage.id)
            say(f"stage {stage.name} is not in the file: POMS takes it out of the campaign, and keeps it without a schedule")


def _look(client: PomsClient, ini_text: str, wanted: Ini, answer: UploadAnswer) -> None:
    """What POMS has now is what was uploaded.

    Raises:
        ConflictError: it is not.
    """
    found = plan(client, ini_text)
    wrong = [_never_changed(found)] if found.conflicts else []
    wrong += [str(change) for change in found.changes]
    wrong += [f"stage {name} is still there" for name in found.detached]
    wrong += [f"stage {stage.name} has no number" for stage in wanted.stages if stage.name not in answer.stage_ids]
    if wrong:
        raise ConflictError(
            f"{wanted.name}: POMS took the upload, but has something else now; no schedule was set: {_listed(wrong)}; "
            f"see {client.campaign_page(wanted.name)}"
        )


def _never_changed(planned: Plan) -> str:
    other = _listed([str(change) for change in planned.conflicts])
    return f"POMS never changes a login setup or job type, and has one of the same name with another content: {other}"


def _listed(items: Sequence[str]) -> str:
    more = len(items) - SHOWN
    return "; ".join(items[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
