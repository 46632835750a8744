"""Proves that files may leave the buffer: asks catalogues and storage, in bulk, and fills in each file's checklist.

Runs beside the loop and writes nothing. What cannot be asked now does not hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event as Flag
from typing import TypeVar

from declare_daemon.catalogs.protocol import Catalogs, Copies, Entry, Keeping, OpenCatalog
from declare_daemon.registration.lanes import Lanes
from declare_daemon.registration.pauses import Pause, Waiver
from declare_daemon.registration.steps import Key, Step
from declare_daemon.release.candidates import Candidate, Obligation
from declare_daemon.release.checklist import Check, Seen
from declare_daemon.storage import storage_of
from dune_prompt.errors import DunePromptError, TransientError
from dune_prompt.records import MadeBy

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Question:
    """What the journal knows of the candidates, for the checklists."""

    candidates: Sequence[Candidate]
    confirmed: Mapping[int, Mapping[Key, float]]
    waivers: Mapping[int, Mapping[str, Waiver]]
    pauses: Mapping[str, Pause]
    keepings: Mapping[str, Keeping]


@dataclass(frozen=True, slots=True)
class Proven:
    """A candidate with its checklist; `seen` is the file in the buffer, None if it could not be seen."""

    candidate: Candidate
    checks: tuple[Check, ...]
    seen: Seen | None


@dataclass(slots=True)
class _Evidence:
    """What catalogues answered; `failures`: why one did not, by catalogue."""

    children: dict[tuple[str, str, str], dict[str, tuple[str, ...]]] = field(default_factory=dict)
    entries: dict[str, dict[str, Entry]] = field(default_factory=dict)
    copies: dict[str, dict[str, Copies]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Prover:
    """Fills in checklists."""

    def __init__(self, catalogs: Catalogs, steps: Sequence[Step], lanes: Lanes, clock: Callable[[], float], stop: Flag) -> None:
        self._catalogs, self._steps, self._lanes, self._now, self._stop = catalogs, steps, lanes, clock, stop

    def prove(self, question: Question) -> list[Proven]:
        """The checklists of all candidates."""
        evidence = self._ask(question)
        return [self._one(candidate, question, evidence) for candidate in question.candidates]

    # -- what is asked -------------------------------------------------------------------------------------------------

    def _ask(self, question: Question) -> _Evidence:
        evidence = _Evidence()
        dids = [candidate.file.record.did for candidate in question.candidates]
        datasets: dict[str, list[str]] = defaultdict(list)
        for candidate in question.candidates:
            datasets[candidate.file.dataset or ""].append(candidate.file.record.did)
        for item in self._catalogs.all:
            if item.name in question.pauses:
                evidence.failures[item.name] = _paused(question.pauses[item.name])
                continue
            try:
                self._ask_catalog(item, question, dids, datasets, evidence)
            except DunePromptError as error:
                evidence.failures[item.name] = f"{item.name} cannot be asked: {error}"
        return evidence

    def _ask_catalog(
        self, item: OpenCatalog, question: Question, dids: list[str], datasets: Mapping[str, list[str]], evidence: _Evidence
    ) -> None:
        metadata, replicas = item.metadata, item.replicas
        if metadata is not None:
            evidence.entries[item.name] = self._call(item.name, lambda: metadata.look(dids))
            if metadata is self._catalogs.truth:
                wanted: dict[tuple[str, str, str], list[str]] = defaultdict(list)
                for candidate in question.candidates:
                    for obligation in candidate.obligations:
                        wanted[_maker(obligation)].append(candidate.file.record.did)
                for maker, parents in wanted.items():
                    evidence.children[maker] = self._call(item.name, lambda m=maker, p=parents: metadata.children_of(p, MadeBy(*m)))  # type: ignore[misc]
        if replicas is not None:
            found: dict[str, Copies] = {}
            for dataset, members in datasets.items():
                keeping = question.keepings.get(dataset, Keeping())
                found |= self._call(item.name, lambda d=dataset, m=members, k=keeping: replicas.copies(m, d, k))  # type: ignore[misc]
            evidence.copies[item.name] = found

    def _call(self, catalog: str, function: Callable[[], Result]) -> Result:
        """Ask in the catalogue's own thread, after what waits there."""
        return self._lanes.call(catalog, function).result()

    # -- the checklist -------------------------------------------------------------------------------------------------

    def _one(self, candidate: Candidate, question: Question, evidence: _Evidence) -> Proven:
        file_id = candidate.file.id
        waivers = question.waivers.get(file_id, {})
        checks = [
            self._declared(candidate, question.confirmed.get(file_id, {}), waivers),
            self._old_enough(candidate),
            *self._processed(candidate, waivers, evidence),
        ]
        for item in self._catalogs.all:
            checks += self._known_to(item, candidate, waivers.get(item.name), evidence)
        seen, check = self._in_buffer(candidate)
        checks.append(check)
        # The copy is read only for a file that may leave but for it: reading costs.
        if candidate.action == "delete" and all(check.ok for check in checks):
            checks.append(self._copied(candidate))
        return Proven(candidate, tuple(checks), seen)

    def _declared(self, candidate: Candidate, confirmed: Mapping[Key, float], waivers: Mapping[str, Waiver]) -> Check:
        missing = sorted({step.catalog for step in self._steps if step.applies_to(candidate.file) and step.key not in confirmed})
        if not missing:
            last = max(confirmed.values(), default=candidate.file.declared_at or 0.0)
            return Check("declared", True, f"every catalogue has confirmed it, the last at {_date(last)}")
        if all(name in waivers for name in missing):
            texts = [_waived(waivers[name]) for name in missing]
            return Check("declared", True, "; ".join(texts), ", ".join(waivers[name].by for name in missing))
        return Check("declared", False, f"not confirmed by {', '.join(name for name in missing if name not in waivers)}")

    def _old_enough(self, candidate: Candidate) -> Check:
        closed_at = candidate.file.closed_at
        ok = closed_at is not None and closed_at <= candidate.oldest_allowed
        return Check("age", ok, f"closed at {_date(closed_at or 0.0)}; {candidate.occasion}")

    def _processed(self, candidate: Candidate, waivers: Mapping[str, Waiver], evidence: _Evidence) -> list[Check]:
        if not candidate.obligations:
            if not candidate.stream.process:
                return [Check("processed", True, f"stream {candidate.stream.name} is not processed")]
            return [_sacrificed(candidate, "no campaign has asked for it yet")]
        return [self._obligation(candidate, obligation, waivers, evidence) for obligation in candidate.obligations]

    def _obligation(self, candidate: Candidate, obligation: Obligation, waivers: Mapping[str, Waiver], evidence: _Evidence) -> Check:
        who = f"{obligation.campaign} {obligation.version} {obligation.child}"
        if obligation.waived_by is not None:
            return Check("processed", True, f"{who}: waived by {obligation.waived_by}: {obligation.waived_why}", obligation.waived_by)
        truth = self._catalogs.truth.name
        if (why := evidence.failures.get(truth)) is not None:
            if obligation.met_at is not None and truth in waivers:
                text = f"{who}: done at {_date(obligation.met_at)} by the journal; {_waived(waivers[truth])}"
                return Check("processed", True, text, waivers[truth].by)
            return Check("processed", False, f"{who}: {why}")
        children = evidence.children.get(_maker(obligation), {}).get(candidate.file.record.did, ())
        if children:
            return Check("processed", True, f"{who}: {truth} has {', '.join(children)}")
        return _sacrificed(candidate, f"{who}: {truth} has no such child of it")

    def _known_to(self, item: OpenCatalog, candidate: Candidate, waiver: Waiver | None, evidence: _Evidence) -> list[Check]:
        """Whether a catalogue has the file, with the same content, and its copies where they are to be."""
        if (why := evidence.failures.get(item.name)) is not None:
            return [_unless_waived(f"{item.name}", why, waiver)]
        file, did = candidate.file, candidate.file.record.did
        checks = []
        if item.metadata is not None:
            entry = evidence.entries[item.name].get(did)
            if entry is None:
                checks.append(_unless_waived(item.name, "does not know it", waiver))
            elif not entry.agrees_with(file.record):
                there = f"has {entry.size_bytes} bytes, adler32 {entry.adler32}" + (", retired" if entry.retired else "")
                checks.append(Check(item.name, False, f"{there}; the file has {file.size_bytes} bytes, adler32 {file.adler32}"))
            else:
                checks.append(Check(item.name, True, f"has {entry.size_bytes} bytes, adler32 {entry.adler32}, as the file"))
        if item.replicas is not None:
            checks.append(self._copies(item.name, candidate, evidence.copies[item.name].get(did), waiver))
        return checks

    def _copies(self, name: str, candidate: Candidate, copies: Copies | None, waiver: Waiver | None) -> Check:
        what = f"{name} copies"
        file = candidate.file
        if copies is None:
            return _unless_waived(what, "knows no copy of it", waiver)
        if (copies.size_bytes, copies.adler32) != (file.size_bytes, file.adler32):
            return Check(what, False, f"registered with {copies.size_bytes} bytes, adler32 {copies.adler32}")
        places = ", ".join(sorted(copies.places)) or "nowhere"
        rules = "".join(f"; rule {rule}: {state}" for rule, state in sorted(copies.rules.items()))
        text = f"at {places}{rules}"
        return Check(what, True, text) if copies.complete else _unless_waived(what, text, waiver)

    def _in_buffer(self, candidate: Candidate) -> tuple[Seen | None, Check]:
        file = candidate.file
        try:
            status = storage_of(file.path).stat(file.path)
        except (OSError, TransientError) as error:
            return None, Check("file", False, f"{file.path}: {getattr(error, 'strerror', None) or error}")
        seen = Seen(status.size_bytes, status.changed_at)
        if seen.size_bytes != file.size_bytes:
            return seen, Check("file", False, f"{file.path} has {seen.size_bytes} bytes now, it was declared with {file.size_bytes}")
        read = f"adler32 {file.adler32} read at {_date(file.verified_at or 0.0)}"
        return seen, Check("file", True, f"{seen.size_bytes} bytes, last changed {_date(seen.changed_at)}, {read}")

    def _copied(self, candidate: Candidate) -> Check:
        """A deleted file's copy elsewhere is read again, now."""
        file = candidate.file
        if file.place is None:
            return Check("copy", False, "no copy was placed elsewhere")
        try:
            size, adler32 = storage_of(file.place).adler32(file.place, self._stop)
        except (OSError, TransientError) as error:
            return Check("copy", False, f"{file.place}: {getattr(error, 'strerror', None) or error}")
        same = (size, adler32) == (file.size_bytes, file.adler32)
        return Check("copy", same, f"{file.place} has {size} bytes, adler32 {adler32}, read at {_date(self._now())}")


def _maker(obligation: Obligation) -> tuple[str, str, str]:
    return obligation.campaign, obligation.version, obligation.child


def _sacrificed(candidate: Candidate, why: str) -> Check:
    """An unprocessed file leaves only by the site file's word."""
    if candidate.sacrificed:
        return Check("processed", True, f"SACRIFICED unprocessed ({why}): {candidate.occasion}", "buffer.sacrifice")
    return Check("processed", False, why)


def _unless_waived(what: str, why: str, waiver: Waiver | None) -> Check:
    return Check(what, False, why) if waiver is None else Check(what, True, f"{why}; {_waived(waiver)}", waiver.by)


def _waived(waiver: Waiver) -> str:
    return f"{waiver.catalog} waived by {waiver.by} at {_date(waiver.at)}: {waiver.why}"


def _paused(pause: Pause) -> str:
    until = f"until {_date(pause.until)}" if pause.until is not None else "until it is resumed"
    return f"paused by {pause.by} {until}"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
