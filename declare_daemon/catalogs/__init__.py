"""The catalogues files are registered in, behind one protocol; one module each."""

from __future__ import annotations

from declare_daemon.catalogs.protocol import Catalogs, Entry, MetadataCatalog, OpenCatalog, Replica, ReplicaCatalog
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site

__all__ = ["Catalogs", "Entry", "MetadataCatalog", "OpenCatalog", "Replica", "ReplicaCatalog", "open_catalogs"]


def open_catalogs(site: Site) -> Catalogs:
    """The catalogues of the site file, in its order.

    Raises:
        ConfigError: none keeps metadata, or one of them is set wrongly.
    """
    found = []
    for settings in site.catalogs:
        from declare_daemon.catalogs.embedded import EmbeddedCatalog

        embedded = EmbeddedCatalog.at(site.workspace / "catalog.sqlite", rse=settings.rse)
        found.append(OpenCatalog(settings.kind, embedded, embedded))
    if len({catalog.name for catalog in found}) < len(found):
        raise ConfigError("catalogs: the same catalogue is listed twice")
    if all(catalog.metadata is None for catalog in found):
        raise ConfigError("catalogs: none of them keeps metadata; list 'embedded', 'sam' or 'metacat'")
    return Catalogs(tuple(found))
