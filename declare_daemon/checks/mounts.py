"""Tries the folders the daemon works in: the buffer is only looked at, everywhere else a small file is written, read back and removed."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from declare_daemon.checks.result import Result, failed, good
from declare_daemon.storage import is_xrootd, storage_of, within
from dune_prompt.errors import ConfigError, DunePromptError, TransientError
from dune_prompt.settings import Site

# File systems of other hosts, as /proc/self/mountinfo calls them: SQLite's WAL needs memory shared by all who open the file.
_NETWORK = re.compile(r"nfs|nfs4|cifs|smb3|afs|fuse(\.\w+)?|lustre|ceph|gpfs|beegfs|glusterfs|9p|eos\w*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: where, and of which type."""

    point: Path
    kind: str

    @property
    def is_local(self) -> bool:
        return _NETWORK.fullmatch(self.kind) is None


def read_mounts(text: str) -> list[Mount]:
    """The mounts in the content of `/proc/self/mountinfo` (proc(5)), in their order; a later one hides an earlier one."""
    found = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if separator and len(fields) > 4 and rest:
            # Spaces and the like are written in octal.
            point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[4])
            found.append(Mount(Path(point), rest[0]))
    return found


def mount_of(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that `path` is on: the one with the longest path above it."""
    above = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(above), key=lambda mount: len(mount.point.parts), default=None)


def check_buffer(site: Site) -> list[Result]:
    """Whether the buffer is there: its sentinel, its listing, its free space, and whether files may leave it. Nothing is written."""
    place, sentinel = site.buffer.path, site.buffer.sentinel
    what = f"buffer {place}"
    leaves = [stream.name for stream in site.streams if stream.release.any]
    try:
        names = storage_of(place).listing(place).keys()
        if sentinel not in names:
            raise TransientError(f"{place}: the sentinel {sentinel} is missing, so this is not the buffer (a new one gets it with `touch`)")
        if is_xrootd(place):
            space = "whether files may leave shows only when one does" if leaves else ""
        else:
            space = _free_space(Path(place))
            if leaves and not os.access(place, os.W_OK | os.X_OK):
                raise ConfigError(f"{place}: no right to rename or remove files, but they are to leave (streams {', '.join(leaves)})")
    except (DunePromptError, OSError) as error:
        return [failed(what, error)]
    return [good(what, ", ".join(part for part in (f"{len(names)} entries, sentinel seen", space) if part))]


def _free_space(folder: Path) -> str:
    status = os.statvfs(folder)
    free, size = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    return f"{free / 1e12:.2f} of {size / 1e12:.2f} TB free"


def check_workspace(site: Site, mounts: Sequence[Mount] | None = None) -> list[Result]:
    """Whether the workspace can be written, and is on a local disk if a SQLite database is in it."""
    workspace = site.workspace
    what = f"workspace {workspace}"
    try:
        if not workspace.is_dir():
            raise ConfigError(f"{workspace}: there is no such folder: make it, owned by the account of the daemon")
        probe(str(workspace))
        sqlite = [str(settings.kind) for settings in site.catalogs if settings.kind == "embedded"]
        sqlite += ["store"] if site.store_url.startswith("sqlite") else []
        if mounts is None:
            mounts = read_mounts(Path("/proc/self/mountinfo").read_text("utf-8"))
        mount = mount_of(workspace.resolve(), mounts)
        if sqlite and mount is not None and not mount.is_local:
            raise ConfigError(f"{workspace}: is on {mount.kind}, but the SQLite databases in it ({', '.join(sqlite)}) need a local disk")
        kind = f"on {mount.kind}, " if mount is not None else ""
        return [good(what, f"written, read back and removed a file; {kind}{_free_space(workspace)}")]
    except (DunePromptError, OSError) as error:
        return [failed(what, error)]


def check_folders(site: Site, output_places: Sequence[Path | str] = ()) -> list[Result]:
    """Whether we may write where files go: outbox and quarantine, `release.move_to`, the `output_places` of campaigns, `place_url`."""
    own = {"outbox": site.workspace / "outbox", "quarantine": site.workspace / "quarantine"}
    results = [_folder(f"{name} {folder}", str(folder), made_by_us=True) for name, folder in own.items()]
    released = dict.fromkeys(stream.release.move_to for stream in site.streams if stream.release.move_to is not None)
    results += [_folder(f"released files {folder}", str(folder)) for folder in released]
    results += [_folder(f"outputs {folder}", str(folder)) for folder in dict.fromkeys(output_places)]
    urls = [settings.place_url for settings in site.catalogs if settings.kind == "rucio" and settings.place and settings.place_url]
    return results + [_folder(f"storage element {url}", url) for url in urls]


def _folder(what: str, place: str, *, made_by_us: bool = False) -> Result:
    try:
        if made_by_us and not Path(place).exists():
            return good(what, "not there yet; the daemon makes it")
        probe(place)
    except (DunePromptError, OSError) as error:
        return failed(what, error)
    return good(what, "written, read back and removed a file")


def probe(place: str, name: Callable[[], str] = lambda: f".dune-prompt-check-{secrets.token_hex(8)}") -> None:
    """Write a small file into the folder `place`, read it back and remove it.

    Raises:
        TransientError: something else is read than was written. OSError passes.
    """
    content = secrets.token_bytes(64)
    file, storage = within(place, name()), storage_of(place)
    storage.write(file, content)
    try:
        back = storage.read(file, len(content) + 1)
    finally:
        storage.remove(file)
    if back != content:
        raise TransientError(f"{place}: a file that was written is read back with other content")
