"""An outcome, an answer, needed resources: as lines of a table and in words."""

from __future__ import annotations

from math import ceil
from typing import Any

from campaign.simulation.outcome import Outcome, Spread
from campaign.simulation.parameters import Parameters
from campaign.simulation.resources import HEADROOM, Resources, resources
from campaign.simulation.sweep import Answer

Lines = list[dict[str, Any]]


def time_text(seconds: float) -> str:
    """`45 s`, `12.5 min`, `3.2 h`, `6.1 d`."""
    for size, unit, most in ((1.0, "s", 120.0), (60.0, "min", 120.0), (3600.0, "h", 72.0)):
        if seconds < most * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


def bytes_text(size: float) -> str:
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


def percent(fraction: float) -> str:
    """With as many digits as tell it from 100 %."""
    return "100 %" if fraction == 1 else f"{100 * fraction:.2f} %" if fraction < 0.9995 else f"{int(1e5 * fraction) / 1e3:.3f} %"


def _spread(spread: Spread | None) -> str:
    return "-" if spread is None else f"{time_text(spread.p50)} / {time_text(spread.p95)} / {time_text(spread.longest)}"


def _share(number: int, of: int) -> str:
    return f"{number:,}" + (f" ({percent(number / of)})" if of and number else "")


def lines_of(outcome: Outcome, parameters: Parameters) -> Lines:
    """The numbers, one a line, in the order one wants to know them."""
    capacity = parameters.buffer.capacity
    occupancy = bytes_text(outcome.occupancy_peak_bytes) + (f" of {bytes_text(capacity)}" if capacity else "")
    failures = ", ".join(f"{name} {number:,}" for name, number in outcome.failures.items()) or "none"
    rows = [
        ("prompt", percent(outcome.fraction_prompt)),
        ("files", f"{outcome.files:,}"),
        ("processed", _share(outcome.processed, outcome.files)),
        ("late", _share(outcome.late, outcome.files)),
        ("parked", _share(outcome.parked, outcome.files)),
        ("given up unprocessed", _share(outcome.given_up, outcome.files)),
        ("found the buffer full", _share(outcome.overflowed, outcome.files)),
        ("still open", _share(outcome.open, outcome.files)),
        ("arrival to processed, p50 / p95 / longest", _spread(outcome.latency)),
        ("lateness, p50 / p95 / longest", _spread(outcome.lateness)),
        ("backlog, peak", f"{outcome.backlog_peak:,} after {time_text(outcome.backlog_peak_at)}"),
        ("buffer, peak", occupancy),
        ("slots busy, mean / peak", f"{outcome.slots_mean:.1f} / {outcome.slots_peak}"),
        ("core-hours", f"{outcome.core_hours:,.0f}" if outcome.core_hours >= 10 else f"{outcome.core_hours:.2f}"),
        ("attempts", f"{outcome.attempts:,}"),
        ("failures", failures),
        ("read by jobs", bytes_text(outcome.bytes_read)),
        ("makespan", time_text(outcome.makespan_s)),
    ]
    return [{"what": what, "value": value} for what, value in rows]


def sentence_of(outcome: Outcome) -> str:
    """The outcome in one sentence."""
    lost = [
        f"{number:,} {words}"
        for number, words in (
            (outcome.late, "are late"),
            (outcome.parked, "are parked"),
            (outcome.given_up, "leave the buffer unprocessed"),
            (outcome.overflowed, "find the buffer full"),
            (outcome.open, "are still open at the end"),
        )
        if number
    ]
    if not lost:
        return f"All {outcome.files:,} files are prompt."
    return f"{percent(outcome.fraction_prompt)} of {outcome.files:,} files are prompt; {', '.join(lost)}."


def answer_in_words(answer: Answer, parameters: Parameters) -> str:
    """`For 99 % prompt at 3 GB/s …`."""
    stream = parameters.streams[0]
    rate = f"{bytes_text(sum(item.files_hz * item.file_size for item in parameters.streams))}/s"
    job = f"{bytes_text(stream.file_size)} a file, {time_text(stream.job_time.mean)} a job"
    for_how_long = f"over {time_text(parameters.duration)}"
    wanted = percent(answer.wanted)
    if answer.what == "rate":
        if answer.value is None:
            return f"With {parameters.slots.max} slots ({job}, {for_how_long}) no rate near {rate} is {wanted} prompt."
        return f"{parameters.slots.max} slots ({job}, {for_how_long}) carry up to {bytes_text(answer.value)}/s with {wanted} prompt."
    name = "slots.max" if answer.what == "slots" else "the launcher's slots"
    if answer.value is None:
        tried = max(value for value, _ in answer.tried)
        not_reached = f"{wanted} prompt are not reached with {tried:.0f} slots either: slots are not what is missing"
        return f"At {rate} ({job}, {for_how_long}) {not_reached}."
    words = f"At {rate} ({job}, {for_how_long}) {answer.value:.0f} slots ({name}) are needed for {wanted} prompt"
    if answer.outcome is not None:
        words += f"; {percent(answer.outcome.fraction_prompt)} are, and {answer.outcome.slots_mean:.0f} slots are busy on average"
    in_the_long_run = ceil(sum(item.slots if answer.what == "slots" else item.running for item in resources(parameters)))
    if answer.value < in_the_long_run:
        words += f". The backlog grows all that time: {in_the_long_run} keep pace for ever"
    return words + "."


def lines_of_resources(item: Resources) -> Lines:
    """What is needed, one a line."""
    rows = [
        ("stream", item.stream),
        ("rate", f"{bytes_text(item.data_bytes_per_s)}/s = {item.files_per_s:.3g} files/s"),
        ("job", f"{time_text(item.job_s)} a file, {item.attempts_per_file:.3f} attempts a file"),
        ("jobs running", f"{item.running:.1f} on average"),
        ("slots", f"{item.slots:.1f} on average, waiting in the batch system included"),
        ("slots.max", f"{item.slots_max} ({HEADROOM:.0%} headroom)"),
        ("core-hours", f"{item.core_hours_per_day:,.1f} a day"),
        ("memory", bytes_text(item.memory_bytes)),
        ("scratch disk", bytes_text(item.scratch_bytes)),
        ("buffer", f"{bytes_text(item.buffer_bytes)} (rate x lifetime)"),
        ("outputs", f"{bytes_text(item.output_bytes_per_day)} a day"),
        ("network in", f"{bytes_text(item.read_bytes_per_s)}/s (retries included)"),
        ("network out", f"{bytes_text(item.written_bytes_per_s)}/s"),
    ]
    return [{"what": what, "value": value} for what, value in rows]
