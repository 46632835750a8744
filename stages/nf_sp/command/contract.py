"""What a program of the payload `command` is held to: its exit code, its files, its report. See docs/payload-command.md.

A program is at fault when it breaks the contract, not the data: such an error is of class `payload`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from stages.nf_sp.program import ProgramFaultError

ERRORS = {cls.exit_code: cls for cls in (DataError, TransientError, ConfigError, ConflictError)}
MAX_REPORT_BYTES, MAX_METRICS, MAX_NOTES, MAX_CHARACTERS = 1_000_000, 200, 50, 500
_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class BrokenContractError(ProgramFaultError):
    """The program did not do what it is to do."""


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """What a program says of itself: numbers and texts for the report, and notes for the data-quality record."""

    metrics: Mapping[str, float | int | str | bool | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> ProgramReport:
        """Read the report; an empty one where the program wrote none.

        Raises:
            BrokenContractError: it is not as the contract wants it.
        """
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise BrokenContractError(f"{path.name}: the report is no plain file")
        if not path.exists():
            return cls()
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise BrokenContractError(f"{path.name}: the report has more than {MAX_REPORT_BYTES} bytes")
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise BrokenContractError(f"{path.name}: no JSON ({error})") from None
        if not isinstance(content, dict) or (unknown := sorted(set(content) - {"metrics", "notes"})):
            raise BrokenContractError(
                f"{path.name}: an object with metrics and notes, not {unknown if isinstance(content, dict) else content!r}"
            )
        return cls(_metrics(content.get("metrics", {}), path.name), _notes(content.get("notes", []), path.name))


def _metrics(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict) or len(content) > MAX_METRICS:
        raise BrokenContractError(f"{where}: metrics must be an object with at most {MAX_METRICS} names")
    for name, value in content.items():
        if not _METRIC.fullmatch(name):
            raise BrokenContractError(f"{where}: metric {name[:80]!r}: letters, digits and _, a letter first")
        if not (value is None or isinstance(value, bool | int | str | float)) or (isinstance(value, float) and not math.isfinite(value)):
            raise BrokenContractError(f"{where}: metric {name}: a finite number, a text, true, false or null")
        if isinstance(value, str) and len(value) > MAX_CHARACTERS:
            raise BrokenContractError(f"{where}: metric {name} has more than {MAX_CHARACTERS} characters")
    return content


def _notes(content: Any, where: str) -> tuple[str, ...]:
    if not isinstance(content, list) or len(content) > MAX_NOTES:
        raise BrokenContractError(f"{where}: notes must be a list of at most {MAX_NOTES} texts")
    if not all(isinstance(note, str) and len(note) <= MAX_CHARACTERS for note in content):
        raise BrokenContractError(f"{where}: a note is a text of at most {MAX_CHARACTERS} characters")
    return tuple(content)


def check_exit(program: str, exit_code: int, tail: str) -> None:
    """Raise what an exit code other than 0 means.

    Raises:
        DataError, TransientError, ConfigError, ConflictError: the program ended with the exit code of that class.
        BrokenContractError: it ended in another way.
    """
    if exit_code == 0:
        return
    said = f": {tail}" if tail else ", and printed nothing"
    if exit_code in ERRORS:
        raise ERRORS[exit_code](f"{program}{said}")
    how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
    raise BrokenContractError(f"{program} {how}{said}")


def outputs_in(folder: Path, patterns: Mapping[str, str]) -> dict[str, Path]:
    """The file for each kind of output.

    Raises:
        BrokenContractError: there is not exactly one for each, or it is empty or no plain file.
    """
    found = {}
    for what, pattern in patterns.items():
        matches = sorted(folder.glob(pattern))
        if len(matches) != 1:
            names = ", ".join(path.name for path in matches[:5]) or "none"
            raise BrokenContractError(f"output {what}: one file {pattern} expected in the output folder, found {names}")
        (path,) = matches
        if path.is_symlink() or not path.is_file():
            raise BrokenContractError(f"output {what}: {path.name} is no plain file")
        if path.stat().st_size == 0:
            raise BrokenContractError(f"output {what}: {path.name} is empty")
        found[what] = path
    if len(set(found.values())) < len(found):
        raise BrokenContractError("one file matches the patterns of two outputs")
    return found
