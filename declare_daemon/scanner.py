"""Looks into a folder again and again and tells what changed: which files are closed now, which fit no stream, which vanished.

A poller of its own, because EOS and other network file systems tell nobody about new files. Only names are read; a file is looked at
once, when it is new. A listing without the folder's sentinel file is an outage and says nothing about any file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from declare_daemon.storage import sidecar_of, storage_of, within
from dune_prompt.errors import TransientError
from dune_prompt.records import FILE_NAME, SIDECAR_SUFFIX
from dune_prompt.settings import StreamSettings

# Being written by the DAQ, or a leftover of its sidecar script.
UNFINISHED = (".writing", ".tmp", ".copied")
STABLE_POLLS = 3


class FolderAwayError(TransientError):
    """The folder is not there now: nothing is known about its files."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed file: nobody writes into it any more. `closed_at` is when its sidecar, or with none its last byte, was written."""

    name: str
    path: str
    size_bytes: int
    closed_at: float


@dataclass(frozen=True, slots=True)
class Scan:
    """What changed since the last scan that was accepted. Names only; `Scanner.look_at` tells more about a closed one."""

    closed: frozenset[str]
    unmatched: frozenset[str]
    vanished: frozenset[str]
    listing: dict[str, int] = field(repr=False)


def list_folder(folder: str, sentinel: str) -> dict[str, int]:
    """Names of a folder's entries, each with a number that changes when another file takes the name.

    Raises:
        FolderAwayError: it cannot be listed, or its sentinel is missing: whatever is mounted here is not the folder.
    """
    try:
        listing = storage_of(folder).listing(folder)
    except OSError as error:
        raise FolderAwayError(f"{folder}: cannot be listed ({error.strerror})") from None
    if sentinel not in listing:
        raise FolderAwayError(f"{folder}: the sentinel {sentinel} is missing, so this is not the buffer (a new one gets it with `touch`)")
    return listing


def has_sidecar(streams: Sequence[StreamSettings], name: str) -> bool:
    """Whether files of this name come with sidecars: if streams with and without share a pattern, the sidecar is waited for."""
    return any(stream.sidecar for stream in streams if fnmatchcase(name, stream.pattern))


class Scanner:
    """The eyes of the daemon on one folder.

    A file of a stream with sidecars is closed when its sidecar is in the same listing. Without sidecars it is closed when size and
    time of last change stayed the same over `stable_polls` scans. `accept` a scan when everything in it is journaled; one that is
    not accepted is seen again.
    """

    def __init__(self, folder: str, sentinel: str, streams: Sequence[StreamSettings], *, stable_polls: int = STABLE_POLLS) -> None:
        self.folder, self._sentinel, self._streams, self._stable_polls = folder, sentinel, streams, stable_polls
        self._seen: dict[str, int] | None = None
        self._without_sidecar: set[str] = set()
        self._unstable: dict[str, tuple[int, float, int]] = {}

    @property
    def without_sidecar(self) -> Set[str]:
        """Data files that wait for their sidecar."""
        return self._without_sidecar

    @property
    def unstable(self) -> Set[str]:
        """Files without sidecars that may still grow."""
        return self._unstable.keys()

    def scan(self, known: Callable[[], Set[str]]) -> Scan:
        """Read the folder. `known` gives the names that should be there; it is asked only at the first scan.

        Raises:
            FolderAwayError: as it says.
        """
        listing = list_folder(self.folder, self._sentinel)
        if self._seen is None:
            there = known()
            changed = listing.keys() - there
            # A sidecar alone says nothing new about a file that is known.
            changed = {name for name in changed if name.removesuffix(SIDECAR_SUFFIX) not in there}
            vanished = {name for name in there if name not in listing}
        else:
            changed = {name for name, _ in listing.items() - self._seen.items()}
            vanished = {name for name in self._seen.keys() - listing.keys() if not name.endswith(SIDECAR_SUFFIX)}
        closed, unmatched = self._sort(changed, listing)
        self._without_sidecar &= listing.keys()
        self._unstable = {name: state for name, state in self._unstable.items() if name in listing}
        closed |= self._stable()
        return Scan(frozenset(closed), frozenset(unmatched), frozenset(vanished), listing)

    def accept(self, scan: Scan) -> None:
        """Everything in `scan` is journaled: tell only of what changes from here."""
        self._seen = scan.listing
        self._without_sidecar -= scan.closed
        for name in scan.closed:
            self._unstable.pop(name, None)

    def look_at(self, name: str) -> Closed | None:
        """Size and time of a closed file; None when it is gone again, or no file."""
        path, storage = within(self.folder, name), storage_of(self.folder)
        try:
            status = storage.stat(path)
            closed_at = status.changed_at
            if has_sidecar(self._streams, name):
                closed_at = max(closed_at, storage.stat(sidecar_of(path)).changed_at)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FolderAwayError(f"{path}: {error.strerror}") from None
        return Closed(name, path, status.size_bytes, closed_at) if status.is_file else None

    def _sort(self, changed: Set[str], listing: dict[str, int]) -> tuple[set[str], set[str]]:
        closed: set[str] = set()
        unmatched: set[str] = set()
        for name in changed:
            data = name.removesuffix(SIDECAR_SUFFIX)
            if data not in listing or name.startswith(".") or name.endswith(UNFINISHED) or name == self._sentinel:
                continue
            if not FILE_NAME.fullmatch(data) or not any(fnmatchcase(data, stream.pattern) for stream in self._streams):
                unmatched.add(data)
            elif not has_sidecar(self._streams, data):
                self._unstable.setdefault(data, (-1, -1.0, 0))
            elif data + SIDECAR_SUFFIX in listing:
                closed.add(data)
            else:
                self._without_sidecar.add(data)
        return closed, unmatched

    def _stable(self) -> set[str]:
        stable = set()
        storage = storage_of(self.folder)
        for name, (size, changed_at, polls) in self._unstable.items():
            try:
                status = storage.stat(within(self.folder, name))
            except OSError:
                continue
            same = (status.size_bytes, status.changed_at) == (size, changed_at)
            self._unstable[name] = (status.size_bytes, status.changed_at, polls + 1 if same else 0)
            if same and polls + 1 >= self._stable_polls:
                stable.add(name)
        return stable
