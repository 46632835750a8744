"""What all tests share: the reference data where the machine has it, and what to do when something is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.htcondor import installed as no_condor

REPOSITORY = Path(__file__).parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

# No test needs a name server. Where there is one that does not answer, servers and clients that ask it for the names of this
# machine's addresses shall wait a second, not ten.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")

settings.register_profile("default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

HAVE = {
    "condor": lambda: no_condor() is None,
    "chromium": lambda: shutil.which("chromium") is not None and importlib.util.find_spec("playwright") is not None,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("needs"):
            what = mark.args[0]
            if not HAVE[what]():
                item.add_marker(pytest.mark.skip(reason=f"this machine has no {what}; `make services` installs it (root)"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """In CI everything must run: a skipped test is a failed one."""
    report = yield
    if os.environ.get("DUNE_PROMPT_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run inside a test would bind every logger for good to the standard error of that test."""
    monkeypatch.setattr("dune_prompt.log.configure", lambda **_: None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data (raw files, Wire-Cell results), beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no reference data beside the repository; the cropped copies in tests/data are used elsewhere")
    return SHARED_DATA
