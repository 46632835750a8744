"""Slices for launches of POMS: the same for the same request, never a file twice, and what a dead launch left is completed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from campaign.engine import Engine
from campaign.engine.watch import job_of
from campaign.inputs.places import Waiting
from campaign.installation import open_installation
from campaign.launchers.poms import PomsLauncher
from campaign.launchers.protocol import Job, Seen
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import launches as ledger_launches
from campaign.ledger import tasks as ledger_tasks
from campaign.poms.handing_out import Asked, Handed, hand_out, submitted
from campaign.service.api import create_router
from campaign.service.tokens import Tokens, operator_token
from dune_prompt.errors import ConfigError
from dune_prompt.records import read_json
from dune_prompt.settings.launchers import PomsLauncherSettings

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "*.hdf5", process: true, lifetime: 1h}
launchers:
  - kind: poms
    url: http://127.0.0.1:1
    login: {host: dunegpvm16.fnal.gov, token_file: /home/dunepro/token}
    slice: 5
    retake_after: 15min
    silent_after: 30min
    queue_wait: 6h
  - {kind: local}
slots: {min: 1, max: 8, backlog_goal: 1}
"""


class World:
    """An engine whose jobs POMS fetches."""

    def __init__(self, folder: Path, tools: Any, layout: str = "fused", site: str = SITE) -> None:
        tools.write_files(folder, layout, site=site, campaign=tools.campaign.replace("data_tier", f"place: {folder}/outbox, data_tier"))
        (folder / "outbox").mkdir()
        self.folder = folder
        self.installation = open_installation(folder / "site.yaml", time.time())
        self.now = time.time()
        settings = self.installation.site.launchers[0]
        assert isinstance(settings, PomsLauncherSettings)
        self.settings = settings
        self.launcher = PomsLauncher(settings, clock=lambda: self.now)
        self.local = tools.ScriptedLauncher()
        self.engine = Engine(self.installation, {"poms": self.launcher, "local": self.local}, jitter=lambda: 0.0)
        self.house = tools.House(folder, self.installation, self.engine, self.local)

    def arrive(self, count: int, **changes: Any) -> None:
        self.house.arrive(count, at=self.now, **changes)
        self.engine.step(self.now)

    def ask(self, task: int, step: str = "chain", **changes: Any) -> Handed:
        known = {"request_id": f"poms-dune-{task}", "campaign": "test-prompt", "version": "v1", "step": step, "task_id": task} | changes
        return hand_out(self.engine, Asked(**known), self.now)

    def attempts_of(self, handed: Handed) -> list[str]:
        assert handed.submission is not None, handed.reason
        return [job.attempt for job in handed.submission.jobs]

    def jobs_in_flight(self) -> list[Job]:
        with self.installation.store.read() as connection:
            attempts = ledger_attempts.in_flight(connection)
            tasks = ledger_tasks.by_ids(connection, {attempt.task_id for attempt in attempts})
        return [job_of(self.installation, attempt, tasks[attempt.task_id]) for attempt in attempts]

    def states(self) -> list[str]:
        return sorted(self.house.states())


@pytest.fixture
def world(tmp_path: Path, house_tools: Any) -> Iterator[World]:
    made = World(tmp_path, house_tools)
    yield made
    made.installation.store.close()


def test_nothing_is_submitted_from_this_side(world: World) -> None:
    world.arrive(3)
    assert world.engine.choice.name == "poms"
    assert world.states() == ["ready"] * 3


def test_a_launch_gets_as_many_jobs_as_there_are_slots_and_no_more_than_a_slice(world: World) -> None:
    world.arrive(20)
    first, second, third = world.ask(1), world.ask(2), world.ask(3)
    assert [len(world.attempts_of(first)), len(world.attempts_of(second))] == [5, 3]
    assert third.submission is None
    assert "all slots are taken: 8 wanted" in third.reason
    assert len({*world.attempts_of(first), *world.attempts_of(second)}) == 8


def test_what_jobs_need_is_where_workers_find_it(world: World) -> None:
    world.arrive(2)
    submission = world.ask(1, jobs=2).submission
    assert submission is not None
    assert submission.bundle is not None
    assert submission.bundle.exists()
    assert submission.assignments_url == f"{world.folder}/outbox/submissions/{submission.id}"
    assert sorted(path.name for path in Path(submission.assignments_url).iterdir()) == ["0.json", "1.json"]
    assert "DUNE_PROMPT_SITES" in (submission.folder / "job.sh").read_text()
    assert "sites=CERN" in (submission.folder / "job.sh").read_text()


def test_the_same_request_gets_the_same_slice(world: World) -> None:
    world.arrive(3)
    first, again = world.ask(1), world.ask(1)
    assert world.attempts_of(first) == world.attempts_of(again)
    assert (first.begun, again.begun) == (False, True)
    assert first.submission is not None
    assert again.submission is not None
    assert first.submission.id == again.submission.id


def test_after_its_jobs_were_named_the_same_request_gets_their_id(world: World) -> None:
    world.arrive(2)
    attempts = world.attempts_of(world.ask(1))
    assert submitted(world.engine, "poms-dune-1", {attempt: f"7.{i}@s" for i, attempt in enumerate(attempts)}, world.now) == 2
    assert world.states() == ["submitted"] * 2
    again = world.ask(1)
    assert again.submission is None
    assert again.handle == "7.0@s"


def test_a_launch_that_named_no_job_is_completed_by_a_later_one(world: World) -> None:
    world.arrive(2)
    left = world.attempts_of(world.ask(1))
    assert world.ask(2).submission is None
    world.now += 901
    taken = world.ask(3)
    assert world.attempts_of(taken) == left
    assert taken.begun
    assert taken.reason == "completes what task 1 of POMS left half done"
    assert world.ask(4).submission is None
    assert submitted(world.engine, "poms-dune-3", dict.fromkeys(left, "7.0@s"), world.now) == 2


def test_jobs_that_no_launch_submits_go_to_the_next_launcher(world: World) -> None:
    world.arrive(2)
    world.ask(1)
    world.now += 1801 + 900
    world.engine.step(world.now)
    world.now += 120
    world.engine.step(world.now)
    assert world.engine.choice.name == "local"
    assert len(world.local.jobs) == 2


def test_a_launch_whose_jobs_are_over_is_not_completed(world: World) -> None:
    world.arrive(1)
    world.ask(1)
    world.now += 1801 + 900
    world.engine.step(world.now)
    assert world.ask(2).reason == "nothing waits"
    with world.installation.store.read() as connection:
        assert ledger_launches.half_done(connection, 1, "chain", world.now) is None


def test_the_waiting_in_the_queue_counts_from_the_submission(world: World) -> None:
    world.arrive(1)
    left = world.attempts_of(world.ask(1))
    world.now += 901
    world.ask(2)
    submitted(world.engine, "poms-dune-2", dict.fromkeys(left, "7.0@s"), world.now)
    for before_s in (100, 30):  # a job that is gone is waited for a minute
        world.engine.step(world.now + 6 * 3600 - before_s)
    assert world.states() == ["submitted"]


def test_without_launches_the_next_launcher_takes_over_and_a_launch_brings_poms_back(world: World) -> None:
    world.now += 1801
    world.arrive(2)
    assert world.engine.choice.name == "local"
    assert len(world.local.jobs) == 2
    world.house.arrive(1, first=10, at=world.now)
    world.local.refuse = True
    world.ask(1)
    assert world.engine.choice.name == "local"
    world.now += 61
    world.engine.step(world.now)
    assert world.engine.choice.name == "poms"


def test_overlapping_launches_never_get_a_file_twice(world: World) -> None:
    world.arrive(30)
    gate = threading.Barrier(10)

    def one(task: int) -> list[str]:
        gate.wait()
        handed = world.ask(task)
        return world.attempts_of(handed) if handed.submission else []

    with ThreadPoolExecutor(10) as threads:
        slices = list(threads.map(one, range(1, 11)))
    attempts = [attempt for found in slices for attempt in found]
    assert len(attempts) == len(set(attempts)) == 8
    assert world.states() == ["ready"] * 22 + ["submitting"] * 8


def test_a_launch_whose_inputs_cannot_be_read_may_ask_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.arrive(1)
    places = world.engine.inputs.places
    monkeypatch.setattr(world.engine.inputs, "places", lambda _, tasks, __: {task.id: Waiting("it is on its way", 5.0) for task in tasks})
    assert world.ask(1).reason == "no input can be read now"
    monkeypatch.setattr(world.engine.inputs, "places", places)
    assert world.ask(1).reason == "nothing waits"
    world.now += 6
    assert world.ask(1).reason == "1 jobs"


def test_another_site_is_refused(world: World) -> None:
    world.arrive(1)
    with pytest.raises(ConfigError, match="restricts jobs to FNAL_GPGrid, the site file to CERN"):
        world.ask(1, site="FNAL_GPGrid")
    assert world.ask(2, site="CERN").submission is not None


def test_unknown_campaigns_and_steps_are_named(world: World) -> None:
    with pytest.raises(ConfigError, match=r"no campaign 'x' .*there are test-prompt v1: chain"):
        world.ask(1, campaign="x")
    with pytest.raises(ConfigError, match="with a step 'nf_sp'"):
        world.ask(1, "nf_sp")


def test_a_job_that_was_submitted_is_known_by_its_lease(world: World) -> None:
    world.arrive(1)
    (attempt,) = world.attempts_of(world.ask(1))
    submitted(world.engine, "poms-dune-1", {attempt: "7.0@s"}, world.now)
    world.now += 6 * 3600 - 10
    world.engine.step(world.now)
    assert world.states() == ["submitted"]
    world.now += 20
    world.engine.step(world.now)
    world.engine.step(world.now + 70)
    assert world.states() != ["submitted"]


def test_where_jobsub_answers_its_word_counts(world: World) -> None:
    queue = world.house.launcher
    watched = PomsLauncher(world.settings, queue, clock=lambda: world.now)
    world.arrive(1)
    (attempt,) = world.attempts_of(world.ask(1))
    job = world.installation.job_dir(attempt)
    assert job.exists()
    engine = Engine(world.installation, {"poms": watched, "local": world.local}, jitter=lambda: 0.0)
    submitted(engine, "poms-dune-1", {attempt: "7.0@s"}, world.now)
    queue.jobs[attempt] = None  # type: ignore[assignment]
    queue.running.add(attempt)
    engine.step(world.now)
    assert world.states() == ["running"]


def test_a_launch_is_over_when_its_tasks_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.arrive(2)
    attempts = world.attempts_of(world.ask(1))
    submitted(world.engine, "poms-dune-1", dict.fromkeys(attempts, "7.0@s"), world.now)

    def untold() -> list[Any]:
        with world.installation.store.read() as connection:
            return list(ledger_launches.untold(connection))

    assert untold() == []
    for job in world.jobs_in_flight():
        world.local.jobs[job.attempt] = job
        monkeypatch.chdir(job.job_dir)  # a job leaves its report where it was started
        world.local.finish(job.attempt)
        world.engine.contact.reported(job.attempt)
    world.engine.step(world.now + 1)
    assert world.states() == ["reported"] * 2
    assert untold() == []
    world.house.declare_outputs()
    world.engine.step(world.now + 2)
    assert world.states() == ["done"] * 2
    (over,) = untold()
    assert (over.launch.task_id, over.tasks, over.done, over.over) == (1, 2, 2, True)


# --- over HTTP


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(create_router(world.engine, Tokens(world.installation.store, world.folder), wake=lambda: None))
    with TestClient(app) as opened:
        opened.headers["Authorization"] = f"Bearer {operator_token(world.folder)}"
        yield opened


BODY = {"request_id": "poms-dune-1", "campaign": "test-prompt", "version": "v1", "step": "chain", "task_id": 1, "site": "CERN"}


def test_a_launch_over_http_gets_all_it_needs(world: World, client: TestClient) -> None:
    assert client.post("/api/v1/launches", json=BODY).json()["reason"] == "nothing waits"
    world.arrive(2)
    answer = client.post("/api/v1/launches", json=BODY).json()
    assert len(answer["jobs"]) == 2
    assert answer["launcher"]["site"] == "CERN"
    assert answer["launcher"]["role"] == "Production"
    assert "url" not in answer["launcher"]
    bundle = client.get("/api/v1/launches/poms-dune-1/bundle")
    assert len(bundle.content) == answer["bundle"]["size_bytes"]
    handles = {job["attempt"]: f"7.{index}@s" for index, job in enumerate(answer["jobs"])}
    assert client.put("/api/v1/launches/poms-dune-1/jobs", json={"handles": handles}).json()["changed"] == 2
    progress = client.get("/api/v1/launches/poms-dune-1").json()
    assert (progress["handle"], progress["open"], progress["over"]) == ("7.0@s", 2, False)
    assert client.get("/api/v1/launches/untold").json() == []
    assert client.post("/api/v1/launches/told", json={"requests": ["poms-dune-1"]}).json() == {"changed": 1}


def test_launches_need_the_operators_token(world: World, client: TestClient) -> None:
    world.arrive(1)
    for method, path in (
        ("POST", ""), ("GET", "/untold"), ("POST", "/told"), ("GET", "/x"), ("GET", "/x/bundle"), ("PUT", "/x/jobs")
    ):  # fmt: skip
        assert client.request(method, f"/api/v1/launches{path}", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert world.states() == ["ready"]


def test_a_job_elsewhere_reports_with_its_own_token(world: World, client: TestClient) -> None:
    world.arrive(2)
    world.ask(1)
    one, other = (read_json(job.assignment) for job in world.jobs_in_flight())
    mine = {"Authorization": f"Bearer {one['token']}"}
    heartbeat = f"/api/v1/attempts/{one['attempt']}/heartbeat"
    assert client.post(heartbeat, json={"host": "wn1"}, headers=mine).status_code == 200
    assert client.post(f"/api/v1/attempts/{other['attempt']}/heartbeat", json={}, headers=mine).status_code == 403
    assert client.post("/api/v1/commands/step", json={}, headers=mine).status_code == 403
    assert client.post("/api/v1/launches", json=BODY, headers=mine).status_code == 403
    report = {key: one[key] for key in ("attempt", "task", "campaign", "version")} | {"schema": 1, "host": "wn1"}
    failed = {"name": "nf_sp", "state": "failed", "error_class": "payload", "message": "boom", "started": 1, "ended": 2, "cpu_s": 1}
    report["stages"] = [failed | {"rss_bytes": 1, "outputs": [], "metrics": {}}]
    where = f"/api/v1/attempts/{one['attempt']}/report"
    assert client.put(where, json={"schema": 1}, headers=mine).status_code == 422
    assert client.put(where, content=b"nonsense", headers=mine).status_code == 422
    assert client.put(where, json=report | {"attempt": other["attempt"]}, headers=mine).status_code == 422
    assert client.put(where, json=report, headers=mine).status_code == 200
    world.engine.step(time.time())
    states = {task.input_did: str(task.state) for task in world.house.tasks()}
    assert states[one["raw"]["did"]] == "waiting_retry"
    # Its attempt is over: its job is told so, and may do nothing else.
    assert client.post(heartbeat, json={}, headers=mine).status_code == 410
    assert client.put(where, json=report, headers=mine).status_code == 401
    assert client.post(heartbeat, json={}, headers={"Authorization": "Bearer other"}).status_code == 401


def test_errors_over_http_are_told_in_words(world: World, client: TestClient) -> None:
    assert client.post("/api/v1/launches", json=BODY | {"campaign": "x"}).status_code == 404
    refused = client.post("/api/v1/launches", json=BODY | {"site": "FNAL_GPGrid"})
    assert refused.status_code == 409
    assert "render and upload" in refused.json()["detail"]
    assert client.get("/api/v1/launches/unknown").status_code == 404
    assert client.put("/api/v1/launches/unknown/jobs", json={"handles": {}}).status_code == 404


def test_jobs_are_given_up_when_no_launch_submits_them_for_long(world: World) -> None:
    world.arrive(1)
    world.ask(1)
    (job,) = world.jobs_in_flight()
    assert world.launcher.poll([job], world.now)[job.attempt].seen is Seen.WAITING
    assert world.launcher.poll([job], world.now + 2701)[job.attempt].seen is Seen.REFUSED
