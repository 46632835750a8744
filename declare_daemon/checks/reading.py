"""What is read from a credential, whatever its form. Its secret part never leaves the function that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """Who a credential says we are, and when it was issued and ends (seconds since the Unix epoch).

    `problem` is what makes it useless although it has not ended.
    """

    detail: str
    owner: str | None = None
    issued_at: float | None = None
    expires_at: float | None = None
    problem: str | None = None


def read_text(path: Path) -> str:
    """The text of a small file. OSError passes."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES).decode("utf-8", "replace")


def problem_of_mode(path: Path) -> str | None:
    """What is wrong with the mode of a secret file: grid programs refuse a key that others may read."""
    mode = path.stat().st_mode & 0o777
    return f"{path} may be read by others (mode {mode:03o}): chmod 600" if mode & 0o077 else None
