"""A job on a worker that shares nothing with the engine: inputs are copied in, outputs are copied out, the engine is told over HTTP.

How it ends early:
- SIGTERM (the batch system takes the worker back, or the job's time is over) ends the stage at once and leaves a report of class
  `time_limit` when nearly all the time was used that the campaign gives the stages, of class `site` otherwise, which costs no try.
- The engine answers that the attempt is over: everything is ended, nothing is delivered any more.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from dune_prompt.errors import DunePromptError
from dune_prompt.process import kill_group
from dune_prompt.records import Assignment, InputFile, Output, Report, StageReport, write_json
from stages.contact import REPORT_WITHIN_S, Contact
from stages.errors import SiteError
from stages.job import DISK_TROUBLE, OK, Stopped, Workplace, report_of, walk
from stages.stage import Payload
from stages.transfer import Inputs, Outputs, temporary_folder

OVER = "the engine has given this attempt up"
# How much of its time a job must have used for SIGTERM to mean that the time was over.
NEARLY_ALL = 0.9
# Who is told to end has little time left.
HASTY_REPORT_S = 5.0
# So long a job whose attempt is over may take to end by itself: it may be deep in a library.
END_WITHIN_S = 60.0


class Scratch(Workplace):
    """A folder of the job's own, between the inputs' places and the outputs'. It is where SIGTERM and the engine stop the job."""

    def __init__(self, assignment: Assignment, payload: Payload, contact: Contact | None) -> None:
        super().__init__(assignment)
        self._folder = temporary_folder()
        self.output_dir = self._folder / "output"
        self._inputs = self._copies = Inputs(self._folder, copy_mounted=True)
        self.outputs = Outputs(self.output_dir, assignment.output_dir, self._folder)
        self._contact = contact
        limits = [payload.stages.get(stage, {}).get("lifetime") for stage in assignment.stages]
        self._time_s = sum(limit for limit in limits if isinstance(limit, int | float))
        self._began, self._in_stage = time.monotonic(), False
        self._delivered: set[str] = set()
        self._counted: tuple[int, float, int, float] = (0, 0.0, 0, 0.0)
        self.stopped: Stopped | None = None
        self.over = False

    def locate(self, item: InputFile) -> Path:
        return self._copies.locate(item)

    def enter(self, stage: str) -> None:
        if self._contact is not None:
            self._contact.stage = stage
        self._in_stage = True
        if self.stopped is not None:
            raise self.stopped

    def leave(self) -> None:
        self._in_stage = False

    def deliver(self, outputs: Sequence[Output]) -> dict[str, Any]:
        self.outputs.deliver([output for output in outputs if output.name not in self._delivered])
        self._delivered |= {output.name for output in outputs}
        before = self._counted
        self._counted = (self._copies.copied_bytes, self._copies.copied_s, self.outputs.copied_bytes, self.outputs.copied_s)
        names = ("copied_in_bytes", "copy_in_s", "copied_out_bytes", "copy_out_s")
        return {name: round(now - then, 3) for name, now, then in zip(names, self._counted, before, strict=True)}

    def class_of(self, error: OSError) -> str:
        return "site" if error.errno in DISK_TROUBLE else "transient"

    def close(self) -> None:
        """The report is still to be delivered, so the folder is kept until `remove`."""

    def remove(self) -> None:
        """Delete the folder with all that was copied and made."""
        self._copies.remove()

    def terminated(self, _number: int, _frame: FrameType | None) -> None:
        """SIGTERM: end the stage, now or as soon as one begins. A second one changes nothing."""
        if self.stopped is not None:
            return
        used_s = time.monotonic() - self._began
        if self.over:
            self.stopped = Stopped("lost", OVER)
        elif self._time_s and used_s >= NEARLY_ALL * self._time_s:
            self.stopped = Stopped(
                "time_limit", f"told to end (SIGTERM) after {used_s:.0f} s, of {self._time_s:.0f} s that the stages have"
            )
        else:
            self.stopped = Stopped("site", f"told to end (SIGTERM) after {used_s:.0f} s: the worker was taken back")
        if self._in_stage:
            raise self.stopped

    def give_up(self) -> None:
        """The attempt is over: end the job and its processes, by force if they do not listen. Called from another thread."""
        self.over = True
        os.killpg(os.getpgrp(), signal.SIGTERM)
        # That one may have been delivered to this thread, while the main thread sleeps on.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        killer = threading.Timer(END_WITHIN_S, kill_group, [os.getpgrp()])
        killer.daemon = True
        killer.start()


def run(assignment: Assignment, payload: Payload, report_path: Path) -> int:
    """Do the attempt; the exit code. Its report goes into the file `report_path`, beside the outputs, and to the engine."""
    # So that whoever ends this job can end all its processes: the shell around it, and this job itself.
    with suppress(PermissionError):
        os.setpgid(0, 0)
    contact = Contact.of(assignment)
    if contact is not None and contact.is_over():
        _keep(_not_begun(assignment, "lost", OVER), report_path)
        return OK
    try:
        scratch = Scratch(assignment, payload, contact)
    except SiteError as error:
        return refuse(assignment, report_path, str(error))
    before = signal.signal(signal.SIGTERM, scratch.terminated)
    try:
        if contact is not None:
            contact.keep(scratch.give_up)
        report, exit_code = walk(assignment, payload, scratch)
        if contact is not None:
            contact.end()
        _keep(report, report_path)
        if scratch.over:
            return OK
        _tell(report, report_path, contact, scratch.outputs, hasty=scratch.stopped is not None)
        return exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
        scratch.remove()


def refuse(assignment: Assignment, report_path: Path, message: str) -> int:
    """Report that this worker cannot do the attempt; the exit code."""
    report = _not_begun(assignment, SiteError.error_class, message)
    _keep(report, report_path)
    outputs = Outputs(report_path.parent, assignment.output_dir, report_path.parent)
    _tell(report, report_path, Contact.of(assignment), outputs, hasty=False)
    return SiteError.exit_code


def _not_begun(assignment: Assignment, error_class: str, message: str) -> Report:
    """The report of a job that does not begin."""
    print(f"attempt {assignment.attempt}: {error_class}: {message}", file=sys.stderr)  # noqa: T201
    now = time.time()
    return report_of(
        assignment,
        [StageReport(name, "failed", now, now, 0.0, 0, error_class=error_class, message=message) for name in assignment.stages[:1]],
    )


def _keep(report: Report, path: Path) -> None:
    """Write the report down here. A full disk must not keep it from the engine."""
    try:
        write_json(path, report.to_json())
    except OSError as error:
        print(f"{path}: the report cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201


def _tell(report: Report, path: Path, contact: Contact | None, outputs: Outputs, *, hasty: bool) -> None:
    """Bring the report, which is in file `path`, beside the outputs, and to the engine; one of the two is enough.

    The engine comes last: once it has the report, the attempt's folder is the registrar's.
    """
    try:
        outputs.leave_report(path, patiently=not hasty)
    except (DunePromptError, OSError) as error:
        print(f"the report is not beside the outputs: {error}", file=sys.stderr)  # noqa: T201
    if contact is not None and not contact.report(report.to_json(), HASTY_REPORT_S if hasty else REPORT_WITHIN_S):
        print("the engine did not take the report over HTTP", file=sys.stderr)  # noqa: T201
