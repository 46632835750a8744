"""What lies on the disk: the buffer and the outbox, one listing a folder; sizes are asked for only where they are compared."""

from __future__ import annotations

from collections.abc import Iterable, Set
from contextlib import suppress

from declare_daemon.journal.files import JournalFile
from declare_daemon.journal.states import FileState
from declare_daemon.outbox import SENTINEL, place_of, root_of
from declare_daemon.scanner import FolderAwayError, Scanner
from declare_daemon.storage import exists, name_of, parent_of, sidecar_of, storage_of, within
from dune_prompt.errors import ConfigError, DataError, TransientError
from dune_prompt.records import SIDECAR_SUFFIX
from dune_prompt.settings import Site

# A file that is younger may simply not have been seen yet.
FOUND_AFTER_S = 600.0


class Disk:
    """Buffer and outbox at the time of an audit. What is away is unknown, never absent; `away` says why, by folder."""

    def __init__(self, site: Site, known: Set[str]) -> None:
        """List the buffer; `known` are the names the journal has there."""
        self._site, self._default_root = site, site.workspace / "outbox"
        self.away: dict[str, str] = {}
        self.new: dict[str, str] = {}
        self._scanner = Scanner(site.buffer.path, site.buffer.sentinel, site.streams)
        self._listings: dict[str, Set[str] | None] = {}
        self._roots: dict[str, bool] = {}
        self._buffer: Set[str] | None = None
        self._buffer_folder = parent_of(within(site.buffer.path, "any"))
        try:
            self._look_into_buffer(known)
        except (FolderAwayError, ConfigError) as error:
            self.away[site.buffer.path] = str(error)

    def _look_into_buffer(self, known: Set[str]) -> None:
        """`new`: the files the journal does not know, each with what the scanner waits for."""
        scan = self._scanner.scan(lambda: known)
        self._buffer = scan.listing.keys()
        self.new |= dict.fromkeys(scan.closed, "closed: the scanner takes it in")
        self.new |= dict.fromkeys(scan.unmatched, "fits no stream of the site file")
        self.new |= dict.fromkeys(self._scanner.without_sidecar, "waits for its sidecar")
        self.new |= dict.fromkeys(self._scanner.unstable - scan.closed, "the scanner watches whether it still grows")

    def forget(self) -> None:
        """Let go of the listings of a dataset that is through."""
        self._listings.clear()

    # -- files of the journal ------------------------------------------------------------------------------------------

    def place_now(self, file: JournalFile) -> tuple[bool | None, str]:
        """Whether a file is at one of the places it may be at now (None: that cannot be told), and at which."""
        places = list(dict.fromkeys(place for place in (file.path, file.target, self._final_place(file)) if place is not None))
        seen = [(self._holds(file, place), place) for place in places]
        found = next((place for there, place in seen if there), None)
        if found is not None:
            return True, found
        return (None if any(there is None for there, _ in seen) else False), places[0]

    def _final_place(self, file: JournalFile) -> str | None:
        """A handed-over output may have been placed before the daemon was killed."""
        if file.origin == "buffer" or file.state is not FileState.FOUND:
            return None
        try:
            return str(place_of(file, self._default_root))
        except DataError:
            return None

    def _holds(self, file: JournalFile, place: str) -> bool | None:
        names = self._names_in(file, parent_of(place))
        if names is None:
            return None
        if name_of(place) in names:
            return True
        try:
            # It may have come since the folder was listed.
            return exists(place)
        except OSError:
            return None

    def _names_in(self, file: JournalFile, folder: str) -> Set[str] | None:
        """The names in a folder, None if that cannot be told."""
        if file.origin == "buffer" and folder == self._buffer_folder:
            return self._buffer
        if folder not in self._listings:
            there = self._buffer is not None if file.origin == "buffer" else self._is_there(str(root_of(file, self._default_root)))
            self._listings[folder] = self._list(folder) if there else None
        return self._listings[folder]

    def _list(self, folder: str) -> Set[str] | None:
        try:
            return storage_of(folder).listing(folder).keys()
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except (OSError, TransientError, ConfigError) as error:
            self.away[folder] = str(getattr(error, "strerror", None) or error)
            return None

    def _is_there(self, root: str) -> bool:
        """Whether a root of the outbox is there; only its sentinel proves it."""
        if root not in self._roots:
            sentinel = within(root, SENTINEL)
            try:
                if not exists(sentinel):
                    self.away[root] = f"the sentinel {SENTINEL} is missing, so this is not the outbox"
            except (OSError, TransientError, ConfigError) as error:
                self.away[root] = str(getattr(error, "strerror", None) or error)
            self._roots[root] = root not in self.away
        return self._roots[root]

    def size_of(self, place: str) -> int | None:
        """The size of a file, None if it cannot be told."""
        try:
            return storage_of(place).stat(place).size_bytes
        except (OSError, TransientError):
            return None

    # -- files the journal does not know -------------------------------------------------------------------------------

    def placed(self, outputs: Iterable[JournalFile]) -> set[str]:
        """The data files in the folders these outputs have their final places in."""
        folders: dict[str, JournalFile] = {}
        for file in outputs:
            with suppress(DataError):
                folders.setdefault(parent_of(str(place_of(file, self._default_root))), file)
        return {
            within(folder, name)
            for folder, file in folders.items()
            for name in self._names_in(file, folder) or ()
            if not name.startswith(".") and not name.endswith(SIDECAR_SUFFIX)
        }

    def is_overdue(self, place: str, now: float) -> bool:
        """Whether a file has been here so long that the daemon must have seen it."""
        try:
            status = storage_of(place).stat(place)
        except (OSError, TransientError):
            return False
        return status.is_file and status.changed_at <= now - FOUND_AFTER_S

    def has_sidecar(self, place: str) -> bool:
        """Whether a file's sidecar lies beside it."""
        try:
            return exists(sidecar_of(place))
        except OSError:
            return False
