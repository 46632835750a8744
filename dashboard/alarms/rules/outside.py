"""Rules about what is outside: catalogues, storage, batch systems that do not answer."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from dashboard import words
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.rules.rule import Look, Rule


def _away(_connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    declaring = look.operations.declaring
    # Somebody who has paused a catalogue knows that it is away.
    catalogs = [catalog.away for catalog in declaring.catalogs if catalog.away is not None and catalog.pause is None]
    for alarm in (*declaring.alarms, *catalogs):
        if (away_s := look.now - alarm.since) > limit:
            severity = Severity.ALARM if alarm.subject.startswith(("buffer:", "sidecars:")) else Severity.WARNING
            message = f"no answer for {words.duration(away_s)}: {alarm.message or 'no reason is known'}"
            yield Finding("away_for", alarm.subject, severity, message, "/")


def _launcher_out(_connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    launchers = look.operations.launchers
    nobody = not any(launcher.takes for launcher in launchers)
    for launcher in launchers:
        if launcher.out_since is not None and (out_s := look.now - launcher.out_since) > limit:
            what = "nobody else can take its jobs" if nobody else "its jobs go elsewhere"
            message = f"no jobs taken for {words.duration(out_s)}, {what}: {launcher.message or 'it does not answer'}"
            severity = Severity.ALARM if nobody else Severity.WARNING
            yield Finding("launcher_out_for", f"launcher:{launcher.kind}", severity, message, "/jobs")


RULES = (
    Rule(
        "away_for",
        "a catalogue, the buffer or a storage does not answer the declare daemon",
        "What needs it waits and is done by itself when it is back; nothing is lost. Files cannot leave the buffer meanwhile.",
        "`dune-prompt check` tries every right and certificate. For planned work, `dune-prompt declare pause` the catalogue and mute this "
        "rule for the subject.",
        words.duration,
        _away,
    ),
    Rule(
        "launcher_out_for",
        "a batch system takes no jobs",
        "Its jobs at work are watched further; new ones go to the next batch system of the site file, if there is one that takes them.",
        "The message is the batch system's own. Look at it (`condor_q`, `jobsub_q`), its token, and `dune-prompt check`.",
        words.duration,
        _launcher_out,
    ),
)
