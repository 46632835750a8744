"""Walks through the datasets: reads the journal, asks disk and catalogues, compares. One dataset at a time is in memory.

Nothing is locked meanwhile, so what the daemon has changed since the journal was read is left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from declare_daemon.arrivals import known_names
from declare_daemon.audit.answers import Answers, Asker
from declare_daemon.audit.comparing import Comparer
from declare_daemon.audit.disk import Disk
from declare_daemon.audit.journal_side import (
    JournalSide,
    as_now,
    datasets_of,
    journal_side,
    known_dids,
    states_of_names,
    undeclared_files,
)
from declare_daemon.audit.report import DISK, JOURNAL, Finding, Part, Report, SideBySide, What
from declare_daemon.catalogs.protocol import BATCH, Catalogs, Entry
from declare_daemon.journal.files import names_in
from declare_daemon.journal.rows import batches
from declare_daemon.journal.states import FileState
from declare_daemon.registration.pauses import pauses
from declare_daemon.registration.steps import steps_of
from declare_daemon.sidecar import read_sidecar
from declare_daemon.storage import name_of, sidecar_of, within
from dune_prompt.errors import DunePromptError
from dune_prompt.records import split_did
from dune_prompt.settings import Site
from dune_prompt.store import Store

# On their way: wherever they are seen, the daemon knows of them.
_MOVING = (FileState.REJECTED, FileState.RETURNING, FileState.LEAVING)
_NOT_ASKED = "not asked"
_RUN_IN_NAME = re.compile(r"_run0*(\d+)_")


def audit(site: Site, store: Store, catalogs: Catalogs, *, run: int | None, now: float, with_files: bool = False) -> Report:
    """Compare disk, journal and catalogues, for the datasets of `run` or for all.

    `with_files` keeps the row of every file in the report; for all runs at once rather take them from `audit_by_dataset`.

    Raises:
        TransientError: the store is away. A catalogue or disk that is away is a finding.
    """
    report = Report(run, now, (DISK, JOURNAL, *(item.name for item in catalogs.all)))
    for part in audit_by_dataset(site, store, catalogs, run=run, now=now):
        report.add(part, with_files=with_files)
    return report


def audit_by_dataset(site: Site, store: Store, catalogs: Catalogs, *, run: int | None, now: float) -> Iterator[Part]:
    """The parts of an audit, dataset by dataset; the last one is that of files without."""
    walk = _Walk(site, store, catalogs, run, now)
    with store.read() as connection:
        datasets = datasets_of(connection, run)
    for dataset, runs in datasets.items():
        yield walk.dataset(dataset, runs)
    yield walk.rest()


class _Walk:
    """One audit."""

    def __init__(self, site: Site, store: Store, catalogs: Catalogs, run: int | None, now: float) -> None:
        self._site, self._store, self._catalogs, self._run, self._now = site, store, catalogs, run, now
        with store.read() as connection:
            known = known_names(connection, site) | names_in(connection, "buffer", _MOVING)
            paused = {name: f"paused by {item.by}" for name, item in pauses(connection).items() if item.until is None or item.until > now}
        names = {item.name for item in catalogs.all}
        steps = steps_of(catalogs)
        self._disk = Disk(site, known)
        self._asker = Asker(catalogs, steps, {name: why for name, why in paused.items() if name in names})
        self._comparer = Comparer(site, catalogs, steps, self._disk)
        self._away_told: set[str] = set()
        # Strangers that are told: they may be met in a dataset and on disk.
        self._told: set[tuple[str, str]] = set()
        self._beside: dict[str, str] = {}

    # -- a dataset -----------------------------------------------------------------------------------------------------

    def dataset(self, dataset: str, runs: Iterable[int | None]) -> Part:
        with self._store.read() as connection:
            journal = journal_side(connection, dataset, set(runs))
        answers = {item.name: self._asker.ask(item, journal) for item in self._catalogs.all}
        part = Part(dataset)
        for file in journal.files:
            row, findings = self._comparer.compare(file, journal, answers)
            part.files.append(row)
            part.findings += findings
        self._leave_out_changed(part, journal)
        part.findings = _rules_together(dataset, part.findings)
        names = {file.name for file in journal.files}
        placed = self._disk.placed(file for file in journal.files if file.origin == "outbox")
        self._new_on_disk(part, "outbox", dict.fromkeys((place for place in placed if name_of(place) not in names), ""))
        self._strangers(part, journal, answers)
        return self._end(part)

    def _leave_out_changed(self, part: Part, journal: JournalSide) -> None:
        """The daemon works on: what it has changed since the journal was read was compared with two times."""
        before = {file.id: file for file in journal.files}
        ids = {finding.file_id for finding in part.findings if finding.file_id is not None}
        with self._store.read() as connection:
            now = as_now(connection, ids)
        part.findings = [
            finding
            for finding in part.findings
            if finding.file_id is None or (finding.file_id in now and now[finding.file_id].still_is(before[finding.file_id]))
        ]

    def _strangers(self, part: Part, journal: JournalSide, answers: Mapping[str, Answers | None]) -> None:
        """Members of the dataset that the journal does not know."""
        ours = {file.did for file in journal.files}
        found: dict[str, dict[str, Entry | None]] = defaultdict(dict)
        for name, answer in answers.items():
            if answer is not None:
                retired = {did for did, entry in answer.members.items() if entry.retired}
                for did in (answer.replicas | answer.members.keys()) - ours - retired:
                    found[did][name] = answer.members.get(did)
        with self._store.read() as connection:
            known = known_dids(connection, found)
            # The DID of a file that was found just now is not known yet.
            waiting = states_of_names(connection, "buffer", {split_did(did)[1] for did in found.keys() - known})
        for did in sorted(did for did in found.keys() - known if waiting.get(split_did(did)[1]) is not FileState.FOUND):
            where = found[did]
            place = self._place_of_stranger(did)
            for name in where:
                if place is not None:
                    self._tell(part, did, name, What.DECLARED_UNJOURNALED, _with_sidecar(place))
                else:
                    self._tell(part, did, name, What.ORPHAN, f"in {journal.dataset}, not in the journal")
            part.findings += _disagreeing(did, where)
            if place is None:
                sides = {name: "declared" if name in where else _NOT_ASKED if answer is None else "-" for name, answer in answers.items()}
                part.files.append(SideBySide(did, journal.dataset, None, {DISK: "-", JOURNAL: "-"} | sides))

    def _place_of_stranger(self, did: str) -> str | None:
        """Where a file that the journal does not know lies with its sidecar."""
        name = split_did(did)[1]
        place = self._beside.get(did) or (within(self._site.buffer.path, name) if name in self._disk.new else None)
        return place if place is not None and self._disk.has_sidecar(place) else None

    def _tell(self, part: Part, did: str, where: str, what: What, detail: str) -> None:
        if (did, where) not in self._told:
            self._told.add((did, where))
            part.findings.append(Finding(did, where, what, detail))

    # -- files the journal does not know -------------------------------------------------------------------------------

    def rest(self) -> Part:
        """Files that belong to no dataset: those the catalogues are not to know, and those the journal does not."""
        part = Part(None)
        with self._store.read() as connection:
            undeclared = undeclared_files(connection, self._run)
        for file in undeclared:
            row, findings = self._comparer.compare_undeclared(file)
            part.files.append(row)
            part.findings += findings
        self._leave_out_changed(part, JournalSide("", files=undeclared))
        new = {within(self._site.buffer.path, name): why for name, why in self._disk.new.items() if self._is_asked_for(name)}
        self._new_on_disk(part, "buffer", new)
        return self._end(part)

    def _is_asked_for(self, name: str) -> bool:
        match = _RUN_IN_NAME.search(name)
        return self._run is None or (match is not None and int(match[1]) == self._run)

    def _new_on_disk(self, part: Part, origin: str, places: Mapping[str, str]) -> None:
        """Files on disk that the journal does not know, each with what the scanner waits for."""
        for batch in batches(sorted(places), BATCH):
            with self._store.read() as connection:
                states = states_of_names(connection, origin, [name_of(place) for place in batch])
            here = [place for place in batch if self._is_strange(origin, states.get(name_of(place)))]
            overdue = [place for place in here if self._disk.is_overdue(place, self._now)]
            dids = {place: did for place in overdue if (did := self._did_of(place)) is not None}
            entries = {item.name: self._asker.look(item, list(dids.values())) for item in self._catalogs.all} if dids else {}
            for place in overdue:
                self._stranger_on_disk(part, place, dids.get(place), states.get(name_of(place)), places[place], entries)

    def _stranger_on_disk(
        self, part: Part, place: str, did: str | None, state: FileState | None, why: str, entries: Mapping[str, Mapping[str, Entry] | None]
    ) -> None:
        subject = did or name_of(place)
        detail = "; ".join(filter(None, (place, f"{state} in the journal" if state else "", why, "repair leaves it to the scanner")))
        part.findings.append(Finding(subject, DISK, What.NOT_JOURNALED, detail))
        sides = {DISK: "present", JOURNAL: state.value if state else "-"}
        for item in self._catalogs.all:
            known = entries.get(item.name, {})
            sides[item.name] = _NOT_ASKED if known is None else "declared" if subject in known else "-"
        part.files.append(SideBySide(subject, part.dataset, None, sides))
        if did is not None and state is None:
            self._beside[did] = place
            for name, known in entries.items():
                if known is not None and did in known:
                    self._tell(part, did, name, What.DECLARED_UNJOURNALED, _with_sidecar(place))

    def _is_strange(self, origin: str, state: FileState | None) -> bool:
        """Whether the journal does not expect a file of this state on disk."""
        gone = (FileState.GONE, FileState.LEFT, FileState.QUARANTINED)
        return state is None or (origin == "buffer" and state in gone)

    def _did_of(self, place: str) -> str | None:
        """The DID by a file's sidecar, None without one that can be read."""
        with suppress(DunePromptError, OSError):
            given = read_sidecar(sidecar_of(place), name_of(place))
            namespace = given.namespace or given.metadata.get("core.run_type")
            return f"{namespace}:{given.name}" if namespace else None
        return None

    # ------------------------------------------------------------------------------------------------------------------

    def _end(self, part: Part) -> Part:
        """What could not be asked meanwhile goes into the part."""
        for folder, why in self._disk.away.items():
            if folder not in self._away_told:
                self._away_told.add(folder)
                part.findings.append(Finding(folder, DISK, What.NOT_ASKED, why))
        part.findings += self._asker.findings
        self._asker.findings = []
        self._disk.forget()
        return part


def _with_sidecar(place: str) -> str:
    return f"not in the journal, though {place} is here with its sidecar"


def _rules_together(dataset: str, findings: Iterable[Finding]) -> list[Finding]:
    """A rule is the dataset's: one finding for all files it is not satisfied for."""
    rest: list[Finding] = []
    rules: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in findings:
        if finding.what is What.RULE:
            rules[finding.where, finding.detail].append(finding.subject)
        else:
            rest.append(finding)
    for (where, detail), subjects in rules.items():
        rest.append(Finding(dataset, where, What.RULE, f"{detail}; {len(subjects)} files, {subjects[0]} among them"))
    return rest


def _disagreeing(did: str, where: Mapping[str, Entry | None]) -> list[Finding]:
    """Two catalogues that have a file the journal does not know with different content."""
    contents = {name: (entry.size_bytes, entry.adler32) for name, entry in where.items() if entry is not None}
    if len(set(contents.values())) < 2:
        return []
    (first, content), *others = contents.items()
    return [
        Finding(did, name, What.DIFFERS, f"{other[0]} bytes, adler32 {other[1]}; {first} has {content[0]} bytes, adler32 {content[1]}")
        for name, other in others
        if other != content
    ]
