"""The POMS double behaves as the real server does, its surprises included, and fails as it is asked to."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers.poms import Poms, seen_by_agent

TIMEOUT_S = 20
NAME = "PDHD_prompt_v1"
CAMPAIGN = """\
[campaign]
experiment=dune
poms_role=production
name=PDHD_prompt_v1
state=Active
campaign_stage_list=nfsp,declare,perf,dqm_upload
[campaign_defaults]
campaign_keywords={"det":"np04hd","site":"CERN"}
vo_role=Production
software_version=v10_04_00d00
dataset_or_split_data=from_parent
cs_split_type=None
completion_type=located
completion_pct=95
param_overrides=[["-Osubmit.site=", "CERN"]]
test_param_overrides=[["-Osubmit.N=", "1"]]
merge_overrides=True
login_setup=pd_prompt_login
job_type=pd_prompt_nfsp
stage_type=regular
output_ancestor_depth=1
default_clear_cronjob=False
[campaign_stage nfsp]
dataset_or_split_data=np04hd-raw-draining
cs_split_type=draining
completion_pct=90
param_overrides=[["--stage=", "nfsp"], ["-Oglobal.sam_dataset=", "%(dataset)s"], ["-Oglobal.det=", "%(det)s"]]
[campaign_stage declare]
completion_type=complete
job_type=pd_prompt_script
param_overrides=[["--stage=", "declare"], ["-Oglobal.sam_dataset=", "%(dataset)s"]]
[campaign_stage perf]
completion_type=complete
job_type=pd_prompt_script
param_overrides=[["--stage=", "perf"], ["-Oglobal.sam_dataset=", "%(dataset)s"]]
[campaign_stage dqm_upload]
completion_type=complete
completion_pct=100
job_type=pd_prompt_script
param_overrides=[["--stage=", "dqm"], ["-Oglobal.sam_dataset=", "%(dataset)s"]]
[dependencies declare]
campaign_stage_1 = nfsp
file_pattern_1 = %_nfsp.root
[dependencies perf]
campaign_stage_1 = declare
file_pattern_1 = %_nfsp.root
[dependencies dqm_upload]
campaign_stage_1 = perf
file_pattern_1 = %_dqm.json
[login_setup pd_prompt_login]
host=dunegpvm16.fnal.gov
account=dunepro
setup=echo setting up %(version)s for %(experiment)s; export PROMPT_DIR=/tmp
[job_type pd_prompt_nfsp]
launch_script=fife_launch -c prompt.cfg
parameters=[["-Oglobal.version=", "%(version)s"]]
output_file_patterns=%_nfsp.root
recoveries = []
[job_type pd_prompt_script]
launch_script=poms_run_script_stage bash run_stage.sh
parameters=[["--version=", "%(version)s"]]
output_file_patterns=%
recoveries = []
"""
MANDATORY = ("vo_role", "software_version", "dataset_or_split_data", "completion_type", "completion_pct", "job_type", "login_setup")


class Client:
    """Requests as the POMS client makes them: a form, no redirects."""

    def __init__(self, poms: Poms) -> None:
        self.poms = poms

    def ask(self, method: str, *, user: str | None = None, **fields: Any) -> requests.Response:
        headers = {} if user is None else {"X-Shib-Userid": user}
        url = f"{self.poms.url}/poms/{method}/dune/production"
        return requests.post(url, data=fields, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)

    def json(self, method: str, **fields: Any) -> Any:
        answer = self.ask(method, fmt="json", **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, text: str) -> requests.Response:
        url = f"{self.poms.url}/poms/ini_to_campaign"
        form = {"pcl_call": "1", "experiment": "dune", "role": "production"}
        return requests.post(url, data=form, files={"upload": ("c.ini", text.encode())}, timeout=TIMEOUT_S)

    def uploaded(self, text: str = CAMPAIGN) -> dict[str, Any]:
        answer: dict[str, Any] = self.upload(text).json()
        assert answer["status"] == "201 Created", answer
        return answer

    def launch(self, stage: str, **fields: Any) -> requests.Response:
        return self.ask("launch_jobs", campaign_stage_id=self.poms.stage(NAME, stage).campaign_stage_id, **fields)

    def update(self, submission_id: int, status: str, **fields: Any) -> str:
        fields = {"jobsub_job_id": f"{submission_id}@jobsub01.fnal.gov"} | fields
        return self.ask("update_submission", submission_id=submission_id, status=status, **fields).text


@pytest.fixture
def poms(tmp_path: Path) -> Iterator[Poms]:
    with Poms(tmp_path / "home") as poms:
        yield poms


@pytest.fixture
def client(poms: Poms) -> Client:
    return Client(poms)


def changed(old: str, new: str, text: str = CAMPAIGN) -> str:
    assert old in text
    return text.replace(old, new)


def without(key: str) -> str:
    return "".join(line for line in CAMPAIGN.splitlines(keepends=True) if not line.startswith(f"{key}="))


def without_section(title: str, text: str = CAMPAIGN) -> str:
    before, after = text.split(f"[{title}]\n")
    return before + "".join(after.partition("\n[")[1:]).removeprefix("\n")


def running(command: str, text: str = CAMPAIGN) -> str:
    """The campaign with another launch script of its first stage, whose parameters follow in a comment."""
    return changed("launch_script=fife_launch -c prompt.cfg", f"launch_script={command} #", text)


def completing(stage: str, text: str = CAMPAIGN) -> str:
    return changed(f"[campaign_stage {stage}]", f"[campaign_stage {stage}]\ncompletion_type=complete", text)


def datasets(poms: Poms) -> list[str | None]:
    return [submission.dataset for submission in poms.submissions]


class TestUpload:
    def test_the_working_campaign_is_taken_and_shown(self, client: Client) -> None:
        answer = client.uploaded()
        assert answer["message"] == "OK"
        assert [name for _, name in answer["campaign_stage_ids"]] == ["nfsp", "declare", "perf", "dqm_upload"]
        assert answer["pcl_call"] == "1"
        assert answer["upload"] == "<uploaded_file_data>"
        assert client.ask("get_campaign_id", campaign_name=NAME).json() == answer["campaign_id"]
        assert client.ask("get_campaign_id", campaign_name="nobody's").json() is None
        stage_id = client.ask("get_campaign_stage_id", campaign_name=NAME, campaign_stage_name="perf").json()
        assert [stage_id, "perf"] in answer["campaign_stage_ids"]
        [campaign] = client.json("show_campaigns")["tl"]
        assert campaign["campaign_keywords"] == {"det": "np04hd", "site": "CERN"}
        assert campaign["active"] is True
        stages = client.json("show_campaign_stages", campaign_name=NAME)["campaign_stages"]
        assert [(stage["name"], stage["cs_split_type"], stage["completion_pct"]) for stage in stages] == [
            ("nfsp", "draining", 90),
            ("declare", "None", 95),
            ("perf", "None", 95),
            ("dqm_upload", "None", 100),
        ]
        assert stages[1]["dataset"] == "from_parent"
        assert stages[1]["default_clear_cronjob"] is False

    @pytest.mark.parametrize("key", MANDATORY)
    def test_a_missing_mandatory_key_is_an_error_page_and_leaves_a_campaign_without_stages(self, client: Client, key: str) -> None:
        answer = client.upload(without(key))
        assert answer.status_code == 400
        assert f"Missing form field: KeyError('{key}')" in answer.text
        [campaign] = client.json("show_campaigns")["tl"]
        assert campaign["stages"] == []

    @pytest.mark.parametrize("key", ["cs_split_type", "param_overrides", "test_param_overrides", "merge_overrides", "stage_type"])
    def test_any_other_key_may_be_missing(self, client: Client, key: str) -> None:
        client.uploaded(without(key))

    def test_a_campaign_must_have_a_name(self, client: Client) -> None:
        answer = client.upload(changed(f"name={NAME}\n", ""))
        assert (answer.status_code, "KeyError('name')" in answer.text) == (400, True)
        assert client.json("show_campaigns")["tl"] == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[campaign_stage a]\n", "No Campaign section in the file"),
            ("[campaign]\nname=a\n", "No Campaign Stage sections in the file"),
            (CAMPAIGN + "recoveries = []\n", "Bad file format"),
            (CAMPAIGN + "[campaign]\n", "Bad file format"),
            (changed("login_setup=pd_prompt_login", "login_setup=other"), "Error: LoginSetup 'other' not found! Campaign is incomplete!"),
            (changed("job_type=pd_prompt_nfsp", "job_type=other"), "Error: JobType 'other' not found! Campaign is incomplete!"),
        ],
    )
    def test_some_errors_come_with_status_200(self, client: Client, text: str, message: str) -> None:
        answer = client.upload(text)
        assert answer.status_code == 200
        assert answer.json()["status"] == "400 Bad Request"
        assert message in str(answer.json()["message"])

    def test_a_text_in_place_of_a_file_is_not_found(self, client: Client) -> None:
        answer = client.ask("ini_to_campaign", upload=CAMPAIGN)
        assert (answer.status_code, "Not found item" in answer.text) == (400, True)

    def test_an_empty_value_is_the_default(self, client: Client, poms: Poms) -> None:
        client.uploaded(changed("completion_pct=90", "completion_pct=\nvo_role="))
        assert (poms.stage(NAME, "nfsp").completion_pct, poms.stage(NAME, "nfsp").vo_role) == (95, "Production")

    def test_a_campaign_is_shown_to_its_experiment_and_role_only(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        for place, shown in (("dune/production", 1), ("dune/analysis", 0), ("sbnd/production", 0)):
            answer = requests.get(f"{poms.url}/poms/show_campaigns/{place}?fmt=json", timeout=TIMEOUT_S)
            assert len(answer.json()["tl"]) == shown

    def test_keywords_count_in_the_defaults_only(self, client: Client, poms: Poms) -> None:
        keywords = 'campaign_keywords={"det":"np04hd","site":"CERN"}\n'
        client.uploaded(changed("[campaign]\n", f"[campaign]\n{keywords}", changed(keywords, "")))
        assert client.json("show_campaigns")["tl"][0]["campaign_keywords"] == {}

    def test_login_setups_and_job_types_never_change(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        text = changed("account=dunepro", "account=root", changed("launch_script=fife_launch", "launch_script=other"))
        assert client.uploaded(text)["message"] == [
            "Warning: LoginSetup 'pd_prompt_login' already exists and will not change.",
            "Warning: JobType 'pd_prompt_nfsp' already exists and will not change.",
            "Warning: JobType 'pd_prompt_script' already exists and will not change.",
        ]
        exported = client.ask("campaign_deps_ini", name=NAME).text
        assert "account=dunepro" in exported
        assert "launch_script=fife_launch -c prompt.cfg" in exported

    def test_a_login_setup_without_an_account_exists_already_and_is_not_found(self, client: Client) -> None:
        answer = client.upload(changed("account=dunepro\n", "")).json()
        assert answer["message"] == [
            "Warning: LoginSetup 'pd_prompt_login' already exists and will not change.",
            "Error: LoginSetup 'pd_prompt_login' not found! Campaign is incomplete!",
        ]

    def test_an_unknown_recovery_saves_the_job_type_without_recoveries(self, client: Client) -> None:
        answer = client.uploaded(
            changed("%_nfsp.root\nrecoveries = []", '%_nfsp.root\nrecoveries = [["pending_files", []], ["magic", []]]')
        )
        assert answer["message"] == ["Warning: JobType 'pd_prompt_nfsp' already exists and will not change."]
        assert "pending_files" not in client.ask("campaign_deps_ini", name=NAME).text

    def test_unknown_keys_and_sections_are_ignored(self, client: Client) -> None:
        text = changed("[campaign_stage perf]", "[campaign_stage perf]\ncolour=blue", CAMPAIGN) + "[node_positions]\nnxy0=[1]\n[x]\ny=1\n"
        assert client.uploaded(text)["message"] == "OK"

    def test_an_unknown_parent_fails_after_the_stages_are_saved(self, client: Client) -> None:
        answer = client.upload(changed("campaign_stage_1 = declare", "campaign_stage_1 = decline"))
        assert (answer.status_code, "IntegrityError" in answer.text) == (400, True)
        [campaign] = client.json("show_campaigns")["tl"]
        assert len(campaign["stages"]) == 4
        assert "[dependencies" not in client.ask("campaign_deps_ini", name=NAME).text

    def test_a_failed_upload_keeps_the_old_stages(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        assert client.upload(changed("completion_pct=90", "completion_pct=101")).status_code == 400
        assert client.upload(changed("completion_pct=90", "completion_pct=most")).status_code == 400
        assert client.upload(changed("completion_type=located", "completion_type=done")).status_code == 400
        assert client.upload(changed("stage_type=regular", "stage_type=odd")).status_code == 400
        assert poms.stage(NAME, "nfsp").completion_pct == 90

    def test_a_campaign_is_overwritten_and_a_missing_stage_detached(self, client: Client, poms: Poms) -> None:
        first = client.uploaded()
        lost = poms.stage(NAME, "dqm_upload")
        text = changed("completion_pct=90", "completion_pct=80")
        text = without_section("campaign_stage dqm_upload", without_section("dependencies dqm_upload", text))
        second = client.uploaded(text)
        assert second["campaign_id"] == first["campaign_id"]
        assert second["campaign_stage_ids"] == first["campaign_stage_ids"][:3]
        assert poms.stage(NAME, "nfsp").completion_pct == 80
        assert lost.campaign_id is None
        answer = client.ask("launch_jobs", campaign_stage_id=lost.campaign_stage_id)
        assert (answer.status_code, "Not found item" in answer.text) == (400, True)

    def test_split_types_are_not_looked_at_and_the_cron_job_goes_by_default(self, client: Client, poms: Poms) -> None:
        client.uploaded(changed("cs_split_type=draining", "cs_split_type=nonsense", without("default_clear_cronjob")))
        assert poms.stage(NAME, "nfsp").cs_split_type == "nonsense"
        assert poms.stage(NAME, "nfsp").default_clear_cronjob is True

    def test_a_bad_list_of_parameters_is_an_error_page(self, client: Client) -> None:
        answer = client.upload(changed('[["--stage=", "perf"], ', "[[--stage=perf], "))
        assert (answer.status_code, "Invalid argument: JSONDecodeError" in answer.text) == (400, True)


class TestExport:
    def test_all_but_the_default_dataset_and_the_keywords_comes_back(self, client: Client) -> None:
        client.uploaded()
        before = client.json("show_campaign_stages")["campaign_stages"]
        answer = client.ask("campaign_deps_ini", name=NAME, full="1")
        assert answer.headers["Content-Type"].startswith("text/ini")
        parser = ConfigParser(interpolation=None)
        parser.read_string(answer.text)
        assert parser["campaign_defaults"]["dataset_or_split_data"] == "None"
        assert parser["campaign_defaults"]["default_clear_cronjob"] == "True"
        assert json.loads(parser["campaign"]["campaign_keywords"]) == {"det": "np04hd", "site": "CERN"}
        client.uploaded(answer.text)
        after = client.json("show_campaign_stages")["campaign_stages"]
        assert [stage["dataset"] for stage in after] == ["np04hd-raw-draining", "None", "None", "None"]
        assert client.json("show_campaigns")["tl"][0]["campaign_keywords"] == {}
        ignored = {"updated", "updater", "experimenter_updater_obj", "dataset"}
        for old, new in zip(before, after, strict=True):
            assert {key: old[key] for key in old if key not in ignored} == {key: new[key] for key in new if key not in ignored}
        again = ConfigParser(interpolation=None)
        again.read_string(client.ask("campaign_deps_ini", name=NAME).text)
        for section in parser.sections():
            if section.startswith(("dependencies", "job_type", "login_setup")):
                assert dict(again[section]) == dict(parser[section])

    def test_an_unknown_campaign_is_a_sentence_with_status_200(self, client: Client) -> None:
        answer = client.ask("campaign_deps_ini", name="nobody's")
        assert (answer.status_code, answer.text) == (200, "Error: Campaign 'nobody's' was not found for 'dune' experiment")

    def test_a_stage_alone_cannot_be_exported(self, client: Client) -> None:
        client.uploaded()
        assert client.ask("campaign_deps_ini", stage_id=1).status_code == 400


class TestLaunch:
    def test_a_launch_runs_a_script_with_the_environment_of_poms(self, client: Client, poms: Poms, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("secret")
        poms.environment = {"BEARER_TOKEN_FILE": str(tmp_path / "token"), "OURS": "x y", "HOME": "/nowhere"}
        client.uploaded(running('cat "$BEARER_TOKEN_FILE"; printf "\\n"; env'))
        answer = client.launch("nfsp")
        assert answer.status_code == 303
        assert int(answer.headers["Location"].rpartition("_")[2]) == 1
        poms.wait(TIMEOUT_S)
        lines = poms.log(1).splitlines()
        assert "secret" in lines
        assert "setting up v10_04_00d00 for dune" in lines
        assert lines[-1].startswith("== completed: ")
        environment = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
        stage = poms.stage(NAME, "nfsp")
        assert (
            environment
            | {
                "POMS4_CAMPAIGN_STAGE_ID": str(stage.campaign_stage_id),
                "POMS4_CAMPAIGN_STAGE_NAME": "nfsp",
                "POMS4_CAMPAIGN_STAGE_TYPE": "regular",
                "POMS4_CAMPAIGN_ID": str(stage.campaign_id),
                "POMS4_CAMPAIGN_NAME": NAME,
                "POMS4_SUBMISSION_ID": "1",
                "POMS4_TEST_LAUNCH": "False",
                "POMS_CAMPAIGN_ID": str(stage.campaign_stage_id),
                "POMS_CAMPAIGN_NAME": f"{NAME}__nfsp",
                "POMS_PARENT_TASK_ID": "",
                "POMS_TASK_ID": "1",
                "POMS_LAUNCHER": "operator",
                "POMS_TEST": "",
                "POMS_TASK_DEFINITION_ID": str(stage.job_type_id),
                "JOBSUB_GROUP": "dune",
                "GROUP": "dune",
                "UPLOADS": "/home/poms",
                "PROMPT_DIR": "/tmp",
                "HOME": str(tmp_path / "home"),
                "USER": "dunepro",
                "OURS": "x y",
            }
            == environment
        )
        token_file = Path(environment["BEARER_TOKEN_FILE"])
        assert token_file.parent == tmp_path / "home" / "tmp"
        assert not token_file.exists()
        [launch] = poms.launches
        assert launch.log.parent == tmp_path / "home" / "launches" / f"{NAME}_nfsp"
        assert re.fullmatch(r"\d{8}_\d{6}_operator_1", launch.log.name)
        shown = requests.get(answer.headers["Location"], params={"fmt": "json"}, timeout=TIMEOUT_S).json()
        assert shown["lines"] == lines

    def test_parameters_are_merged_last_value_first_place_and_expanded(self, client: Client, poms: Poms) -> None:
        text = changed('parameters=[["-Oglobal.version=", "%(version)s"]]', 'parameters=[["--stage=", "none"], ["--all=", "100%%"]]')
        client.uploaded(running("true", text))
        client.launch("nfsp", test_launch=1)
        assert poms.launches[0].command == (
            "true # --stage=nfsp --all=100% -Osubmit.site=CERN -Oglobal.sam_dataset=np04hd-raw-draining -Oglobal.det=np04hd -Osubmit.N=1"
        )
        assert poms.submission(1).submission_params == {"dataset": "np04hd-raw-draining", "test": 1}

    def test_without_merging_the_defaults_go_to_stages_that_have_none_only(self, client: Client, poms: Poms) -> None:
        text = changed("merge_overrides=True", "merge_overrides=False")
        stage = 'param_overrides=[["--stage=", "perf"], ["-Oglobal.sam_dataset=", "%(dataset)s"]]\n'
        client.uploaded(changed(stage, "", text))
        client.launch("perf", dataset_override="some")
        client.launch("declare", dataset_override="some")
        assert [launch.command.split(maxsplit=3)[3] for launch in poms.launches] == [
            "--version=v10_04_00d00 -Osubmit.site=CERN",
            "--version=v10_04_00d00 --stage=declare -Oglobal.sam_dataset=some",
        ]

    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ('"%(det)s"', '"50% of it"', "TypeError('not enough arguments"),
            ('"%(det)s"', '"%(detector)s"', "Missing form field: KeyError('detector')"),
            ("echo setting up", "date +%H; echo", "ValueError"),
            ("echo setting up", "echo %(det)s", "KeyError"),
        ],
    )
    def test_a_bad_percent_sign_leaves_a_submission_that_never_starts(
        self, client: Client, poms: Poms, old: str, new: str, error: str
    ) -> None:
        client.uploaded(changed(old, new))
        answer = client.launch("nfsp")
        assert answer.status_code == 400
        assert error in answer.text
        assert [submission.status for submission in poms.submissions] == ["New"]
        assert poms.launches == []

    def test_overrides_of_one_launch_do_not_work_over_http(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        answer = client.launch("nfsp", param_overrides='[["--jobs=", "1"]]')
        assert (answer.status_code, len(poms.submissions), poms.launches) == (400, 1, [])

    def test_draining_hands_out_the_same_for_ever_and_an_unknown_split_nothing(self, client: Client, poms: Poms) -> None:
        client.uploaded(changed("completion_pct=100", "completion_pct=100\ncs_split_type=nfiles_3"))
        for _ in range(3):
            assert client.launch("nfsp").status_code == 303
        assert datasets(poms) == ["np04hd-raw-draining"] * 3
        answer = client.launch("dqm_upload")
        assert (answer.status_code, "nfiles" in answer.text) == (400, True)
        assert len(poms.submissions) == 3

    def test_a_campaign_is_launched_at_its_only_first_stage(self, client: Client, poms: Poms) -> None:
        campaign_id = client.uploaded()["campaign_id"]
        assert client.ask("launch_campaign", campaign_id=campaign_id).status_code == 303
        assert datasets(poms) == ["np04hd-raw-draining"]
        client.uploaded(without_section("dependencies declare"))
        answer = client.ask("launch_campaign", campaign_id=campaign_id)
        assert (answer.status_code, "of 2 candidates" in answer.text) == (400, True)

    def test_a_launch_makes_its_campaign_active(self, client: Client) -> None:
        campaign_id = client.uploaded()["campaign_id"]
        assert client.ask("mark_campaign_active", campaign_id=campaign_id, is_active="False").text == ""
        assert client.json("show_campaigns")["tl"] == []
        assert len(client.json("show_campaigns", update_view=1, view_inactive=1)["tl"]) == 1
        client.launch("nfsp")
        assert len(client.json("show_campaigns")["tl"]) == 1

    def test_clearing_the_crontab_of_a_campaign_fails(self, client: Client) -> None:
        campaign_id = client.uploaded()["campaign_id"]
        assert client.ask("mark_campaign_active", campaign_id=campaign_id, is_active="False", clear_cron="1").status_code == 400
        assert client.json("show_campaigns")["tl"][0]["active"] is True

    def test_an_unknown_stage_is_an_error(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        assert client.ask("launch_jobs", campaign_stage_id=99).status_code == 400
        assert client.ask("launch_jobs", campaign_stage_id="perf").status_code == 303
        assert poms.submission(1).stage_snapshot.name == "perf"

    def test_what_still_runs_is_waited_for_and_killed_at_the_end(self, tmp_path: Path) -> None:
        with Poms(tmp_path / "home") as poms:
            client = Client(poms)
            client.uploaded(running("sleep 300 & echo $! >$HOME/pid; wait"))
            client.launch("nfsp")
            with pytest.raises(TimeoutError, match="launch 1 still runs"):
                poms.wait(0.2)
        pid = int((tmp_path / "home" / "pid").read_text())
        end = time.monotonic() + TIMEOUT_S
        while not _is_gone(pid):
            assert time.monotonic() < end, "the launch's own process outlives the double"
            time.sleep(0.02)


def _is_gone(pid: int) -> bool:
    """A zombie that nobody has waited for yet is gone, too."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class TestSchedule:
    def schedule(self, client: Client, stage: str = "nfsp", **fields: str) -> requests.Response:
        return client.ask("update_launch_schedule", campaign_stage_id=client.poms.stage(NAME, stage).campaign_stage_id, **fields)

    def test_a_scheduled_stage_is_fired_for_the_user_who_scheduled_it(self, client: Client, poms: Poms) -> None:
        client.uploaded(running("env"))
        assert self.schedule(client, minlist="*/5", dowlist="*").status_code == 303
        assert len(poms.crontab) == 1
        stage_id = poms.stage(NAME, "nfsp").campaign_stage_id
        assert re.fullmatch(
            rf"\*/5 \* \* \* \* \S+/cron/launcher --campaign_stage_id={stage_id} --launcher=\d+ # POMS_CAMPAIGN_ID={stage_id}",
            poms.crontab[0],
        )
        assert poms.crontab[0] in client.ask("schedule_launch", campaign_stage_id=stage_id).text
        poms.fire_all()
        poms.wait(TIMEOUT_S)
        assert "POMS_LAUNCHER=operator" in poms.log(1).splitlines()
        assert poms.launches[0].log.name.endswith("_poms_1")

    def test_a_line_is_replaced_and_deleted(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        self.schedule(client, minlist="*/5", dowlist="*")
        self.schedule(client, minlist="30,0", hourlist="*/2", dowlist="MON,5", domlist="1")
        assert [line.split()[:5] for line in poms.crontab] == [["0,30", "*/2", "1", "*", "1,5"]]
        self.schedule(client, delete="y")
        assert poms.crontab == []

    def test_no_minutes_are_all_minutes(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        self.schedule(client, dowlist="*")
        assert poms.crontab[0].startswith("* * * * * ")

    @pytest.mark.parametrize("fields", [{"minlist": "*/5"}, {"minlist": "*/60", "dowlist": "*"}, {"minlist": "often", "dowlist": "*"}])
    def test_a_bad_schedule_changes_nothing(self, client: Client, poms: Poms, fields: dict[str, str]) -> None:
        client.uploaded()
        self.schedule(client, minlist="7", dowlist="*")
        before = poms.crontab
        assert self.schedule(client, **fields).status_code == 400
        assert poms.crontab == before

    def test_a_fire_that_fails_is_not_seen_by_anybody(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        stage_id = poms.stage(NAME, "nfsp").campaign_stage_id
        client.ask("mark_campaign_hold", ids2HR=stage_id, is_hold="Hold")
        poms.fire(stage_id)
        assert (poms.launches, len(poms.held_launches)) == ([], 1)

    def test_a_hold_clears_the_schedule_and_queues_launches_which_forget_that_they_are_tests(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        self.schedule(client, minlist="7", dowlist="*")
        stage_id = poms.stage(NAME, "nfsp").campaign_stage_id
        assert client.ask("mark_campaign_hold", ids2HR=stage_id, is_hold="Hold").status_code == 303
        assert poms.crontab == []
        answer = client.launch("nfsp", test_launch=1)
        assert (answer.status_code, "queuing this request" in answer.text) == (423, True)
        assert (poms.submissions, len(poms.held_launches)) == ([], 1)
        assert client.ask("launch_queued_job", user="poms").text == "None."
        client.ask("mark_campaign_hold", ids2HR=stage_id, is_hold="Release")
        assert client.ask("launch_queued_job").status_code == 401
        assert client.ask("launch_queued_job", user="poms").text == "Launched."
        assert (poms.held_launches, poms.submission(1).submission_params) == ([], {"dataset": "np04hd-raw-draining"})
        assert poms.crontab == []

    def test_a_hold_can_leave_the_schedule(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        self.schedule(client, minlist="7", dowlist="*")
        client.ask("mark_campaign_hold", ids2HR=poms.stage(NAME, "nfsp").campaign_stage_id, is_hold="Hold", clear_cron="")
        assert len(poms.crontab) == 1
        assert client.ask("mark_campaign_hold", ids2HR="1", is_hold="Stop").status_code == 400


class TestStatus:
    @pytest.fixture(autouse=True)
    def launched(self, client: Client) -> None:
        client.uploaded(completing("nfsp", running("true")))
        client.launch("nfsp")

    def test_a_job_id_is_required(self, client: Client, poms: Poms) -> None:
        answer = client.ask("update_submission", submission_id=1, status="Running")
        assert (answer.status_code, "jobsub_job_id" in answer.text) == (400, True)
        assert poms.submission(1).status == "New"

    def test_what_is_reported_is_shown(self, client: Client) -> None:
        assert client.update(1, "Idle", project="p") == "Ok."
        details = client.json("submission_details", submission_id=1)
        assert details["submission"]["jobsub_job_id"] == "1@jobsub01.fnal.gov"
        assert details["submission"]["project"] == "p"
        assert details["submission"]["campaign_stage_obj"]["name"] == "nfsp"
        assert [details["statusmap"][str(row["status_id"])] for row in details["history"]] == ["New", "Idle"]
        [row] = client.json("campaign_stage_submissions", campaign_name=NAME, stage_name="nfsp")["data"]["submissions"]
        assert (row["submission_id"], row["status"], row["jobsub_cluster"], row["jobsub_schedd"]) == (1, "Idle", "1", "jobsub01.fnal.gov")
        campaign_id = client.ask("get_campaign_id", campaign_name=NAME).json()
        assert client.ask("running_submissions", campaign_id_list=campaign_id).json() == {
            str(campaign_id): 1,
            "campaign_id_list": str(campaign_id),
        }
        assert client.ask("running_submissions", campaign_id_list="").json() == [[1, "1@jobsub01.fnal.gov", "dune"]]

    def test_where_nothing_was_submitted_there_is_no_list_of_it(self, client: Client) -> None:
        assert "submissions" not in client.json("campaign_stage_submissions", campaign_name=NAME, stage_name="perf")["data"]
        assert client.json("campaign_stage_submissions", campaign_name="other")["data"]["submissions"] == []

    @pytest.mark.parametrize(("submission_id", "status", "said"), [(1, "Flying", "Ok."), (99, "Idle", "Unknown.")])
    def test_nonsense_is_taken_in_silence(self, client: Client, poms: Poms, submission_id: int, status: str, said: str) -> None:
        assert client.update(submission_id, status) == said
        assert poms.submission(1).status == "New"

    def test_running_to_the_percentage_is_completed(self, client: Client, poms: Poms) -> None:
        client.update(1, "Running", pct_complete="89.9")
        assert poms.submission(1).status == "Running"
        client.update(1, "Running", pct_complete="90")
        assert poms.submission(1).status == "Completed"

    def test_completed_does_not_roll_back(self, client: Client, poms: Poms) -> None:
        client.update(1, "Completed")
        for status in ("Running", "Failed", "New"):
            assert client.update(1, status) == "Ok."
            assert poms.submission(1).status == "Completed"

    def test_running_rolls_back_to_new(self, client: Client, poms: Poms) -> None:
        client.update(1, "Running")
        client.update(1, "New")
        assert poms.submission(1).status == "New"

    def test_only_the_agent_may_not_leave_located(self, client: Client, poms: Poms) -> None:
        client.update(1, "Completed")
        poms.wrapup()
        poms.agent({"1@jobsub01.fnal.gov": "Running"})
        assert poms.submission(1).status == "Located"
        client.update(1, "Running")
        assert poms.submission(1).status == "Running"

    def test_the_agent_reports_by_job_id(self, client: Client, poms: Poms) -> None:
        client.update(1, "New")
        client.launch("nfsp")
        poms.agent({"1@jobsub01.fnal.gov": {"running": 1, "completed": 8}, "2@jobsub01.fnal.gov": "Running"})
        assert [submission.status for submission in poms.submissions] == ["Running", "New"]
        poms.agent({"1@jobsub01.fnal.gov": {"running": 1, "completed": 9}})
        assert poms.submission(1).status == "Completed"

    @pytest.mark.parametrize(
        ("jobs", "status", "percent"),
        [
            ({"idle": 2}, "Idle", "0.0"),
            ({"idle": 1, "running": 1}, "Running", "0.0"),
            ({"running": 1, "held": 1}, "Held", "0.0"),
            ({"completed": 2, "failed": 1}, "Completed", "100.0"),
            ({"completed": 3, "failed": 2}, "Failed", "100.0"),
            ({"cancelled": 2}, "Cancelled", "100.0"),
            ({"cancelled": 1}, "Completed", "100.0"),
        ],
    )
    def test_what_the_agent_sees_in_numbers_of_jobs(self, jobs: dict[str, int], status: str, percent: str) -> None:
        assert seen_by_agent(jobs) == {"status": status, "pct_complete": percent}

    def test_a_submission_from_outside_is_registered(self, client: Client, poms: Poms) -> None:
        stage_id = poms.stage(NAME, "perf").campaign_stage_id
        assert client.ask("get_submission_id_for", campaign_stage_id=stage_id, command_executed="mine").text == "Task=2"
        assert client.ask("get_submission_id_for", campaign="perf", submission_id=2, command_executed="other").text == "Task=2"
        assert poms.submission(2).command_executed == "other"


class TestWrapup:
    def test_dependents_start_once_on_the_name_of_a_dataset_and_do_not_know_the_parent(self, client: Client, poms: Poms) -> None:
        text = changed("launch_script=poms_run_script_stage bash run_stage.sh", "launch_script=env #")
        client.uploaded(completing("nfsp", running("true", text)))
        client.launch("nfsp", test_launch=1)
        poms.wrapup()
        assert poms.submission(1).status == "New"
        client.update(1, "Completed")
        poms.wrapup()
        poms.wrapup()
        assert datasets(poms) == ["np04hd-raw-draining", "poms_depends_1_1"]
        assert poms.submission(2).stage_snapshot.name == "declare"
        assert poms.submission(2).submission_params["test"] == 1
        poms.wait(TIMEOUT_S)
        assert "POMS_PARENT_TASK_ID=" in poms.log(2).splitlines()
        assert "-Oglobal.sam_dataset=poms_depends_1_1" in poms.launches[1].command
        assert client.json("submission_details", submission_id=1)["depend_ids"] == [2]
        data = client.json("campaign_stage_submissions", campaign_name=NAME)["data"]
        assert (data["depends"]["2"], data["depth"]["2"]) == (1, 1)

    def test_wrapping_up_is_for_superusers(self, client: Client) -> None:
        assert client.ask("wrapup_tasks").status_code == 401
        assert client.ask("wrapup_tasks", user="poms").text.startswith("wrapping up:")

    def test_located_waits_for_sam_or_for_force(self, client: Client, poms: Poms) -> None:
        client.uploaded(running("true"))
        for submission_id in (1, 2, 3):
            client.launch("nfsp")
            client.update(submission_id, "Completed")
        poms.wrapup()
        assert [submission.status for submission in poms.submissions] == ["Completed"] * 3
        assert client.ask("force_locate_submission", submission_id=1).text == "Ok."
        poms.located = lambda submission: submission.submission_id == 2
        poms.wrapup()
        assert [poms.submission(submission_id).status for submission_id in (1, 2, 3)] == ["Located", "Located", "Completed"]

    def test_two_children_are_numbered(self, client: Client, poms: Poms) -> None:
        client.uploaded(completing("nfsp", running("true", changed("campaign_stage_1 = declare", "campaign_stage_1 = nfsp"))))
        client.launch("nfsp")
        client.update(1, "Completed")
        poms.wrapup()
        assert [(row.stage_snapshot.name, row.dataset) for row in poms.submissions[1:]] == [
            ("declare", "poms_depends_1_1"),
            ("perf", "poms_depends_1_2"),
        ]

    def test_a_dependent_that_cannot_start_is_never_tried_again(self, client: Client, poms: Poms) -> None:
        client.uploaded(completing("nfsp", running("true")))
        client.launch("nfsp")
        client.update(1, "Completed")
        client.ask("mark_campaign_hold", ids2HR=poms.stage(NAME, "declare").campaign_stage_id, is_hold="Hold")
        poms.wrapup()
        poms.wrapup()
        assert (poms.submission(1).status, len(poms.submissions)) == ("Located", 1)
        assert len(poms.swallowed) == 1
        assert [held.dataset for held in poms.held_launches] == ["poms_depends_1_1"]

    def test_the_first_recovery_is_launched_twice_then_the_dependents_follow(self, client: Client, poms: Poms) -> None:
        recoveries = 'recoveries = [["consumed_status", [["--again=", "yes"]]]]'
        client.uploaded(completing("nfsp", running("env", changed("%_nfsp.root\nrecoveries = []", f"%_nfsp.root\n{recoveries}"))))
        client.launch("nfsp")
        client.update(1, "Completed", project="P")
        poms.wrapup()
        client.update(2, "Failed")
        assert poms.submission(2).status == "Completed", "a recovery cannot fail"
        poms.wrapup()
        client.update(3, "Completed")
        poms.wrapup()
        names = [re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", dataset or "") for dataset in datasets(poms)]
        assert names == ["np04hd-raw-draining", "poms_recover_UUID_1_0", "poms_recover_UUID_1_0", "poms_depends_1_1"]
        dimensions = [recovery["dims"] for recovery in poms.submission(1).submission_params["workflow"]["recoveries"]]
        assert dimensions == ["snapshot_for_project_name P minus (project_name P and consumed_status co%)"] * 2
        poms.wait(TIMEOUT_S)
        assert "POMS_PARENT_TASK_ID=1" in poms.log(2).splitlines()
        assert poms.launches[1].command.endswith("--again=yes")

    def test_a_recovery_of_no_files_is_none(self, client: Client, poms: Poms) -> None:
        recoveries = 'recoveries = [["pending_files", []]]'
        client.uploaded(completing("nfsp", running("true", changed("%_nfsp.root\nrecoveries = []", f"%_nfsp.root\n{recoveries}"))))
        poms.count_files = lambda dims: 0 if "isparentof:( " in dims and "file_name like %_nfsp.root" in dims else 1
        client.launch("nfsp")
        client.update(1, "Completed")
        poms.wrapup()
        assert datasets(poms) == ["np04hd-raw-draining", "poms_depends_1_1"]

    def test_a_stage_that_needs_itself_launches_its_next_split(self, client: Client, poms: Poms) -> None:
        text = CAMPAIGN + "[dependencies nfsp]\ncampaign_stage_1 = nfsp\nfile_pattern_1 = %\n"
        client.uploaded(completing("nfsp", running("true", without_section("dependencies declare", text))))
        client.launch("nfsp")
        client.update(1, "Completed")
        poms.wrapup()
        assert datasets(poms) == ["np04hd-raw-draining"] * 2


class TestEditing:
    def test_overrides_are_set_one_by_one(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        stage = poms.stage(NAME, "perf")
        new = '[["--stage=", ""], ["--more=", "x"]]'
        client.ask("update_stage_param_overrides", campaign_stage=[NAME, "perf"], param_overrides=new)
        assert stage.param_overrides == [["-Oglobal.sam_dataset=", "%(dataset)s"], ["--more=", "x"]]
        assert client.ask("update_stage_param_overrides", campaign_stage="999", param_overrides=new).text == ""

    def test_columns_are_set_but_for_ids_and_switches(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        stage = poms.stage(NAME, "perf")
        fields: dict[str, Any] = {
            "campaign_stage": stage.campaign_stage_id,
            "completion_pct": "50",
            "campaign_id": "77",
            "param_overrides": "[['a=', 'b']]",
        }
        assert client.ask("update_campaign_stage", **fields).text == "Success"
        assert (stage.completion_pct, stage.campaign_id, stage.param_overrides) == (50, 1, [["a=", "b"]])
        answer = client.ask("update_campaign_stage", campaign_stage=stage.campaign_stage_id, default_clear_cronjob="True")
        assert (answer.status_code, stage.default_clear_cronjob) == (400, False)
        assert client.ask("update_campaign_stage", campaign_stage="perf", completion_pct="1").text == ""


class TestFaults:
    def test_requests_are_kept_without_their_tokens(self, client: Client, poms: Poms) -> None:
        headers = {"Authorization": "Bearer top-secret"}
        requests.get(f"{poms.url}/poms/get_campaign_id/dune/analysis?campaign_name=a%2Fb", headers=headers, timeout=TIMEOUT_S)
        client.upload("[campaign]\n")
        first, second = poms.requests
        assert (first.verb, first.path, first.method) == ("GET", "/poms/get_campaign_id/dune/analysis", "get_campaign_id")
        assert first.fields == {"campaign_name": "a/b", "experiment": "dune", "role": "analysis"}
        assert (first.authorization, second.authorization) == (True, False)
        assert second.fields["upload"] == "[campaign]\n"
        assert "top-secret" not in str(poms.requests)
        assert poms.asked("ini_to_campaign") == [second]

    def test_other_addresses_do_not_exist(self, client: Client, poms: Poms) -> None:
        assert client.ask("percent_done").status_code == 404
        assert requests.get(f"{poms.url}/update_submission", timeout=TIMEOUT_S).status_code == 404

    def test_unauthorized(self, client: Client, poms: Poms) -> None:
        poms.faults = {"unauthorized": True}
        answer = client.upload(CAMPAIGN)
        assert (answer.status_code, len(poms.requests)) == (401, 1)
        poms.faults = {}
        assert client.json("show_campaigns")["tl"] == []

    def test_down(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        poms.faults = {"down": True}
        with pytest.raises(requests.ConnectionError):
            client.launch("nfsp")
        poms.fire((NAME, "nfsp"))
        assert poms.submissions == []

    def test_slow(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        poms.faults = {"slow": 0.5}
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{poms.url}/poms/show_campaigns/dune/production", timeout=0.1)
        started = time.monotonic()
        assert client.ask("show_campaigns").status_code == 200
        assert time.monotonic() - started >= 0.5

    def test_failing_methods(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        poms.faults = {"http_500": ["launch_jobs"], "ok_but_failed": ["update_submission", "ini_to_campaign"]}
        assert client.launch("nfsp").status_code == 500
        poms.fire((NAME, "nfsp"))
        assert poms.submissions == []
        answer = client.upload(changed("completion_pct=90", "completion_pct=10"))
        assert (answer.status_code, answer.json()["status"]) == (200, "400 Bad Request")
        assert poms.stage(NAME, "nfsp").completion_pct == 90
        assert client.update(1, "Running").startswith("<html>")

    def test_forgotten_updates(self, client: Client, poms: Poms) -> None:
        client.uploaded()
        client.launch("nfsp")
        poms.faults = {"forget_updates": True}
        assert client.update(1, "Running") == "Ok."
        assert (poms.submission(1).status, poms.submission(1).jobsub_job_id) == ("New", None)

    def test_duplicate_launches(self, client: Client, poms: Poms) -> None:
        client.uploaded(running("env"))
        poms.faults = {"duplicate_launch": True}
        poms.fire((NAME, "nfsp"))
        poms.wait(TIMEOUT_S)
        assert ["POMS_TASK_ID=1" in poms.log(1).splitlines(), "POMS_TASK_ID=2" in poms.log(2).splitlines()] == [True, True]

    def test_only_the_wrapper_finds_the_job_id_in_the_log(self, client: Client, poms: Poms) -> None:
        client.uploaded(running("echo Use job id 12.0@jobsub01.fnal.gov to retrieve output"))
        client.launch("nfsp")
        poms.faults = {"wrapper": True}
        client.launch("nfsp")
        poms.wait(TIMEOUT_S)
        assert [submission.jobsub_job_id for submission in poms.submissions] == [None, "12@jobsub01.fnal.gov"]

    def test_a_launch_may_report_while_it_runs(self, client: Client, poms: Poms) -> None:
        report = f"{poms.url}/poms/update_submission?submission_id=$POMS_TASK_ID'&jobsub_job_id=7@s&status=Idle'"
        ask = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
        client.uploaded(running(f"python3 -c '{ask}' {report}"))
        client.launch("nfsp")
        poms.wait(TIMEOUT_S)
        assert "Ok." in poms.log(1).splitlines()
        assert (poms.submission(1).status, poms.submission(1).jobsub_job_id) == ("Idle", "7@s")
