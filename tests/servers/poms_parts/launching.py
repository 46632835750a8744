"""launch_jobs: which dataset, which command, which script (webservice/SubmissionsPOMS.py), and the run of that script.

The script is what POMS hands to ssh, without what only a host at Fermilab has: kinit, spack, the copy of the proxy, htgettoken. Its bearer
token is the one of the environment, in a file of its own that is gone when the launch ends, as the real one is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.poms_parts.problems import HTTPError
from tests.servers.poms_parts.records import (
    STATUSES,
    Caller,
    Campaign,
    HeldLaunch,
    JobType,
    LoginSetup,
    Pairs,
    Records,
    Stage,
    Submission,
    now,
    one,
)

# Split types POMS has, but the double has not: they ask SAM.
SPLITS_WITH_SAM = {"byexistingruns", "byrun", "drainingn", "limitn", "list", "mod", "multiparam", "new", "nfiles", "stagedfiles"}
POLL_S = 0.02
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Order:
    """A launch that has all it needs: its number and what the launch host is to do."""

    submission: Submission
    stage: Stage
    username: str
    command: str
    account: str
    script: str
    cleanup: str
    outdir: str
    outfile: str


@dataclass
class Launch:
    """A script on its way, or done."""

    submission_id: int
    command: str
    log: Path
    process: subprocess.Popen[bytes]


def stage_called(records: Records, caller: Caller, called: str | int, *, part_of_name: bool = False) -> Stage:
    """A stage by its id, or by its name in the caller's experiment."""
    if str(called)[0].isdecimal():
        return one(stage for stage in records.stages.values() if stage.campaign_stage_id == int(called))
    named = [stage for stage in records.stages.values() if stage.experiment == caller.experiment]
    return one(stage for stage in named if (str(called) in stage.name if part_of_name else str(called) == stage.name))


def allocate(records: Records, caller: Caller, stage: Stage, parent: int | None = None) -> Submission:
    """A new submission, status New, with copies of what it is made from."""
    moment = now()
    submission = Submission(
        submission_id=records.new_id("submissions"),
        campaign_stage_id=stage.campaign_stage_id,
        creator=records.experimenter(caller.username),
        created=moment,
        updated=moment,
        stage_snapshot=deepcopy(stage),
        job_type_snapshot=deepcopy(records.job_types[stage.job_type_id]),
        login_setup_snapshot=deepcopy(records.login_setups[stage.login_setup_id]),
        history=[(STATUSES["New"], moment)],
        recovery_tasks_parent=parent,
    )
    records.submissions[submission.submission_id] = submission
    return submission


def prepare(
    records: Records,
    caller: Caller,
    campaign_stage_id: str | int,
    launcher: str | int | None = None,
    dataset_override: str | None = None,
    parent_submission_id: str | int | None = None,
    param_overrides: Any = None,
    test_launch: Any = False,
    **ignored: Any,
) -> Order:
    """Everything launch_jobs does before it starts the script.

    Raises:
        HTTPError: the stage is held (423); the launch waits in `held_launches`.
        AttributeError: the stage belongs to no campaign any more.
        ModuleNotFoundError: no such split type; nothing is left behind.
        KeyError, TypeError, ValueError: a text cannot be formatted, or `param_overrides` came as text; the submission stays, as New.
    """
    if ignored.get("output_commands") or ignored.get("test_login_setup"):
        raise NotImplementedError("the double launches only")
    parent = None if parent_submission_id in (None, "", "None") else int(parent_submission_id)  # type: ignore[arg-type]
    if parent is not None:
        recovery = _recovery_overrides(records, records.submissions[parent])
        if param_overrides is None:
            param_overrides = recovery
        elif isinstance(param_overrides, list):
            param_overrides = param_overrides + recovery
    launched_for = caller.username if launcher is None else str(launcher)
    launcher_id = int(launched_for) if launched_for[0].isdecimal() else records.known_user(launched_for)
    launched_for = records.username(launcher_id)
    stage = stage_called(records, caller, campaign_stage_id)
    campaign = records.campaign_of(stage)
    if campaign is None:
        raise AttributeError("'NoneType' object has no attribute 'active'")
    campaign.active = True
    if stage.hold_experimenter_id is not None:
        held = HeldLaunch(stage.campaign_stage_id, launcher_id, dataset_override, parent, param_overrides)
        records.held_launches.append(held)
        raise HTTPError(423, f"Campaign stage {stage.name} launches currently held.... queuing this request")
    dataset = dataset_override or next_split(stage)
    submission = allocate(records, caller, stage, parent)
    if dataset and dataset != "None":
        submission.submission_params["dataset"] = dataset
    if test_launch:
        submission.submission_params["test"] = 1
    # All this is committed; what fails from here on leaves the submission behind.
    login_setup, job_type = records.login_setups[stage.login_setup_id], records.job_types[stage.job_type_id]
    overrides = _overrides(campaign, stage)
    if param_overrides:
        # A text is added letter by letter, and refused as pairs below.
        overrides += param_overrides
    values = _values(campaign, stage, dataset, launched_for)
    setup = login_setup.launch_setup % values
    parameters = _pairs(job_type.definition_parameters)
    parameters.update(overrides)
    if test_launch and stage.test_param_overrides is not None:
        parameters.update(stage.test_param_overrides)
    if param_overrides:
        parameters.update(param_overrides)
    command = f"{job_type.launch_script} {' '.join(key + value for key, value in parameters.items())}"
    command %= campaign.campaign_keywords | values
    outfile = f"{submission.created:%Y%m%d_%H%M%S}_{caller.username}_{submission.submission_id}"
    exports = _exports(campaign, stage, job_type, submission, launched_for, parent, test_launch)
    return Order(
        submission=submission,
        stage=stage,
        username=caller.username,
        command=command,
        account=login_setup.launch_account,
        script="\n".join(_script(login_setup, setup, exports, command)) + "\n",
        cleanup="rm -v -f $BEARER_TOKEN_FILE;\ndate +%H:%M:%S.%N;\necho == completed: $$ ==;\nexit\n",
        outdir=f"launches/{campaign.name}_{stage.name}",
        outfile=outfile,
    )


def next_split(stage: Stage) -> str:
    """The dataset of the next launch (get_dataset_for of StagesPOMS.py)."""
    split = (stage.cs_split_type or "None").replace(" ", "").replace("\n", "")
    if split in ("None", "none"):
        return stage.dataset
    bracket, underscore = split.find("("), split.find("_")
    cut = underscore if 0 < underscore < bracket else bracket
    module = split[:cut] if cut >= 0 else split
    if module == "draining":
        return stage.dataset
    if module in SPLITS_WITH_SAM:
        raise NotImplementedError(f"the double has no split type {module}")
    raise ModuleNotFoundError(f"No module named 'poms.webservice.split_types.{module}'")


class Launches:
    """The launch host: runs scripts in the background, in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.all: list[Launch] = []
        self._watchers: list[threading.Thread] = []
        (self.home / "tmp").mkdir(parents=True, exist_ok=True)

    def start(self, order: Order, environment: Mapping[str, str], watch: Callable[[Launch], None] | None = None) -> Launch:
        """Run the script of an order in an environment; `watch` is called again and again while it runs, and once when it has ended."""
        folder = self.home / order.outdir
        folder.mkdir(parents=True, exist_ok=True)
        log, script = folder / order.outfile, folder / f"{order.outfile}.sh"
        login = {"PATH": PATH, "USER": order.account, "LOGNAME": order.account, **environment, "HOME": str(self.home)}
        token_file = self.home / "tmp" / f"token{uuid.uuid4()}"
        if "BEARER_TOKEN_FILE" in environment:
            shutil.copyfile(environment["BEARER_TOKEN_FILE"], token_file)
            token_file.chmod(0o600)
        script.write_text(order.script.replace("@TOKEN_FILE@", str(token_file)) + order.cleanup)
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", str(script)],
                cwd=self.home,
                env=login,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        launch = Launch(order.submission.submission_id, order.command, log, process)
        self.all.append(launch)
        watcher = threading.Thread(target=self._watch, args=(launch, watch), name=f"launch-{launch.submission_id}", daemon=True)
        self._watchers.append(watcher)
        watcher.start()
        return launch

    def _watch(self, launch: Launch, watch: Callable[[Launch], None] | None) -> None:
        while True:
            try:
                launch.process.wait(POLL_S if watch else None)
            except subprocess.TimeoutExpired:
                ended = False
            else:
                ended = True
            if watch:
                watch(launch)
            if ended:
                return

    def wait(self, timeout: float) -> None:
        """Until all have ended.

        Raises:
            TimeoutError: one has not.
        """
        end = now().timestamp() + timeout
        for watcher, launch in zip(list(self._watchers), list(self.all), strict=True):
            watcher.join(max(0.0, end - now().timestamp()))
            if watcher.is_alive():
                raise TimeoutError(f"launch {launch.submission_id} still runs after {timeout} s: {launch.log}")

    def kill(self) -> None:
        """End all at once, with everything they started."""
        for launch in self.all:
            if launch.process.poll() is None:
                os.killpg(launch.process.pid, signal.SIGKILL)
        for watcher in self._watchers:
            watcher.join()


def _overrides(campaign: Campaign, stage: Stage) -> Pairs:
    defaults = campaign.defaults["defaults"].get("param_overrides", []) if stage.merge_overrides else []
    if isinstance(defaults, str):
        defaults = json.loads(defaults)
    return [*defaults, *stage.param_overrides]


def _recovery_overrides(records: Records, parent: Submission) -> Pairs:
    """Overrides of the recovery at the parent's present position, which is not always the one that is launched."""
    stage = records.stages[parent.campaign_stage_id]
    recoveries = records.job_types[stage.job_type_id].recoveries
    position = parent.recovery_position
    return list(recoveries[position][1]) if position is not None and position < len(recoveries) else []


def _pairs(parameters: Any) -> dict[str, str]:
    if not parameters:
        return {}
    return dict(json.loads(parameters) if isinstance(parameters, str) else parameters)


def _values(campaign: Campaign, stage: Stage, dataset: str, launched_for: str) -> dict[str, str]:
    keywords = campaign.campaign_keywords

    def expanded(text: str) -> str:
        return text % keywords if "%(" in text and ")s" in text else text

    return {
        "dataset": expanded(dataset),
        "parameter": expanded(dataset),
        "version": expanded(stage.software_version),
        "group": stage.experiment,
        "experimenter": launched_for,
        "experiment": stage.experiment,
    }


def _exports(
    campaign: Campaign, stage: Stage, job_type: JobType, submission: Submission, launched_for: str, parent: int | None, test_launch: Any
) -> list[str]:
    stage_id, group = stage.campaign_stage_id, stage.experiment
    campaign_name, stage_name = campaign.name.replace(" ", "_"), stage.name.replace(" ", "_")
    full_name = stage_name if stage_name == campaign_name else f"{campaign_name}__{stage_name.removeprefix(campaign_name)}"
    return [
        f"export POMS4_CAMPAIGN_STAGE_ID={stage_id};",
        f'export POMS4_CAMPAIGN_STAGE_NAME="{stage_name}";',
        f"export POMS4_CAMPAIGN_STAGE_TYPE={stage.campaign_stage_type};",
        f"export POMS4_CAMPAIGN_ID={campaign.campaign_id};",
        f'export POMS4_CAMPAIGN_NAME="{campaign_name}";',
        f"export POMS4_SUBMISSION_ID={submission.submission_id};",
        f"export POMS4_TEST_LAUNCH={test_launch};",
        f"export POMS_CAMPAIGN_ID={stage_id};",
        f'export POMS_CAMPAIGN_NAME="{full_name}";',
        f"export POMS_PARENT_TASK_ID={'' if parent is None else parent};",
        f"export POMS_TASK_ID={submission.submission_id};",
        f"export POMS_LAUNCHER={launched_for};",
        "export POMS_TEST=;",
        f"export POMS_TASK_DEFINITION_ID={job_type.job_type_id};",
        f"export JOBSUB_GROUP={group};",
        f"export GROUP={group};",
    ]


def _script(login_setup: LoginSetup, setup: str, exports: list[str], command: str) -> list[str]:
    return [
        f"# ssh -tx {login_setup.launch_account}@{login_setup.launch_host}",
        "echo == process_id: $$ ==;",
        # The quotes around $HOME end the quotes around what ssh gets: it is the home on the POMS server.
        "export UPLOADS=/home/poms;",
        "export X509_USER_PROXY=/opt/dunepro/dunepro.Production.proxy;",
        setup,
        "export _condor_SEC_CREDENTIAL_STORER=/bin/true;",
        "export BEARER_TOKEN_FILE='@TOKEN_FILE@';",
        'export HTGETTOKENOPTS="-a vault.example.org -i dune -r production --credkey=dunepro/managedtokens/tokens.example.org ";',
        'export PATH="/opt/jobsub_lite/bin:$PATH:/opt/puppetlabs/bin";',
        *exports,
        command,
    ]
