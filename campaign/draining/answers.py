"""What a catalogue says is done of the files that have just come: asked beside the step, and never waited for longer than it is worth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from campaign.installation import ActiveCampaign
from declare_daemon.catalogs import MetadataCatalog
from dune_prompt.errors import DunePromptError

log = structlog.get_logger(__name__)

# How long a file that has just been verified waits for the catalogue before it goes in without its answer.
PATIENCE_S = 5.0

# Of which campaign's version (its id in the ledger) which input.
Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Which of the files asked about are done, and about which nothing is known yet though it may be soon."""

    done: frozenset[str] = frozenset()
    open: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Health:
    """How a catalogue is. `out_since` in seconds since the Unix epoch, None while it answers; `waiting` questions are not answered yet."""

    catalog: str
    out_since: float | None = None
    message: str | None = None
    waiting: int = 0

    @property
    def ok(self) -> bool:
        return self.out_since is None


class Answers(Protocol):
    """Where the engine asks what is done."""

    def of(self, campaign: ActiveCampaign, dids: Sequence[str], patience_s: float = PATIENCE_S) -> Answer:
        """What is known of these files. Each is asked about once; the answer is given once.

        A file that is in neither part of the answer is not done, or the catalogue did not say so in `patience_s`: it goes in.
        """

    def late(self) -> set[Key]:
        """What turned out to be done after it had gone in, each told once."""

    def health(self) -> Health:
        """How the catalogue is."""


class AtOnce:
    """Asks in the step itself: for a catalogue that is a local database."""

    def __init__(self, catalog: MetadataCatalog) -> None:
        self._catalog, self._health = catalog, Health(catalog.name)

    def of(self, campaign: ActiveCampaign, dids: Sequence[str], patience_s: float = PATIENCE_S) -> Answer:
        try:
            children = self._catalog.children_of(dids, campaign.settings.made_by)
        except DunePromptError as error:
            if self._health.ok:
                log.warning("catalogue away, taking new work in without it", catalogue=self._catalog.name, error=str(error))
            self._health = Health(self._catalog.name, self._health.out_since or time.time(), str(error))
            return Answer()
        self._health = Health(self._catalog.name)
        return Answer(frozenset(did for did, names in children.items() if names))

    def late(self) -> set[Key]:
        return set()

    def health(self) -> Health:
        return self._health
