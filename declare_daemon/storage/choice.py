"""Which storage a place belongs to."""

from __future__ import annotations

from functools import cache

from declare_daemon.storage.local import LocalStorage
from declare_daemon.storage.places import is_xrootd, split_address
from declare_daemon.storage.protocol import Storage
from declare_daemon.storage.xrootd import XRootDStorage

_LOCAL = LocalStorage()


def storage_of(place: str) -> Storage:
    """The storage behind a place; one and the same for all places of a server.

    Raises:
        ConfigError: the client for it is not installed.
    """
    return _server(split_address(place)[0]) if is_xrootd(place) else _LOCAL


@cache
def _server(address: str) -> XRootDStorage:
    return XRootDStorage(address)


def exists(place: str) -> bool:
    """Whether there is something; `OSError` when the storage cannot tell."""
    try:
        storage_of(place).stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
