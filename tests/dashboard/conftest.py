"""A site, a store with a ledger and a journal written row by row, and data-quality records with pictures."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from campaign.engine.launch import token_hash
from campaign.ledger.tables import attempt_table, campaign_table, commit_table, count_table, slice_table, task_table
from campaign.places import job_dir
from campaign.service.scopes import Scope
from campaign.service.tokens import Principal
from dashboard.app import create_app
from dashboard.dqm.tables import result_table, run_element_table, run_table
from dashboard.quality.tables import verdict_table
from declare_daemon.journal.tables import file_table, step_table
from dune_prompt.settings import Site
from dune_prompt.store import Store, event_table, lease_table, open_store
from tests.dashboard.browsing import chromium, serving
from tests.dashboard.records import NOW, did, make_record, png, ulid

OPERATOR = "operator-token-of-the-tests"


@dataclass
class Ledger:
    """Writes rows as engine and daemon would, and remembers them, so that tests can count again by themselves."""

    store: Store
    folder: Path
    campaigns: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)

    def campaign(self, name: str = "pdhd-prompt", version: str = "v1", layout: str = "fused", detector: str = "pdhd") -> int:
        self.campaigns.append(
            {
                "id": len(self.campaigns) + 1,
                "name": name,
                "version": version,
                "stream": "physics",
                "detector": detector,
                "layout": layout,
                "required": True,
                "file_hash": "0" * 64,
                "content": {},
                "first_seen": NOW - 86400,
            }
        )
        return len(self.campaigns)

    def task(self, run: int, index: int, *, campaign: int = 1, step: str = "chain", state: str = "ready", **values: Any) -> dict[str, Any]:
        task_id, name = len(self.tasks) + 1, values.pop("did", did(run, index))
        first = next((task["id"] for task in self.tasks if (task["campaign_id"], task["input_did"]) == (campaign, name)), task_id)
        row = {
            "id": task_id,
            "input_id": first,
            "campaign_id": campaign,
            "input_did": name,
            "step": step,
            "state": state,
            "late": False,
            "run": run,
            "file_index": index,
            "size_bytes": 4_000_000_000,
            "deadline": NOW + 3600,
            "failures": 0,
            "attempts": 1 if state not in ("ready", "blocked") else 0,
            "allowed_failures": 4,
            "ready_at": NOW - 60,
            "error_class": None,
            "message": None,
            "closed_at": NOW - 120,
            "declared_at": None,
            "created_at": NOW - 100,
            "submitted_at": None,
            "started_at": None,
            "reported_at": None,
            "done_at": NOW - 5 if state == "done" else None,
        } | values
        self.tasks.append(row)
        return row

    def attempt(
        self, task: dict[str, Any], number: int = 1, *, token: str | None = None, log: str | None = None, **values: Any
    ) -> dict[str, Any]:
        attempt_id = ulid(1000 * task["id"] + number)
        if log is not None:
            folder = job_dir(self.folder / "workspace", attempt_id)
            folder.mkdir(parents=True)
            (folder / "job.log").write_text(log)
        row = {
            "id": attempt_id,
            "task_id": task["id"],
            "slice_id": ulid(1),
            "number": number,
            "state": "failed",
            "stages": "nf_sp,declare,evaluate,dqm_upload",
            "launcher": "local",
            "handle": "4711:99",
            "token_hash": token_hash(token or attempt_id),
            "lease_until": NOW + 60,
            "created_at": NOW - 100,
            "submitted_at": NOW - 100,
            "started_at": NOW - 95,
            "heartbeat_at": None,
            "ended_at": NOW - 50,
            "host": "worker-7",
            "error_class": None,
            "message": None,
        } | values
        self.attempts.append(row)
        return row

    def file(self, name: str, *, state: str = "declared", **values: Any) -> dict[str, Any]:
        row = {
            "id": len(self.files) + 1,
            "origin": "buffer",
            "name": name,
            "path": f"/buffer/{name}",
            "target": None,
            "state": state,
            "reason": None,
            "tries": 0,
            "next_try": 0.0,
            "stream": "physics",
            "did": f"hd-protodune:{name}",
            "size_bytes": 4_000_000_000,
            "adler32": "00000001",
            "metadata": {},
            "parents": None,
            "dataset": None,
            "run": None,
            "file_index": None,
            "attempt": None,
            "closed_at": NOW - 120,
            "found_at": NOW - 119,
            "verified_at": NOW - 110,
            "declared_at": NOW - 100 if state == "declared" else None,
            "left_at": None,
            "proof": 1 if state == "leaving" else None,
        } | values
        self.files.append(row)
        return row

    def write(self) -> None:
        """Replace all rows of the store by what was collected."""
        counts = Counter((t["campaign_id"], t["run"], t["step"], t["state"], t["late"]) for t in self.tasks)
        keys = ("campaign_id", "run", "step", "state", "late")
        with self.store.write() as connection:
            for table in (
                verdict_table,
                result_table,
                run_element_table,
                run_table,
                commit_table,
                attempt_table,
                slice_table,
                count_table,
                task_table,
                campaign_table,
                step_table,
                file_table,
                event_table,
            ):
                connection.execute(sa.delete(table))
            first = {"id": ulid(1), "request_id": None, "campaign_id": 1, "step": "chain", "launcher": "local", "created_at": NOW}
            content: list[tuple[sa.Table, list[dict[str, Any]]]] = [
                (campaign_table, self.campaigns),
                (task_table, self.tasks),
                (slice_table, [first] if self.attempts else []),
                (attempt_table, self.attempts),
                (commit_table, self.commits),
                (count_table, [dict(zip(keys, key, strict=True)) | {"tasks": number} for key, number in counts.items()]),
                (file_table, self.files),
                (event_table, self.events),
            ]
            for table, rows in content:
                if rows:
                    connection.execute(sa.insert(table), rows)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.model_validate(
        {
            "site": "test-np04",
            "workspace": tmp_path / "workspace",
            "buffer": {"path": tmp_path / "buffer", "capacity": "200TB"},
            "streams": [{"name": "physics", "pattern": "*.hdf5", "process": True}],
            "slots": {"min": 1, "max": 400},
        }
    )


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose tables are made: copied for each test, because making them takes longer than most tests."""
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    store = open_store(f"sqlite:///{path}")
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return path


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Iterator[Store]:
    path = tmp_path / "store.sqlite"
    path.write_bytes(empty_store.read_bytes())
    store = open_store(f"sqlite:///{path}", migrate=False)
    yield store
    store.close()


@pytest.fixture
def ledger(store: Store, tmp_path: Path) -> Ledger:
    (tmp_path / "buffer").mkdir()
    return Ledger(store, tmp_path)


@dataclass
class Tokens:
    """Tokens by hand; the real ones are tested in the campaign room."""

    known: dict[str, Principal] = field(default_factory=lambda: {OPERATOR: Principal("operator", "operator", frozenset(Scope))})

    def authenticate(self, token: str) -> Principal | None:
        return self.known.get(token)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def new_app(site: Site, store: Store, tokens: Tokens) -> Callable[[], Any]:
    """Makes an application, as each start of the service does."""
    slots = SimpleNamespace(wanted=37, reason="592 tasks wait, 16 to a slot: 37 slots are wanted")
    return lambda: create_app(site, store, None, authenticate=tokens.authenticate, slots=lambda: slots)


@pytest.fixture
def app(new_app: Callable[[], Any]) -> Any:
    return new_app()


@pytest.fixture
def client(app: Any) -> Iterator[TestClient]:
    """Without the application's own work in the background, which would read the store when it likes."""
    client = TestClient(app)
    yield client
    client.close()


@pytest.fixture
def served(app: Any) -> Iterator[str]:
    """The address of a real server, for streams and browsers."""
    with serving(app) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: a temporary folder, or DUNE_PROMPT_SCREENSHOTS."""
    folder = Path(os.environ.get("DUNE_PROMPT_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    return make_record


@dataclass(frozen=True)
class Uploader:
    """Sends records as `dqm_upload` does."""

    client: TestClient

    def __call__(
        self, content: Any, *, token: str | None = OPERATOR, pictures: dict[str, bytes] | None = None, as_file: bool = True
    ) -> Any:
        """`pictures`: by name; None: all that are listed."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        if pictures is None:
            pictures = {picture["name"]: png() for picture in content["pictures"]}
        parts: list[tuple[str, Any]] = [("record", ("record.json" if as_file else None, body, "application/json"))]
        parts += [("picture", (name, data, "image/png")) for name, data in pictures.items()]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.client.put("/api/v1/dqm/records", files=parts, headers=headers)


@pytest.fixture
def upload(client: TestClient) -> Uploader:
    return Uploader(client)


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    return png


@pytest.fixture
def lease(store: Store) -> Callable[[str, float], None]:
    """Write a lease of another host."""

    def write(name: str, expires_at: float) -> None:
        with store.write() as connection:
            connection.execute(sa.insert(lease_table).values(name=name, holder="np04-srv-1/12/34", token=1, expires_at=expires_at))

    return write


def fill_busy(ledger: Ledger, now: float, *, runs: int = 9, files_a_run: int = 60) -> None:
    """A site in the middle of data taking: older runs done, the newest at work, some files parked, one conflict, some bad files."""
    rng = random.Random(7)
    ledger.campaign()
    newest = 27304
    spacing = 20.0
    for r in range(runs):
        run = newest - r
        for i in range(files_a_run):
            age = (r * files_a_run + files_a_run - i) * spacing
            closed = now - age
            state = "done"
            if r == 0:
                state = (
                    "ready"
                    if i > files_a_run - 9
                    else "running"
                    if i > files_a_run - 17
                    else "reported"
                    if i > files_a_run - 19
                    else "done"
                )
            elif rng.random() < 0.012:
                state = "parked"
            elif rng.random() < 0.008:
                state = "waiting_retry"
            task = _busy_task(ledger, rng, run, i, state, closed, now)
            name = task["input_did"].partition(":")[2]
            ledger.file(
                name,
                run=run,
                file_index=i,
                closed_at=closed,
                found_at=closed + 1,
                verified_at=closed + 3,
                declared_at=closed + rng.uniform(4, 9),
                state="left" if r > 6 else "declared",
            )
            if state == "done":
                ledger.file(f"{name[:-5]}_pdhd-prompt_v1_gauss.npz", origin="outbox", run=run, size_bytes=180_000_000)
    ledger.file(
        "np04hd_raw_run027303_0077_broken.hdf5", state="quarantined", run=27303, reason="HDF5: the file is cut off at 1.2 GB of 4.0 GB"
    )
    ledger.file(
        "np04hd_raw_run027301_0009_twice.hdf5",
        state="conflict",
        run=27301,
        reason="MetaCat has it with adler32 1f2e3d4c, the buffer with 99aa0b1c",
    )
    ledger.file("notes.txt", state="unmatched", did=None, reason="fits no stream of the site file")
    for i in range(3):
        ledger.file(
            f"np04hd_raw_run027304_{60 + i:04d}_new.hdf5",
            state="verified",
            run=27304,
            tries=2,
            next_try=now + 30,
            reason="rucio: no answer within 30 s",
        )


def _busy_task(ledger: Ledger, rng: random.Random, run: int, index: int, state: str, closed: float, now: float) -> dict[str, Any]:
    started = closed + rng.uniform(6, 40)
    reported = started + rng.lognormvariate(4.2, 0.25)
    times: dict[str, Any] = {}
    if state in ("running", "reported", "done"):
        times = {"submitted_at": started - 2, "started_at": started}
    if state in ("reported", "done"):
        times["reported_at"] = reported
    if state == "done":
        times["done_at"] = min(reported + rng.uniform(2, 12), now - 1)
    failing = {
        "parked": ("data", "nf_sp: fragment Detector_Readout_0x000000c8_WIBEth is empty in all trigger records"),
        "waiting_retry": ("transient", "dqm_upload: the service did not answer within 30 s"),
    }
    if state in failing:
        times |= dict(zip(("error_class", "message"), failing[state], strict=True))
    task = ledger.task(
        run,
        index,
        state=state,
        closed_at=closed,
        created_at=closed + 4,
        deadline=closed + 86400 * (0.2 if state == "parked" else 1),
        ready_at=now + 90,
        **times,
    )
    if state in failing:
        ended = min(closed + 200, now - 20)
        for number in range(1, 5 if state == "parked" else 2):
            ledger.attempt(
                task,
                number,
                ended_at=ended + number * 20,
                log=f"{failing[state][1]}\n",
                error_class=failing[state][0],
                message=failing[state][1],
            )
    elif state in ("running", "done"):
        ledger.attempt(
            task,
            state="running" if state == "running" else "succeeded",
            ended_at=None if state == "running" else times["reported_at"],
            started_at=started,
        )
    return task


@pytest.fixture
def busy() -> Callable[..., None]:
    return fill_busy
