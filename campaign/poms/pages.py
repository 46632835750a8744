"""Addresses on a POMS server: of its methods, and of the pages people look at."""

from __future__ import annotations

from urllib.parse import urlencode


def address(url: str, experiment: str, role: str, method: str) -> str:
    """Where a method is, or a page."""
    return f"{url.rstrip('/')}/poms/{method}/{experiment}/{role}"


def submission(url: str, experiment: str, role: str, submission_id: int) -> str:
    """The page of a submission."""
    return f"{address(url, experiment, role, 'submission_details')}?{urlencode({'submission_id': submission_id})}"


def campaign(url: str, experiment: str, role: str, name: str) -> str:
    """The page of a campaign."""
    return f"{address(url, experiment, role, 'campaign_overview')}?{urlencode({'campaign_name': name})}"
