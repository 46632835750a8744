"""Places as text: the path of a mounted file system, or `root://host[:port]//path`.

pathlib would make one of the two slashes before the path of an address, so these functions do what is needed of it for both kinds.
"""

from __future__ import annotations

from dune_prompt.records import SIDECAR_SUFFIX
from dune_prompt.settings.paths import XROOTD


def is_xrootd(place: str) -> bool:
    """Whether a place is the address of an XRootD server, not a path."""
    return place.startswith(XROOTD)


def split_address(place: str) -> tuple[str, str]:
    """The server `root://host[:port]` of an address, and the path there, which starts with a slash."""
    host, _, path = place.removeprefix(XROOTD).partition("/")
    return XROOTD + host, "/" + path.lstrip("/")


def name_of(place: str) -> str:
    """The last part of a place."""
    return place.rpartition("/")[2]


def parent_of(place: str) -> str:
    """The folder a place is in."""
    parent = place.rpartition("/")[0]
    # The topmost folders keep their slashes: `/`, and `root://host//`.
    return f"{parent}/" if not parent or (is_xrootd(place) and parent.endswith("/")) else parent


def within(folder: str, name: str) -> str:
    """The place called `name` in a folder."""
    return folder + name if folder.endswith("/") else f"{folder}/{name}"


def beside(place: str, name: str) -> str:
    """The place called `name` in the same folder."""
    return within(parent_of(place), name)


def path_below(place: str, folder: str) -> str | None:
    """The path from a folder down to a place; None if the place is elsewhere."""
    top = within(folder, "")
    return place.removeprefix(top) if place.startswith(top) else None


def sidecar_of(place: str) -> str:
    """The sidecar `<name>.json` beside a file."""
    return place + SIDECAR_SUFFIX


def part_of(place: str) -> str:
    """The hidden name beside a file under which its content is written before it gets its own."""
    return beside(place, f".{name_of(place)}.part")


def ascii_name(name: str) -> str:
    """A name no catalogue accepts, in a form the journal can hold."""
    return name.encode("ascii", "backslashreplace").decode()
