"""What a rate costs: slots, core-hours, memory, disk, network. Arithmetic, no simulation.

A job is paid for from submission to the look that sees its end: that is the time it counts against `slots.max`. Attempts that fail are
paid for too, half a job each on average.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from campaign.retries import POLICIES
from campaign.simulation.parameters import LauncherParameters, Parameters, StreamParameters

HEADROOM = 0.25  # what slots need beyond the average: to catch up after an outage, to ride out a burst


@dataclass(frozen=True, slots=True)
class Resources:
    """For one stream, in the long run; `running` jobs on average, `slots` of the engine they take, `slots_max` with headroom."""

    stream: str
    files_per_s: float
    data_bytes_per_s: float
    attempts_per_file: float
    job_s: float
    running: float
    slots: float
    slots_max: int
    core_hours_per_day: float
    memory_bytes: float
    scratch_bytes: float
    buffer_bytes: float
    output_bytes_per_day: float
    read_bytes_per_s: float
    written_bytes_per_s: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def resources(parameters: Parameters) -> list[Resources]:
    """What each stream needs, with the first launcher's latency."""
    return [_of_stream(stream, parameters.launchers[0], parameters) for stream in parameters.streams]


def attempts_per_file(stream: StreamParameters) -> float:
    """How many jobs a file takes on average.

    Attempts fail with the same probability each time. A class that is not tried again ends the file; the allowed number of failures
    hardly ever matters at the rates worth running with, and is left out.
    """
    again = sum(share for name, share in stream.failures.items() if POLICIES[name].again)
    return 1 / max(1 - again, 1 / (stream.retries + 1))


def _of_stream(stream: StreamParameters, launcher: LauncherParameters, parameters: Parameters) -> Resources:
    attempts = attempts_per_file(stream)
    failed = sum(stream.failures.values())
    mean = stream.job_time.mean
    per_attempt = mean * (1 - failed / 2)
    rate = stream.mean_files_hz
    hold = per_attempt + launcher.submit + launcher.latency.mean + launcher.cycle / 2 + _until_seen(launcher, parameters)
    running = rate * attempts * per_attempt
    slots = rate * attempts * hold
    return Resources(
        stream=stream.name,
        files_per_s=rate,
        data_bytes_per_s=rate * stream.file_size,
        attempts_per_file=attempts,
        job_s=mean,
        running=running,
        slots=slots,
        slots_max=ceil(slots * (1 + HEADROOM)),
        core_hours_per_day=running * stream.cpus * 24,
        memory_bytes=running * stream.memory,
        scratch_bytes=running * stream.disk,
        buffer_bytes=rate * stream.file_size * stream.lifetime,
        output_bytes_per_day=rate * stream.output_size * 86400,
        read_bytes_per_s=rate * attempts * stream.file_size,
        written_bytes_per_s=rate * stream.output_size,
    )


def _until_seen(launcher: LauncherParameters, parameters: Parameters) -> float:
    look = 0.0 if launcher.reports_pushed else launcher.poll_every / 2
    return look + parameters.engine.interval / 2
