"""A campaign comes into POMS as it is in its file, or somebody is told what is otherwise."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from campaign.poms import ini
from campaign.poms.client import PomsClient
from campaign.poms.comparison import Change, changes, definitions
from campaign.poms.names import job_type_hash, login_hash
from campaign.poms.upload import NO_KEYWORDS, Plan, apply, diff_text, first_stage, plan
from dune_prompt.cli.campaign import command
from dune_prompt.errors import ConfigError, ConflictError, DunePromptError, TransientError
from dune_prompt.settings.launchers import PomsLauncherSettings
from tests.servers.poms import Poms

NAME = "pdhd-prompt_v1"
STAGES = ("nf_sp", "declare")
PATTERN = "%_pdhd-prompt_v1_gauss.%"
SETUP = "source /home/dunepro/bin/activate; export A=1"
# Whatever only reads.
READING = {"campaign_deps_ini", "show_campaign_stages", "get_campaign_id", "get_campaign_stage_id"}


def campaign(*stages: str, setup: str = SETUP, service: str = "https://prompt.cern.ch", **defaults: str) -> str:
    """An ini as ours are; the stages follow each other."""
    login = f"{NAME}_login_{login_hash('dunegpvm16.fnal.gov', 'dunepro', setup)}"
    job_type = f"{NAME}_all_{job_type_hash('dune-prompt launch', [('--service=', service)], PATTERN, '[]')}"
    values = {
        "vo_role": "Production",
        "software_version": "v1",
        "dataset_or_split_data": "from_parent",
        "cs_split_type": "None",
        "completion_type": "complete",
        "completion_pct": "100",
        "test_param_overrides": '[["--jobs=", "1"]]',
        "login_setup": login,
        "job_type": job_type,
        "default_clear_cronjob": "False",
    } | defaults
    lines = ["[campaign]", f"name = {NAME}", "[campaign_defaults]", *(f"{key} = {value}" for key, value in values.items())]
    before = None
    for stage in stages or STAGES:
        lines += [f"[campaign_stage {stage}]", f'param_overrides = [["--stage=", "{stage}"], ["--site=", "CERN"]]']
        if before is None:
            lines += ["dataset_or_split_data = pdhd-prompt_v1_open", "cs_split_type = draining"]
        else:
            lines += [f"[dependencies {stage}]", f"campaign_stage_1 = {before}", f"file_pattern_1 = {PATTERN}"]
        before = stage
    lines += [f"[login_setup {login}]", "host = dunegpvm16.fnal.gov", "account = dunepro", f"setup = {setup}"]
    lines += [f"[job_type {job_type}]", "launch_script = dune-prompt launch", f'parameters = [["--service=", "{service}"]]']
    return "\n".join([*lines, f"output_file_patterns = {PATTERN}", "recoveries = []", ""])


def settings_for(url: str, **more: Any) -> PomsLauncherSettings:
    login = {"host": "dunegpvm16.fnal.gov", "token_file": "/home/dunepro/token", "setup": SETUP}
    return PomsLauncherSettings.model_validate({"kind": "poms", "url": url, "login": login} | more)


class Uploads:
    """Uploads to one server; `said` is what it said."""

    def __init__(self, poms: Poms, client: PomsClient) -> None:
        self.poms, self.client = poms, client
        self.said: list[str] = []

    def __call__(self, text: str, *, hold: bool = False, **settings: Any) -> Any:
        self.said.clear()
        return apply(self.client, settings_for(self.poms.url, **settings), text, say=self.said.append, hold=hold)

    def state(self) -> Any:
        """What POMS has, but for when and by whom it was changed."""
        records = self.poms._records
        stages = {number: replace(stage, updated=None, updater=None) for number, stage in records.stages.items()}
        return json.dumps(
            [records.campaigns, stages, records.login_setups, records.job_types, records.dependencies, records.crontab],
            default=lambda item: repr(item),
            sort_keys=True,
        )


@pytest.fixture
def upload(poms: Poms, client: PomsClient) -> Uploads:
    return Uploads(poms, client)


def test_a_campaign_is_uploaded_and_only_its_first_stage_scheduled(poms: Poms, upload: Uploads) -> None:
    result = upload(campaign(), every="10min")
    assert (result.scheduled, result.every_minutes) == ("nf_sp", 10)
    assert result.stage_ids == {name: poms.stage(NAME, name).campaign_stage_id for name in STAGES}
    (line,) = poms.crontab
    assert line.startswith("*/10 * * * * ")
    assert line.endswith(f"POMS_CAMPAIGN_ID={result.stage_ids['nf_sp']}")
    assert poms.stage(NAME, "declare").dataset == "from_parent"
    assert result.page.endswith(f"/poms/campaign_overview/dune/production?campaign_name={NAME}")
    assert not result.plan.exists
    assert json.loads(json.dumps(result.to_json()))["plan"]["campaign"] == NAME


def test_uploading_again_changes_nothing(upload: Uploads) -> None:
    upload(campaign())
    before = upload.state()
    result = upload(campaign())
    assert upload.state() == before
    assert result.plan == Plan(NAME, exists=True, changes=(), conflicts=(), detached=(), held=(), notes=())
    assert upload.said == [f"{NAME}: POMS had it already", "POMS launches nf_sp every 5 min"]


def test_a_schedule_somebody_gave_a_later_stage_is_taken_away(poms: Poms, client: PomsClient, upload: Uploads) -> None:
    stages = upload(campaign()).stage_ids
    client.schedule(stages["declare"], 1)
    client.unschedule(stages["nf_sp"])
    upload(campaign())
    (line,) = poms.crontab
    assert line.endswith(f"POMS_CAMPAIGN_ID={stages['nf_sp']}")


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("completion_pct", "100", "90"),
        ("software_version", "v1", "v1.1"),
        ("dataset_or_split_data", "from_parent", "something_else"),
        ("default_clear_cronjob", "False", "True"),
        ("merge_overrides", "False", "True"),
        ("stage_type", "regular", "test"),
        ("output_ancestor_depth", "1", "2"),
        ("test_param_overrides", '[["--jobs=", "1"]]', '[["--jobs=", "2"]]'),
    ],
)
def test_a_default_counts_where_a_stage_has_no_value_of_its_own(client: PomsClient, key: str, old: str, new: str) -> None:
    client.upload_ini(campaign())
    text = campaign(**{key: new})
    of_stages = ("declare",) if key == "dataset_or_split_data" else STAGES
    expected = tuple(Change(f"stage {name}", key, old, new) for name in of_stages)
    assert plan(client, text).changes == expected
    client.upload_ini(text)
    assert plan(client, text).empty


def test_the_overrides_of_the_campaign_count_where_they_are_merged(client: PomsClient) -> None:
    merged = {"merge_overrides": "True", "param_overrides": '[["--a=", "1"]]'}
    client.upload_ini(campaign(**merged))
    assert plan(client, campaign(**merged)).empty
    found = plan(client, campaign(**merged | {"param_overrides": '[["--a=", "2"]]'})).changes
    assert [(change.key, change.new) for change in found] == [
        ("param_overrides", f'[["--a=", "2"], ["--stage=", "{name}"], ["--site=", "CERN"]]') for name in STAGES
    ]


def test_how_a_value_is_written_is_no_change(client: PomsClient) -> None:
    client.upload_ini(campaign())
    text = campaign(
        test_param_overrides='[ ["--jobs=","1"] ]',
        cs_split_type="",
        stage_type="regular",
        merge_overrides="false",
        output_ancestor_depth="1",
    )
    assert plan(client, text).empty


def test_a_dependency_that_changes_is_a_change(client: PomsClient) -> None:
    client.upload_ini(campaign())
    text = campaign().replace(f"file_pattern_1 = {PATTERN}", "file_pattern_1 = %.root")
    assert plan(client, text).changes == (Change("dependency of declare on nf_sp", "file_pattern", PATTERN, "%.root"),)
    alone = campaign().replace(f"[dependencies declare]\ncampaign_stage_1 = nf_sp\nfile_pattern_1 = {PATTERN}\n", "")
    assert plan(client, alone).changes == (Change("dependency of declare on nf_sp", "file_pattern", PATTERN, None),)


def test_keywords_cannot_be_compared(client: PomsClient) -> None:
    text = campaign(campaign_keywords='{"det": "np04hd"}')
    client.upload_ini(text)
    found = plan(client, text)
    assert found.notes == (NO_KEYWORDS,)
    assert found.empty


def test_changed_content_of_a_login_setup_or_job_type_has_a_new_name(poms: Poms, upload: Uploads) -> None:
    old = ini.parse(campaign())
    upload(campaign())
    upload(campaign(setup="true", service="https://other.cern.ch"))
    assert {login.launch_setup for login in poms._records.login_setups.values()} == {SETUP, "true"}
    stage = poms.stage(NAME, "nf_sp")
    assert poms._records.job_types[stage.job_type_id].definition_parameters == [["--service=", "https://other.cern.ch"]]
    names = sorted((old.login_setups[0].name, old.job_types[0].name))
    assert upload.said[0] == f"no longer used, but kept by POMS: {', '.join(names)}"


def test_a_job_type_with_another_content_is_a_conflict_before_anything_is_written(poms: Poms, client: PomsClient, upload: Uploads) -> None:
    client.upload_ini(campaign().replace("https://prompt.cern.ch", "https://evil.example.org"))
    before = upload.state()
    with pytest.raises(ConflictError, match=r"not uploaded: POMS never changes .* job type pdhd-prompt_v1_all_\w+: parameters is .*evil"):
        upload(campaign())
    assert upload.state() == before
    assert len(poms.asked("ini_to_campaign")) == 1


def test_a_job_type_poms_kept_as_it_was_is_found_after_the_upload(poms: Poms, client: PomsClient, upload: Uploads) -> None:
    """Another campaign uses it: that it is there shows only then."""
    client.upload_ini(campaign().replace("https://prompt.cern.ch", "https://evil.example.org").replace(f"name = {NAME}", "name = other"))
    with pytest.raises(ConflictError, match=r"took the upload, but has something else now; no schedule was set: .*evil.*see http"):
        upload(campaign())
    assert poms.crontab == []


def test_an_upload_poms_did_not_carry_out_is_a_conflict(
    poms: Poms, client: PomsClient, upload: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client.upload_ini(campaign())
    monkeypatch.setattr(client, "upload_ini", lambda _text: answer)
    with pytest.raises(ConflictError, match="no schedule was set: stage nf_sp: completion_pct is '100', not '90'; stage declare: comp"):
        upload(campaign(completion_pct="90"))
    assert poms.crontab == []


@pytest.mark.parametrize("fault", [{"ok_but_failed": ["ini_to_campaign"]}, {"http_500": ["ini_to_campaign"]}])
def test_an_upload_that_fails_sets_no_schedule(poms: Poms, upload: Uploads, fault: dict[str, Any]) -> None:
    poms.faults = fault
    with pytest.raises(DunePromptError) as caught:
        upload(campaign())
    assert type(caught.value) is (ConfigError if "ok_but_failed" in fault else TransientError)
    assert poms.crontab == []


def test_an_ini_with_faults_is_not_uploaded(poms: Poms, upload: Uploads) -> None:
    with pytest.raises(ConfigError, match=r"not uploaded, it has faults: .*default_clear_cronjob: must be False"):
        upload(campaign(default_clear_cronjob="True"))
    assert poms.requests == []


def test_what_a_failed_upload_left_is_completed(poms: Poms, client: PomsClient, upload: Uploads) -> None:
    with pytest.raises(ConfigError, match="not found"):
        client.upload_ini(campaign(job_type="unknown"))
    assert client.campaign_id(NAME) is not None
    found = plan(client, campaign())
    assert found.exists
    assert not found.empty
    upload(campaign())
    assert plan(client, campaign()).empty
    assert len(poms.crontab) == 1


def test_stages_only_poms_has_are_told_and_launched_no_more(poms: Poms, client: PomsClient, upload: Uploads) -> None:
    upload(campaign("chain"))
    assert len(poms.crontab) == 1
    assert plan(client, campaign()).detached == ("chain",)
    result = upload(campaign())
    (line,) = poms.crontab
    assert line.endswith(f"POMS_CAMPAIGN_ID={result.stage_ids['nf_sp']}")
    assert "stage chain is not in the file: POMS takes it out of the campaign, and keeps it without a schedule" in upload.said
    assert [stage.name for stage in client.stages(NAME)] == list(STAGES)


def test_a_held_upload_launches_nothing(poms: Poms, client: PomsClient, upload: Uploads) -> None:
    result = upload(campaign(), hold=True)
    assert (result.scheduled, result.every_minutes, poms.crontab) == (None, None, [])
    assert all(stage.held for stage in client.stages(NAME))


def test_a_hold_of_an_operator_stays(poms: Poms, client: PomsClient, upload: Uploads) -> None:
    stages = upload(campaign()).stage_ids
    client.hold(list(stages.values()))
    result = upload(campaign())
    assert (result.scheduled, poms.crontab, result.plan.held) == (None, [], STAGES)
    assert upload.said[-1] == "nf_sp is held, and gets no schedule before it is released"


def test_an_inactive_campaign_is_told(client: PomsClient) -> None:
    client.upload_ini(campaign())
    client.retire(NAME)
    assert plan(client, campaign()).notes == ("the campaign is inactive in POMS; its next launch makes it active",)


def test_a_plan_writes_nothing(poms: Poms, client: PomsClient, upload: Uploads) -> None:
    before = upload.state()
    plan(client, campaign())
    client.upload_ini(campaign("chain"))
    poms.requests.clear()
    after = upload.state()
    plan(client, campaign())
    assert before != after == upload.state()
    assert {request.method for request in poms.requests} <= READING
    assert {request.verb for request in poms.requests} == {"GET"}


def test_two_first_stages_are_refused() -> None:
    alone = campaign().replace(f"[dependencies declare]\ncampaign_stage_1 = nf_sp\nfile_pattern_1 = {PATTERN}\n", "")
    with pytest.raises(ConfigError, match="one stage must depend on no other, not nf_sp, declare"):
        first_stage(ini.parse(alone))


def test_without_a_campaign_in_poms_everything_is_new() -> None:
    wanted = ini.parse(campaign())
    new, conflicts = definitions(None, wanted)
    assert conflicts == ()
    assert {change.key for change in new} == {
        *("host", "account", "setup"),
        *("launch_script", "parameters", "output_file_patterns", "recoveries"),
    }
    assert all(change.old is None for change in (*new, *changes(None, {}, wanted)))


DIFF = f"""\
--- {NAME} in POMS
+++ {NAME} in the file
@@ stage nf_sp @@
-software_version=v1
+software_version=v1.1
-param_overrides=[["--stage=", "nf_sp"], ["--site=", "CERN"]]
+param_overrides=[["--stage=", "nf_sp"], ["--site=", "FNAL"]]
@@ stage declare @@
-software_version=v1
+software_version=v1.1
@@ dependency of declare on nf_sp @@
-file_pattern={PATTERN}
+file_pattern=%.root
@@ stage evaluate @@
-(the whole stage: POMS would take it out of the campaign)
# held: declare
# {NO_KEYWORDS}
"""
NEW = f"""\
--- {NAME} in POMS (not there)
+++ {NAME} in the file
@@ login setup {NAME}_login_LOGIN @@
+host=dunegpvm16.fnal.gov
+account=dunepro
+setup={SETUP}
@@ job type {NAME}_all_JOB @@
+launch_script=dune-prompt launch
+parameters=[["--service=", "https://prompt.cern.ch"]]
+output_file_patterns={PATTERN}
+recoveries=[]
@@ stage chain @@
+vo_role=Production
+software_version=v1
+dataset_or_split_data=pdhd-prompt_v1_open
+cs_split_type=draining
+completion_type=complete
+completion_pct=100
+merge_overrides=False
+login_setup={NAME}_login_LOGIN
+job_type={NAME}_all_JOB
+stage_type=regular
+output_ancestor_depth=1
+default_clear_cronjob=False
+param_overrides=[["--stage=", "chain"], ["--site=", "CERN"]]
+test_param_overrides=[["--jobs=", "1"]]
"""


def test_the_diff_is_for_people(client: PomsClient) -> None:
    stages = client.upload_ini(campaign("nf_sp", "declare", "evaluate")).stage_ids
    client.hold([stages["declare"]])
    text = campaign(software_version="v1.1", campaign_keywords='{"det": "np04hd"}')
    text = text.replace('"nf_sp"], ["--site=", "CERN"', '"nf_sp"], ["--site=", "FNAL"')
    assert diff_text(plan(client, text.replace(f"file_pattern_1 = {PATTERN}", "file_pattern_1 = %.root"))) == DIFF


def test_the_diff_of_a_new_campaign_shows_all_of_it(client: PomsClient) -> None:
    login, job_type = ini.parse(campaign()).login_setups[0].name[-8:], ini.parse(campaign()).job_types[0].name[-8:]
    assert diff_text(plan(client, campaign("chain"))) == NEW.replace("LOGIN", login).replace("JOB", job_type)


def test_the_diff_shows_what_poms_never_changes(client: PomsClient) -> None:
    client.upload_ini(campaign().replace(SETUP, "true"))
    shown = [line for line in diff_text(plan(client, campaign())).splitlines() if line.startswith("!")]
    assert len(shown) == 1
    assert shown[0].endswith(f"setup is 'true', not '{SETUP}'; POMS never changes it")


# On the command line

SITE = """
site: test
workspace: work
buffer: {path: buffer, capacity: 10GB}
streams:
  - {name: physics, pattern: "np04hd_raw_run*.hdf5", process: true}
service: {url: "https://prompt.cern.ch/np04"}
launchers:
  - {kind: poms, url: URL, bearer_file: bearer, login: {host: dunegpvm16.fnal.gov, token_file: /home/dunepro/token, setup: "true"}}
"""
CAMPAIGN = """
campaign: pdhd-prompt
detector: pdhd
stream: physics
version: v1
inputs: {from_run: 28000}
layout: staged
outputs: {namespace: hd-protodune-det-reco, data_tier: decoded-raw, worker_url: "root://eospublic.cern.ch//eos/np04/outbox"}
"""
TOKEN = "eyJ0b2tlbg.c2VjcmV0"


class Line:
    """The command line of a site with one campaign."""

    def __init__(self, folder: Path, url: str) -> None:
        self.site = folder / "site.yaml"
        self.site.write_text(SITE.replace("URL", url))
        (folder / "campaigns").mkdir()
        (folder / "campaigns" / "c.yaml").write_text(CAMPAIGN)
        (folder / "bearer").write_text(TOKEN)

    def run(self, group: str, *words: str) -> Result:
        return CliRunner().invoke(command, [*group.split(), "--site", str(self.site), *words])

    def __call__(self, group: str, *words: str) -> str:
        result = self.run(group, *words)
        assert result.exit_code == 0, result.exception or result.output
        return result.output


@pytest.fixture
def line(tmp_path: Path, poms: Poms) -> Line:
    return Line(tmp_path, poms.url)


def test_the_command_renders_and_uploads_and_again_changes_nothing(poms: Poms, line: Line) -> None:
    assert "uploaded" in line("upload")
    assert all(request.authorization for request in poms.requests)
    assert len(poms.crontab) == 1
    assert "POMS had it already" in line("upload", "pdhd-prompt_v1", "--diff")
    (result,) = json.loads(CliRunner().invoke(command, ["upload", "--site", str(line.site), "--json"]).stdout)
    assert result["scheduled"] == "nf_sp"
    assert result["plan"]["empty"]


def test_a_dry_run_shows_and_writes_nothing(poms: Poms, line: Line) -> None:
    assert "stage nf_sp" in line("upload", "--dry-run")
    assert "+cs_split_type=draining" in line("upload", "--dry-run", "--diff")
    (shown,) = json.loads(line("upload", "--dry-run", "--json"))
    assert not shown["exists"]
    assert {request.method for request in poms.requests} == {"campaign_deps_ini"}
    line("upload", "--hold")
    poms.requests.clear()
    assert "POMS has it already" in line("upload", "--dry-run")
    for what in ("hold", "release", "retire", "activate", "launch"):
        line(f"poms {what}", "pdhd-prompt", "--dry-run")
    assert {request.method for request in poms.requests} <= READING
    assert {request.verb for request in poms.requests} == {"GET"}


def test_a_file_is_uploaded_in_place_of_the_campaign(poms: Poms, line: Line, tmp_path: Path) -> None:
    (tmp_path / "mine.ini").write_text(campaign("chain"))
    line("upload", "--ini", str(tmp_path / "mine.ini"))
    assert poms.stage(NAME, "chain").cs_split_type == "draining"
    assert line.run("upload", "pdhd-prompt", "--ini", str(tmp_path / "mine.ini")).exit_code == 2
    result = line.run("upload", "other")
    assert isinstance(result.exception, ConfigError)
    assert "there is no campaign 'other'; there are: pdhd-prompt_v1" in str(result.exception)


def test_a_hold_and_a_release_with_its_schedule(poms: Poms, client: PomsClient, line: Line) -> None:
    line("upload")
    scheduled = poms.crontab
    line("poms hold", "pdhd-prompt")
    assert poms.crontab == []
    assert [stage.held for stage in client.stages(NAME)] == [True] * 4
    line("poms release", "pdhd-prompt", "--stage", "evaluate")
    assert poms.crontab == []
    assert [stage.name for stage in client.stages(NAME) if not stage.held] == ["evaluate"]
    line("poms release", "pdhd-prompt_v1")
    assert poms.crontab == scheduled
    assert not any(stage.held for stage in client.stages(NAME))


def test_a_campaign_is_retired_and_taken_into_use_again(poms: Poms, client: PomsClient, line: Line) -> None:
    line("upload")
    scheduled = poms.crontab
    line("poms retire", "pdhd-prompt")
    assert poms.crontab == []
    assert "state=Inactive" in (client.campaign_ini(NAME) or "")
    line("poms activate", "pdhd-prompt")
    assert poms.crontab == scheduled
    assert "state=Active" in (client.campaign_ini(NAME) or "")


def test_a_campaign_whose_file_is_gone_can_be_retired(poms: Poms, client: PomsClient, line: Line) -> None:
    client.upload_ini(campaign("chain").replace(f"name = {NAME}", "name = old_v0"))
    assert "old_v0" in line("poms retire", "old_v0")
    assert "state=Inactive" in (client.campaign_ini("old_v0") or "")


def test_a_launch_by_hand_is_seen_among_the_submissions(poms: Poms, line: Line) -> None:
    line("upload")
    assert "no submissions" in line("poms submissions", "pdhd-prompt")
    (launched,) = json.loads(line("poms launch", "pdhd-prompt", "--test", "--json"))
    assert launched["stage"] == "nf_sp"
    assert launched["page"].endswith(f"submission_id={launched['submission']}")
    line("poms launch", "pdhd-prompt", "--stage", "declare", "--dataset", "mine")
    poms.wait()
    rows = json.loads(line("poms submissions", "pdhd-prompt", "--json"))
    assert [(row["stage"], row["status"]) for row in rows] == [("nf_sp", "New"), ("declare", "New")]
    assert poms.submission(rows[1]["submission"]).dataset == "mine"


@pytest.mark.parametrize("what", ["hold", "launch"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "POMS has no campaign 'nothing' with stages"),
        (("pdhd-prompt", "--stage", "x"), "has no stage 'x' in POMS; there are: nf"),
    ],
)
def test_what_poms_does_not_have_is_named(line: Line, what: str, words: tuple[str, ...], message: str) -> None:
    line("upload")
    result = line.run(f"poms {what}", *words)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


@pytest.mark.parametrize("fault", [{"unauthorized": True}, {"down": True}, {"ok_but_failed": ["ini_to_campaign", "campaign_deps_ini"]}])
def test_the_token_is_shown_to_nobody(poms: Poms, line: Line, fault: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    outputs = [line("upload", "--diff")]
    poms.faults = fault
    result = line.run("upload")
    assert isinstance(result.exception, DunePromptError)
    assert TOKEN not in "".join([*outputs, result.output, str(result.exception), caplog.text])
