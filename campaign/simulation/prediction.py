"""A prediction, written down before the run it is about: parameters in, the few numbers that will be compared out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from campaign.simulation.outcome import Outcome
from campaign.simulation.parameters import Parameters
from campaign.simulation.run import simulate


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds and files. `makespan_s` is from the first file's arrival to the last one's end of processing; `backlog_peak` counts files
    that wait for a slot or to be tried again."""

    files: int
    processed: int
    makespan_s: float
    backlog_peak: int
    backlog_peak_at: float
    fraction_prompt: float
    latency_p50_s: float | None
    latency_p95_s: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def predict(parameters: Parameters) -> Prediction:
    """What will happen with these parameters."""
    return prediction_of(simulate(parameters))


def prediction_of(outcome: Outcome) -> Prediction:
    """The numbers of an outcome that a real run can be compared with."""
    return Prediction(
        files=outcome.files,
        processed=outcome.processed,
        makespan_s=outcome.makespan_s,
        backlog_peak=outcome.backlog_peak,
        backlog_peak_at=outcome.backlog_peak_at,
        fraction_prompt=outcome.fraction_prompt,
        latency_p50_s=outcome.latency.p50 if outcome.latency else None,
        latency_p95_s=outcome.latency.p95 if outcome.latency else None,
    )
