"""What the exit codes of `lar` mean, and what follows.

Sources: art's `run_art.cc` (65 to 91), `BasicOptionsHandler.cc` (90), and `errors::ErrorCodes` of canvas (1 to 33), which art ends with
when one of its own exceptions is not caught; 120 and 121 are our script's, 126 and above the shell's.
"""

from __future__ import annotations

from dataclasses import dataclass

from dune_prompt.errors import ConfigError, DataError
from stages.errors import SiteError
from stages.nf_sp.program import ProgramFaultError


@dataclass(frozen=True, slots=True)
class ExitCode:
    """A code: art's name for it, the class of what follows, and a sentence."""

    name: str
    raises: type[Exception]
    says: str


FAULT = ProgramFaultError
EXIT_CODES = {
    1: ExitCode("OtherArt", FAULT, "art threw an exception of no kind of its own"),
    2: ExitCode("StdException", FAULT, "a standard exception"),
    3: ExitCode("Unknown", FAULT, "an exception of unknown kind"),
    4: ExitCode("BadAlloc", MemoryError, "out of memory"),
    5: ExitCode("BadExceptionType", FAULT, "an exception of a kind that must not be thrown"),
    6: ExitCode("ProductNotFound", ConfigError, "a module looks for a product that nothing makes: the job file does not fit the input"),
    7: ExitCode("DictionaryNotFound", FAULT, "a product without dictionary"),
    8: ExitCode("ProductPutFailure", FAULT, "a product could not be put into the event"),
    9: ExitCode("Configuration", ConfigError, "the job file or a parameter is wrong"),
    10: ExitCode("LogicError", FAULT, "a fault in the logic of a module"),
    15: ExitCode("EventTimeout", FAULT, "an event took too long"),
    16: ExitCode("DataCorruption", DataError, "the data are corrupt"),
    20: ExitCode("FileOpenError", SiteError, "the input could not be opened, or the output not be made"),
    21: ExitCode("FileReadError", DataError, "the input could not be read"),
    22: ExitCode("FatalRootError", FAULT, "ROOT gave up"),
    23: ExitCode("MismatchedInputFiles", DataError, "the input does not fit the others"),
    24: ExitCode("CatalogServiceError", SiteError, "the file catalogue service failed"),
    27: ExitCode("SQLExecutionError", FAULT, "a query to SQLite failed"),
    29: ExitCode("NotFound", ConfigError, "something the job file names was not found"),
    30: ExitCode("ServiceNotFound", ConfigError, "the job file names a service that the release has not"),
    65: ExitCode("cet::exception", FAULT, "an exception of a library"),
    66: ExitCode("std::exception", FAULT, "a standard exception"),
    67: ExitCode("exception", FAULT, "an exception of unknown kind"),
    68: ExitCode("std::bad_alloc", MemoryError, "out of memory"),
    69: ExitCode("message facility", ConfigError, "the message service could not be started: its configuration is wrong"),
    88: ExitCode("command line", FAULT, "lar does not know an option it was given"),
    90: ExitCode("FHiCL", ConfigError, "the job file could not be read: is it in the release?"),
    91: ExitCode("parameter set", ConfigError, "the job file is not consistent"),
    120: ExitCode("no set-up script", SiteError, "the set-up script is not on the worker"),
    121: ExitCode("no release", SiteError, "the release could not be set up"),
    126: ExitCode("not executable", SiteError, "a program may not be run on the worker"),
    127: ExitCode("not found", SiteError, "a program is not on the worker"),
    134: ExitCode("SIGABRT", FAULT, "lar aborted"),
    137: ExitCode("SIGKILL", SiteError, "lar was killed, as by a worker that is out of memory"),
    139: ExitCode("SIGSEGV", FAULT, "lar crashed"),
    143: ExitCode("SIGTERM", SiteError, "lar was told to end"),
}


def check_exit(exit_code: int, said: str) -> None:
    """Raise what an exit code other than 0 means; `said` is what the log tells."""
    if exit_code == 0:
        return
    code = 128 - exit_code if exit_code < 0 else exit_code
    known = EXIT_CODES.get(code, ExitCode("unknown", FAULT, "lar failed"))
    raise known.raises(f"lar ended with {code} ({known.name}): {known.says}" + (f": {said}" if said else ""))
