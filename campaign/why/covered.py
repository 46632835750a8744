"""Which files each version means to process, by its campaign file as the ledger remembers it: the engine's rule, without an engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from campaign.definition import Campaign, CampaignFile, CanarySettings, InputSettings, OutputSettings
from campaign.installation import ActiveCampaign
from campaign.versions import coverage
from campaign.versions.coverage import Coverage

_OF_COVERAGE = ("from_run", "to_run", "exclude_runs", "where")


def coverages(connection: sa.Connection, campaigns: Mapping[int, Any]) -> Mapping[int, Coverage]:
    """What each of these versions (rows of the ledger by id) covers now."""
    return coverage.load(connection, {campaign_id: _active(row) for campaign_id, row in campaigns.items()})


def _active(row: Any) -> ActiveCampaign:
    """The version with what of its file says which inputs it has; all other settings may be of an older dune-prompt, and are left out."""
    content: Mapping[str, Any] = row.content
    inputs = {key: value for key, value in (content.get("inputs") or {}).items() if key in _OF_COVERAGE}
    canary = content.get("canary")
    settings = Campaign.model_construct(
        campaign=row.name,
        version=row.version,
        stream=row.stream,
        detector=row.detector,
        layout=row.layout,
        required=bool(row.required),
        inputs=InputSettings.model_validate(inputs),
        outputs=OutputSettings.model_construct(**(content.get("outputs") or {})),
        canary=None if canary is None else CanarySettings.model_construct(**canary),
    )
    return ActiveCampaign(row.id, CampaignFile(Path(), settings, row.file_hash), {}, behind=False)
