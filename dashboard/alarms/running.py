"""Puts alarms together for one service: the book, the watcher that looks, and a sender for each target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dashboard.alarms.book import Book
from dashboard.alarms.sending import SEND_EVERY_S, Sender
from dashboard.alarms.targets import targets_of
from dashboard.alarms.watch import Watcher
from dashboard.background import Repeated
from dashboard.operations.slots import SlotView
from dashboard.operations.snapshot import OperationsReader
from dune_prompt.settings import Site
from dune_prompt.store import Store


@dataclass(frozen=True, slots=True)
class RunningAlarms:
    """What the routes need, and the work that goes on by itself."""

    book: Book
    watcher: Watcher
    targets: list[str]
    work: list[Repeated]


def running_alarms(site: Site, store: Store, reader: OperationsReader, slots: Callable[[], SlotView]) -> RunningAlarms:
    """Alarms of a site. Each target is served in a thread of its own: one that hangs holds up neither the looks nor the others."""
    targets = targets_of(site)
    senders = [Repeated(f"notices to {target.name}", SEND_EVERY_S, Sender(store, target).send) for target in targets]
    names = [target.name for target in targets]
    book = Book(store, site, targets)
    watcher = Watcher(site, store, reader, slots, book, told=[sender.wake for sender in senders], targets=names)
    return RunningAlarms(book, watcher, names, [Repeated("watch", site.alarms.look_every, watcher.look), *senders])
