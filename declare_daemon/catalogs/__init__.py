"""The catalogues files are registered in, behind one protocol; one module each."""

from __future__ import annotations

from declare_daemon.catalogs.protocol import (
    Catalog,
    Catalogs,
    Copies,
    Entry,
    Finding,
    Found,
    Keeping,
    Left,
    MetadataCatalog,
    OpenCatalog,
    Recall,
    Replica,
    ReplicaCatalog,
    RuleState,
    Wanted,
)
from dune_prompt.settings import Site
from dune_prompt.settings.catalogs import CatalogSettings

__all__ = [
    "Catalog",
    "Catalogs",
    "Copies",
    "Entry",
    "Finding",
    "Found",
    "Keeping",
    "Left",
    "MetadataCatalog",
    "OpenCatalog",
    "Recall",
    "Replica",
    "ReplicaCatalog",
    "RuleState",
    "Wanted",
    "open_catalogs",
]


def open_catalogs(site: Site) -> Catalogs:
    """The catalogues of the site file, in its order. No server is asked yet.

    Raises:
        ConfigError: a client is not installed, or set up wrongly.
    """
    return Catalogs(tuple(_open(settings, site) for settings in site.catalogs))


def _open(settings: CatalogSettings, site: Site) -> OpenCatalog:
    """One catalogue; its client, slow to import, is loaded only here."""
    match settings.kind:
        case "embedded":
            from declare_daemon.catalogs.embedded import EmbeddedCatalog

            embedded = EmbeddedCatalog.at(site.workspace / "catalog.sqlite", rse=settings.rse)
            return OpenCatalog("embedded", embedded, embedded)
        case "sam":
            from declare_daemon.catalogs.sam import SamCatalog

            sam = SamCatalog.open(settings)
            return OpenCatalog("sam", sam, sam if settings.location else None, gives_fid=settings.gives_fid)
        case "metacat":
            from declare_daemon.catalogs.metacat import MetacatCatalog

            return OpenCatalog("metacat", MetacatCatalog.open(settings), None)
        case "rucio":
            from declare_daemon.catalogs.rucio import RucioCatalog

            return OpenCatalog("rucio", None, RucioCatalog.open(settings), places=settings.place)
