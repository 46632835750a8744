"""How long a week of ProtoDUNE takes to simulate: `python -m benchmarks.simulation [--json] [--days N]`.

400,000 files of 4 GB in seven days, 160 APA-events of 5 s a file: once with slots to spare, once with too few (the backlog grows all week),
once with everything that can go wrong. CPU seconds, as the machine may be shared.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

from campaign.simulation.parameters import Parameters
from campaign.simulation.run import simulate

WEEK = {
    "streams": [{"rate": "2.65GB/s", "file_size": "4GB", "lifetime": "24h"}],
    "buffer": {"capacity": "300TB"},
}
TROUBLE = {
    "streams": [
        {
            "rate": "2.65GB/s",
            "lifetime": "24h",
            "arrive": "at_random",
            "sacrifice": True,
            "failures": {"payload": "2%", "lost": "2%", "memory": "1%", "site": "1%"},
        }
    ],
    "launchers": [
        {"name": "jobsub", "latency": {"kind": "exponential", "mean": "5min"}, "cycle": "1min"},
        {"name": "htcondor", "slots": 200},
    ],
    "outages": [{"what": "jobsub", "begin": "2d", "end": "2.5d", "jobs": "lost"}, {"what": "catalogue", "begin": "4d", "end": "4.25d"}],
}
CASES: dict[str, dict[str, Any]] = {
    "slots to spare": WEEK | {"slots": {"min": 1, "max": 700}},
    "too few slots": WEEK | {"slots": {"min": 1, "max": 500}},
    "failures and outages": WEEK | TROUBLE | {"slots": {"min": 1, "max": 1000}},
}


def measure(case: dict[str, Any], days: float) -> dict[str, float]:
    """Simulate one case; seconds of CPU and wall clock."""
    parameters = Parameters.model_validate(case | {"duration": f"{days}d"})
    cpu, wall = time.process_time(), time.perf_counter()
    outcome = simulate(parameters)
    return {
        "files": outcome.files,
        "fraction_prompt": round(outcome.fraction_prompt, 4),
        "steps": outcome.steps,
        "decisions": outcome.decisions,
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
        "peak_rss_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--days", type=float, default=7.0)
    options = parser.parse_args()
    result = {name: measure(case, options.days) for name, case in CASES.items()}
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, values in result.items():
        print(f"{name:22}", "  ".join(f"{key} {value}" for key, value in values.items()))


if __name__ == "__main__":
    main()
