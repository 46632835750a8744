"""Asks the catalogues about a dataset, in bulk. One that does not answer is not asked again in this audit, and the rest goes on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from declare_daemon.audit.journal_side import JournalSide
from declare_daemon.audit.report import Finding, What
from declare_daemon.catalogs.protocol import Catalogs, Copies, Entry, MetadataCatalog, OpenCatalog
from declare_daemon.registration.steps import CONFIRM, Step
from dune_prompt.errors import ConfigError, DunePromptError, TransientError
from dune_prompt.records import MadeBy, split_did

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Answers:
    """One catalogue's side of a dataset. `members`: what it says the dataset has, `replicas` those with a copy (None: it keeps none),
    `children` the pairs (parent, child) among the outputs."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    members: Mapping[str, Entry] = field(default_factory=dict)
    children: frozenset[tuple[str, str]] = frozenset()
    copies: Mapping[str, Copies] = field(default_factory=dict)
    replicas: frozenset[str] = frozenset()


class Asker:
    """Asks catalogues. `findings` are those that say which one could not be asked; who takes them empties the list."""

    def __init__(self, catalogs: Catalogs, steps: Sequence[Step], paused: Mapping[str, str]) -> None:
        """`paused`: catalogues that are not to be called, and why."""
        self._catalogs, self._confirms = catalogs, {step.catalog for step in steps if step.kind == CONFIRM}
        self._away = dict(paused)
        self.findings = [Finding(name, name, What.NOT_ASKED, why) for name, why in paused.items()]

    def ask(self, item: OpenCatalog, journal: JournalSide) -> Answers | None:
        """What a catalogue says of a dataset; None if it cannot be asked."""
        if item.name in self._away:
            return None
        try:
            return self._ask(item, journal)
        except (TransientError, ConfigError, OSError) as error:
            self._give_up(item.name, error, f"from dataset {journal.dataset} on")
        except DunePromptError as error:
            self.findings.append(Finding(journal.dataset, item.name, What.NOT_ASKED, str(error)))
        return None

    def look(self, item: OpenCatalog, dids: Sequence[str]) -> Mapping[str, Entry] | None:
        """What a catalogue knows of files that belong to no dataset; None if it cannot be asked."""
        if item.metadata is None:
            return {}
        if item.name in self._away:
            return None
        try:
            return item.metadata.look(dids)
        except (DunePromptError, OSError) as error:
            self._give_up(item.name, error, "for files the journal does not know")
            return None

    def _give_up(self, name: str, error: Exception, since: str) -> None:
        self._away[name] = str(error)
        self.findings.append(Finding(name, name, What.NOT_ASKED, f"not compared {since}: {error}"))

    def _ask(self, item: OpenCatalog, journal: JournalSide) -> Answers:
        files = journal.files
        dids = [file.did for file in files if file.did is not None]
        outputs = any(file.origin == "outbox" for file in files)
        entries: Mapping[str, Entry] = {}
        members: Mapping[str, Entry] = {}
        children: frozenset[tuple[str, str]] = frozenset()
        if item.metadata is not None:
            entries = item.metadata.look(dids, with_metadata=outputs and item.name in self._confirms)
            members = _ours(item, item.metadata.members(journal.dataset), dids)
            children = _children(item.metadata, journal, entries) if outputs else frozenset()
        if item.replicas is None:
            return Answers(entries, members, children)
        copies = item.replicas.copies(dids, journal.dataset, journal.keeping)
        replicas = frozenset(_ours(item, dict.fromkeys(item.replicas.replicas_of(journal.dataset)), dids))
        return Answers(entries, members, children, copies, replicas)


def _children(catalog: MetadataCatalog, journal: JournalSide, entries: Mapping[str, Entry]) -> frozenset[tuple[str, str]]:
    """The pairs (parent, child) that the catalogue has, of the outputs it knows."""
    asked: dict[MadeBy, set[str]] = defaultdict(set)
    for file in journal.files:
        if file.did in entries and (maker := journal.makers.get(file.id)) is not None:
            asked[maker] |= set(file.parents)
    found: set[tuple[str, str]] = set()
    for maker, parents in asked.items():
        for parent, children in catalog.children_of(sorted(parents), maker).items():
            found |= {(parent, child) for child in children}
    return frozenset(found)


def _ours(item: OpenCatalog, members: Mapping[str, Value], dids: Iterable[str]) -> Mapping[str, Value]:
    """SAM knows no namespaces and answers with that of the dataset: names stand for files there."""
    if item.kind != "sam":
        return members
    by_name = {split_did(did)[1]: did for did in dids}
    return {by_name.get(split_did(did)[1], did): value for did, value in members.items()}
