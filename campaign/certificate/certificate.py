"""Builds a run's certificate, signs it by its content, and checks one that was written before.

The certificate is a plain JSON object without floating-point numbers: times as text to the second, lengths of time in whole milliseconds,
fractions as text. Its signature is the SHA-256 of its canonical form (sorted keys, no spaces, UTF-8), without the time of printing: the
same ledger and journal give the same bytes, on whatever machine and in whatever order their rows were written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from campaign.certificate.campaign_part import campaign_part
from campaign.certificate.facts import RunFacts, collect
from campaign.certificate.raw_part import raw_part
from campaign.certificate.sequence import spelled
from campaign.why.spelled import count, moment
from dune_prompt.errors import ConfigError, DataError
from dune_prompt.records import read_json, write_json
from dune_prompt.settings import Site

SCHEMA = 1
CLOSED_AFTER_S = 1800  # a run is closed when no file of it came for so long


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is certified (`content`), when it was printed, and the hash that signs the content."""

    content: Mapping[str, Any]
    printed_at: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(canonical(self.content)).hexdigest()

    @property
    def headline(self) -> str:
        """The first line: complete, or what is missing."""
        return str(self.content["headline"])

    def to_json(self) -> dict[str, Any]:
        return {"certificate": self.content, "sha256": self.sha256, "printed_at": self.printed_at}

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """What is printed of it, as tables by their titles; empty ones are left out when printing."""
        raw, campaigns = self.content["raw"], self.content["campaigns"]
        of = [(f"{part['campaign']} {part['version']}", part) for part in campaigns]
        files = ("expected", "processed", "open", "parked", "waived", "late")
        return {
            "raw files": [{key: raw[key] for key in ("files", "bytes", "first_file_at", "last_file_at")} | _checksums(raw)],
            "sequence numbers": [
                {key: item[key] for key in ("kind", "writer", "files", "first", "last", "holes")} | {"missing": spelled(item["missing"])}
                for item in raw["sequences"]
            ],
            "catalogues": [
                {"catalogue": kind, "declared": item["declared"], "not_declared": len(item["not_declared"]), "waived": len(item["waived"])}
                for kind, item in raw["catalogues"].items()
            ],
            "stopped": raw["stopped"],
            "there twice": [{"files": ", ".join(item["names"]), "have": item["what"]} for item in raw["duplicates"]],
            "campaigns": [
                {"campaign": name, **{key: part["files"][key] for key in files}, "prompt": part["prompt"]["fraction"]} for name, part in of
            ],
            "closed to processed, ms": [{"campaign": name, **part[_TOOK]} for name, part in of if part[_TOOK]],
            "made with": [
                {
                    "campaign": name,
                    "payload": part["made_with"]["payload"],
                    "code": ", ".join(part["made_with"]["code_versions"]),
                    "campaign_file": ", ".join(part["made_with"]["campaign_file_sha256"]),
                    "hosts": len(part["made_with"]["hosts"]),
                }
                for name, part in of
            ],
            "parked": [{"campaign": name, **item} for name, part in of for item in part["parked"]],
            "waived": [{"campaign": name, **item} for name, part in of for item in part["waived"]],
            "excluded": [{"campaign": name, **part["excluded"]} for name, part in of if part["excluded"]],
        }


_TOOK = "closed_to_processed_ms"


def _checksums(raw: Mapping[str, Any]) -> dict[str, int]:
    return {"verified": raw["checksums"]["verified"], "not_verified": len(raw["checksums"]["not_verified"])}


def canonical(content: Mapping[str, Any]) -> bytes:
    """The bytes that are signed."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def certify(connection: sa.Connection, site: Site, run: int, now: float) -> Certificate:
    """The certificate of a run as it is now. Only reads.

    Raises:
        ConfigError: nothing is known about the run.
    """
    facts = collect(connection, site, run)
    if not facts.known:
        raise ConfigError(f"run {run}: neither ledger nor journal knows a file of it; `dune-prompt campaign why {run}` says what is near")
    return Certificate(build(facts, now), moment(now))


def build(facts: RunFacts, now: float) -> dict[str, Any]:
    """The certificate's content."""
    arrivals = [file.closed_at or file.found_at for file in facts.raw]
    closed = not arrivals or now - max(arrivals) >= CLOSED_AFTER_S
    raw = raw_part(facts)
    campaigns = [campaign_part(item, facts.raw, facts.catalogs) for item in facts.campaigns]
    missing = [] if closed else [f"the run is open: its last file came at {moment(max(arrivals))}"]
    missing += raw["missing"]
    # What no version is required for is told, but does not make a run incomplete while another is.
    required = [part for part in campaigns if part["required"]] or campaigns
    missing += _told(required, "missing") if campaigns else ["no campaign has processed it"]
    others = [part for part in campaigns if part not in required]
    remarks = raw["remarks"] + _told(campaigns, "remarks") + [f"{what} (not required)" for what in _told(others, "missing")]
    return {
        "schema": SCHEMA,
        "site": facts.site,
        "run": facts.run,
        "headline": _headline(facts.run, raw, required, missing, remarks),
        "complete": not missing,
        "missing": missing,
        "remarks": remarks,
        "state": "closed" if closed else "open",
        "closed_after_s": CLOSED_AFTER_S,
        "raw": raw,
        "campaigns": campaigns,
    }


def _told(campaigns: Iterable[Mapping[str, Any]], what: str) -> list[str]:
    return [f"{part['campaign']} {part['version']}: {words}" for part in campaigns for words in part[what]]


def _headline(run: int, raw: Mapping[str, Any], required: list[dict[str, Any]], missing: list[str], remarks: list[str]) -> str:
    if missing:
        return f"Run {run} is NOT complete: {'; '.join(missing)}."
    processed = ", ".join(f"{part['files']['processed']} processed by {part['campaign']} {part['version']}" for part in required)
    seen = f" Remarks: {'; '.join(remarks)}." if remarks else ""
    return f"Run {run} is complete: {count(raw['files'], 'file')}, all verified and declared; {processed}.{seen}"


def write(certificate: Certificate, folder: Path) -> tuple[Path, Path]:
    """Write `certificate.json` and `certificate.html` into the folder; where they are."""
    from campaign.certificate.page import page

    folder.mkdir(parents=True, exist_ok=True)
    data, text = folder / "certificate.json", folder / "certificate.html"
    write_json(data, certificate.to_json())
    draft = text.with_suffix(".tmp")
    draft.write_text(page(certificate), "utf-8")
    draft.replace(text)
    return data, text


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a written certificate found. `differences` are what is otherwise now, each `where: then -> now`."""

    run: int
    sha256: str
    printed_at: str
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The same in words."""
        signed = f"run {self.run}: the certificate printed at {self.printed_at} is what was signed (SHA-256 {self.sha256})"
        if not self.differences:
            return [signed, "nothing is otherwise now"]
        return [signed, f"{count(len(self.differences), 'thing is', 'things are')} otherwise now:", *(f"  {it}" for it in self.differences)]


def verify(connection: sa.Connection, site: Site, path: Path, now: float) -> Verdict:
    """Check the signature of a certificate that was written to `path`, and compare it with the run as it is now.

    Raises:
        DataError: it is no certificate, or its content is not what was signed.
    """
    written = read_json(path)
    content = written.get("certificate") if isinstance(written, dict) else None
    if not isinstance(content, dict) or not isinstance(content.get("run"), int) or not isinstance(written.get("sha256"), str):
        raise DataError(f"{path}: is no certificate")
    try:
        found = hashlib.sha256(canonical(content)).hexdigest()
    except ValueError:
        raise DataError(f"{path}: holds numbers that no certificate has") from None
    if found != written["sha256"]:
        raise DataError(f"{path}: was changed after it was signed: its content has the SHA-256 {found}, it says {written['sha256']}")
    try:
        certificate = certify(connection, site, content["run"], now)
    except ConfigError:
        return Verdict(content["run"], found, str(written.get("printed_at")), ("the run is not known here any more",))
    return Verdict(content["run"], found, str(written.get("printed_at")), tuple(_differences(content, certificate.content)))


def _differences(then: Any, now: Any, where: str = "") -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted(then.keys() | now.keys()):
            yield from _differences(then.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif isinstance(then, list) and isinstance(now, list) and all(_label(item) for item in [*then, *now]):
        yield from _differences({_label(item): item for item in then}, {_label(item): item for item in now}, where)
    elif then != now:
        yield f"{where}: {_short(then)} -> {_short(now)}"


def _label(item: Any) -> str:
    """What an entry of a list is called by, so that one more or less does not shift all others."""
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        return ""
    return " ".join(str(item[key]) for key in ("campaign", "version", "kind", "writer", "file", "names", "number") if key in item)


def _short(value: Any) -> str:
    text = "-" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."
