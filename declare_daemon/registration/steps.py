"""The steps a file takes in the catalogues, and which must be confirmed before which.

The order of the site file is kept while its catalogues answer: SAM, MetaCat, Rucio. One that is away or paused holds up only what cannot
be right without it: MetaCat's identity of a file is SAM's, and a replica is registered where its copy lies.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from declare_daemon.catalogs.protocol import Catalogs, MetadataCatalog, ReplicaCatalog
from declare_daemon.journal.files import JournalFile

METADATA, PLACE, PLACED, REPLICA, CONFIRM = "metadata", "place", "placed", "replica", "confirm"

SENTENCES = {
    METADATA: "its name, metadata and parents are declared",
    PLACE: "where its copy has to lie is known",
    PLACED: "its copy lies there, verified by its checksum",
    REPLICA: "its copy is registered",
    CONFIRM: "`dune.output_status` is `confirmed` (outputs only)",
}

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing one catalogue has to confirm of every file; of outputs only with `outputs_only`.

    `after`: what must be confirmed first. `behind`: catalogues that come first while they answer.
    """

    catalog: str
    kind: str
    metadata: MetadataCatalog | None = None
    replicas: ReplicaCatalog | None = None
    after: tuple[Key, ...] = ()
    behind: tuple[Key, ...] = ()
    outputs_only: bool = False

    @property
    def key(self) -> Key:
        """The step in the journal."""
        return self.catalog, self.kind

    def applies_to(self, file: JournalFile) -> bool:
        """Whether the file takes this step."""
        return file.origin == "outbox" or not self.outputs_only


def steps_of(catalogs: Catalogs) -> tuple[Step, ...]:
    """All steps, in the order they are taken while everything answers."""
    giver = next((item.name for item in catalogs.all if item.gives_fid and item.metadata is not None), None)
    placer = next((item.name for item in catalogs.all if item.places), None)
    steps: list[Step] = []
    names: list[Key] = []
    for item in catalogs.all:
        if item.metadata is not None:
            needs = ((giver, METADATA),) if item.kind == "metacat" and giver is not None else ()
            steps.append(Step(item.name, METADATA, metadata=item.metadata, after=needs, behind=tuple(names)))
            names.append((item.name, METADATA))
        if item.places:
            steps.append(Step(item.name, PLACE, replicas=item.replicas))
            steps.append(Step(item.name, PLACED, after=((item.name, PLACE),)))
    for item in catalogs.all:
        if item.replicas is not None:
            own = ((item.name, METADATA),) if item.metadata is not None else ()
            copied = ((placer, PLACED),) if placer is not None else ()
            behind = tuple(name for name in names if name[0] != item.name)
            steps.append(Step(item.name, REPLICA, replicas=item.replicas, after=own + copied, behind=behind))
    registered = tuple(step.key for step in steps if step.kind == REPLICA)
    if registered:
        steps += [
            Step(item.name, CONFIRM, metadata=item.metadata, after=((item.name, METADATA), *registered), outputs_only=True)
            for item in catalogs.all
            if item.metadata is not None
        ]
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a file has before it: the steps it can take `now`, and the catalogues that still miss something of it."""

    now: tuple[Key, ...]
    missing: frozenset[str]


def outlook(steps: Sequence[Step], file: JournalFile, confirmed: Collection[Key]) -> Outlook:
    """What `file` has before it, given what has been confirmed."""
    mine = [step for step in steps if step.applies_to(file)]
    keys = {step.key for step in mine}
    missing = [step for step in mine if step.key not in confirmed]
    ready = [step.key for step in missing if all(key in confirmed or key not in keys for key in step.after)]
    return Outlook(tuple(ready), frozenset(step.catalog for step in missing))
