"""Storage: mounted file systems and XRootD servers behind one protocol."""

from __future__ import annotations

from declare_daemon.storage.choice import exists, storage_of
from declare_daemon.storage.copying import copy, measured
from declare_daemon.storage.places import beside, is_xrootd, name_of, parent_of, path_below, sidecar_of, within
from declare_daemon.storage.protocol import SETTLE_S, Status, Storage

__all__ = [
    "SETTLE_S",
    "Status",
    "Storage",
    "beside",
    "copy",
    "exists",
    "is_xrootd",
    "measured",
    "name_of",
    "parent_of",
    "path_below",
    "sidecar_of",
    "storage_of",
    "within",
]
