"""What is uploaded, and the one way a target takes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from dune_prompt.errors import DataError
from dune_prompt.records import check_name


@dataclass(frozen=True, slots=True)
class Upload:
    """A data-quality record as `evaluate` wrote it, and its pictures by file name."""

    record: bytes
    pictures: dict[str, Path]
    campaign: str
    version: str
    run: int
    raw_stem: str


# Brings an upload to one place and returns in a word how; a second time it finds what is there and changes nothing.
Target = Callable[[Upload], str]


def read_upload(record: Path, files: tuple[Path, ...]) -> Upload:
    """The record in file `record`, with its pictures found among `files`.

    Raises:
        DataError: it is no data-quality record, or one of its pictures is not there.
    """
    content = record.read_bytes()
    there = {path.name: path for path in files}
    try:
        data: dict[str, Any] = json.loads(content)
        names = [check_name(str(picture["name"])) for picture in data["pictures"]]
        upload = Upload(
            record=content,
            pictures={name: there[name] for name in names if name in there},
            campaign=check_name(str(data["campaign"])),
            version=check_name(str(data["version"])),
            run=int(data["run"]),
            raw_stem=check_name(PurePath(str(data["input_did"]).rpartition(":")[2]).stem),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record}: not a data-quality record ({type(error).__name__}: {error})") from None
    if missing := [name for name in names if name not in there]:
        raise DataError(f"{record}: its picture {missing[0]} (of {len(missing)} missing) is not among the outputs of evaluate")
    return upload
