"""What happens after a failure: a policy for each class, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """How failures of one class are answered.

    `counts`: a failure counts against the task's allowed failures. `uncounted` are how many of a class that does not count are free
    (None: any number). `again`: it is tried again at all, after `first_delay_s`, doubled with each failure up to `longest_delay_s`.
    `memory` and `time` stretch what the next attempt may use; `elsewhere`: it goes to another host.
    """

    counts: bool
    again: bool
    first_delay_s: float
    sentence: str
    longest_delay_s: float = 3600.0
    memory: float = 1.0
    time: float = 1.0
    elsewhere: bool = False
    uncounted: int | None = None


POLICIES: dict[str, Policy] = {
    "payload": Policy(True, True, 5.0, "the payload failed", elsewhere=True),
    "internal": Policy(True, True, 5.0, "the stage's code failed"),
    "crashed": Policy(True, True, 5.0, "the job died without a report", elsewhere=True),
    "memory": Policy(True, True, 30.0, "the job held more memory than allowed", memory=1.5),
    "time_limit": Policy(True, True, 30.0, "the job ran longer than allowed", time=2.0, elsewhere=True),
    "data": Policy(True, False, 0.0, "the input is bad; another try gives the same"),
    "configuration": Policy(True, False, 0.0, "a setting is wrong; somebody has to change it"),
    "conflict": Policy(True, False, 0.0, "two truths about one file; a person must look"),
    "input": Policy(False, True, 30.0, "the input could not be read", longest_delay_s=900.0, elsewhere=True, uncounted=10),
    "site": Policy(False, True, 30.0, "the worker or its site has a problem", longest_delay_s=900.0, elsewhere=True, uncounted=10),
    "transient": Policy(False, True, 5.0, "something outside the job was away", longest_delay_s=300.0),
    "lost": Policy(False, True, 1.0, "the job vanished", longest_delay_s=60.0),
    "launch": Policy(False, True, 5.0, "the batch system did not take the job", longest_delay_s=300.0),
    "outputs": Policy(True, True, 5.0, "the outputs vanished before they were declared"),
}
# No raise beyond this many times of what the campaign file gives.
MOST_RAISE = 4.0


@dataclass(frozen=True, slots=True)
class Decision:
    """Try the task again at `at`, or park it (`at` None). `failures` is the new count."""

    failures: int
    at: float | None
    sentence: str


def policy_of(error_class: str) -> Policy:
    """The policy of a class; a class nobody knows is a payload's own."""
    return POLICIES.get(error_class, POLICIES["payload"])


def decide(error_class: str, *, failures: int, attempts: int, allowed_failures: int, now: float, jitter: float) -> Decision:
    """What to do after an attempt ended with `error_class`.

    Args:
        failures: how often the task failed before, counting classes only.
        attempts: how many attempts it had, this one included.
        allowed_failures: retries + 1.
        jitter: a random number in 0..1; the delay is stretched by up to a quarter, so that tasks that failed together part.
    """
    policy = policy_of(error_class)
    counts = policy.counts or (policy.uncounted is not None and attempts - failures > policy.uncounted)
    failures += counts
    if not policy.again:
        return Decision(failures, None, policy.sentence)
    if counts and failures >= allowed_failures:
        return Decision(failures, None, f"{policy.sentence}, {failures} of {allowed_failures} allowed attempts")
    doubled = policy.first_delay_s * 2.0 ** min(max((failures if policy.counts else attempts) - 1, 0), 20)
    delay = min(doubled, policy.longest_delay_s) * (1 + jitter / 4)
    return Decision(failures, now + delay, policy.sentence)


@dataclass(frozen=True, slots=True)
class Needs:
    """What the next attempt at a task gets other than the campaign file says: bytes, seconds, hosts to avoid. Zero: as in the file."""

    memory_bytes: int = 0
    lifetime_s: float = 0.0
    avoid_hosts: tuple[str, ...] = ()


def next_needs(error_class: str, before: Needs, *, memory_bytes: int, lifetime_s: float, host: str | None) -> Needs:
    """The needs after a failure on `host`, where `memory_bytes` and `lifetime_s` are what the campaign file gives."""
    policy = policy_of(error_class)
    memory, lifetime, avoid = before.memory_bytes, before.lifetime_s, before.avoid_hosts
    if policy.memory > 1:
        memory = round(min((memory or memory_bytes) * policy.memory, memory_bytes * MOST_RAISE))
    if policy.time > 1:
        lifetime = min((lifetime or lifetime_s) * policy.time, lifetime_s * MOST_RAISE)
    if policy.elsewhere and host and host not in avoid:
        avoid = (*avoid, host)[-5:]
    return Needs(memory, lifetime, avoid)
