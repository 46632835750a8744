"""Tries SAM for real, but without a trace: who we are, until when, and whether we may declare."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from declare_daemon.catalogs.http import Refusal, bearer_token, bearer_token_file, certificate_owner, token_owner
from declare_daemon.catalogs.protocol import CONFIRMED, OUTPUT_STATUS, Finding, Wanted
from declare_daemon.catalogs.sam_clients import NOT_FOUND, SamClient
from declare_daemon.catalogs.sam_metadata import parameter, to_sam
from declare_daemon.metadata import RAW_TIERS
from dune_prompt.errors import ConfigError, DunePromptError
from dune_prompt.records import FileRecord
from dune_prompt.settings.catalogs import SamSettings

# A name no file has.
NOBODY = "dune-prompt.check.does-not-exist"

_METADATA = {
    "core.data_stream": "cosmics",
    "core.end_time": 1718795052.0,
    "core.event_count": 3,
    "core.events": [1, 9, 17],
    "core.file_content_status": "good",
    "core.file_format": "hdf5",
    "core.file_type": "detector",
    "core.first_event_number": 1,
    "core.group": "dune",
    "core.last_event_number": 17,
    "core.runs": [28049],
    "core.runs_subruns": [2804900001],
    "core.start_time": 1718795010.0,
    "dune.daq_test": "False",
    "retention.class": "physics",
    "retention.status": "active",
}
_DERIVED = {
    "core.application.family": "dune-prompt",
    "core.application.name": "nf_sp",
    "core.application.version": "v1",
    "dune.campaign": "check",
    "dune.config_file": "check.yaml",
    "dune.output_status": "recorded",
    "dune.workflow": {"attempt": "check"},
}


def findings(client: SamClient, settings: SamSettings, wanted: Sequence[Wanted]) -> list[Finding]:
    """What came of each try; a try that is refused is a finding too."""
    kinds = dict.fromkeys((item.namespace, item.data_tier) for item in wanted)
    return [
        _tried("reading", lambda: _answers(client)),
        *_credentials(settings),
        *(_tried(f"metadata of {namespace}, data tier {tier}", partial(_validated, client, namespace, tier)) for namespace, tier in kinds),
        _tried("writing", lambda: _may_write(client)),
    ]


def _tried(what: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, attempt())
    except Refusal as refusal:
        return Finding(what, False, f"SAM refuses it: {refusal.message}")
    except DunePromptError as error:
        return Finding(what, False, str(error))
    except Exception as error:  # noqa: BLE001 - a check never raises
        return Finding(what, False, f"{type(error).__name__}: {error}"[:300])


def _answers(client: SamClient) -> str:
    client.count(f"file_name {NOBODY}")
    return "SAM answers queries"


def _validated(client: SamClient, namespace: str, data_tier: str) -> str:
    metadata = _METADATA | {"core.data_tier": data_tier, "core.run_type": namespace} | ({} if data_tier in RAW_TIERS else _DERIVED)
    record = FileRecord(namespace, NOBODY, 1, "00000001", metadata)
    client.validate(to_sam(record, f"{namespace}:check"))
    return "SAM accepts such metadata"


def _may_write(client: SamClient) -> str:
    """Change a file that is not there: SAM asks for the right to do so first."""
    try:
        client.modify([{"file_name": NOBODY, parameter(OUTPUT_STATUS): CONFIRMED}])
    except Refusal as refusal:
        if refusal.kind == NOT_FOUND or refusal.status == 404:
            return "may change metadata"
        raise
    return "may change metadata"


def _credentials(settings: SamSettings) -> list[Finding]:
    """The certificate and the token writes are made with, as far as there are any."""
    found = []
    if settings.cert is not None:
        try:
            owner, expires_at = certificate_owner(settings.cert)
            found.append(_credential("certificate", owner, expires_at))
        except ConfigError as error:
            found.append(Finding("certificate", False, str(error)))
    if token := bearer_token():
        owner_of_token, until = token_owner(token)
        where = f" in {bearer_token_file()}" if bearer_token_file() else ""
        found.append(_credential(f"token{where}", owner_of_token, until))
    if not found:
        detail = "neither `cert` nor a bearer token (BEARER_TOKEN_FILE): SAM knows us only if its client finds a proxy by itself"
        found.append(Finding("credential", settings.client != "http" or settings.secure_url is None, detail))
    return found


def _credential(what: str, owner: str | None, expires_at: float | None) -> Finding:
    if expires_at is None:
        return Finding(what, True, f"of {owner or 'nobody it names'}, does not say until when", owner)
    left_h = (expires_at - time.time()) / 3600
    return Finding(what, left_h > 0, f"valid for {left_h:.1f} h" if left_h > 0 else "has expired", owner, expires_at)
