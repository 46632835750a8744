"""Where files with bad data or metadata are put, with the reason beside them, and how they come back."""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import count
from pathlib import Path

from declare_daemon.journal.files import JournalFile
from declare_daemon.storage import beside, exists, is_xrootd, name_of, parent_of, sidecar_of, storage_of, within

REASON_SUFFIX = ".reason.json"
BESIDE = ".quarantine"


def reason_file(place: str) -> str:
    """`<name>.reason.json` beside a quarantined file."""
    return beside(place, name_of(place) + REASON_SUFFIX)


class Quarantine:
    """The folder for bad files. Data are only ever renamed into it: those of another file system or server go into `.quarantine` there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place_for(self, name: str, home: str, taken: Collection[str] = ()) -> str:
        """A free place for a file of `name` of the buffer or outbox `home`; `taken` are places given but not used yet.

        Raises:
            OSError: a folder cannot be made, or `home` is away.
        """
        folder = self._folder_for(home)
        places = (within(folder, name if number == 1 else f"{number}/{name}") for number in count(1))
        return next(place for place in places if place not in taken and _is_free(place))

    def _folder_for(self, home: str) -> str:
        if is_xrootd(home):
            return within(home, BESIDE)
        self.folder.mkdir(parents=True, exist_ok=True)
        return str(self.folder) if self.folder.stat().st_dev == Path(home).stat().st_dev else within(home, BESIDE)

    def prepare(self, file: JournalFile, now: float) -> None:
        """Make the folder of `file.target` and write the reason there, before the file comes."""
        place = file.target or file.path
        storage = storage_of(place)
        storage.make_folder(parent_of(place))
        content = {"name": file.name, "did": file.did, "from": file.path, "reason": file.reason, "tries": file.tries, "at": now}
        storage.write(reason_file(place), json.dumps(content).encode() + b"\n")


def _is_free(place: str) -> bool:
    return not any(exists(each) for each in (place, sidecar_of(place), reason_file(place)))
