"""The crontab of the poms user: one line per stage, and what update_launch_schedule takes for it (webservice/StagesPOMS.py)."""

from __future__ import annotations

from tests.servers.poms_parts.records import Caller, Records

LAUNCHER = "/etc/poms/cron/launcher"
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def update_launch_schedule(
    records: Records,
    caller: Caller,
    campaign_stage_id: str | int,
    dowlist: str | list[str] = "",
    domlist: str | list[str] = "",
    monthly: str = "",
    month: str = "",
    hourlist: str | list[str] = "",
    submit: str = "",
    minlist: str | list[str] = "",
    delete: str | bool = "",
) -> None:
    """Replace the line of a stage.

    Empty lists of minutes, hours and days of the month mean `*`, so that a schedule without minutes fires every minute. An empty
    `dowlist` is an error: POMS hands the empty text on to python-crontab, which knows no such day.
    """
    stage_id = int(campaign_stage_id)
    if delete:
        records.crontab.pop(stage_id, None)
        return
    fields = [
        _numbers(minlist, 0, 59, "Minutes"),
        _numbers(hourlist, 0, 23, "Hours"),
        _numbers(domlist, 1, 31, "Day of Month"),
        "*",
        _days(dowlist),
    ]
    command = f"{LAUNCHER} --campaign_stage_id={stage_id} --launcher={records.experimenter(caller.username)}"
    records.crontab[stage_id] = f"{' '.join(fields)} {command} # POMS_CAMPAIGN_ID={stage_id}"


def launcher_in(line: str) -> int:
    """The user id a line of the crontab launches for."""
    return int(line.partition("--launcher=")[2].split()[0])


def _numbers(text: str | list[str], low: int, high: int, name: str) -> str:
    values = _listed(text)
    if values[0].startswith("*"):
        return _every(values[0], low, high, name)
    numbers = [int(value) for value in values if value]
    for number in numbers:
        _check(number, low, high, name)
    return ",".join(str(number) for number in sorted(set(numbers))) or "*"


def _days(text: str | list[str]) -> str:
    values = _listed(text)
    if values[0].startswith("*"):
        return _every(values[0], 0, 6, "Day of Week")
    days = []
    for value in values:
        day = value.strip().upper()[:3]
        if day in DAYS:
            days.append(DAYS.index(day))
        elif day.isdecimal():
            _check(int(day), 0, 6, "Day of Week")
            days.append(int(day))
        else:
            raise ValueError(f"Unrecognised Day of Week: {value!r}")
    return ",".join(str(day) for day in sorted(set(days)))


def _every(text: str, low: int, high: int, name: str) -> str:
    if not text.startswith("*/"):
        return "*"
    step = int(text[2:])
    _check(step, max(low, 1), high, name)
    return "*" if step == 1 else f"*/{step}"


def _check(value: int, low: int, high: int, name: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"'{value}', not in {low}-{high} for {name}")


def _listed(text: str | list[str]) -> list[str]:
    return text.split(",") if isinstance(text, str) else text
