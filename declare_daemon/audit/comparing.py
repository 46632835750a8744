"""Compares the sides of one file. Every side is held against the journal; what a side does not tell is no finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from declare_daemon.audit.answers import Answers
from declare_daemon.audit.disk import Disk
from declare_daemon.audit.journal_side import TAKES_STEPS, JournalSide
from declare_daemon.audit.report import CONTRADICTIONS, DISK, JOURNAL, Finding, SideBySide, What
from declare_daemon.catalogs.protocol import OUTPUT_STATUS, RECORDED, Catalogs, Copies, Entry, OpenCatalog
from declare_daemon.journal.files import JournalFile
from declare_daemon.journal.states import PRESENT, FileState
from declare_daemon.registration.calls import replica_of
from declare_daemon.registration.steps import CONFIRM, METADATA, REPLICA, Key, Step
from declare_daemon.storage import is_xrootd
from declare_daemon.storage.places import split_address
from dune_prompt.settings import Site

_NOT_ASKED = "not asked"


@dataclass(slots=True)
class _Sides:
    """What was found of one file so far."""

    file: JournalFile
    sides: dict[str, str]
    findings: list[Finding] = field(default_factory=list)

    def add(self, where: str, what: What, detail: str, *steps: str) -> None:
        self.findings.append(Finding(self.file.subject, where, what, detail, self.file.id, steps))


class Comparer:
    """Compares the files of an installation."""

    def __init__(self, site: Site, catalogs: Catalogs, steps: Sequence[Step], disk: Disk) -> None:
        self._catalogs, self._disk = catalogs, disk
        self._steps: Mapping[Key, Step] = {step.key: step for step in steps}
        self._own_places = _own_places(site)

    def compare(self, file: JournalFile, journal: JournalSide, answers: Mapping[str, Answers | None]) -> tuple[SideBySide, list[Finding]]:
        """All sides of a file, and what is wrong with it."""
        found = _Sides(file, {DISK: "", JOURNAL: file.state.value})
        self._on_disk(found)
        for item in self._catalogs.all:
            answer = answers.get(item.name)
            if answer is None:
                found.sides[item.name] = _NOT_ASKED
            else:
                found.sides[item.name] = ", ".join(self._in_catalog(found, item, journal, answer))
        self._ids(found, answers)
        return SideBySide(file.subject, file.dataset, file.run, found.sides), list(_careful(found, queued=file.id in journal.queued))

    def compare_undeclared(self, file: JournalFile) -> tuple[SideBySide, list[Finding]]:
        """Disk and journal of a file that no catalogue is to know."""
        found = _Sides(file, {DISK: "", JOURNAL: file.state.value} | {item.name: "-" for item in self._catalogs.all})
        self._on_disk(found)
        return SideBySide(file.subject, file.dataset, file.run, found.sides), list(_careful(found, queued=False))

    # -- the disk ------------------------------------------------------------------------------------------------------

    def _on_disk(self, found: _Sides) -> None:
        file = found.file
        if file.state not in PRESENT:
            found.sides[DISK] = "-"
            return
        there, place = self._disk.place_now(file)
        found.sides[DISK] = _NOT_ASKED if there is None else "present" if there else "absent"
        if there is False:
            found.add(DISK, What.NOT_ON_DISK, f"{place}: {file.state} in the journal")
        # Before it is verified, or when its metadata alone were read, the journal has no size to compare.
        if there and file.adler32 is not None and (size := self._disk.size_of(place)) is not None and size != file.size_bytes:
            found.add(DISK, What.DIFFERS, f"{place} has {size} bytes, the journal {file.size_bytes}")

    # -- a catalogue ---------------------------------------------------------------------------------------------------

    def _in_catalog(self, found: _Sides, item: OpenCatalog, journal: JournalSide, answers: Answers) -> Iterator[str]:
        """Compare with a catalogue; what it says, in words."""
        before = len(found.findings)
        if item.metadata is not None:
            yield self._metadata(found, item, journal, answers)
        if item.replicas is not None:
            in_order = len(found.findings) == before
            yield self._copies(found, item, journal, answers, in_order=in_order)

    def _metadata(self, found: _Sides, item: OpenCatalog, journal: JournalSide, answers: Answers) -> str:
        file, name = found.file, item.name
        entry = answers.entries.get(file.record.did)
        expected = journal.expects(file, self._steps[name, METADATA])
        if entry is None:
            if expected:
                found.add(name, What.MISSING, f"{file.state} in the journal", METADATA, *self._confirm_of(found, name))
            return "missing" if expected else "-"
        if (entry.size_bytes, entry.adler32) != (file.size_bytes, file.adler32):
            found.add(name, What.DIFFERS, f"has {_content(entry)}, the journal {file.size_bytes} bytes, adler32 {file.adler32}")
        if entry.retired:
            found.add(name, What.RETIRED, f"{file.state} in the journal")
            return "retired"
        if not expected:
            return "declared"
        if file.did not in answers.members:
            found.add(name, What.NOT_IN_DATASET, f"not in {journal.dataset}", METADATA)
        if file.id in journal.makers:
            for parent in file.parents:
                if (parent, file.did) not in answers.children:
                    found.add(name, What.NO_PARENT, f"not a child of {parent}")
        confirm = self._steps.get((name, CONFIRM))
        if confirm is not None and journal.expects(file, confirm) and entry.metadata.get(OUTPUT_STATUS) == RECORDED:
            found.add(name, What.UNCONFIRMED, f"{OUTPUT_STATUS} is {RECORDED}", CONFIRM)
        return "declared"

    def _confirm_of(self, found: _Sides, catalog: str) -> tuple[str, ...]:
        """A file that is declared anew is not confirmed."""
        step = self._steps.get((catalog, CONFIRM))
        return (CONFIRM,) if step is not None and step.applies_to(found.file) else ()

    def _copies(self, found: _Sides, item: OpenCatalog, journal: JournalSide, answers: Answers, *, in_order: bool) -> str:
        """Compare the copies; `in_order`: nothing was wrong with the metadata, which the same catalogue keeps."""
        file, name = found.file, item.name
        copies = answers.copies.get(file.record.did)
        expected = journal.expects(file, self._steps[name, REPLICA])
        if copies is not None and (copies.size_bytes, copies.adler32) != (file.size_bytes, file.adler32) and in_order:
            found.add(name, What.DIFFERS, f"copy registered with {copies.size_bytes} bytes, adler32 {copies.adler32}")
        if copies is not None and file.state is FileState.GONE and any(_is_at(place, file.path) for place in copies.places.values()):
            found.add(DISK, What.NOT_ON_DISK, f"vanished from {file.path}, where {name} still has a copy")
        if expected:
            self._place(found, item, journal, copies)
            rules = {} if copies is None else copies.rules
            for rule, state in sorted(rules.items()):
                if state != "OK":
                    found.add(name, What.RULE, f"{rule}: {state}")
            if copies is not None and copies.places and in_order and file.did not in answers.replicas and item.kind != "sam":
                found.add(name, What.NOT_IN_DATASET, f"not in {journal.dataset}", REPLICA)
        if copies is None or not copies.places:
            return "no copy" if expected else "-"
        waiting = [f"rule {rule}: {state}" for rule, state in sorted(copies.rules.items()) if state != "OK"]
        return ", ".join([f"copy at {', '.join(sorted(copies.places))}", *waiting])

    def _place(self, found: _Sides, item: OpenCatalog, journal: JournalSide, copies: Copies | None) -> None:
        """Whether the copy the daemon has registered is known, and where it lies."""
        file, name = found.file, item.name
        own = journal.keeping.rse if item.kind == "rucio" and journal.keeping.rse is not None else self._own_places.get(item.kind)
        places = {} if copies is None else copies.places
        if not places or (own is not None and own not in places):
            why = f"none at {own}, only at {', '.join(sorted(places))}" if places else "no copy is known"
            here = replica_of(file).path
            # A copy may have been deleted for good, by a rule that ended: only one that is there can be registered.
            if self._disk.size_of(here) == file.size_bytes:
                found.add(name, What.NO_COPY, why, REPLICA)
            else:
                found.add(name, What.NO_COPY, f"{why}, and none can be seen at {here}")
        elif item.kind != "rucio" and file.state is not FileState.LEAVING and file.target is None:
            # Rucio makes addresses itself, of the storage element and the name; the others were told them.
            here = replica_of(file).path
            there = {own: places[own]} if own is not None else places
            if not any(_is_at(place, here) for place in there.values()):
                found.add(name, What.WRONG_PLACE, f"at {', '.join(sorted(there.values()))}; it is at {here}")

    # -- between catalogues --------------------------------------------------------------------------------------------

    def _ids(self, found: _Sides, answers: Mapping[str, Answers | None]) -> None:
        """MetaCat takes over SAM's id of a file, and with it everything that still asks by id."""
        giver = next((item.name for item in self._catalogs.all if item.gives_fid and item.metadata is not None), None)
        taker = next((item.name for item in self._catalogs.all if item.kind == "metacat"), None)
        if giver is None or taker is None or giver == taker:
            return
        given, taken = (_entry_of(answers.get(name), found.file.record.did) for name in (giver, taker))
        if given is not None and taken is not None and given.fid is not None and given.fid != taken.fid:
            found.add(taker, What.OTHER_ID, f"{taken.fid}; {giver} has {given.fid}")


def _careful(found: _Sides, *, queued: bool) -> Iterator[Finding]:
    """The findings; of a file with two truths, and of one that cannot be registered now, nothing is repairable."""
    untouchable = any(finding.what in CONTRADICTIONS for finding in found.findings) or found.file.state not in TAKES_STEPS
    for finding in found.findings:
        detail = f"{finding.detail}; its registration is queued" if queued and finding.repairable else finding.detail
        yield replace(finding, detail=detail, steps=() if untouchable else finding.steps)


def _own_places(site: Site) -> dict[str, str]:
    """By kind of catalogue: what it calls the storage our copies are on."""
    found: dict[str, str] = {}
    for settings in site.catalogs:
        if settings.kind in ("embedded", "rucio"):
            found[settings.kind] = settings.rse
        elif settings.kind == "sam" and settings.location is not None:
            found["sam"] = settings.location.rstrip(":")
    return found


def _is_at(address: str, place: str) -> bool:
    """Whether a catalogue's address of a copy is the place the journal has: either may be written as path, or with the server's name."""
    return _path(address) == _path(place)


def _path(place: str) -> str:
    return split_address(place)[1] if is_xrootd(place) else place


def _content(entry: Entry) -> str:
    return f"{entry.size_bytes} bytes, adler32 {entry.adler32}"


def _entry_of(answers: Answers | None, did: str) -> Entry | None:
    return None if answers is None else answers.entries.get(did)
