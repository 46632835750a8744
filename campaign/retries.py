"""What happens after a failure: a policy for each class, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Whether a failure of this class counts against the task's allowed failures, whether it is tried again at all,
    and the first delay in seconds; it doubles with each failure up to `longest_delay_s`."""

    counts: bool
    again: bool
    first_delay_s: float
    sentence: str
    longest_delay_s: float = 3600.0


POLICIES: dict[str, Policy] = {
    "payload": Policy(True, True, 5.0, "the payload failed"),
    "internal": Policy(True, True, 5.0, "the stage's code failed"),
    "crashed": Policy(True, True, 5.0, "the job died without a report"),
    "memory": Policy(True, True, 30.0, "the job held more memory than allowed"),
    "time_limit": Policy(True, True, 30.0, "the job ran longer than allowed"),
    "data": Policy(True, False, 0.0, "the input is bad; another try gives the same"),
    "configuration": Policy(True, False, 0.0, "a setting is wrong; somebody has to change it"),
    "conflict": Policy(True, False, 0.0, "two truths about one file; a person must look"),
    "transient": Policy(False, True, 5.0, "something outside the job was away", longest_delay_s=300.0),
    "lost": Policy(False, True, 1.0, "the job vanished", longest_delay_s=60.0),
    "launch": Policy(False, True, 5.0, "the batch system did not take the job", longest_delay_s=300.0),
    "outputs": Policy(True, True, 5.0, "the outputs vanished before they were declared"),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Try the task again at `at`, or park it (`at` None). `failures` is the new count."""

    failures: int
    at: float | None
    sentence: str


def decide(error_class: str, *, failures: int, attempts: int, allowed_failures: int, now: float, jitter: float) -> Decision:
    """What to do after an attempt ended with `error_class`.

    Args:
        failures: how often the task failed before, counting classes only.
        attempts: how many attempts it had, this one included.
        allowed_failures: retries + 1.
        jitter: a random number in 0..1; the delay is stretched by up to a quarter, so that tasks that failed together part.
    """
    policy = POLICIES.get(error_class, POLICIES["payload"])
    failures += policy.counts
    if not policy.again:
        return Decision(failures, None, policy.sentence)
    if policy.counts and failures >= allowed_failures:
        return Decision(failures, None, f"{policy.sentence}, {failures} of {allowed_failures} allowed attempts")
    doubled = policy.first_delay_s * 2.0 ** min(max((failures if policy.counts else attempts) - 1, 0), 20)
    delay = min(doubled, policy.longest_delay_s) * (1 + jitter / 4)
    return Decision(failures, now + delay, policy.sentence)
