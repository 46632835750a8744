"""A sentence for every state of a file in the journal: where it is, what it waits for, what happens next, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from campaign.why.circumstances import Circumstances
from campaign.why.sentences import Said
from campaign.why.spelled import count, listed, moment, relative
from declare_daemon.journal import FileState, JournalFile
from declare_daemon.release.candidates import Obligation
from declare_daemon.release.checklist import Proof
from declare_daemon.release.kept import what_keeps
from dune_prompt.settings import StreamSettings

NO_DAEMON = "no daemon runs: it goes on when `dune-prompt declare run` or `dune-prompt serve` runs"


@dataclass(frozen=True, slots=True)
class Registration:
    """What one catalogue knows of the file: the steps it has confirmed and when, those that wait, who has waived it, and what holds it."""

    catalog: str
    confirmed: Mapping[str, float]
    waits: tuple[str, ...]
    waived: str | None
    holds: str | None

    def sentence(self, *, declared: bool) -> str:
        """In words; `declared`: the journal says that every catalogue has confirmed the file."""
        if self.waived:
            return f"{self.catalog}: {self.waived}"
        if self.confirmed and not self.waits:
            return f"{self.catalog}: registered at {moment(max(self.confirmed.values()))} ({listed(list(self.confirmed))})"
        if declared:
            return f"{self.catalog}: registered"
        has = f"has confirmed {listed(list(self.confirmed))}, " if self.confirmed else ""
        waits = f"waits for {listed(self.waits)}" if self.waits else "not registered yet"
        return f"{self.catalog}: {has}{waits}" + (f"; {self.holds}" if self.holds else "")


@dataclass(frozen=True, slots=True)
class FileSituation:
    """A file of the journal and what bears on it."""

    file: JournalFile
    around: Circumstances
    stream: StreamSettings | None
    registrations: Sequence[Registration] = ()
    obligations: Sequence[Obligation] = ()
    proof: Proof | None = None

    @property
    def where(self) -> str:
        place = "the buffer" if self.file.origin == "buffer" else "the outbox"
        return f"it lies in {place} ({self.file.path})"

    @property
    def waiting_for(self) -> list[str]:
        """The catalogues that still miss something of it, with what holds them."""
        missing = [item for item in self.registrations if item.waits or not item.confirmed]
        return [f"{item.catalog} ({item.holds})" if item.holds else item.catalog for item in missing]


def say_file(situation: FileSituation) -> Said:
    """The sentence of the file's state."""
    said = FILE_SENTENCES[situation.file.state](situation)
    away = situation.around.buffer_away()
    return said if away is None or situation.file.origin != "buffer" else Said(f"{said.now}; {away}", said.next, said.at)


def _by_daemon(s: FileSituation, what: str, at: float | None = None) -> tuple[str, float | None]:
    return (NO_DAEMON, None) if s.around.daemon is None else (what, at)


def _tried(s: FileSituation) -> str:
    return f"; tried {count(s.file.tries, 'time')}: {s.file.reason}" if s.file.reason else ""


def _again(s: FileSituation) -> float | None:
    return s.file.next_try if s.file.next_try > s.around.now else None


def _found(s: FileSituation) -> Said:
    when = f" again at {relative(s.file.next_try, s.around.now)}" if _again(s) else ""
    what = "its metadata, size and checksum are not checked yet"
    return Said(f"{s.where}; {what}{_tried(s)}", *_by_daemon(s, f"the daemon checks it{when}", _again(s)))


def _verified(s: FileSituation) -> Said:
    at = f" at {moment(s.file.verified_at)}" if s.file.verified_at else ""
    waits = f"; it waits for {listed(s.waiting_for)}" if s.waiting_for else ""
    next_ = "the daemon registers it where it is missing, and tries again for as long as it takes"
    return Said(f"{s.where}, verified{at}{waits}{_tried(s)}", *_by_daemon(s, next_, _again(s)))


def _declared(s: FileSituation) -> Said:
    at = f" since {moment(s.file.declared_at)}" if s.file.declared_at else ""
    now = f"{s.where}, declared{at}"
    if s.file.origin != "buffer":
        return Said(now, "nothing: outputs stay where they are")
    keeps = what_keeps(s.file, s.stream, s.obligations, s.around.now)
    over = None if s.stream is None or not s.stream.release.any else (s.file.closed_at or s.file.found_at) + s.stream.lifetime
    return Said(now, f"it stays in the buffer: {keeps}", over if over is not None and over > s.around.now else None)


def _ignored(s: FileSituation) -> Said:
    return Said(f"{s.where}; its stream {s.file.stream or ''} is not declared, so it is left alone", "nothing")


def _unmatched(s: FileSituation) -> Said:
    return Said(f"{s.where}; it fits no stream of the site file", "nothing, until the site file has a stream for it")


def _rejected(s: FileSituation) -> Said:
    return Said(f"{s.where}; it is bad ({s.file.reason})", *_by_daemon(s, f"the daemon moves it into the quarantine ({s.file.target})"))


def _quarantined(s: FileSituation) -> Said:
    next_ = f"nothing, until a person has looked: `dune-prompt declare retry {s.file.name}` tries it again"
    return Said(f"it is in the quarantine ({s.file.path}): {s.file.reason}", next_)


def _returning(s: FileSituation) -> Said:
    now = f"somebody wants it tried again; it is on its way out of the quarantine ({s.file.path})"
    return Said(now, *_by_daemon(s, "the daemon moves it back and checks it again"))


def _conflict(s: FileSituation) -> Said:
    next_ = f"nothing, until a person has decided which is right: then `dune-prompt declare retry {s.file.name}`"
    return Said(f"{s.where}; there are two truths about it: {s.file.reason}", next_)


def _leaving(s: FileSituation) -> Said:
    now = f"it is proven safe to release ({_proof(s)}) and on its way out of the buffer"
    return Said(now, *_by_daemon(s, f"the daemon ends it: {_way(s)}"))


def _left(s: FileSituation) -> Said:
    at = f" at {moment(s.file.left_at)}" if s.file.left_at else ""
    place = "" if s.proof is not None and s.proof.action == "delete" else f"; it is at {s.file.path}"
    copy = f"; its copy is at {s.file.place}" if s.file.place else ""
    return Said(f"it left the buffer{at} ({_proof(s)}): {_way(s)}{place}{copy}", "nothing: it stays where it is")


def _gone(s: FileSituation) -> Said:
    now = f"it vanished from the buffer ({s.file.path}): somebody else moved or deleted it"
    return Said(now, "if it comes back it is checked again; if nobody moved it on purpose, a person must look")


def _proof(s: FileSituation) -> str:
    return f"proof {s.proof.id} of {moment(s.proof.made_at)}" if s.proof is not None else "before proofs were kept"


def _way(s: FileSituation) -> str:
    if s.proof is None:
        return "moved" if s.file.target else "released"
    return "deleted, a verified copy exists elsewhere" if s.proof.action == "delete" else f"moved to {s.proof.target}"


FILE_SENTENCES: Mapping[FileState, Callable[[FileSituation], Said]] = {
    FileState.FOUND: _found,
    FileState.VERIFIED: _verified,
    FileState.DECLARED: _declared,
    FileState.IGNORED: _ignored,
    FileState.UNMATCHED: _unmatched,
    FileState.REJECTED: _rejected,
    FileState.QUARANTINED: _quarantined,
    FileState.RETURNING: _returning,
    FileState.CONFLICT: _conflict,
    FileState.LEAVING: _leaving,
    FileState.LEFT: _left,
    FileState.GONE: _gone,
}
