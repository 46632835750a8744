"""What a notice says: as JSON for programs, as a mail for people."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from dashboard import words
from dashboard.alarms.alarm import Alarm
from dashboard.alarms.finding import Severity
from dashboard.alarms.notices import Notice
from dashboard.alarms.rules import RULES, Rule
from dune_prompt.settings import Site

SCHEMA = 1
TEST = "test"
_RULES: dict[str, Rule] = {rule.name: rule for rule in RULES}
_MOST_MAIL_SUBJECT = 180


@dataclass(frozen=True, slots=True)
class Said:
    """A notice in words. `id` is the same when it is sent again, `thread` for all notices of one alarm."""

    id: str
    thread: str
    title: str
    message: str
    means: str
    do: str
    url: str


def say(notice: Notice, site: Site) -> Said:
    """What is said to people of a notice."""
    alarm, base = notice.alarm, site.service.base_url
    rule = _RULES.get(alarm.rule)
    level = {"raised": alarm.severity.value, "returned": f"{alarm.severity.value} is back"}.get(notice.what, notice.what)
    return Said(
        id=f"{site.site}-{TEST}-{notice.id}" if notice.what == TEST else f"{site.site}-notice-{notice.id}",
        thread=f"{site.site}-alarm-{alarm.id}",
        title=f"[{site.site}] {level.upper()}: {alarm.subject}: {rule.words if rule else alarm.rule}",
        message=_message(notice),
        means=rule.means if rule else "",
        do=rule.do if rule else "",
        url=base + alarm.link,
    )


def _message(notice: Notice) -> str:
    alarm = notice.alarm
    if notice.what != "cleared" or alarm.cleared_at is None:
        return alarm.message
    over = f"over since {words.moment(alarm.cleared_at)} UTC, after {words.duration(alarm.lasted_s)} (cleared by {alarm.cleared_by})"
    return f"{over}. It was: {alarm.message}"


def as_json(notice: Notice, site: Site) -> dict[str, Any]:
    """The body a webhook gets (docs/alarms.md). `text` is what Mattermost and Slack show."""
    said, alarm = say(notice, site), notice.alarm
    return {
        "schema": SCHEMA,
        "id": said.id,
        "site": site.site,
        "what": notice.what,
        "at": notice.at,
        "text": f"{said.title}\n{said.message}\n{said.url}",
        "alarm": {
            "id": alarm.id,
            "key": alarm.key,
            "rule": alarm.rule,
            "severity": alarm.severity.value,
            "subject": alarm.subject,
            "message": alarm.message,
            "means": said.means,
            "do": said.do,
            "owner": alarm.owner,
            "url": said.url,
            "raised_at": alarm.raised_at,
            "cleared_at": alarm.cleared_at,
            "cleared_by": alarm.cleared_by,
            "acknowledged_by": alarm.acknowledged_by,
        },
    }


def as_mail(notice: Notice, site: Site, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
    """The mail of a notice; those of one alarm are a thread."""
    said, alarm = say(notice, site), notice.alarm
    mail = EmailMessage()
    mail["Subject"] = " ".join(said.title.split())[:_MOST_MAIL_SUBJECT]
    mail["From"], mail["To"] = sender, ", ".join(recipients)
    mail["Date"] = formatdate(notice.at)
    mail["Message-ID"] = f"<{said.id}@dune-prompt>"
    mail["References"] = f"<{said.thread}@dune-prompt>"
    mail["Auto-Submitted"] = "auto-generated"
    parts = [f"{said.message}\n", said.url, f"\nOwner: {alarm.owner}"]
    if alarm.raised_at is not None:
        parts.append(f"Raised: {words.moment(alarm.raised_at)} UTC")
    if notice.what != "cleared" and said.means:
        parts += [f"\nWhat it means\n{said.means}", f"\nWhat to do\n{said.do}"]
    parts.append(f"\nAll alarms, and how to acknowledge them: {site.service.base_url}/alarms")
    mail.set_content("\n".join(parts))
    return mail


def trial_notice(number: int, now: float) -> Notice:
    """A notice that only says that notices arrive."""
    alarm = Alarm(
        id=0,
        key=TEST,
        rule=TEST,
        severity=Severity.WARNING,
        subject="notices",
        message="this is a test: alarms of this site arrive here",
        owner="",
        link="/alarms",
        seen=0,
        first_seen_at=now,
        last_seen_at=now,
    )
    return Notice(number, TEST, now, 0, alarm)
