"""Whether "done" means the same in the ledger and in each metadata catalogue. `status` and `reconcile` show the differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from declare_daemon.catalogs import MetadataCatalog
from dune_prompt.records import MadeBy

LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class Difference:
    """An input that some say is done and others say is not."""

    did: str
    done_in: tuple[str, ...]
    open_in: tuple[str, ...]

    @property
    def sentence(self) -> str:
        return f"{self.did}: done in {', '.join(self.done_in)}, not done in {', '.join(self.open_in)}"


def compare(ledger_done: Set[str], answers: Mapping[str, Set[str]], inputs: Iterable[str] | None = None) -> list[Difference]:
    """Where ledger and catalogues disagree on what is done, sorted by DID.

    `answers`: catalogue -> the inputs that have their final child there. `inputs`: only these are compared (default: all that anybody
    says are done). A catalogue that is away is left out of `answers`: its silence is no difference.
    """
    said = {LEDGER: ledger_done, **answers}
    wanted = set().union(*said.values()) if inputs is None else set(inputs)
    found = []
    for did in sorted(wanted):
        done_in = tuple(who for who, done in said.items() if did in done)
        if done_in and len(done_in) < len(said):
            found.append(Difference(did, done_in, tuple(who for who in said if who not in done_in)))
    return found


def done_in(catalog: MetadataCatalog, dids: Sequence[str], made_by: MadeBy) -> frozenset[str]:
    """Which of these inputs a catalogue says are done, asked by name.

    Raises:
        TransientError: the catalogue is away.
    """
    return frozenset(did for did, children in catalog.children_of(dids, made_by).items() if children)
