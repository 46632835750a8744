"""The worker bundle: one tarball with all that the jobs of a campaign's version need where nothing of ours is installed.

The same inputs give the same bytes, and the hash of the content is in the name, so a bundle is built, uploaded and cached once.
`python3 -I BUNDLE run …` runs what is in it (`templates/bundle_main.py.j2`); `job.sh` is the shell around that.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from campaign.bundle_contents import Library, libraries_of, own_files, rendered_files
from campaign.definition import CampaignFile
from dune_prompt.errors import ConfigError
from templates import render

# gzip: every tar and jobsub's upload service unpack it. Level 6: 9 gains 1 % for three times the time; xz a third, for ten times.
LEVEL = 6
# 1980-01-01, the first day that all archive formats know.
MTIME = 315_532_800
UNPACKED = "@tar"


def build(folder: Path, file: CampaignFile) -> Path:
    """The bundle of a campaign's version in `folder`; built only if it is not there.

    Raises:
        ConfigError: a library it needs is missing, or cannot be taken to other machines.
    """
    libraries = libraries_of(file.settings)
    texts = rendered_files(file, libraries)
    # What the content depends on, without reading it all: a few milliseconds where building takes seconds.
    stamp = folder / f".{_prefix(file)}-{_fingerprint(libraries, texts)}"
    with contextlib.suppress(OSError):
        bundle = folder / stamp.read_text("utf-8").strip()
        if bundle.is_file():
            return bundle
    folder.mkdir(parents=True, exist_ok=True)
    content = _archive(libraries, texts)
    bundle = folder / f"{_prefix(file)}-{hashlib.sha256(content).hexdigest()[:12]}.tar.gz"
    _write(bundle, gzip.compress(content, LEVEL, mtime=0))
    _write(stamp, bundle.name.encode())
    return bundle


def write_wrapper(folder: Path, file: CampaignFile, *, sites: str = "") -> Path:
    """Write `job.sh`, the shell around the jobs of a campaign's version, into `folder`.

    `sites`: where the jobs may run (GLIDEIN_Site, with commas between); empty: anywhere. The variable DUNE_PROMPT_SITES goes first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.sh"
    _write(path, wrapper_text(file, sites=sites).encode(), mode=0o755)
    return path


def wrapper_text(file: CampaignFile, *, sites: str = "") -> str:
    """The text of `job.sh`."""
    return render(
        "job.sh.j2",
        campaign=file.settings.campaign,
        version=file.settings.version,
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        sites=sites,
        unpacked=UNPACKED,
    )


def _prefix(file: CampaignFile) -> str:
    return f"dune-prompt-{file.settings.campaign}-{file.settings.version}"


def _fingerprint(libraries: list[Library], texts: dict[str, str]) -> str:
    own = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in own_files()]
    known = [sys.version, [library.fingerprint for library in libraries], own, sorted(texts.items())]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _archive(libraries: list[Library], texts: dict[str, str]) -> bytes:
    """The uncompressed tarball."""
    readers: dict[str, Callable[[], bytes]] = {name: text.encode for name, text in texts.items()}
    for name, path in own_files():
        readers[name] = path.read_bytes
    for library in libraries:
        for name, path in library.files():
            if not path.is_file():
                raise ConfigError(f"bundle: {library.name} is damaged here, {path} is missing; install it again")
            readers[name] = path.read_bytes
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in sorted({parent for name in readers for parent in _folders_above(name)}):
            archive.addfile(_entry(folder, tarfile.DIRTYPE, 0o755))
        for name, read in sorted(readers.items()):
            content = read()
            entry = _entry(name, tarfile.REGTYPE, 0o644)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _folders_above(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, MTIME
    return entry


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file in one step, so that nobody ever finds half of it; two who build at once write the same."""
    draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.chmod(mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
