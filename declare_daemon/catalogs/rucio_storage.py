"""A Rucio storage element as the daemon sees it: which PFN (Rucio's address of a copy) is which place (the daemon's own).

Rucio knows a copy as `root://eospublic.cern.ch:1094//eos/experiment/dune/…`, the daemon may reach the same file as
`/eos/experiment/dune/…`: both are a prefix and the same path below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from declare_daemon.storage.lfn2pfn import relative_path
from dune_prompt.errors import ConfigError
from dune_prompt.records import split_did

XROOTD_PORT = 1094
# What the daemon can read and write.
REACHABLE = ("file", "root", "xroot")

_URL = re.compile(r"(?P<scheme>[a-z0-9+]+)://(?P<host>[^/:]*)(?::(?P<port>\d+))?(?P<path>/.*)")


def normal(address: str) -> str:
    """The one spelling of a place: `/folder/file`, `root://host:port//folder/file`, other URLs with their host and port as they are.

    Raises:
        ConfigError: it is no absolute path or address, or has `..` in it.
    """
    scheme, host, port, path = "file", "", 0, address
    if match := _URL.fullmatch(address):
        scheme, host, path = match["scheme"], match["host"].lower(), match["path"]
        port = int(match["port"] or 0)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or ".." in parts:
        raise ConfigError(f"{address[:200]!r} is neither an absolute path nor an address such as root://host//path")
    path = "/" + "/".join(parts)
    if scheme == "file":
        return path
    if scheme in ("root", "xroot"):
        return f"root://{host}:{port or XROOTD_PORT}/{path}"
    return f"{scheme}://{host}{f':{port}' if port else ''}{path}"


def below(prefix: str, place: str) -> str | None:
    """The path of `place` below `prefix`, both spelled `normal`; None if it is not there."""
    start = prefix if prefix.endswith("/") else prefix + "/"
    return place[len(start) :] if place.startswith(start) and len(place) > len(start) else None


def readable(pfns: Sequence[str]) -> str:
    """The place of a copy for whoever reads it: its `root://` address, else its path on a mounted file system, else none ('')."""
    places = {scheme: pfn for pfn in reversed(pfns) for scheme in REACHABLE if pfn.startswith(f"{scheme}://")}
    return next((normal(places[scheme]) for scheme in ("root", "xroot", "file") if scheme in places), "")


def join(prefix: str, path: str) -> str:
    return f"{prefix.rstrip('/')}/{path}"


@dataclass(frozen=True, slots=True)
class StorageElement:
    """One storage element. `pfn_prefix` as Rucio writes it, `place_prefix` as the daemon reaches it (`normal`).

    `algorithm`: how its paths follow from the names (deterministic); None if every copy says where it is.
    """

    name: str
    algorithm: str | None
    pfn_prefix: str
    place_prefix: str
    writable: bool = True
    volatile: bool = False

    @classmethod
    def of(cls, description: Mapping[str, Any], place_url: str | None = None) -> StorageElement:
        """From the answer of Rucio's `GET /rses/<rse>`. `place_url`: how the daemon reaches its prefix, if not by its own protocol.

        Raises:
            ConfigError: it has no protocol for writing, or none of those the daemon speaks.
        """
        name = description["rse"]
        protocols = sorted(filter(_rank, description.get("protocols") or ()), key=_rank)
        if not protocols:
            raise ConfigError(f"storage element {name} has no protocol for writing: a Rucio administrator adds one")
        if place_url is None:
            protocols = [protocol for protocol in protocols if protocol["scheme"] in REACHABLE]
            if not protocols:
                raise ConfigError(
                    f"storage element {name} has no protocol that the daemon speaks: set `place_url` to where it reaches its prefix"
                )
        prefix = _pfn_prefix(protocols[0])
        return cls(
            name=name,
            algorithm=(description.get("lfn2pfn_algorithm") or "hash") if description.get("deterministic", True) else None,
            pfn_prefix=prefix,
            place_prefix=normal(place_url or prefix),
            writable=bool(description.get("availability_write", True)),
            volatile=bool(description.get("volatile", False)),
        )

    def place_for(self, did: str) -> str:
        """Where the daemon has to put a copy of a file."""
        scope, name = split_did(did)
        return join(self.place_prefix, relative_path(self.algorithm or "identity", scope, name))

    def pfn_for(self, did: str) -> str:
        """The PFN of `place_for`."""
        scope, name = split_did(did)
        return join(self.pfn_prefix, relative_path(self.algorithm or "identity", scope, name))

    def pfn_to_name(self, did: str, place: str) -> str | None:
        """The PFN to tell Rucio for a file that lies at `place`; None where Rucio finds it by itself.

        Raises:
            ConfigError: the storage element cannot have the file there.
        """
        at = normal(place)
        if self.algorithm is not None:
            wanted = self.place_for(did)
            if at != wanted:
                raise ConfigError(
                    f"{did} lies at {place}, but {self.name} wants it at {wanted}: set `place: true` to have copies made there, "
                    "or `place_url` if that is the same file by another way"
                )
            return None
        path = below(self.place_prefix, at)
        if path is None:
            raise ConfigError(
                f"{did} lies at {place}, outside of {self.name}, which the daemon reaches at {self.place_prefix}: set `place: true` to "
                "have copies made there, or `place_url`"
            )
        return join(self.pfn_prefix, path)

    def place_of(self, pfns: Sequence[str]) -> str:
        """The place of a copy that Rucio knows by `pfns`, one for each protocol; a copy outside of our prefix keeps its first one."""
        for pfn in pfns:
            if (path := below(normal(self.pfn_prefix), normal(pfn))) is not None:
                return join(self.place_prefix, path)
        return pfns[0] if pfns else ""


def _rank(protocol: Mapping[str, Any]) -> int:
    """A protocol's place among those for writing, from 1; 0 if it is not for writing. Rucio takes the wide-area one to check PFNs."""
    domains = protocol.get("domains") or {}
    return (domains.get("wan") or {}).get("write") or (domains.get("lan") or {}).get("write") or 0


def _pfn_prefix(protocol: Mapping[str, Any]) -> str:
    host, port, path = protocol["hostname"], protocol.get("port"), normal("/" + protocol["prefix"].lstrip("/"))
    double = "/" if protocol["scheme"] in ("root", "xroot") else ""
    return f"{protocol['scheme']}://{host}{f':{port}' if port else ''}{double}{path}"
