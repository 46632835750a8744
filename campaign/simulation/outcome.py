"""What a simulation found: numbers, and the course of things over time."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from campaign.simulation.batch import SimulatedBatch, SimulatedJob
from campaign.simulation.buffer import Buffer
from campaign.simulation.files import File, State
from campaign.simulation.parameters import Parameters

SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at `at` seconds after the start. `backlog` waits (for a slot, or to be tried again), `in_flight` is with a batch system,
    of it `running` holds a slot, `wanted` is the slot decision, `reported` is being declared. `occupancy_bytes` lie in the buffer."""

    at: float
    arrived: int
    processed: int
    prompt: int
    late: int
    backlog: int
    in_flight: int
    running: int
    wanted: int
    reported: int
    occupancy_bytes: int


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a set of times: median, the value 95 % are below, the longest; in seconds."""

    p50: float
    p95: float
    longest: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times in seconds. Every file that came is in exactly one of: processed, parked, given up, overflowed, open.

    A file is *prompt* when it was processed before its deadline, *late* when after. `given_up` left the buffer unprocessed, `overflowed`
    found it full. `makespan_s` is from the first file's arrival to the last one's end of processing. `lateness` is that of late files,
    `latency` from arrival to processed of all. `backlog_peak` is counted after each step, as the ledger shows it.
    """

    files: int
    processed: int
    prompt: int
    late: int
    parked: int
    given_up: int
    overflowed: int
    open: int
    fraction_prompt: float
    latency: Spread | None
    lateness: Spread | None
    makespan_s: float
    backlog_peak: int
    backlog_peak_at: float
    occupancy_peak_bytes: int
    slots_peak: int
    slots_mean: float
    core_hours: float
    attempts: int
    failures: dict[str, int]
    bytes_read: int
    runs: tuple[tuple[int, int, int], ...]
    simulated_s: float
    steps: int
    decisions: int
    samples: tuple[Sample, ...] = field(repr=False)

    def to_json(self, *, samples: bool = True) -> dict[str, Any]:
        """As plain data. `runs` become {run, files, prompt}."""
        content = asdict(self)
        content["runs"] = [{"run": run, "files": files, "prompt": prompt} for run, files, prompt in self.runs]
        if not samples:
            del content["samples"]
        return content


class Recorder:
    """Counts while the simulation runs."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.sample_s = parameters.duration / SAMPLES
        self._samples: list[Sample] = []
        self._ends: Counter[State] = Counter()
        self._runs: Counter[int] = Counter()
        self._prompt_of_run: Counter[int] = Counter()
        self.latencies, self._lateness = array("d"), array("d")
        self._first: float | None = None
        self._last = 0.0
        self._files = self._prompt = 0
        self.bad = 0  # files that are not, and will not be, prompt
        self._backlog_peak, self._backlog_peak_at = 0, 0.0
        self._core_s = 0.0
        self._attempts = self._bytes_read = 0
        self.failures: Counter[str] = Counter()
        self.steps = self.decisions = 0

    @property
    def open(self) -> int:
        """Files that came and have no end yet."""
        return self._files - self._ends.total()

    def arrived(self, file: File) -> None:
        self._first = file.arrived if self._first is None else self._first
        self._files += 1
        self._runs[file.run] += 1

    def missed(self, file: File) -> None:
        """The file is not prompt, whatever comes."""
        self.bad += not file.bad
        file.bad = True

    def ended(self, file: File, now: float) -> None:
        self._ends[file.state] += 1
        if file.state is not State.PROCESSED:
            self.missed(file)
            return
        self._last = max(self._last, now)
        self.latencies.append(now - file.arrived)
        if now <= file.deadline:
            self._prompt += 1
            self._prompt_of_run[file.run] += 1
        else:
            self._lateness.append(now - file.deadline)
            self.missed(file)

    def launched(self, jobs: int, size_bytes: int) -> None:
        self._attempts += jobs
        self._bytes_read += size_bytes

    def attempt_ended(self, job: SimulatedJob) -> None:
        self._core_s += job.slot_s * self._parameters.streams[job.file.stream].cpus

    def backlog(self, now: float, backlog: int) -> None:
        if backlog > self._backlog_peak:
            self._backlog_peak, self._backlog_peak_at = backlog, now

    def sample(self, now: float, *, occupancy: int, **counts: int) -> None:
        processed = self._ends[State.PROCESSED]
        self._samples.append(
            Sample(
                at=now,
                arrived=self._files,
                processed=processed,
                prompt=self._prompt,
                late=processed - self._prompt,
                occupancy_bytes=occupancy,
                **counts,
            )
        )

    def outcome(self, now: float, buffer: Buffer, batches: Sequence[SimulatedBatch]) -> Outcome:
        processed = self._ends[State.PROCESSED]
        makespan = max(self._last - (self._first or 0.0), 0.0)
        busy = sum(batch.busy_slot_s for batch in batches)
        return Outcome(
            files=self._files,
            processed=processed,
            prompt=self._prompt,
            late=processed - self._prompt,
            parked=self._ends[State.PARKED],
            given_up=self._ends[State.GIVEN_UP],
            overflowed=self._ends[State.OVERFLOWED],
            open=self.open,
            fraction_prompt=self._prompt / self._files if self._files else 1.0,
            latency=_spread(self.latencies),
            lateness=_spread(self._lateness),
            makespan_s=makespan,
            backlog_peak=self._backlog_peak,
            backlog_peak_at=self._backlog_peak_at,
            occupancy_peak_bytes=buffer.peak_bytes,
            slots_peak=sum(batch.running_peak for batch in batches),
            slots_mean=busy / makespan if makespan else 0.0,
            core_hours=self._core_s / 3600,
            attempts=self._attempts,
            failures=dict(sorted(self.failures.items())),
            bytes_read=self._bytes_read,
            runs=tuple((run, files, self._prompt_of_run[run]) for run, files in sorted(self._runs.items())),
            simulated_s=now,
            steps=self.steps,
            decisions=self.decisions,
            samples=tuple(self._samples),
        )


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    ordered = sorted(values)
    return Spread(ordered[len(ordered) // 2], ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)], ordered[-1])
