"""The hand-over as plain text, for a log book or a mail."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from dashboard.handover.report import HandOver
from dashboard.handover.runs import RunLine
from dashboard.words import FLAGS, NOTHING, THIN, clock, duration, moment, percent, size

WIDTH = 100


def as_text(report: HandOver, root: str) -> str:
    """The text; `root` is the address of the service, which links begin with."""
    return "\n".join(_lines(report, root)).replace(THIN, " ") + "\n"


def _lines(report: HandOver, root: str) -> Iterator[str]:
    period, latency = report.period, report.latency
    title = f"Shift hand-over, {report.site}: {moment(period.since)} to {moment(period.until)} UTC"
    yield title
    yield "=" * len(title)
    yield ""
    yield "Files"
    for number in report.numbers.values():
        in_bytes = f" ({size(number.size_bytes)})" if number.size_bytes else ""
        yield f"  {number.number:>7}  {number.words}{in_bytes}"
    yield ""
    yield f"Latency, end of writing to declared results (target {duration(latency.target_s)})"
    if latency.files:
        yield f"  {percent(latency.fraction)} of {latency.files} files within the target; median {duration(latency.p50)}, " + (
            f"95 % {duration(latency.p95)}, longest {duration(latency.longest)}"
        )
    else:
        yield f"  {NOTHING}"
    yield ""
    yield f"Runs ({report.runs_in_all})"
    for run in report.runs:
        yield f"  {_run(run)}"
    if len(report.runs) < report.runs_in_all:
        yield f"  and {report.runs_in_all - len(report.runs)} more"
    if not report.runs:
        yield f"  {NOTHING}"
    yield ""
    yield "What failed, and why"
    for failure in report.failures:
        yield f"  {failure.error_class}: {failure.attempts} attempts at {failure.files} files, {failure.done_since} of them done since"
        yield from _indented(f"newest, run {failure.run}: {failure.message}")
        yield f"    {root}/attempts/{failure.attempt}/log"
    if not report.failures:
        yield "  nothing"
    yield ""
    yield "Who did what"
    for deed in report.deeds:
        subject = deed.subject if deed.number == 1 else f"{deed.number} times, first {deed.subject}"
        yield from _indented(f"{clock(deed.at)}  {deed.by}: {deed.what} {subject}" + (f" ({deed.message})" if deed.message else ""), "  ")
    if not report.deeds:
        yield "  nobody anything"
    yield ""
    yield "What to watch"
    for item in report.watch:
        yield from _indented(f"- {item.words}", "  ")
    if not report.watch:
        yield "  nothing special"
    yield ""
    yield f"Written {moment(report.made_at)} UTC; the rows behind the numbers: {root}/handover?{period.query}"


def _run(run: RunLine) -> str:
    outliers = f", {run.outliers} not good" if run.outliers else ""
    said = f"; {run.said.set_by} says {FLAGS[run.said.flag].word}: {run.said.comment}" if run.said else ""
    files = f"{run.processed} files processed, {run.counts.done} of {run.counts.files} by now"
    quality = f"{FLAGS[run.flag].word} ({run.judged} judged{outliers})"
    return f"{run.run}  {run.detector}, {run.campaign} {run.version}: {files}; {quality}{said}"


def _indented(text: str, indent: str = "    ") -> list[str]:
    return wrap(" ".join(text.split()), WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)
