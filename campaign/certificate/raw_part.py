"""The certificate's part about a run's raw files: found, verified, declared, stopped, missing, there twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from campaign.certificate.facts import EVERYWHERE, KnownFile, RunFacts
from campaign.certificate.sequence import WriterSequence, sequences, spelled
from campaign.why.spelled import count, listed, moment
from declare_daemon.journal import FileState

# What a person has to look at, by state, and what it is called in the first line.
_STOPPED = {
    FileState.QUARANTINED: "quarantined",
    FileState.REJECTED: "bad",
    FileState.RETURNING: "on its way out of the quarantine",
    FileState.CONFLICT: "in conflict",
    FileState.UNMATCHED: "of no stream",
    FileState.GONE: "vanished",
}


def raw_part(facts: RunFacts) -> dict[str, Any]:
    """The raw files, as the certificate has them."""
    raw = facts.raw
    known = {file.did for file in raw}
    elsewhere = sorted({task.input_did for item in facts.campaigns for task in item.tasks} - known)
    # A stopped file is there, with its number, even if it is bad.
    found, strange = sequences(file.name for file in raw if file.state is not FileState.GONE)
    wanted = [file for file in raw if file.state is not FileState.IGNORED]
    stopped = {words: [file for file in raw if file.state is state] for state, words in _STOPPED.items()}
    unverified = [file for file in wanted if not file.checked]
    times = [file.closed_at or file.found_at for file in raw]
    duplicates = [*_same_number(found), *_same_content(raw)]
    part: dict[str, Any] = {
        "files": len(raw) + len(elsewhere),
        "bytes": sum(file.size_bytes or 0 for file in raw),
        "first_file_at": moment(min(times)) if times else None,
        "last_file_at": moment(max(times)) if times else None,
        "streams": dict(sorted(Counter(file.stream or "(none)" for file in raw).items())),
        "states": dict(sorted(Counter(file.state.value for file in raw).items())),
        "checksums": {"verified": sum(file.checked for file in wanted), "not_verified": [file.name for file in unverified]},
        "catalogues": catalogues(facts.catalogs, [file for file in wanted if file.checked]),
        "stopped": [
            {"file": file.name, "what": words, "reason": file.reason} for words, files in sorted(stopped.items()) for file in files
        ],
        "sequences": [_sequence(item) for item in found],
        "duplicates": duplicates,
        "not_in_the_journal": elsewhere,
        "strange_names": strange,
    }
    return part | {"missing": _missing(raw, stopped, found), "remarks": _remarks(part)}


def catalogues(kinds: Sequence[str], files: Iterable[KnownFile]) -> dict[str, Any]:
    """How many of these files each catalogue has confirmed, which it lacks, and which of them a person has waived."""
    files = list(files)
    return {
        kind: {
            "declared": sum(kind in file.declared_in for file in files),
            "not_declared": sorted(file.name for file in files if kind not in file.declared_in),
            "waived": [
                {"file": file.name, "by": by, "why": why}
                for file in sorted(files, key=lambda file: file.name)
                for catalog, by, why in file.waived
                if catalog == kind
            ],
        }
        for kind in kinds
    }


def _sequence(item: WriterSequence) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "writer": item.writer,
        "files": item.files,
        "first": item.first,
        "last": item.last,
        "missing": [list(pair) for pair in item.missing],
        "holes": item.holes,
    }


def _same_number(found: Sequence[WriterSequence]) -> list[dict[str, Any]]:
    return [
        {"number": number, "writer": item.writer, "names": list(names), "what": "the same sequence number"}
        for item in found
        for number, names in item.twice
    ]


def _same_content(raw: Sequence[KnownFile]) -> list[dict[str, Any]]:
    by_content: dict[tuple[int, str], list[str]] = defaultdict(list)
    for file in raw:
        if file.checked and file.size_bytes and file.adler32:
            by_content[file.size_bytes, file.adler32].append(file.name)
    same = sorted(sorted(names) for names in by_content.values() if len(names) > 1)
    return [{"names": names, "what": "the same size and checksum"} for names in same]


def _missing(raw: Sequence[KnownFile], stopped: Mapping[str, Sequence[KnownFile]], found: Sequence[WriterSequence]) -> list[str]:
    missing = [
        f"{count(item.holes, 'sequence number')} of {item.writer} {'is' if item.holes == 1 else 'are'} missing ({spelled(item.missing[:5])}"
        + (", …)" if len(item.missing) > 5 else ")")
        for item in found
        if item.missing
    ]
    missing += [f"{count(len(files), 'file')} {words} ({listed([f.name for f in files], 3)})" for words, files in stopped.items() if files]
    if waiting := sum(file.state is FileState.FOUND for file in raw):
        missing.append(f"{count(waiting, 'file')} not verified yet")
    if undeclared := sum(file.state is FileState.VERIFIED for file in raw):
        missing.append(f"{count(undeclared, 'file')} not declared everywhere yet")
    return missing


def _remarks(part: Mapping[str, Any]) -> list[str]:
    remarks = [f"{len(item['names'])} files have {item['what']} ({listed(item['names'], 3)})" for item in part["duplicates"]]
    for kind, item in part["catalogues"].items():
        if item["waived"]:
            remarks.append(f"{kind} is waived for {count(len(item['waived']), 'file')}")
    if part["strange_names"]:
        remarks.append(f"{count(len(part['strange_names']), 'file')} not named as the data acquisition names raw files")
    if part["not_in_the_journal"]:
        remarks.append(f"{count(len(part['not_in_the_journal']), 'file')} known from the catalogue only, not seen in the buffer here")
    return remarks


def declared_everywhere(file: KnownFile) -> bool:
    """Whether every catalogue has confirmed the file, or a person answers for those that have not."""
    return file.state in EVERYWHERE
