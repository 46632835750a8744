"""What things of ours are called in POMS.

POMS never changes a login setup or a job type that is there: it takes the old one, with a warning. So their names hold a hash of what is
in them, and what has changed has a new name. Campaigns and stages are changed in place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from campaign.definition import Campaign
from campaign.layout import steps_of

HASH_LETTERS = 8


def campaign_name(settings: Campaign) -> str:
    """A version of a campaign is a campaign of its own in POMS."""
    return f"{settings.campaign}_{settings.version}"


def stage_names(settings: Campaign) -> tuple[str, ...]:
    """The stages are called as the steps of the layout."""
    return tuple(step.name for step in steps_of(settings.layout))


def login_name(settings: Campaign, host: str, account: str, setup: str) -> str:
    """`setup` as it is in the ini."""
    return f"{campaign_name(settings)}_login_{login_hash(host, account, setup)}"


def job_type_name(
    settings: Campaign, stage: str, launch_script: str, parameters: Sequence[tuple[str, str]], output_file_patterns: str, recoveries: str
) -> str:
    return f"{campaign_name(settings)}_{stage}_{job_type_hash(launch_script, parameters, output_file_patterns, recoveries)}"


def login_hash(host: str, account: str, setup: str) -> str:
    """The end of the name of a login setup with this content."""
    return _hash(host, account, setup)


def job_type_hash(launch_script: str, parameters: Sequence[tuple[str, str]], output_file_patterns: str, recoveries: str) -> str:
    """The end of the name of a job type with this content."""
    return _hash(launch_script, [list(pair) for pair in parameters], output_file_patterns, recoveries)


def _hash(*content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:HASH_LETTERS]
