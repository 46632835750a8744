"""The errors of dune-prompt: one class for each way the system behaves when something is wrong.

The class says what happens next, the message says what, where, and what to do. The exit codes are those a stage script ends with.
"""

from __future__ import annotations

from typing import ClassVar


class DunePromptError(Exception):
    """Something went wrong in dune-prompt."""

    exit_code: ClassVar[int] = 1
    error_class: ClassVar[str] = "internal"

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").strip()


class DataError(DunePromptError):
    """The data are bad: repeating changes nothing. The file is quarantined, the task counts a failure."""

    exit_code = 10
    error_class = "data"


class TransientError(DunePromptError):
    """Something outside is away or slow: wait, try again for as long as it takes, raise an alarm."""

    exit_code = 20
    error_class = "transient"


class ConfigError(DunePromptError):
    """A setting is wrong: somebody has to change it before anything goes on."""

    exit_code = 30
    error_class = "configuration"


class ConflictError(DunePromptError):
    """Two truths about one file: nothing is overwritten or deleted, the file waits for a person."""

    exit_code = 40
    error_class = "conflict"


class CommandError(TransientError):
    """An external command failed or did not end in time."""

    def __init__(self, command: tuple[str, ...], exit_code: int | None, stdout: str, stderr: str, reason: str) -> None:
        self.command, self.returncode, self.stdout, self.stderr = command, exit_code, stdout, stderr
        tail = (stderr or stdout).strip()[-500:]
        super().__init__(f"{command[0]}: {reason}" + (f": {tail}" if tail else ""))


CLASS_OF_EXIT_CODE = {cls.exit_code: cls.error_class for cls in (DataError, TransientError, ConfigError, ConflictError)}
