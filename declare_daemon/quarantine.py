"""Where files with bad data or metadata are put, with the reason beside them, and how they come back."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from pathlib import Path

from declare_daemon.journal.files import JournalFile
from declare_daemon.moves import sidecar_of
from dune_prompt.records import write_json

REASON_SUFFIX = ".reason.json"
BESIDE = ".quarantine"


def reason_file(path: Path) -> Path:
    """`<name>.reason.json` beside a quarantined file."""
    return path.with_name(path.name + REASON_SUFFIX)


class Quarantine:
    """The folder for bad files. Data are only ever renamed into it: those of another file system go into `.quarantine` there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place_for(self, name: str, home: Path, taken: Collection[str] = ()) -> Path:
        """A free place for a file of `name` of the buffer or outbox `home`; `taken` are places given but not used yet.

        Raises:
            OSError: a folder cannot be made, or `home` is away.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = self.folder if self.folder.stat().st_dev == home.stat().st_dev else home / BESIDE
        places = (folder / name if number == 1 else folder / str(number) / name for number in count(1))
        return next(place for place in places if str(place) not in taken and _is_free(place))

    def prepare(self, file: JournalFile, now: float) -> None:
        """Make the folder of `file.target` and write the reason there, before the file comes."""
        place = Path(file.target or file.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        content = {"name": file.name, "did": file.did, "from": file.path, "reason": file.reason, "tries": file.tries, "at": now}
        write_json(reason_file(place), content)


def _is_free(place: Path) -> bool:
    return not any(path.exists() for path in (place, sidecar_of(place), reason_file(place)))
