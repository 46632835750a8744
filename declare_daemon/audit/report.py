"""What an audit finds: findings, and a row for each file that shows all sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dune_prompt.state import State

DISK, JOURNAL = "disk", "journal"


class What(State):
    """What is wrong; `sentence` says it."""

    NOT_ASKED = "not asked", "It does not answer, or is paused: nothing was compared with it, nothing is known."
    NOT_JOURNALED = "not journaled", "On disk for some time, and the journal does not know it: the scanner should have found it."
    NOT_ON_DISK = "not on disk", "The journal has it as present, but it is not on the disk."
    MISSING = "missing", "Declared by the journal, but the catalogue does not know it."
    NOT_IN_DATASET = "not in dataset", "The catalogue knows the file, but not as a member of its dataset."
    NO_COPY = "no copy", "Declared by the journal, but the catalogue knows no copy at our storage element."
    UNCONFIRMED = "unconfirmed", "A declared output whose `dune.output_status` is still `recorded`."
    DIFFERS = "differs", "Size or checksum are not those of the journal, or differ between catalogues."
    RETIRED = "retired", "Somebody has retired it in the catalogue."
    WRONG_PLACE = "wrong place", "The catalogue has its copy somewhere else."
    RULE = "rule not satisfied", "A rule of its dataset is not satisfied."
    NO_PARENT = "parent missing", "The catalogue does not have it as a child of one of its parents."
    OTHER_ID = "other id", "Its id is not the one the earlier catalogue gave it."
    ORPHAN = "orphan", "A member of the dataset that the journal does not know."
    DECLARED_UNJOURNALED = "declared, not journaled", "On disk with a sidecar and declared, but the journal does not know it."


# Two truths, or none: nothing of such a file is declared anywhere before a person has looked.
CONTRADICTIONS = frozenset({What.DIFFERS, What.RETIRED, What.NOT_ON_DISK})


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is wrong with a file (its DID, else its name; of a dataset or a catalogue that cannot be compared, theirs) and `where`: 'disk'
    or a catalogue. `steps` are those that `repair` has the daemon do again for file `file_id` of the journal."""

    subject: str
    where: str
    what: What
    detail: str
    file_id: int | None = None
    steps: tuple[str, ...] = ()

    @property
    def repairable(self) -> bool:
        """Whether something is only missing, so that `repair` can add it."""
        return bool(self.steps)

    def to_json(self) -> dict[str, Any]:
        """The finding as a row of a table."""
        return {
            "subject": self.subject,
            "where": self.where,
            "what": self.what.value,
            "repairable": self.repairable,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class SideBySide:
    """A file as each side has it, in words: `sides` by 'disk', 'journal' and the names of the catalogues."""

    subject: str
    dataset: str | None
    run: int | None
    sides: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The file as a row of a table."""
        return {"subject": self.subject, "dataset": self.dataset, "run": self.run, **self.sides}


@dataclass(slots=True)
class Part:
    """The audit of one dataset; with `dataset` None of what has none: new files of the buffer, and files that are not declared."""

    dataset: str | None
    files: list[SideBySide] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """An audit. `run` is what was asked for, None everything; `files` is empty unless it was asked for."""

    run: int | None
    at: float
    columns: tuple[str, ...]
    datasets: int = 0
    compared: int = 0
    findings: list[Finding] = field(default_factory=list)
    files: list[SideBySide] = field(default_factory=list)

    def add(self, part: Part, *, with_files: bool) -> None:
        """Take in the audit of one dataset."""
        self.datasets += part.dataset is not None
        self.compared += len(part.files)
        self.findings += part.findings
        if with_files:
            self.files += part.files

    @property
    def complete(self) -> bool:
        """Whether every side was asked about everything."""
        return not any(finding.what is What.NOT_ASKED for finding in self.findings)

    @property
    def clean(self) -> bool:
        """Whether all sides agree."""
        return not self.findings

    @property
    def counts(self) -> dict[tuple[str, What], int]:
        """How many findings there are of each kind, by where and what."""
        return dict(Counter((finding.where, finding.what) for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        counts = [{"where": where, "what": what.value, "files": number} for (where, what), number in sorted(self.counts.items())]
        return {
            "run": self.run,
            "at": self.at,
            "complete": self.complete,
            "summary": {
                "datasets": self.datasets,
                "files": self.compared,
                "findings": len(self.findings),
                "repairable": sum(finding.repairable for finding in self.findings),
            },
            "counts": counts,
            "findings": [finding.to_json() for finding in self.findings],
            "columns": list(self.columns),
            "files": [item.to_json() for item in self.files],
        }
