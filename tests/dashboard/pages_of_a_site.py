"""The pages of a busy site by name, for tests that are about all of them."""

from __future__ import annotations

from urllib.parse import quote

from tests.dashboard.records import did

RUN = 27304
PAGES = {
    "operations": "/",
    "detector": "/quality",
    "limits": "/quality/limits",
    "runs": "/runs",
    "run": f"/runs/{RUN}",
    "run-quality": f"/runs/{RUN}/quality",
    "trends": "/trends",
    "file": f"/files/{quote(did(RUN, 3), safe='')}",
    "jobs": "/jobs",
    "parked": "/parked",
    "alarms": "/alarms",
    "hand-over": "/handover",
    "hand-over-rows": "/handover/processed",
    "launches": "/launches",
    "api": "/api",
}
