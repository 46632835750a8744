"""What is in a worker bundle: our code for workers, the libraries that a campaign's payload needs, its scripts, and a manifest.

Libraries are taken as they are installed here. Only wheels that run on any EL9 machine are taken: a library built on this machine may
need what no worker has.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

import dune_prompt
import stages
from campaign.definition import Campaign, CampaignFile
from campaign.layout import steps_of
from campaign.scripts import script_text
from dune_prompt import __version__
from dune_prompt.errors import ConfigError
from templates import render

MANIFEST = "manifest.json"
SCHEMA = 1
# The C library of EL9; a wheel that wants a newer one does not start there.
NEWEST_GLIBC = (2, 34)

# Of `dune_prompt`, what jobs import; all of `stages` comes with it.
FRAME = ("__init__.py", "checksum.py", "errors.py", "process.py", "records.py")
ALWAYS = ("zlib-ng",)
ARRAYS = ("numpy", "h5py", "pillow")
OF_PAYLOAD: Mapping[str, tuple[str, ...]] = {
    "noop": (),
    "numpy": (*ARRAYS, "scipy"),
    "wirecell": (*ARRAYS, "scipy"),
    "larsoft": (),
    "command": ("numpy",),
}
OF_TARGET: Mapping[str, tuple[str, ...]] = {"own": ("requests", "urllib3", "certifi", "idna", "charset-normalizer"), "directory": ()}

# No program needs these where it runs.
_LEFT_OUT = frozenset({"tests", "__pycache__", "include"})
_LEFT_OUT_SUFFIXES = frozenset({".pyc", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".c", ".cpp", ".a"})
_LEFT_OUT_NAMES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
_MANYLINUX = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


@dataclass(frozen=True, slots=True)
class Library:
    """An installed distribution. `glibc` is the oldest C library its wheel starts with; None: it holds Python only."""

    name: str
    version: str
    glibc: tuple[int, int] | None
    distribution: metadata.Distribution

    def files(self) -> Iterator[tuple[str, Path]]:
        """Its files to take along: where they go in the bundle, and where they are."""
        for file in self.distribution.files or ():
            path = PurePosixPath(str(file))
            inside = not path.is_absolute() and ".." not in path.parts  # scripts go to bin/, beside the libraries
            if inside and _taken(path):
                yield f"lib/{path}", Path(str(self.distribution.locate_file(file)))

    @property
    def fingerprint(self) -> str:
        """What tells that it is still the same: the hash of its list of files, which has the hash of each (PEP 376)."""
        return hashlib.sha256((self.distribution.read_text("RECORD") or "").encode()).hexdigest()


def libraries_of(settings: Campaign) -> list[Library]:
    """The libraries that the campaign's jobs import, as they are installed here.

    Raises:
        ConfigError: one is missing, or is no wheel that runs on other machines.
    """
    names = [*ALWAYS, *OF_PAYLOAD[settings.stages.nf_sp.payload]]
    for target in settings.stages.dqm_upload.targets:
        names += OF_TARGET[target.kind]
    return [_library(name) for name in sorted(set(names))]


def _library(name: str) -> Library:
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise ConfigError(f"bundle: {name} is not installed here") from None
    if _is_local(distribution):
        raise ConfigError(f"bundle: {name} is installed from a folder of this machine; install a released wheel of it")
    tags = re.findall(r"^Tag:\s*(\S+)$", distribution.read_text("WHEEL") or "", re.MULTILINE)
    if not tags:
        raise ConfigError(f"bundle: {name} was not installed from a wheel; install it with pip, in an environment of its own")
    return Library(name, distribution.version, _glibc_of(name, tags), distribution)


def _is_local(distribution: metadata.Distribution) -> bool:
    """Whether it was installed from a folder, in place or not (PEP 610)."""
    origin = distribution.read_text("direct_url.json")
    return origin is not None and "dir_info" in json.loads(origin)


def _glibc_of(name: str, tags: list[str]) -> tuple[int, int] | None:
    """The oldest C library a wheel with these tags starts with.

    Raises:
        ConfigError: it is not made for Linux machines in general, or needs a newer one than EL9 has.
    """
    if all(tag.endswith("-any") for tag in tags):
        return None
    wanted: list[tuple[int, int]] = []
    for tag in tags:
        for kind in tag.rpartition("-")[2].split("."):
            if found := re.fullmatch(r"manylinux_(\d+)_(\d+)_\w+", kind):
                wanted.append((int(found[1]), int(found[2])))
            elif (old := kind.partition("_")[0]) in _MANYLINUX:
                wanted.append(_MANYLINUX[old])
    if not wanted:
        raise ConfigError(f"bundle: {name} was built for this machine ({tags[0]}); install a manylinux wheel of it")
    if min(wanted) > NEWEST_GLIBC:
        raise ConfigError(
            f"bundle: {name} needs glibc {_dotted(min(wanted))}, workers have {_dotted(NEWEST_GLIBC)}; install an older version"
        )
    return min(wanted)


def _taken(path: PurePosixPath) -> bool:
    return (
        _LEFT_OUT.isdisjoint(path.parts)
        and path.suffix not in _LEFT_OUT_SUFFIXES
        and path.name not in _LEFT_OUT_NAMES
        and path.parts[0] != "bin"
    )


def own_files() -> Iterator[tuple[str, Path]]:
    """Our own code and its data: where it goes in the bundle, and where it is."""
    frame, rooms = Path(dune_prompt.__file__).parent, Path(stages.__file__).parent
    for name in FRAME:
        yield f"dune_prompt/{name}", frame / name
    for path in sorted(rooms.rglob("*")):
        inside = path.relative_to(rooms)
        if path.is_file() and _taken(PurePosixPath(inside)) and not path.name.startswith("."):
            yield f"stages/{inside.as_posix()}", path


def rendered_files(file: CampaignFile, libraries: list[Library]) -> dict[str, str]:
    """The texts made for this campaign, by where they go."""
    steps = steps_of(file.settings.layout)
    scripts = {f"scripts/{step.name}.py": script_text(file, step) for step in steps}
    main = render(
        "bundle_main.py.j2",
        campaign=file.settings.campaign,
        version=file.settings.version,
        python=sys.version_info[:2],
        script=f"{steps[0].name}.py",
    )
    manifest = json.dumps(manifest_of(file, libraries), indent=1, sort_keys=True) + "\n"
    return {**scripts, "__main__.py": main, MANIFEST: manifest}


def manifest_of(file: CampaignFile, libraries: list[Library]) -> dict[str, object]:
    """What is in the bundle and where it runs."""
    wanted = [library.glibc for library in libraries if library.glibc is not None]
    return {
        "schema": SCHEMA,
        "campaign": file.settings.campaign,
        "version": file.settings.version,
        "campaign_file_sha256": file.file_hash,
        "code_version": __version__,
        "steps": [step.name for step in steps_of(file.settings.layout)],
        "python": _dotted(sys.version_info[:2]),
        "machine": platform.machine(),
        "glibc": _dotted(max(wanted)) if wanted else None,
        "libraries": {library.name: library.version for library in libraries},
    }


def _dotted(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"
