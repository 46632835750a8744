"""The certificate as a page for the logbook: one HTML file that asks for nothing else, on screen and on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaign.certificate.certificate import Certificate
from campaign.certificate.sequence import spelled
from campaign.why.spelled import size, span
from templates import render

MOST_LISTED = 200  # rows of one table; the JSON beside the page has all
STRIP_WIDTH = 1000.0


@dataclass(frozen=True, slots=True)
class Strip:
    """One writer's files as a bar: `gaps` are its holes as (start, width) of `STRIP_WIDTH`."""

    label: str
    files: int
    last: int
    holes: int
    missing: str
    gaps: tuple[tuple[float, float], ...]


def page(certificate: Certificate) -> str:
    """The page's text. Everything in it is escaped."""
    content = certificate.content
    return render(
        "certificate.html.j2",
        certificate=content,
        sha256=certificate.sha256,
        printed_at=certificate.printed_at,
        strips=[strip(item) for item in content["raw"]["sequences"]],
        width=STRIP_WIDTH,
        most=MOST_LISTED,
        size=size,
        milliseconds=milliseconds,
        percent=percent,
    )


def strip(sequence: Mapping[str, Any]) -> Strip:
    """How one writer's sequence is drawn; a hole is never thinner than can be seen."""
    ranges: Sequence[tuple[int, int]] = [(first, last) for first, last in sequence["missing"]]
    unit = STRIP_WIDTH / (sequence["last"] + 1)
    gaps = tuple((round(first * unit, 2), round(max((last - first + 1) * unit, 1.5), 2)) for first, last in ranges)
    label = sequence["writer"] + ("" if sequence["kind"] == "raw" else f" ({sequence['kind']})")
    return Strip(label, sequence["files"], sequence["last"], sequence["holes"], spelled(ranges), gaps)


def milliseconds(value: int | None) -> str:
    """A length of time that is kept in milliseconds."""
    return "–" if value is None else span(value / 1000)


def percent(fraction: str | None) -> str:
    """A fraction that is kept as text, in percent."""
    return "–" if fraction is None else f"{float(fraction) * 100:.2f} %".replace(".00", "")
