"""Paths in settings files: relative ones count from the folder of the file; storage behind XRootD is written as a `root://` address."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

XROOTD = "root://"


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """Relative paths count from the folder of the settings file."""
    path = path.expanduser()
    return path if path.is_absolute() or not info.context else (info.context["path"].parent / path).absolute()


def _place(place: str, info: ValidationInfo) -> str:
    if place.startswith(XROOTD):
        host, slash, path = place.removeprefix(XROOTD).partition("/")
        if not (host and slash and path.startswith("/") and path.strip("/")):
            raise ValueError("an XRootD address has the form root://host[:port]//path, with two slashes before the path")
        return place.rstrip("/")
    return str(_beside_the_file(Path(place), info))


FilePath = Annotated[Path, AfterValidator(_beside_the_file)]
# A folder of a mounted file system, or one behind XRootD.
StoragePath = Annotated[str, BeforeValidator(lambda place: str(place) if isinstance(place, Path) else place), AfterValidator(_place)]
