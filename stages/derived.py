"""Names and sidecars of derived files."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from dune_prompt.checksum import adler32_of
from dune_prompt.records import SIDECAR_SUFFIX, FileRecord, Output, check_name, read_json, write_json
from stages.stage import StageContext

# What a derived file inherits from its raw parent.
_INHERITED = (
    "core.data_stream",
    "core.end_time",
    "core.event_count",
    "core.events",
    "core.file_type",
    "core.first_event_number",
    "core.last_event_number",
    "core.run_type",
    "core.runs",
    "core.runs_subruns",
    "core.start_time",
    "dune.daq_test",
    "retention.class",
)


def derived_name(context: StageContext, what: str, extension: str) -> str:
    """`<raw stem>_<campaign>_<version>_<what>.<extension>`."""
    stem = PurePath(context.raw.name).stem
    return check_name(f"{stem}_{context.payload.campaign}_{context.payload.version}_{what}.{extension}")


def workflow_of(context: StageContext) -> dict[str, Any]:
    """What made a file: the attempt, the campaign file, this code. Payloads add the versions of their programs."""
    payload = context.payload
    return {"attempt": context.attempt, "campaign_file_sha256": payload.file_hash, "code_version": payload.code_version}


def write_sidecar(
    context: StageContext, name: str, *, what: str, data_tier: str, file_format: str, extra: dict[str, Any] | None = None
) -> None:
    """Write the sidecar of output `name`, with the metadata that DUNE's catalogues demand of a derived file."""
    path = context.output_dir / name
    payload = context.payload
    raw = context.raw.metadata
    runs = raw.get("core.runs") or [0]
    metadata = {key: raw[key] for key in _INHERITED if key in raw} | {
        "core.application.family": "dune-prompt",
        "core.application.name": context.name,
        "core.application.version": payload.version,
        "core.data_tier": data_tier,
        "core.file_content_status": "good",
        "core.file_format": file_format,
        "core.group": "dune",
        "dune.campaign": payload.campaign,
        "dune.config_file": f"{payload.campaign}.yaml",
        "dune.output_status": "recorded",
        "dune.workflow": workflow_of(context),
        "retention.status": "active",
    }
    namespace = str(payload.outputs["namespace"])
    size_bytes, adler32 = adler32_of(path)
    record = FileRecord(
        namespace=namespace,
        name=name,
        size_bytes=size_bytes,
        adler32=adler32,
        metadata=metadata | (extra or {}),
        parents=(context.raw.did,) if context.raw.did else (),
        dataset=f"{namespace}:{payload.campaign}_{payload.version}_{what}_{runs[0]:06d}",
    )
    write_json(path.with_name(name + SIDECAR_SUFFIX), record.to_json())


def describe(folder: Path, name: str) -> Output:
    """Size and checksum of output `name`, and whether a sidecar says that it goes into the catalogues."""
    path = folder / check_name(name)
    sidecar = path.with_name(name + SIDECAR_SUFFIX)
    if not sidecar.exists():
        return Output(name, *adler32_of(path))
    record = FileRecord.from_json(read_json(sidecar), str(sidecar))
    return Output(name, record.size_bytes, record.adler32, declared=True)
