"""A double of the POMS server (fermitools/poms, main of April 2025), with the launch host it reaches by ssh.

    with Poms(folder) as poms:
        requests.post(f"{poms.url}/poms/ini_to_campaign/dune/production", data={"pcl_call": 1}, files={"upload": open(…, "rb")})
        poms.environment = jobsub.environment()
        poms.fire(("pdhd_v1", "nf_sp"))     # as cron does
        poms.wait(30)
        poms.agent({"12@jobsub01.fnal.gov": "Completed"})
        poms.wrapup()

A launch is a real `bash` script in a home of its own, `folder`, in the background.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.poms_parts import editing, export, pages, schedule, statuses, upload
from tests.servers.poms_parts.launching import Launch, Launches, Order, prepare
from tests.servers.poms_parts.problems import rewrite
from tests.servers.poms_parts.records import POMS_USER, Caller, HeldLaunch, Records, Stage, Submission, one
from tests.servers.poms_parts.rows import stage_row
from tests.servers.poms_parts.web import HTML, INI, TEXT, Answer, Request, Server, as_json, error_page, page
from tests.servers.poms_parts.wrapup import Wrapup, must_be_superuser, never, one_file

Fields = dict[str, Any]
# What the session of a user says where a request says nothing.
DEFAULT_EXPERIMENT, DEFAULT_ROLE = "dune", "analysis"
CONTEXT = ("experiment", "role", "tmin", "tmax", "tdays")
JOB_ID = re.compile(r"Use job id (\S+) to retrieve output")
COUNTS = ("idle", "running", "held", "completed", "failed", "cancelled")
ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Method:
    """One address below /poms: what it calls, and what becomes of the result (poms_method.py)."""

    function: Callable[..., Any]
    kind: str = "html"
    redirect: str | None = None
    keeps_context: bool = False


class Poms:
    """The server, with its surprises as they are, and on request its faults.

    Methods are at `/poms/METHOD[/EXPERIMENT[/ROLE]]?…` or take `experiment=` and `role=`, by GET or POST; most take `fmt=json`:
    `ini_to_campaign`, `campaign_deps_ini`, `get_campaign_id`, `get_campaign_stage_id`, `show_campaigns`, `show_campaign_stages`,
    `campaign_stage_submissions`, `submission_details`, `running_submissions`, `update_submission`, `get_submission_id_for`,
    `force_locate_submission`, `update_campaign_stage`, `update_stage_param_overrides`, `mark_campaign_hold`, `mark_campaign_active`,
    `update_launch_schedule`, `schedule_launch`, `launch_jobs`, `launch_campaign`, `list_launch_file`; and for the user "poms" only
    `launch_queued_job` and `wrapup_tasks`. Any other is 404.

    As the real server does, without any fault:

    * a missing mandatory key is HTTP 400 with a page; an unknown login setup, job type or section is HTTP 200 with `status` in JSON;
    * uploads are committed in steps: a failed one can leave login setups, an empty campaign, or stages without dependencies;
    * stages a new upload does not name are detached, and stay in the crontab;
    * launches that fail late, for a bad percent sign or for `param_overrides` sent as text, leave a submission that stays New;
    * dependents learn the parent from the dataset's name only: POMS_PARENT_TASK_ID is empty but for recoveries;
    * `update_launch_schedule` without `dowlist=*` is refused.

    Faults can be changed at any time; each request looks at them when it comes:

    duplicate_launch: True     each fire launches twice
    unauthorized: True         401 to every request from outside
    down: True                 the connection is closed without an answer; cron, agent and wrapper reach nothing either
    slow: seconds              every answer from outside comes so much later
    http_500: [methods]        these fail
    ok_but_failed: [methods]   these do nothing and answer an error text with HTTP 200
    forget_updates: True       update_submission answers Ok. and does nothing
    wrapper: True              launches have the jobsub wrapper: the job id is reported as soon as the log names it, with status New

    An empty poll needs no fault: `draining` hands the dataset out whatever is in it. It and None are the only split types here.

    What the facts about the server leave open: users are rows of name and id (who comes without the header X-Shib-Userid is `user`);
    what SAM counts is 0 on all pages; `authorized` is true for everybody; nothing depends on the time passed, so that no
    submission is called located, or forgotten, after some days. Client certificates do not exist over plain HTTP.
    """

    def __init__(self, folder: Path) -> None:
        self.faults: dict[str, Any] = {}
        # What a login on the launch host has; HOME is `folder`.
        self.environment: Mapping[str, str] = {}
        self.user = "operator"
        self.requests: list[Request] = []
        # In place of SAM: is a completed submission of completion type `located`? How many files do dimensions have?
        self.located: Callable[[Submission], bool] = never
        self.count_files: Callable[[str], int] = one_file
        self._lock = threading.RLock()
        self._records = Records()
        self._launches = Launches(folder)
        self._reported: set[int] = set()
        self._wrapup = Wrapup(self._records, self._launch, lambda submission: self.located(submission), lambda dims: self.count_files(dims))
        self._methods = self._method_table()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = Server(self._answer, lambda: float(self.faults.get("slow", 0.0)))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="poms", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the server, and with SIGKILL all launches and what they started."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None
        self._launches.kill()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}"

    # What tests look at.

    @property
    def submissions(self) -> list[Submission]:
        return list(self._records.submissions.values())

    @property
    def launches(self) -> list[Launch]:
        return list(self._launches.all)

    @property
    def held_launches(self) -> list[HeldLaunch]:
        return list(self._records.held_launches)

    @property
    def crontab(self) -> list[str]:
        return list(self._records.crontab.values())

    @property
    def swallowed(self) -> list[str]:
        """Launches of dependents and recoveries that failed, of which POMS tells nobody."""
        return list(self._wrapup.swallowed)

    def submission(self, submission_id: int) -> Submission:
        return self._records.submissions[submission_id]

    def stage(self, campaign: str, stage: str) -> Stage:
        return one(row for row in self._records.stages.values() if row.name == stage and self._is_of(row, campaign))

    def log(self, submission_id: int) -> str:
        """What the launch of a submission has written so far."""
        return one(launch for launch in self._launches.all if launch.submission_id == submission_id).log.read_text()

    def asked(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    # What happens on the server by itself.

    def fire(self, stage: int | tuple[str, str]) -> None:
        """What the stage's line in the crontab does, be it there or not: one try, nobody looks at the answer."""
        with self._lock:
            stage_id = stage if isinstance(stage, int) else self.stage(*stage).campaign_stage_id
            line = self._records.crontab.get(stage_id)
            launcher = schedule.launcher_in(line) if line else self._records.experimenter(self.user)
            for _ in range(2 if self.faults.get("duplicate_launch") else 1):
                self._inside("launch_jobs", {"campaign_stage_id": str(stage_id), "launcher": str(launcher)}, POMS_USER)

    def fire_all(self) -> None:
        """Fire all lines of the crontab, in the order they were written."""
        for stage_id in list(self._records.crontab):
            self.fire(stage_id)

    def wait(self, timeout: float = 60.0) -> None:
        """Until all launches have ended. Raises: TimeoutError."""
        self._launches.wait(timeout)

    def agent(self, job_states: Mapping[str, str | Mapping[str, int]]) -> None:
        """The submission agent reports jobs by the id POMS knows them by: a status, or numbers of jobs (`idle`, `running`, …)."""
        with self._lock:
            for submission in self.submissions:
                state = job_states.get(submission.jobsub_job_id or "")
                if state is not None:
                    report = {"submission_id": str(submission.submission_id), "jobsub_job_id": str(submission.jobsub_job_id)}
                    report |= {"status": state} if isinstance(state, str) else seen_by_agent(state)
                    self._inside("update_submission", report, POMS_USER)

    def wrapup(self) -> str:
        """What cron asks for every few minutes; the text of the answer."""
        answer = self._inside("wrapup_tasks", {}, POMS_USER)
        return "" if answer is None else answer.body

    # Requests.

    def _answer(self, request: Request, fields: Fields, user: str | None) -> Answer | None:
        with self._lock:
            self.requests.append(request)
            if self.faults.get("unauthorized") and not self.faults.get("down"):
                return page(401, "Unauthorized")
            return self._inside(request.method, fields, user or self.user)

    def _inside(self, method: str, fields: Fields, username: str) -> Answer | None:
        with self._lock:
            if self.faults.get("down"):
                return None
            if method not in self._methods:
                return page(404, f"The path '/poms/{method}' was not found.")
            if method in self.faults.get("http_500", ()):
                return page(500, "The server encountered an unexpected condition which prevented it from fulfilling the request.")
            if method in self.faults.get("ok_but_failed", ()):
                if self._methods[method].kind == "json":
                    return as_json({"status": "400 Bad Request", "message": ["Error: the database is away. Nothing was done."]})
                return Answer(200, HTML, "<html><body>Error: the database is away. Nothing was done.</body></html>")
            if method == "update_submission" and self.faults.get("forget_updates"):
                return Answer(200, HTML, "Ok.")
            try:
                return self._perform(self._methods[method], fields, username)
            except Exception as error:  # noqa: BLE001
                return error_page(rewrite(error))

    def _perform(self, method: Method, fields: Fields, username: str) -> Answer:
        self._records.experimenter(username)
        caller = Caller(username, fields.get("experiment") or DEFAULT_EXPERIMENT, fields.get("role") or DEFAULT_ROLE)
        as_given = dict(fields)
        as_asked = as_given.pop("fmt", "")
        as_given.pop("redirect", None)
        if not method.keeps_context:
            as_given = {key: value for key, value in as_given.items() if key not in CONTEXT}
        values = method.function(caller, **as_given)
        if isinstance(values, dict):
            shown = {key: "<uploaded_file_data>" if isinstance(value, upload.UploadedFile) else value for key, value in as_given.items()}
            values = shown | values
        if as_asked == "json" or method.kind == "json":
            return as_json(values)
        if method.redirect is not None:
            parts = values if isinstance(values, dict) else as_given
            location = method.redirect.format_map({"experiment": caller.experiment, "role": caller.role} | parts)
            return Answer(
                303, HTML, f'<html><body>This resource can be found at <a href="{location}">{location}</a></body></html>', location
            )
        match method.kind:
            case "page":
                return page(200, "\n".join(f"{key}: {value}" for key, value in values.items()))
            case "text":
                return Answer(200, TEXT, values)
            case "ini":
                return Answer(200, INI, values)
            case _:
                return Answer(200, HTML, values or "")

    def _method_table(self) -> dict[str, Method]:
        def on_records(function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda caller, **fields: function(self._records, caller, **fields)

        launched = "/poms/list_launch_file/{experiment}/{role}?campaign_stage_id={campaign_stage_id}&fname={outfile}"
        scheduled = "/poms/schedule_launch/{experiment}/{role}?campaign_stage_id={campaign_stage_id}"
        return {
            "ini_to_campaign": Method(on_records(upload.ini_to_campaign), "json"),
            "campaign_deps_ini": Method(on_records(export.campaign_deps_ini), "ini"),
            "get_campaign_id": Method(on_records(pages.get_campaign_id), "json"),
            "get_campaign_stage_id": Method(on_records(pages.get_campaign_stage_id), "json"),
            "show_campaigns": Method(on_records(pages.show_campaigns), "page", keeps_context=True),
            "show_campaign_stages": Method(on_records(pages.show_campaign_stages), "page", keeps_context=True),
            "campaign_stage_submissions": Method(on_records(pages.campaign_stage_submissions), "page"),
            "submission_details": Method(on_records(pages.submission_details), "page"),
            "running_submissions": Method(on_records(pages.running_submissions), "json"),
            "update_submission": Method(on_records(statuses.update_submission)),
            "get_submission_id_for": Method(on_records(statuses.get_submission_id_for)),
            "force_locate_submission": Method(on_records(statuses.force_locate_submission)),
            "update_campaign_stage": Method(on_records(editing.update_campaign_stage)),
            "update_stage_param_overrides": Method(on_records(editing.update_stage_param_overrides)),
            "mark_campaign_hold": Method(on_records(editing.mark_campaign_hold), redirect="/poms/show_campaign_stages/{experiment}/{role}"),
            "mark_campaign_active": Method(on_records(editing.mark_campaign_active)),
            "update_launch_schedule": Method(on_records(schedule.update_launch_schedule), redirect=scheduled),
            "schedule_launch": Method(on_records(pages.schedule_launch), "page"),
            "launch_jobs": Method(self._launch_jobs, redirect=launched),
            "launch_campaign": Method(self._launch_campaign, redirect=launched),
            "list_launch_file": Method(self._list_launch_file, "page"),
            "launch_queued_job": Method(self._launch_queued_job),
            "wrapup_tasks": Method(self._wrapup_tasks, "text"),
        }

    # Methods that launch.

    def _launch(self, caller: Caller, **arguments: Any) -> Order:
        order = prepare(self._records, caller, **arguments)
        self._launches.start(order, self.environment, self._wrapper if self.faults.get("wrapper") else None)
        return order

    def _launch_jobs(self, caller: Caller, campaign_stage_id: str | int, **arguments: Any) -> Fields:
        order = self._launch(caller, campaign_stage_id=campaign_stage_id, **arguments)
        return {
            "lcmd": order.command,
            "cs": stage_row(self._records, order.stage),
            "campaign_stage_id": campaign_stage_id,
            "outdir": order.outdir,
            "outfile": order.outfile,
            # The launch goes on in the role of the stage.
            "role": order.stage.creator_role,
        }

    def _launch_campaign(
        self,
        caller: Caller,
        campaign_id: str,
        launcher: str | None = None,
        dataset_override: str | None = None,
        parent_submission_id: str | None = None,
        param_overrides: str | None = None,
        test_login_setup: str | None = None,
        test_launch: Any = False,
        output_commands: Any = False,
    ) -> Fields:
        """Launch the only stage of a campaign that needs no other."""
        children = {row.provides_campaign_stage_id for row in self._records.dependencies}
        leading = [
            stage_id
            for stage_id, stage in self._records.stages.items()
            if stage.campaign_id == int(campaign_id) and stage_id not in children
        ]
        if len(leading) != 1:
            raise AssertionError(f"Cannot determine which stage in campaign to launch of {len(leading)} candidates")
        return self._launch_jobs(
            caller,
            leading[0],
            launcher=launcher,
            dataset_override=dataset_override,
            parent_submission_id=parent_submission_id,
            param_overrides=param_overrides,
            test_login_setup=test_login_setup,
            test_launch=test_launch,
            output_commands=output_commands,
        )

    def _launch_queued_job(self, caller: Caller, **_: Any) -> str:
        """Release one launch whose stage is held no more; that it was a test is lost."""
        must_be_superuser(caller)
        free = [held for held in self._records.held_launches if self._records.stages[held.campaign_stage_id].hold_experimenter_id is None]
        if not free:
            return "None."
        held = free[0]
        self._records.held_launches.remove(held)
        stage = self._records.stages[held.campaign_stage_id]
        self._launch(
            Caller(self._records.username(held.launcher), stage.experiment, stage.creator_role),
            campaign_stage_id=held.campaign_stage_id,
            launcher=held.launcher,
            dataset_override=held.dataset,
            parent_submission_id=held.parent_submission_id,
            param_overrides=held.param_overrides,
        )
        return "Launched."

    def _list_launch_file(self, caller: Caller, campaign_stage_id: str, fname: str) -> Fields:
        launch = one(launch for launch in self._launches.all if launch.log.name == fname)
        return {"lines": launch.log.read_text().splitlines(), "do_refresh": 0 if launch.process.poll() is not None else 1}

    def _wrapup_tasks(self, caller: Caller, **_: Any) -> str:
        must_be_superuser(caller)
        return "\n".join(self._wrapup.run())

    def _wrapper(self, launch: Launch) -> None:
        """What poms_job_info does right after jobsub_submit, in the name of the production account."""
        found = JOB_ID.search(launch.log.read_text(errors="replace"))
        job_id = found[1].replace(".0@", "@") if found else None
        if job_id is not None and launch.submission_id not in self._reported:
            self._reported.add(launch.submission_id)
            report = {"submission_id": str(launch.submission_id), "jobsub_job_id": job_id, "status": "New"}
            self._inside("update_submission", report, f"{DEFAULT_EXPERIMENT}pro")

    def _is_of(self, stage: Stage, campaign: str) -> bool:
        known = self._records.campaign_of(stage)
        return known is not None and known.name == campaign


def seen_by_agent(jobs: Mapping[str, int]) -> Fields:
    """Status and percentage the agent makes of numbers of jobs (submission_broker/submission_agent.py)."""
    unknown = set(jobs) - set(COUNTS)
    if unknown:
        raise ValueError(f"no such numbers of jobs: {sorted(unknown)}; there are {COUNTS}")
    number = {state: jobs.get(state, 0) for state in COUNTS}
    total, ended = sum(number.values()), sum(number[state] for state in ENDED)
    if total == ended and number["failed"] * 2 > number["completed"]:
        status = "Failed"
    elif total == ended:
        status = "Cancelled" if number["cancelled"] == total > 1 else "Completed"
    elif number["held"] > 0:
        status = "Held"
    else:
        status = "Running" if number["running"] > 0 else "Idle"
    return {"status": status} | ({"pct_complete": str(100.0 * ended / total)} if total else {})
