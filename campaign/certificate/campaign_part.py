"""The certificate's part about one campaign's version: processed, parked, late, waived, and with what it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from campaign.certificate.facts import CampaignFacts, KnownFile
from campaign.certificate.raw_part import catalogues, declared_everywhere
from campaign.layout import steps_of
from campaign.ledger.versions import Exclusion
from campaign.states import AttemptState, TaskState
from campaign.versions.roles import Role
from campaign.why.spelled import count, moment
from declare_daemon.journal import FileState

_BAD = (FileState.QUARANTINED, FileState.REJECTED, FileState.CONFLICT, FileState.GONE)


def campaign_part(facts: CampaignFacts, raw: Sequence[KnownFile], kinds: Sequence[str]) -> dict[str, Any]:
    """One campaign's version and the run, as the certificate has them."""
    files = [_Input(did, tasks, facts.row.layout) for did, tasks in sorted(_by_input(facts.tasks).items())]
    left_at = {file.did: file.left_at for file in raw}
    of = {state: [file for file in files if file.state is state] for state in TaskState}
    processed = of[TaskState.DONE]
    prompt = [file for file in processed if file.in_time(left_at.get(file.did))]
    late = [file for file in files if file.is_late and file.state is not TaskState.WAIVED]
    not_taken_in = sorted(facts.covered - {file.did for file in files})
    through = (TaskState.DONE, TaskState.PARKED, TaskState.WAIVED)
    still_open = [file for file in files if file.state not in through]
    bad = [output for output in facts.outputs if output.state in _BAD]
    undeclared = [output for output in facts.outputs if output not in bad and not declared_everywhere(output)]
    part: dict[str, Any] = {
        "campaign": facts.row.name,
        "version": facts.row.version,
        "role": facts.role.value,
        "required": bool(facts.row.required) and facts.role not in (Role.CANARY, Role.DROPPED),
        "stream": facts.row.stream,
        "layout": facts.row.layout,
        "made_with": _made_with(facts),
        "files": {
            "expected": len(files) + len(not_taken_in),
            "processed": len(processed),
            "open": len(still_open),
            "parked": len(of[TaskState.PARKED]),
            "waived": len(of[TaskState.WAIVED]),
            "late": len(late),
            "not_taken_in": len(not_taken_in),
        },
        "prompt": {"files": len(prompt), "of": len(files) + len(not_taken_in) - len(of[TaskState.WAIVED])},
        "closed_to_processed_ms": percentiles([file.took_ms for file in processed if file.took_ms is not None]),
        "excluded": _words(facts.excluded),
        "redone": {"by": facts.redo.by, "at": moment(facts.redo.at)} if facts.redo else None,
        "parked": [_failed(file) for file in of[TaskState.PARKED]],
        "waived": [{"file": file.name, **_waived(facts, file)} for file in of[TaskState.WAIVED]],
        "late": [file.name for file in late],
        "open": [{"file": file.name, "step": file.at.step, "state": file.state.value} for file in still_open],
        "not_taken_in": [_name(did) for did in not_taken_in],
        "attempts": {state.value: number for state, number in _attempts(facts).items()},
        "outputs": {
            "files": len(facts.outputs),
            "bytes": sum(output.size_bytes or 0 for output in facts.outputs),
            "verified": sum(output.checked for output in facts.outputs),
            "not_verified": sorted(output.name for output in facts.outputs if not output.checked),
            "catalogues": catalogues(kinds, [output for output in facts.outputs if output.checked]),
            "stopped": [
                {"file": output.name, "what": output.state.value, "reason": output.reason}
                for output in sorted(bad, key=lambda item: item.name)
            ],
        },
    }
    part["prompt"]["fraction"] = _fraction(part["prompt"]["files"], part["prompt"]["of"])
    missing = _missing(part, len(undeclared))
    return part | {"missing": missing, "remarks": _remarks(part), "complete": not missing}


class _Input:
    """An input's tasks of one version, seen as one: the step it is at tells its state."""

    def __init__(self, did: str, tasks: Sequence[Any], layout: str) -> None:
        order = {step.name: place for place, step in enumerate(steps_of(layout))}
        tasks = sorted(tasks, key=lambda task: order.get(task.step, len(order)))
        self.did, self.tasks, self.name = did, tasks, _name(did)
        self.at = next((task for task in tasks if task.state != TaskState.DONE), tasks[-1])
        self.state = TaskState(self.at.state)
        self.last = tasks[-1]

    def in_time(self, left_at: float | None) -> bool:
        """Whether it was processed before the buffer had to give it up, or did."""
        return self.last.done_at is not None and self.last.done_at <= min(self.last.deadline, left_at or self.last.deadline)

    @property
    def is_late(self) -> bool:
        if self.state is TaskState.DONE:
            return bool(self.last.done_at > self.last.deadline)
        return any(task.late for task in self.tasks if task.state != TaskState.DONE)

    @property
    def took_ms(self) -> int | None:
        """From closed to processed."""
        closed, done = self.last.closed_at, self.last.done_at
        return None if closed is None or done is None else max(round((done - closed) * 1000), 0)


def percentiles(values_ms: Sequence[int]) -> dict[str, int] | None:
    """50, 90, 95, 99 % and the largest, by the nearest rank; None without values."""
    if not values_ms:
        return None
    ordered = sorted(values_ms)
    return {f"p{p}": ordered[ceil(p / 100 * len(ordered)) - 1] for p in (50, 90, 95, 99)} | {"max": ordered[-1]}


def _by_input(tasks: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for task in tasks:
        found.setdefault(task.input_did, []).append(task)
    return found


def _name(did: str) -> str:
    return did.rpartition(":")[2]


def _made_with(facts: CampaignFacts) -> dict[str, Any]:
    """What made the outputs: as their own metadata say, which stays true when the campaign file changes."""
    stages = facts.row.content.get("stages", {})
    return {
        "campaign_file_sha256": sorted({item.campaign_file for item in facts.outputs if item.campaign_file}),
        "campaign_file_sha256_now": facts.row.file_hash,
        "code_versions": sorted({item.code_version for item in facts.outputs if item.code_version}),
        "payload": (stages.get("nf_sp") or {}).get("payload"),
        "payload_versions": sorted({item.version for item in facts.outputs if item.version} | {facts.row.version}),
        "hosts": sorted({item.host for item in facts.attempts if item.host and item.state == AttemptState.SUCCEEDED}),
    }


def _attempts(facts: CampaignFacts) -> dict[AttemptState, int]:
    found = Counter(AttemptState(item.state) for item in facts.attempts)
    return {state: found[state] for state in AttemptState if found[state]}


def _words(excluded: Exclusion | None) -> dict[str, str] | None:
    return None if excluded is None else {"by": excluded.by, "why": excluded.why, "at": moment(excluded.at)}


def _failed(file: _Input) -> dict[str, Any]:
    task = file.at
    return {"file": file.name, "step": task.step, "class": task.error_class, "message": task.message, "failures": task.failures}


def _waived(facts: CampaignFacts, file: _Input) -> Mapping[str, str | None]:
    by, why = facts.waived_by.get(file.at.id, (None, None))
    return {"by": by, "why": why or file.at.message}


def _fraction(part: int, whole: int) -> str | None:
    """A fraction as text, rounded down, so that only the whole is 1."""
    return None if whole == 0 else f"{part * 10_000 // whole / 10_000:.4f}"


def _missing(part: Mapping[str, Any], undeclared: int) -> list[str]:
    files = part["files"]
    states = Counter(item["state"] for item in part["open"])
    missing = [f"{count(files['parked'], 'file')} parked"] if files["parked"] else []
    if files["open"]:
        in_words = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
        missing.append(f"{count(files['open'], 'file')} not processed yet ({in_words})")
    if files["not_taken_in"]:
        missing.append(f"{count(files['not_taken_in'], 'file')} without a task yet")
    if stopped := part["outputs"]["stopped"]:
        missing.append(f"{count(len(stopped), 'output')} stopped")
    if undeclared:
        missing.append(f"{count(undeclared, 'output')} not declared yet")
    return missing


def _remarks(part: Mapping[str, Any]) -> list[str]:
    remarks = []
    if (excluded := part["excluded"]) is not None:
        remarks.append(f"the run is excluded by {excluded['by']}: {excluded['why']}")
    if part["files"]["waived"]:
        remarks.append(f"{count(part['files']['waived'], 'file')} waived")
    if part["files"]["late"]:
        remarks.append(f"{count(part['files']['late'], 'file')} late")
    return remarks
