"""The files for POMS: golden ones, what POMS makes of them, and values that could break out.

After a change that is meant, renew the golden files and look at the difference:

    RENEW_GOLDEN=1 python -m pytest tests/campaign/poms/test_rendering.py -k golden; git diff tests/campaign/poms/golden
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from campaign.definition import Campaign, CampaignFile, load_campaign
from campaign.launchers import jobsub_command
from campaign.launchers.protocol import Job, Submission
from campaign.poms.ini import Ini, IniStage, parse
from campaign.poms.lint import complaints
from campaign.poms.rendering import poms_settings, render_set, write_set
from dune_prompt.cli.campaign.render import render as render_command
from dune_prompt.cli.launch import command as launch_command
from dune_prompt.errors import ConfigError, DataError
from dune_prompt.settings import Site, load_site
from tests.servers.jobsub_parts import grammar
from tests.servers.samweb_parts import dims

GOLDEN = Path(__file__).parent / "golden"
SITE = """
site: cern-np04
workspace: /var/lib/dune-prompt
buffer: {path: /eos/np04/buffer, capacity: 200TB}
streams:
  - {name: physics, pattern: "np04hd_raw_run*.hdf5", where: {dune.daq_test: false}, process: true}
service: {url: "https://prompt.cern.ch/np04"}
launchers:
  - kind: poms
    url: https://pomsgpvm01.fnal.gov
    requirements: TARGET.HAS_CVMFS_dune_opensciencegrid_org==true
    lines: ["+FERMIHTC_GraceMemory = 1024"]
    managed_token: true
    login:
      host: dunegpvm16.fnal.gov
      token_file: /home/dunepro/prompt/operator-token
      setup: source /home/dunepro/prompt/bin/activate; export STARTED="$(date +%FT%T)"
"""
CAMPAIGN = """
campaign: pdhd-prompt
detector: pdhd
stream: physics
version: v1
inputs: {from_run: 28000, exclude_runs: [28013]}
layout: LAYOUT
stages: {nf_sp: {memory: 3GB, lifetime: 2h}, dqm_upload: {memory: 1GB, lifetime: 10min}}
outputs: {namespace: hd-protodune-det-reco, data_tier: decoded-raw, worker_url: "root://eospublic.cern.ch//eos/np04/outbox"}
"""
LAYOUTS = ("staged", "fused")


def files(folder: Path, layout: str = "staged", site: str = SITE) -> tuple[Path, Site, CampaignFile]:
    """Site and campaign file in `folder`, read."""
    (folder / "campaigns").mkdir()
    (folder / "site.yaml").write_text(site)
    (folder / "campaigns" / "c.yaml").write_text(CAMPAIGN.replace("LAYOUT", layout))
    return folder / "site.yaml", load_site(folder / "site.yaml"), load_campaign(folder / "campaigns" / "c.yaml")


def launched(ini: Ini, stage: IniStage, dataset: str, *, test: bool = False) -> tuple[str, str]:
    """Login setup and launch command as POMS's server makes them (its `launch_jobs`), before it puts both between single quotes for ssh."""
    login = next(item for item in ini.login_setups if item.name == stage.values["login_setup"])
    job_type = next(item for item in ini.job_types if item.name == stage.values["job_type"])
    known = {
        "dataset": dataset,
        "parameter": dataset,
        "version": stage.values["software_version"],
        "group": "dune",
        "experimenter": "poms",
        "experiment": "dune",
    }
    parameters = dict(job_type.parameters)
    parameters.update(stage.param_overrides)
    parameters.update(stage.test_param_overrides if test else ())
    command = job_type.launch_script + " " + " ".join(key + value for key, value in parameters.items())
    return login.setup % known, command % (dict(ini.keywords) | known)


# --- golden files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_are_the_golden_ones(tmp_path: Path, layout: str) -> None:
    _, site, file = files(tmp_path, layout)
    texts = {golden_name(name): text for name, text in render_set(site, poms_settings(site), file).files.items()}
    folder = GOLDEN / layout
    if os.environ.get("RENEW_GOLDEN"):
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
    golden = {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}
    assert sorted(texts) == sorted(golden)
    for name, text in texts.items():
        assert text == golden[name], name


def golden_name(name: str) -> str:
    """Scripts are texts here, so that nobody takes them for tests."""
    return f"{name}.txt" if name.endswith(".py") else name


# --- what POMS makes of it


@pytest.mark.parametrize("layout", LAYOUTS)
def test_poms_reads_the_stages_and_their_order(tmp_path: Path, layout: str) -> None:
    _, site, file = files(tmp_path, layout)
    ini = render_set(site, poms_settings(site), file).ini
    assert ini.name == "pdhd-prompt_v1"
    parents = {stage.name: [parent for parent, _ in stage.depends_on] for stage in ini.stages}
    assert parents == (
        {"chain": []} if layout == "fused" else {"nf_sp": [], "declare": ["nf_sp"], "evaluate": ["declare"], "dqm_upload": ["evaluate"]}
    )
    assert [stage.values["cs_split_type"] for stage in ini.stages] == ["draining"] + ["None"] * (len(ini.stages) - 1)
    assert ini.stages[0].values["dataset_or_split_data"] == "pdhd-prompt_v1_evaluate_open"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_of_it_is_complained_about(tmp_path: Path, layout: str) -> None:
    _, site, file = files(tmp_path, layout)
    assert complaints(render_set(site, poms_settings(site), file).ini, poms_settings(site)) == []


def test_our_launch_takes_every_command_that_poms_pastes(tmp_path: Path) -> None:
    _, site, file = files(tmp_path)
    ini = render_set(site, poms_settings(site), file).ini
    for stage in ini.stages:
        _, text = launched(ini, stage, "poms_depends_7_1", test=True)
        program, subcommand, *options = shlex.split(text)
        assert (program, subcommand) == ("dune-prompt", "launch")
        told = launch_command.make_context("launch", options).params
        assert (told["campaign"], told["campaign_version"], told["step"]) == ("pdhd-prompt", "v1", stage.name)
        assert (told["site"], told["jobs"], told["dataset"]) == ("CERN", 1, "poms_depends_7_1")
        assert told["wait_s"] == (1800.0 if stage.name == "declare" else 0.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_command_to_read_is_the_one_poms_pastes(tmp_path: Path, layout: str) -> None:
    _, site, file = files(tmp_path, layout)
    rendered = render_set(site, poms_settings(site), file)
    for stage in rendered.ini.stages:
        dataset = "poms_depends_SUBMISSION_1" if stage.depends_on else stage.values["dataset_or_split_data"]
        _, command = launched(rendered.ini, stage, dataset)
        assert rendered.files[f"launch_{stage.name}.txt"].splitlines()[-1] == command


def test_the_setup_to_read_is_what_the_shell_gets(tmp_path: Path) -> None:
    _, site, file = files(tmp_path)
    rendered = render_set(site, poms_settings(site), file)
    setup, _ = launched(rendered.ini, rendered.ini.stages[0], "d")
    assert setup == 'source /home/dunepro/prompt/bin/activate; export STARTED="$(date +%FT%T)"'
    assert rendered.files["login_setup.sh"].splitlines()[-1] == setup


def test_an_empty_setup_is_a_command_too(tmp_path: Path) -> None:
    _, site, file = files(tmp_path, site=re.sub(r"\n      setup: .*", "", SITE))
    assert render_set(site, poms_settings(site), file).ini.login_setups[0].setup == "true"


def test_a_test_launch_submits_one_job_and_another_as_many_as_there_are(tmp_path: Path) -> None:
    _, site, file = files(tmp_path)
    ini = render_set(site, poms_settings(site), file).ini
    assert "--jobs=1" in launched(ini, ini.stages[0], "d", test=True)[1].split()
    assert "--jobs" not in launched(ini, ini.stages[0], "d")[1]


def test_the_first_dataset_is_a_definition_that_sam_understands(tmp_path: Path) -> None:
    _, site, file = files(tmp_path)
    rendered = render_set(site, poms_settings(site), file)
    told = dict(line.split(": ", 1) for line in rendered.files["sam_definition.txt"].splitlines() if line and line[0] != "#")
    assert told["name"] == rendered.ini.stages[0].values["dataset_or_split_data"]
    query = dims.parse(told["dimensions"])
    assert isinstance(query.node, dims.Combination)
    assert query.node.op == "minus"


def test_where_jobs_may_run_anywhere_launches_name_no_site(tmp_path: Path) -> None:
    _, site, file = files(tmp_path, site=SITE.replace("    url: https://poms", "    site: null\n    url: https://poms"))
    rendered = render_set(site, poms_settings(site), file)
    assert "--site" not in launched(rendered.ini, rendered.ini.stages[0], "d")[1]
    assert "site" not in options_of(rendered.files["fife_launch.cfg"], "nf_sp", {})
    assert complaints(rendered.ini, poms_settings(site)) == []


def test_an_analysis_campaign_says_so_to_poms_and_in_its_launches(tmp_path: Path) -> None:
    _, site, file = files(tmp_path, site=SITE.replace("    url: https://poms", "    poms_role: analysis\n    url: https://poms"))
    ini = render_set(site, poms_settings(site), file).ini
    assert ini.stages[0].values["vo_role"] == "Analysis"
    assert "--poms-role=analysis" in launched(ini, ini.stages[0], "d")[1].split()


# --- names


def test_what_poms_never_changes_has_a_new_name_when_it_changes(tmp_path: Path) -> None:
    _, site, file = files(tmp_path)
    before = render_set(site, poms_settings(site), file).ini
    settings = poms_settings(site)
    moved = settings.model_copy(update={"login": settings.login.model_copy(update={"host": "dunegpvm17.fnal.gov"})})
    after = render_set(site, moved, file).ini
    assert after.login_setups[0].name != before.login_setups[0].name
    assert [item.name for item in after.job_types] == [item.name for item in before.job_types]
    elsewhere = settings.model_copy(update={"url": "https://pomsgpvm02.fnal.gov"})
    after = render_set(site, elsewhere, file).ini
    assert after.login_setups[0].name == before.login_setups[0].name
    assert not {item.name for item in after.job_types} & {item.name for item in before.job_types}


# --- fife_launch


def options_of(text: str, stage: str, overrides: Mapping[str, str]) -> dict[str, list[str]]:
    """What fife_launch makes of the cfg, by its reference: [stage_X] and -O put values over others, [global] has the macros, and an option
    of [submit] goes to jobsub_submit by its name without the number, through a shell."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    values = {f"{section}.{key}": value for section in parser.sections() for key, value in parser.items(section)}
    values |= dict(parser.items(f"stage_{stage}")) | dict(overrides)
    macros = {key.removeprefix("global."): value for key, value in values.items() if key.startswith("global.")}
    found: dict[str, list[str]] = {}
    for key, value in values.items():
        section, _, option = key.partition(".")
        if section == "submit":
            (word,) = shlex.split(value % macros)
            found.setdefault(re.sub(r"_\d+$", "", option), []).append(word)
        elif section == "env_pass":
            found.setdefault("e", []).append(f"{option}={value}")
    return found


def test_fife_launch_says_the_same_to_jobsub_as_we_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSUB_POOL_MAP", '{"dune": {"collector": "dunegpcoll01.fnal.gov", "onsite": "FNAL_GPGrid"}}')
    monkeypatch.setenv("USER", "dunepro")
    monkeypatch.setenv("GROUP", "dune")
    monkeypatch.setenv("_condor_COLLECTOR_HOST", "")
    monkeypatch.delenv("JOBSUB_GROUP", raising=False)
    _, site, file = files(tmp_path)
    text = render_set(site, poms_settings(site), file).files["fife_launch.cfg"]
    job = Job("01ATTEMPT0", tmp_path, tmp_path, 3 * 10**9, 7200.0, disk_bytes=20 * 10**9)
    submission = Submission(
        "01REQUEST",
        "pdhd-prompt",
        "v1",
        "nf_sp",
        (job, replace(job, attempt="01ATTEMPT1")),
        Path("/w/submissions/01REQUEST"),
        Path("/w/bundles/b.tar.gz"),
        file.settings.outputs.worker_url,
        "root://eospublic.cern.ch//eos/np04/outbox/assignments/01REQUEST",
    )
    ours = grammar.submit("jobsub_submit").parse_args(jobsub_command.submit_command(poms_settings(site), submission)[1:])
    overrides = {
        "submit.N": "2",
        "global.request": "01REQUEST",
        "global.attempts": "$CHOICE(Process,01ATTEMPT0,01ATTEMPT1)",
        "global.assignments": str(submission.assignments_url),
        "global.script": "/w/submissions/01REQUEST/job.sh",
        "global.bundle": "/w/bundles/b.tar.gz",
    }
    words: list[str] = []
    for option, values in options_of(text, "nf_sp", overrides).items():
        for value in values:
            name = f"-{option}" if len(option) == 1 else f"--{option}"
            words += [name] if value == "True" else [name, value]
    theirs = grammar.submit("jobsub_submit").parse_args([*words, "file:///fife_wrap"])
    assert theirs.input_file == ["dropbox:///w/submissions/01REQUEST/job.sh"]
    not_the_same = {"input_file", "executable", "exe_arguments"}
    assert {key: value for key, value in vars(theirs).items() if key not in not_the_same} == {
        key: value for key, value in vars(ours).items() if key not in not_the_same
    }
    assert f"arg_3 = {'%(assignments)s'}" in text


def test_nothing_a_slice_decides_has_a_value_in_the_cfg(tmp_path: Path) -> None:
    _, site, file = files(tmp_path)
    text = render_set(site, poms_settings(site), file).files["fife_launch.cfg"]
    for key in ("request", "attempts", "assignments", "script", "bundle", "N"):
        assert f"\n{key} = override_me\n" in text


# --- values

NAMES = st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True)
WORDS = st.from_regex(r"[A-Za-z0-9_.+@=,:-]{1,12}", fullmatch=True)
PATHS = st.lists(WORDS, min_size=1, max_size=3).map(lambda words: "/" + "/".join(words))
HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\.cern\.ch(:[1-9][0-9]{1,3})?", fullmatch=True)


@st.composite
def sites(draw: st.DrawFn, /, **login: Any) -> Site:
    """Sites as their operators may write them, whose values POMS can paste."""
    group = draw(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True))
    return Site.model_validate(
        {
            "site": draw(NAMES),
            "buffer": {"path": "/buffer"},
            "streams": [{"name": "physics", "pattern": "np04hd_raw_run*.hdf5", "process": True}],
            "service": {"url": f"https://{draw(HOSTS)}{draw(st.just('') | PATHS)}"},
            "launchers": [
                {
                    "kind": "poms",
                    "url": f"https://{draw(HOSTS)}",
                    "group": group,
                    "role": draw(st.from_regex(r"[A-Za-z0-9]{1,8}", fullmatch=True)),
                    "poms_role": "production",
                    "subgroup": draw(st.none() | st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)),
                    "site": draw(st.none() | st.from_regex(r"[A-Za-z0-9_,-]{1,12}", fullmatch=True)),
                    "requirements": draw(st.none() | st.sampled_from(["Memory % 2 == 0", 'Arch == "X86_64" && Tag != "%(x)s"'])),
                    "managed_token": draw(st.booleans()),
                    "every": draw(st.integers(1, 59).map("{}min".format) | st.integers(1, 23).map("{}h".format)),
                    "login": {
                        "host": f"{draw(st.from_regex(r'[A-Za-z0-9-]{0,5}', fullmatch=True))}{group}gpvm.fnal.gov",
                        "account": draw(st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True)),
                        "token_file": draw(PATHS),
                        **login,
                    },
                }
            ],
        }
    )


@st.composite
def campaigns(draw: st.DrawFn) -> CampaignFile:
    settings = Campaign.model_validate(
        {
            "campaign": draw(NAMES),
            "detector": draw(st.sampled_from(["pdhd", "pdvd"])),
            "stream": "physics",
            "version": draw(st.from_regex(r"[A-Za-z0-9.-]{1,12}", fullmatch=True)),
            "inputs": draw(st.sampled_from([{}, {"from_run": 1, "to_run": 9}, {"datasets": ["a-b:c_*", "d:e.f"]}])),
            "layout": draw(st.sampled_from(LAYOUTS)),
            "outputs": {"namespace": "n", "data_tier": "t", "worker_url": draw(st.none() | PATHS.map(lambda path: f"root://h/{path}"))},
        }
    )
    return CampaignFile(Path("/c.yaml"), settings, "0" * 64)


@given(sites(), campaigns(), st.booleans())
def test_every_word_of_a_launch_is_what_it_was_after_poms_and_two_shells(site: Site, file: CampaignFile, test: bool) -> None:
    settings = poms_settings(site)
    rendered = render_set(site, settings, file)
    assert complaints(rendered.ini, settings) == []
    for stage in rendered.ini.stages:
        _, command = launched(rendered.ini, stage, "poms_depends_7_1", test=test)
        quoted = command.replace("'", """'"'"'""")
        (inner,) = shlex.split(f"'{quoted}'")
        expected = [
            "dune-prompt",
            "launch",
            f"--service={site.service.base_url}",
            f"--token-file={settings.login.token_file}",
            f"--campaign={file.settings.campaign}",
            f"--campaign-version={file.settings.version}",
            f"--poms-url={str(settings.url).rstrip('/')}",
            f"--stage={stage.name}",
            *([f"--site={settings.site}"] if settings.site else []),
            "--dataset=poms_depends_7_1",
            *(["--wait=30min"] if stage.name == "declare" else []),
            *(["--jobs=1"] if test else []),
        ]
        assert shlex.split(inner) == expected
        assert not set("*?[]{}~$`\"'\\;&|<>()#! ") & set("".join(expected))


@given(
    st.data(),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30) | st.text("%(dataset)s '\"\\#=:;"),
)
def test_a_setup_comes_out_as_it_went_in_or_is_refused(data: st.DataObject, setup: str) -> None:
    site = data.draw(sites(setup=setup))
    file = data.draw(campaigns())
    try:
        shlex.split(setup)
        readable = setup.strip().isprintable()
    except ValueError:
        readable = False
    if not readable:
        with pytest.raises(ConfigError, match=r"login\.setup"):
            render_set(site, poms_settings(site), file)
        return
    rendered = render_set(site, poms_settings(site), file)
    assert launched(rendered.ini, rendered.ini.stages[0], "d")[0] == (setup.strip() or "true")
    assert complaints(rendered.ini, poms_settings(site)) == []


@pytest.mark.parametrize(
    ("old", "new", "setting"),
    [
        ("/home/dunepro/prompt/operator-token", '"/home/dune pro/token"', r"login\.token_file"),
        ("/home/dunepro/prompt/operator-token", "/home/$USER/token", r"login\.token_file"),
        ("https://prompt.cern.ch/np04", "https://prompt.cern.ch/a%20b", r"service\.url"),
        ("https://prompt.cern.ch/np04", "https://prompt.cern.ch/?a=1&b=2", r"service\.url"),
        ("https://pomsgpvm01.fnal.gov", '"http://[::1]:8080"', "poms: url"),
        ("TARGET.HAS_CVMFS_dune_opensciencegrid_org==true", "a || (b", "requirements"),
    ],
)
def test_a_value_that_would_not_come_through_is_refused_by_the_name_of_its_setting(
    tmp_path: Path, old: str, new: str, setting: str
) -> None:
    _, site, file = files(tmp_path, site=SITE.replace(old, new))
    with pytest.raises(ConfigError, match=setting):
        render_set(site, poms_settings(site), file)


def test_a_site_without_poms_is_told_so(tmp_path: Path) -> None:
    _, site, _ = files(tmp_path, site=SITE[: SITE.index("launchers:")])
    with pytest.raises(ConfigError, match="none of them is of kind poms"):
        poms_settings(site)


# --- reading an ini


def test_values_are_those_of_the_stage_or_the_default_where_it_has_none() -> None:
    ini = parse(
        '[campaign]\nname = a\n[campaign_defaults]\nCompletion_PCT = 90\ncampaign_keywords = {"det": "np04"}\n'
        '[campaign_stage s]\ncompletion_pct =\nvo_role = Production\nparam_overrides = [["--a=", "%(det)s"]]\n'
    )
    (stage,) = ini.stages
    assert stage.values == {"completion_pct": "90", "vo_role": "Production", "param_overrides": '[["--a=", "%(det)s"]]'}
    assert stage.own["completion_pct"] == ""
    assert ini.keywords == {"det": "np04"}
    assert "campaign_keywords" not in ini.defaults
    assert (ini.lines["campaign_defaults", "completion_pct"], ini.lines["campaign_stage s", "vo_role"]) == (4, 8)


def test_defaults_come_before_a_stages_parameters_only_where_they_are_merged() -> None:
    text = (
        '[campaign]\nname = a\n[campaign_defaults]\nparam_overrides = [["-a", "1"]]\n[campaign_stage s]\nparam_overrides = [["-b", "2"]]\n'
    )
    alone, merged = parse(text), parse(text + "merge_overrides = True\n")
    assert alone.overrides_of(alone.stages[0]) == (("-b", "2"),)
    assert merged.overrides_of(merged.stages[0]) == (("-a", "1"), ("-b", "2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = a\n", "line 1"),
        ("[campaign]\nname = a\nname = b\n", r"line 3: \[campaign\] name: given twice"),
        ("[campaign]\nname = a\n[campaign_stage s]\n[campaign_stage s]\n", "line 4: .*given twice"),
        ("[campaign]\nname = a\nnonsense\n", "line 3: .*nonsense"),
        ("[campaign_stage s]\n", r"line 1: .*\[campaign\] is missing"),
        ("[x]\n[campaign]\n[campaign_stage s]\n", "line 2: .*name: is missing"),
        ("[campaign]\nname = a\n", "line 1: there is no section"),
        ("[campaign]\nname = a\n[campaign_stage s]\nparam_overrides = [[1, 2]]\n", r"line 4: \[campaign_stage s\] param_overrides"),
        ("[campaign]\nname = a\n[campaign_stage s]\n[campaign_defaults]\nparam_overrides = {\n", "line 5: .*not JSON"),
        ("[campaign]\nname = a\n[campaign_stage s]\n[campaign_defaults]\ncampaign_keywords = []\n", None),
        ("[campaign]\nname = a\n[campaign_stage s]\n[campaign_defaults]\ncampaign_keywords = [1]\n", "line 5: .*JSON object"),
        ("[campaign]\nname = a\n[campaign_stage s]\n[dependencies t]\ncampaign_stage_1 = s\n", "line 4: .*no stage 't'"),
        ("[campaign]\nname = a\n[campaign_stage s]\n[dependencies s]\ncampaign_stage_1 = s\n", "line 5: .*file_pattern_1"),
    ],
)
def test_what_poms_cannot_read_is_told_with_its_line(text: str, message: str | None) -> None:
    if message is None:
        parse(text)
        return
    with pytest.raises(DataError, match=message):
        parse(text)


# --- the command


def run(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and output; an error of ours has the code the program would end with."""
    result = CliRunner().invoke(render_command, [str(argument) for argument in arguments])
    if isinstance(result.exception, DataError | ConfigError):
        return result.exception.exit_code, f"{result.output}{result.exception}"
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_only_files_that_have_changed_are_written(tmp_path: Path) -> None:
    site_path, site, file = files(tmp_path)
    output = tmp_path / "set"
    code, text = run("--site", site_path, "pdhd-prompt", "--target", "poms", "--output", output)
    assert code == 0
    assert sorted(text.split()) == sorted(str(output / name) for name in render_set(site, poms_settings(site), file).files)
    (output / "README.md").write_text("mine")
    (output / "notes.txt").write_text("mine")
    assert run("--site", site_path, "--output", output, "--dry-run") == (0, f"{output / 'README.md'}\n")
    assert (output / "README.md").read_text() == "mine"
    assert run("--site", site_path, "pdhd-prompt_v1", "--output", output) == (0, f"{output / 'README.md'}\n")
    assert run("--site", site_path, "--output", output) == (0, "")
    assert (output / "notes.txt").read_text() == "mine"
    assert write_set(output, render_set(site, poms_settings(site), file)) == ()


def test_sets_go_to_the_workspace_if_nothing_else_is_said(tmp_path: Path) -> None:
    site_path, _, _ = files(tmp_path, site=SITE.replace("workspace: /var/lib/dune-prompt", "workspace: work"))
    code, _ = run("--site", site_path)
    assert code == 0
    assert parse((tmp_path / "work" / "poms" / "pdhd-prompt_v1" / "campaign.ini").read_text()).name == "pdhd-prompt_v1"


def test_one_folder_cannot_hold_two_campaigns(tmp_path: Path) -> None:
    site_path, _, _ = files(tmp_path)
    (tmp_path / "campaigns" / "d.yaml").write_text(CAMPAIGN.replace("LAYOUT", "fused").replace("version: v1", "version: v2"))
    code, text = run("--site", site_path, "--output", tmp_path / "set")
    assert (code, "pdhd-prompt_v1, pdhd-prompt_v2" in text) == (2, True)
    assert not (tmp_path / "set").exists()


def test_a_campaign_that_is_not_there_is_an_error_that_names_those_that_are(tmp_path: Path) -> None:
    site_path, _, _ = files(tmp_path)
    code, text = run("--site", site_path, "pdvd")
    assert code == 30
    assert "pdhd-prompt_v1" in text


def test_checking_an_ini_names_section_and_key_of_each_fault_and_ends_with_10(tmp_path: Path) -> None:
    site_path, site, file = files(tmp_path)
    path = tmp_path / "mine.ini"
    text = render_set(site, poms_settings(site), file).files["campaign.ini"]
    path.write_text(text)
    assert run("--site", site_path, "--check", path) == (0, "")
    path.write_text(
        text.replace("completion_pct = 100", "completion_pct = 101").replace("cs_split_type = draining", "cs_split_type = Draining")
    )
    code, told = run("--site", site_path, "--check", path)
    assert code == 10
    assert "fault: [campaign_stage declare] completion_pct: '101'" in told
    assert "fault: [campaign_stage nf_sp] cs_split_type: 'Draining'" in told
    path.write_text("nonsense")
    assert run("--site", site_path, "--check", path)[0] == 10


def test_a_warning_is_told_and_is_no_fault(tmp_path: Path) -> None:
    site_path, _, _ = files(tmp_path, site=SITE.replace('service: {url: "https://prompt.cern.ch/np04"}\n', ""))
    code, text = run("--site", site_path, "--output", tmp_path / "set")
    assert code == 0
    assert "warning: [job_type pdhd-prompt_v1_nf_sp" in text
