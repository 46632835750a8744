"""Copies a job's inputs in and its outputs out, and believes no copy that it has not checked."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dune_prompt.checksum import adler32_of
from dune_prompt.errors import TransientError
from dune_prompt.records import SIDECAR_SUFFIX, InputFile, Output, check_name
from stages.errors import InputAwayError, SiteError
from stages.stage import find
from stages.storage import Storage, storage_of

# All places of an input are tried so often: the engine tries again later, and maybe elsewhere.
INPUT_ROUNDS = 2
INPUT_PAUSE_S = 5.0
# Hours of work may be in the outputs: an outage of a minute or two is waited out.
OUTPUT_PAUSES_S = (3.0, 15.0, 60.0)
PART_SUFFIX = ".part"
REPORT = "report.json"

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
# What says that this worker cannot get at the outputs' place, while others may.
_NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOTCONN, errno.ENODEV})


def temporary_folder() -> Path:
    """A new folder of this job's own: in $TMPDIR, or in the scratch space that the batch system gives.

    Raises:
        SiteError: it cannot be made.
    """
    root = None if os.environ.get("TMPDIR") else os.environ.get("_CONDOR_SCRATCH_DIR")
    try:
        return Path(tempfile.mkdtemp(prefix="dune-prompt-", dir=root))
    except OSError as error:
        raise SiteError(f"no folder for the job's files: {error.strerror}: {error.filename}") from None


class Inputs:
    """Brings inputs into `folder`, each once. `copy_mounted` False: what is on a mounted file system is read there."""

    def __init__(self, folder: Path, *, copy_mounted: bool, sleep: Callable[[float], None] = time.sleep) -> None:
        self.folder, self._copy_mounted, self._sleep = folder, copy_mounted, sleep
        self._found: dict[tuple[str, str], Path] = {}
        self.copied_bytes, self.copied_s = 0, 0.0

    def locate(self, item: InputFile) -> Path:
        """Where the input can be read.

        Raises:
            InputAwayError: it is whole at none of its places. SiteError: this worker has no room, or no means to reach them.
        """
        key = (item.stage, item.name)
        if key not in self._found:
            self._found[key] = self._mounted(item) or self._copy_in(item)
        return self._found[key]

    def remove(self) -> None:
        """Delete the copies."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mounted(self, item: InputFile) -> Path | None:
        if self._copy_mounted:
            return None
        try:
            return find(item)
        except InputAwayError:
            return None

    def _copy_in(self, item: InputFile) -> Path:
        target = self.folder / check_name(item.stage) / item.name
        begin = time.monotonic()
        problems: list[str] = []
        for round_number in range(INPUT_ROUNDS):
            problems, site_problems, again = [], 0, False
            for place in item.places:
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._copy_one(item, place, target)
                except SiteError as error:
                    problems.append(str(error))
                    site_problems += 1
                except OSError as error:
                    if error.errno in _NO_ROOM or _is_full(self.folder):
                        raise SiteError(f"no room for {item.name} in the worker's scratch space") from None
                    problems.append(f"{place}: {error.strerror or error}")
                    again = again or not isinstance(error, FileNotFoundError)
                else:
                    self.copied_s += time.monotonic() - begin
                    self.copied_bytes += target.stat().st_size
                    return target
                finally:
                    target.with_name(target.name + PART_SUFFIX).unlink(missing_ok=True)
            if item.places and site_problems == len(item.places):
                raise SiteError("; ".join(problems))
            if again and round_number < INPUT_ROUNDS - 1:
                self._sleep(INPUT_PAUSE_S)
        raise InputAwayError(f"{item.name}: cannot be read: {'; '.join(problems) or 'no place is known'}")

    def _copy_one(self, item: InputFile, place: str, target: Path) -> None:
        """Copy from one place and check the copy; with a derived file comes its sidecar, if it still has one."""
        if item.size_bytes is not None and (free := shutil.disk_usage(self.folder).free) < item.size_bytes:
            raise OSError(errno.ENOSPC, f"{free} bytes are free, the file has {item.size_bytes}", str(self.folder))
        storage = storage_of(place)
        part = target.with_name(target.name + PART_SUFFIX)
        storage.fetch(place, part, item.size_bytes)
        _check_copy(part, item)
        sidecar = place + SIDECAR_SUFFIX
        if item.stage != "raw" and item.did is not None and storage.exists(sidecar):
            storage.fetch(sidecar, target.with_name(target.name + SIDECAR_SUFFIX), None)
        part.replace(target)


def _check_copy(copy: Path, item: InputFile) -> None:
    """The copy has the size and, where it is known, the checksum that the input must have.

    Raises:
        OSError: it has not.
    """
    size_bytes = copy.stat().st_size
    if item.size_bytes is not None and size_bytes != item.size_bytes:
        raise OSError(errno.EIO, f"the copy has {size_bytes} bytes, not {item.size_bytes}", str(copy))
    if item.adler32 is not None and (value := adler32_of(copy)[1]) != item.adler32:
        raise OSError(errno.EIO, f"the copy has adler32 {value}, not {item.adler32}", str(copy))


def _is_full(folder: Path) -> bool:
    """Whether a failed copy failed for lack of room: programs say so in many ways."""
    return shutil.disk_usage(folder).free < 1 << 20


class Outputs:
    """Brings files of the local folder `source` to the attempt's folder `target`. A file has its final name only when it is whole."""

    def __init__(self, source: Path, target: str, scratch: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._source, self._target, self._scratch, self._sleep = source, target.rstrip("/"), scratch, sleep
        self.copied_bytes, self.copied_s = 0, 0.0

    def deliver(self, outputs: Sequence[Output]) -> None:
        """Copy the outputs, each after its sidecar, and check the copies.

        Raises:
            TransientError: the place is away or full, or the copies are never right.
            SiteError: this worker cannot reach it, or may not write there.
        """
        begin = time.monotonic()
        for output in outputs:
            if output.declared:
                sidecar = output.name + SIDECAR_SUFFIX
                self._bring(self._source / sidecar, *adler32_of(self._source / sidecar))
            self._bring(self._source / output.name, output.size_bytes, output.adler32)
            self.copied_bytes += output.size_bytes
        self.copied_s += time.monotonic() - begin

    def leave_report(self, path: Path, *, patiently: bool) -> None:
        """Copy the report, which comes last. Raises as `deliver`."""
        self._bring(path, *adler32_of(path), name=REPORT, pauses_s=OUTPUT_PAUSES_S[:1] if patiently else ())

    def _bring(
        self, path: Path, size_bytes: int, adler32: str, *, name: str | None = None, pauses_s: Sequence[float] = OUTPUT_PAUSES_S
    ) -> None:
        place = f"{self._target}/{name or path.name}"
        storage = storage_of(place)
        for pause_s in (*pauses_s, None):
            try:
                self._bring_once(storage, path, place, (size_bytes, adler32))
            except OSError as error:
                if error.errno in _NO_ACCESS:
                    raise SiteError(f"{place}: this worker cannot write there: {error.strerror}") from None
                if pause_s is None:
                    raise TransientError(f"{place}: {error.strerror or error}") from None
                self._sleep(pause_s)
            else:
                return

    def _bring_once(self, storage: Storage, path: Path, place: str, expected: tuple[int, str]) -> None:
        part = place + PART_SUFFIX
        try:
            storage.store(path, part)
            size_bytes, adler32 = storage.adler32(part, self._scratch / (path.name + PART_SUFFIX))
            if (size_bytes, adler32) != expected:
                raise OSError(
                    errno.EIO, f"the copy has {size_bytes} bytes and adler32 {adler32}, not {expected[0]} and {expected[1]}", place
                )
            storage.rename(part, place)
        except OSError:
            # What is half-written goes, if the storage lets us; it never had the final name.
            with suppress(OSError, SiteError):
                storage.remove(part)
            raise
