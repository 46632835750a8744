"""Each rule about a campaign's ini: it finds its fault, no other rule does, and what we render has none."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from campaign.poms import lint
from campaign.poms.ini import Ini, parse
from campaign.poms.lint import RULES, complaints
from campaign.poms.names import HASH_LETTERS, job_type_hash, login_hash
from dune_prompt.settings.launchers import PomsLauncherSettings

GOLDEN = (Path(__file__).parent / "golden" / "staged" / "campaign.ini").read_text("utf-8")


def settings(**changes: Any) -> PomsLauncherSettings:
    login = {"host": "dunegpvm16.fnal.gov", "token_file": "/t"}
    return PomsLauncherSettings.model_validate({"kind": "poms", "url": "https://poms.fnal.gov", "login": login} | changes)


def named_anew(text: str) -> str:
    """The ini with the names of its login setups and job types as their content asks for."""
    ini = parse(text)
    for login in ini.login_setups:
        text = text.replace(login.name, login.name[:-HASH_LETTERS] + login_hash(login.host, login.account, login.setup))
    for item in ini.job_types:
        content = job_type_hash(item.launch_script, item.parameters, item.output_file_patterns, item.recoveries)
        text = text.replace(item.name, item.name[:-HASH_LETTERS] + content)
    return text


def changed(*changes: tuple[str, str]) -> str:
    text = GOLDEN
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def section(ini: Ini, kind: str, stage: str = "nf_sp") -> str:
    """`login`, `job_type` and `stage` are short for the sections' names."""
    item = ini.stage(stage)
    assert item is not None
    return {"login": f"[login_setup {item.values['login_setup']}]", "job_type": f"[job_type {item.values['job_type']}]"}.get(
        kind, f"[campaign_stage {stage}]"
    )


NF_SP, DECLARE, UPLOAD = "[campaign_stage nf_sp]\n", "[campaign_stage declare]\n", "[campaign_stage dqm_upload]\n"
OVERRIDES = '["--stage=", "nf_sp"], ["--site=", "CERN"]'
TOKEN = '["--token-file=", "/home/dunepro/prompt/operator-token"]'
SCRIPT = "launch_script = dune-prompt launch\n"

MISSPELLED = [
    *("Draining", "draining(5)", "drainingn", "drainingn(0)", "drainingn (5)", "NONE", "nfiles_3", "new", "new_local(window=1h)"),
    *("byexistingruns()", "byrun(low=1, high=2)"),
]
SPELLED = [
    *("None", "none", "draining", "drainingn(100)", "nfiles(5)", "mod(3)", "limitn(7)", "list", "multiparam", "stagedfiles(2)"),
    *("byrun(low=1,high=9)", "new(window=10m,fts=1m)"),
]

# rule, changes, where the complaint is: the section ("stage", "job_type", "login", or as it is written) and the key.
FAULTS = [
    ("mandatory_keys", [("software_version = v1\n", "")], "stage", "software_version"),
    ("mandatory_keys", [("vo_role = Production\n", "vo_role =\n")], "stage", "vo_role"),
    ("mandatory_keys", [("completion_type = complete\n", "")], "stage", "completion_type"),
    ("mandatory_keys", [("completion_pct = 100\n", "")], "stage", "completion_pct"),
    ("mandatory_keys", [("login_setup = pdhd-prompt_v1_login_", "#")], "stage", "login_setup"),
    ("mandatory_keys", [("job_type = pdhd-prompt_v1_nf_sp_", "#")], "stage", "job_type"),
    ("mandatory_keys", [("dataset_or_split_data = from_parent\n", "")], "[campaign_stage declare]", "dataset_or_split_data"),
    ("mandatory_keys", [("host = dunegpvm16.fnal.gov\n", "")], "login", "host"),
    ("mandatory_keys", [("account = dunepro\n", "account =\n")], "login", "account"),
    ("mandatory_keys", [("setup = source", "note = source")], "login", "setup"),
    ("mandatory_keys", [(SCRIPT, "")], "job_type", "launch_script"),
    ("mandatory_keys", [("output_file_patterns = %_pdhd-prompt_v1_gauss.%\n", "")], "job_type", "output_file_patterns"),
    ("keywords_where_they_are_read", [("state = Active\n", "campaign_keywords = {}\n")], "[campaign]", "campaign_keywords"),
    ("keywords_where_they_are_read", [(NF_SP, NF_SP + "campaign_keywords = {}\n")], "stage", "campaign_keywords"),
    ("what_stages_name_is_there", [("login_setup = pdhd", "login_setup = other")], "stage", "login_setup"),
    ("what_stages_name_is_there", [("job_type = pdhd", "job_type = other")], "stage", "job_type"),
    ("names_hold_their_content", [("account = dunepro", "account = other")], "login", ""),
    ("names_hold_their_content", [(TOKEN, TOKEN.replace("home", "mine"))], "job_type", ""),
    ("schedule_stays", [("default_clear_cronjob = False\n", "")], "stage", "default_clear_cronjob"),
    ("schedule_stays", [("default_clear_cronjob = False", "default_clear_cronjob = FALSE")], "stage", "default_clear_cronjob"),
    ("known_values", [("stage_type = regular", "stage_type = Regular")], "stage", "stage_type"),
    ("known_values", [(NF_SP, NF_SP + "completion_type = done\n")], "stage", "completion_type"),
    ("known_values", [(NF_SP, NF_SP + "vo_role = Operator\n")], "stage", "vo_role"),
    ("percentages", [(NF_SP, NF_SP + "completion_pct = 101\n")], "stage", "completion_pct"),
    ("percentages", [(NF_SP, NF_SP + "completion_pct = 0\n")], "stage", "completion_pct"),
    ("percentages", [(NF_SP, NF_SP + "completion_pct = 99.5\n")], "stage", "completion_pct"),
    ("complete_where_nothing_is_located", [(NF_SP, NF_SP + "completion_type = located\n")], "stage", "completion_type"),
    (
        "complete_where_nothing_is_located",
        [
            ("[dependencies declare]\ncampaign_stage_1 = nf_sp\n", "[x]\n"),
            (NF_SP, NF_SP + "completion_type = located\n"),
            (SCRIPT, "launch_script = fife_launch\n"),
        ],
        "stage",
        "completion_type",
    ),
    *(("split_types", [("cs_split_type = draining", f"cs_split_type = {split}")], "stage", "cs_split_type") for split in MISSPELLED),
    (
        "recoveries",
        [("recoveries = []", 'recoveries = [["everything", []]]'), ("cs_split_type = draining", "cs_split_type = None")],
        "job_type",
        "recoveries",
    ),
    (
        "recoveries",
        [("recoveries = []", "recoveries = pending_files"), ("cs_split_type = draining", "cs_split_type = None")],
        "job_type",
        "recoveries",
    ),
    (
        "recoveries",
        [("recoveries = []", 'recoveries = ["pending_files"]'), ("cs_split_type = draining", "cs_split_type = None")],
        "job_type",
        "recoveries",
    ),
    ("no_recoveries_with_draining", [("recoveries = []", 'recoveries = [["pending_files", []]]')], "job_type", "recoveries"),
    ("parents_exist", [("campaign_stage_1 = nf_sp", "campaign_stage_1 = nfsp")], "[dependencies declare]", ""),
    (
        "no_cycles",
        [("[dependencies declare]", "[dependencies nf_sp]\ncampaign_stage_1 = nf_sp\nfile_pattern_1 = %\n[dependencies declare]")],
        "[dependencies nf_sp]",
        "",
    ),
    ("percent_signs", [('"$(date +%%FT%%T)"', '"$(date +%%FT%T)"')], "login", "setup"),
    ("percent_signs", [("%%FT%%T", "%(site)s")], "login", "setup"),
    ("percent_signs", [('["--dataset=", "%(dataset)s"]', '["--dataset=", "%(dataset)d"]')], "stage", "param_overrides"),
    ("percent_signs", [('["--dataset=", "%(dataset)s"]', '["--dataset=", "%(datset)s"]')], "stage", "param_overrides"),
    ("percent_signs", [("operator-token", "100%")], "job_type", "parameters"),
    ("percent_signs", [(SCRIPT, "launch_script = dune-prompt launch %s\n")], "job_type", "launch_script"),
    ("percent_signs", [('[["--jobs=", "1"]]', '[["--jobs=", "%(n)s"]]')], "[campaign_defaults]", "test_param_overrides"),
    ("percent_signs", [("dataset_or_split_data = pdhd", "dataset_or_split_data = %(det)s_pdhd")], "stage", "dataset_or_split_data"),
    ("shell_safe", [("operator-token", "$HOME")], "job_type", "parameters"),
    ("shell_safe", [(SCRIPT, "launch_script = dune-prompt launch;\n")], "job_type", "launch_script"),
    ("shell_safe", [('["--dataset=", "%(dataset)s"]', '["--dataset=", "\'%(dataset)s\'"]')], "stage", "param_overrides"),
    ("shell_safe", [('[["--jobs=", "1"]]', '[["--jobs=", "1*"]]')], "[campaign_defaults]", "test_param_overrides"),
    ("shell_safe", [("dataset_or_split_data = pdhd", "dataset_or_split_data = my pdhd")], "stage", "dataset_or_split_data"),
    ("shell_safe", [(NF_SP, NF_SP + "software_version = v1&\n")], "stage", "software_version"),
    (
        "shell_safe",
        [("software_version = v1\n", 'software_version = v1\ncampaign_keywords = {"a": "`b`"}\n')],
        "[campaign_defaults]",
        "campaign_keywords",
    ),
    ("shell_safe", [("name = pdhd-prompt_v1", "name = pdhd prompt")], "[campaign]", ""),
    ("login_shell", [("account = dunepro", "account = dune pro")], "login", "account"),
    ("login_shell", [("host = dunegpvm16", "host = -odunegpvm16;")], "login", "host"),
    ("login_shell", [('%%T)"', "%%T)")], "login", "setup"),
    ("no_key_twice", [(TOKEN, f"{TOKEN}, {TOKEN}")], "job_type", "parameters"),
    ("no_key_twice", [(OVERRIDES, f"{OVERRIDES}, {OVERRIDES}")], "stage", "param_overrides"),
    ("no_key_twice", [(OVERRIDES, f'{OVERRIDES}, ["--service=", "https://prompt.cern.ch"]')], "stage", "param_overrides"),
    ("restricted_to_the_site", [(', ["--site=", "CERN"]', "")], "stage", "param_overrides"),
    ("restricted_to_the_site", [('["--site=", "CERN"]', '["--site=", "FNAL"]')], "stage", "param_overrides"),
    ("restricted_to_the_site", [(NF_SP, NF_SP + 'test_param_overrides = [["--site=", "FNAL"]]\n')], "stage", "test_param_overrides"),
    ("restricted_to_the_site", [(NF_SP, NF_SP + 'test_param_overrides = [["-Osubmit.site=", "FNAL"]]\n')], "stage", "test_param_overrides"),
    ("launch_host", [("host = dunegpvm16.fnal.gov", "host = lxplus.cern.ch")], "login", "host"),
    (
        "launch_host",
        [("host = dunegpvm16.fnal.gov", "host = lxplus.cern.ch"), ("vo_role = Production", "vo_role = Analysis")],
        "login",
        "host",
    ),
    ("service_within_reach", [("https://prompt.cern.ch/np04", "http://127.0.0.1:8080")], "job_type", "parameters"),
]


@pytest.mark.parametrize(("rule", "changes", "place", "key"), FAULTS, ids=[f"{number}-{fault[0]}" for number, fault in enumerate(FAULTS)])
def test_a_rule_finds_its_fault_and_no_other_does(
    monkeypatch: pytest.MonkeyPatch, rule: str, changes: list[tuple[str, str]], place: str, key: str
) -> None:
    text = changed(*changes)
    ini = parse(text if rule in ("names_hold_their_content", "what_stages_name_is_there") else named_anew(text))
    found = complaints(ini, settings())
    where = place if place.startswith("[") else section(parse(GOLDEN) if key in ("login_setup", "job_type") else ini, place)
    assert f"{where} {key}".strip() in [complaint.where for complaint in found]
    monkeypatch.setattr(lint, "RULES", tuple(item for item in RULES if item.__name__ != rule))
    assert complaints(ini, settings()) == []


def test_every_rule_has_a_fault_here_and_every_function_of_a_rules_form_is_one() -> None:
    assert {fault[0] for fault in FAULTS} == {rule.__name__ for rule in RULES}
    formed = {
        name
        for name, item in vars(lint).items()
        if inspect.isfunction(item) and list(inspect.signature(item).parameters)[1:] in (["_settings"], ["settings"])
    }
    assert formed - {"complaints"} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(
    "changes",
    [[("cs_split_type = draining", f"cs_split_type = {split}")] for split in SPELLED]
    + [
        [
            ("cs_split_type = draining", "cs_split_type = multiparam"),
            ("dataset_or_split_data = pdhd-prompt_v1_evaluate_open", 'dataset_or_split_data = [["a", "b"], ["c"]]'),
        ],
        [('["--site=", "CERN"]', '["-Osubmit.site=", "CERN"]')],
        [
            ("software_version = v1\n", 'software_version = v1\ncampaign_keywords = {"where": "CERN"}\n'),
            ('"--site=", "CERN"', '"--site=", "%(where)s"'),
        ],
        [('["--dataset=", "%(dataset)s"]', '["--dataset=", "%(experiment)s_100%%"]')],
        [(UPLOAD, UPLOAD + "default_clear_cronjob = false\n")],
        [(NF_SP, NF_SP + "completion_pct = 1\n")],
        [(NF_SP, NF_SP + "vo_role = production\n")],
        [(NF_SP, NF_SP + "completion_type = located\n"), (SCRIPT, "launch_script = fife_launch -c prompt.cfg\n")],
        [(DECLARE, DECLARE + 'test_param_overrides = [["--wait=", "1min"]]\n')],
    ],
)
def test_what_poms_can_do_is_not_complained_about(changes: list[tuple[str, str]]) -> None:
    assert complaints(parse(named_anew(changed(*changes))), settings()) == []


def test_a_recovery_is_no_fault_where_files_are_given_out_once() -> None:
    text = changed(
        ("recoveries = []", 'recoveries = [["pending_files", []]]'), ("cs_split_type = draining", "cs_split_type = drainingn(50)")
    )
    assert complaints(parse(named_anew(text)), settings()) == []


def test_every_stage_on_a_circle_is_named_and_none_behind_it() -> None:
    text = changed(("[dependencies declare]\ncampaign_stage_1 = nf_sp", "[dependencies declare]\ncampaign_stage_1 = evaluate"))
    assert [item.where for item in complaints(parse(text), settings())] == ["[dependencies declare]", "[dependencies evaluate]"]


def test_sites_are_not_asked_for_where_jobs_may_run_anywhere() -> None:
    text = changed((', ["--site=", "CERN"]', ""))
    assert complaints(parse(text), settings(site=None)) == []


def test_a_restriction_that_is_merged_from_the_defaults_counts() -> None:
    defaults = ("merge_overrides = False\n", 'merge_overrides = True\nparam_overrides = [["-Osubmit.site=", "CERN"]]\n')
    text = GOLDEN.replace(', ["--site=", "CERN"]', "").replace(*defaults)
    assert complaints(parse(text), settings()) == []


@pytest.mark.parametrize(("vo_role", "warning"), [("Production", False), ("Analysis", True)])
def test_another_launch_host_is_a_fault_in_production_and_a_warning_for_analysis(vo_role: str, warning: bool) -> None:
    text = named_anew(changed(("host = dunegpvm16.fnal.gov", "host = lxplus.cern.ch"), ("vo_role = Production", f"vo_role = {vo_role}")))
    (found,) = complaints(parse(text), settings())
    assert found.warning is warning


def test_a_complaint_reads_as_place_and_text() -> None:
    (found,) = complaints(parse(changed((NF_SP, NF_SP + "completion_pct = 101\n"))), settings())
    assert str(found) == "[campaign_stage nf_sp] completion_pct: '101' is no whole number from 1 to 100"
