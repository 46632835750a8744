"""Campaign files, and that the examples in the documentation are good ones."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from campaign.definition import load_campaign, load_campaigns
from campaign.ledger import campaigns as ledger_campaigns
from campaign.scripts import payload_of
from dune_prompt.errors import ConfigError
from dune_prompt.settings import load_site
from dune_prompt.store import open_store
from stages.displays import Displays

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

GOOD = """
campaign: test-prompt
detector: pdhd
stream: physics
version: v1
outputs: {namespace: hd-protodune-det-reco, data_tier: decoded-raw}
"""


def write(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_examples_of_the_documentation_load() -> None:
    site = load_site(EXAMPLES / "site.yaml")
    (campaign,) = load_campaigns(site, EXAMPLES / "site.yaml")
    assert campaign.settings.campaign == "pdhd-prompt"
    assert campaign.file_hash == hashlib.sha256(campaign.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("version: v1", "version: v1\nlayuot: fused"),
            "c.yaml:6: layuot: unknown key; allowed: campaign, canary, detector",
        ),
        (("version: v1", "version: v1\nlayout: fussed"), "c.yaml:6: layout: Input should be 'fused' or 'staged' (found 'fussed')"),
        (("version: v1", "version: v1\nretries: many"), "c.yaml:6: retries:"),
        (("version: v1", "version: v1\nstages: {nf_sp: {payload: lardon}}"), "'command' or 'noop' (found 'lardon')"),
        (("version: v1", "version: v1\nstages: {nf_sp: {gain_mV_per_fC: 5}}"), "the cold electronics have 14.0 or 7.8 mV/fC"),
        (("version: v1", "version: v1\ninputs: {from_run: 9, to_run: 2}"), "inputs.from_run (9) is after inputs.to_run (2)"),
        ((", data_tier: decoded-raw", ""), "c.yaml:6: outputs.data_tier: missing"),
        (("version: v1", "version: v1\nstages: {dqm_upload: {targets: []}}"), "targets"),
        (("version: v1", "version: v1\nstages: {evaluate: {displays: {evry: 5}}}"), "evry: unknown key; allowed: budget, every, records"),
        (
            ("version: v1", "version: v1\nstages: {evaluate: {displays: {records: 6}}}"),
            "displays.records: Input should be less than or equal to 5 (found '6')",
        ),
        (("version: v1", "version: v1\nstages: {evaluate: {displays: {budget: 1GB}}}"), "less than or equal to 80000000"),
    ],
)
def test_a_wrong_campaign_file_is_refused_with_file_line_and_key(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError) as refusal:
        load_campaign(write(tmp_path, GOOD.replace(*change)))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("nf_sp", "message"),
    [
        ("{payload: magic}", "numpy"),
        ("{payload: larsoft}", "payload larsoft needs its settings"),
        ("{payload: numpy, command: {run: [a], outputs: {b: c}}}", "command is set, but the payload is numpy"),
        ("{payload: larsoft, larsoft: {release: 'v1; x', fcl: a.fcl}}", "release"),
        ("{payload: larsoft, larsoft: {release: v1, fcl: a.fcl, overrides: {'a b': 1}}}", "overrides"),
        ("{payload: command, command: {run: [], outputs: {b: c}}}", "run"),
        ("{response: relative.npz}", "response"),
    ],
)
def test_the_settings_of_a_payload_are_checked(tmp_path: Path, nf_sp: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{GOOD}stages: {{nf_sp: {nf_sp}}}\n")
    with pytest.raises(ConfigError, match=message):
        load_campaign(path)


def test_what_is_rendered_for_a_payload_goes_into_its_script(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{GOOD}stages: {{nf_sp: {{payload: larsoft, larsoft: {{release: v1, fcl: a.fcl}}}}}}\n")
    payload = payload_of(load_campaign(path))
    assert sorted(payload.files) == ["larsoft.fcl", "larsoft.sh"]
    assert payload_of(load_campaign(EXAMPLES / "campaigns" / "pdhd-prompt.yaml")).files == {}


@pytest.mark.parametrize(
    ("setting", "displays"),
    [
        ("", Displays(every=20, records=1, budget_bytes=8_000_000)),
        ("\nstages: {evaluate: {displays: {every: 50, records: 2, budget: 4MB}}}", Displays(50, 2, 4_000_000)),
    ],
)
def test_the_stages_are_told_which_files_have_event_displays(tmp_path: Path, setting: str, displays: Displays) -> None:
    campaign = load_campaign(write(tmp_path, GOOD.replace("version: v1", f"version: v1{setting}")))
    assert Displays.of(payload_of(campaign)) == displays


def test_a_campaign_of_a_stream_that_is_not_processed_is_refused(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "site.yaml", tmp_path)
    (tmp_path / "campaigns").mkdir()
    site = load_site(tmp_path / "site.yaml")
    with pytest.raises(ConfigError, match="no file matches"):
        load_campaigns(site, tmp_path / "site.yaml")
    path = write(tmp_path / "campaigns", GOOD.replace("stream: physics", "stream: trigprim"))
    with pytest.raises(ConfigError, match="process: false"):
        load_campaigns(site, tmp_path / "site.yaml")
    path.write_text(GOOD.replace("stream: physics", "stream: physix"))
    with pytest.raises(ConfigError, match="there are: daq-test, physics, trigprim"):
        load_campaigns(site, tmp_path / "site.yaml")
    path.write_text(GOOD)
    write(tmp_path / "campaigns", GOOD, "again.yaml")
    with pytest.raises(ConfigError, match="is also in"):
        load_campaigns(site, tmp_path / "site.yaml")


def test_a_new_version_must_say_which_inputs_it_covers(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/s.sqlite")

    def register(text: str) -> Any:
        with store.write() as connection:
            return ledger_campaigns.register(connection, load_campaign(write(tmp_path, text)), 1.0)

    first, behind = register(GOOD)
    assert behind
    # Until the files that were there are taken in, however often the engine is started.
    assert register(GOOD) == (first, True)
    with store.write() as connection:
        ledger_campaigns.has_taken_in(connection, first, 2.0)
    assert register(GOOD) == (first, False)
    assert register(GOOD + "# changed") == (first, True)
    with pytest.raises(ConfigError, match="say which inputs it covers"):
        register(GOOD.replace("version: v1", "version: v2"))
    second, behind = register(GOOD.replace("version: v1", "version: v2\ninputs: {from_run: 100}"))
    assert behind
    assert second != first
    with pytest.raises(ConfigError, match="cannot change to 'staged'"):
        register(GOOD.replace("version: v1", "version: v1\nlayout: staged"))


def test_a_kill_before_the_first_step_does_not_lose_the_files_that_were_there(house: Any) -> None:
    house.arrive(2)
    house.engine.step(1_700_000_000.0)
    folder = house.folder / "campaigns"
    text = (folder / "test.yaml").read_text()
    (folder / "second.yaml").write_text(text.replace("version: v1", "version: v2\ninputs: {from_run: 1}"))
    house = house.restart().restart()
    house.engine.step(1_700_000_001.0)
    assert len(house.tasks()) == 4


def test_a_campaign_added_later_covers_the_files_that_were_there(house: Any, house_tools: Any) -> None:
    house.arrive(2, run=5)
    house.arrive(1, run=50)
    house.engine.step(1_700_000_000.0)
    folder = house.folder / "campaigns"
    text = (folder / "test.yaml").read_text()
    (folder / "second.yaml").write_text(text.replace("version: v1", "version: v2\ninputs: {from_run: 50}"))
    house = house.restart()
    house.engine.step(1_700_000_001.0)
    with house.store.read() as connection:
        from campaign.status import campaign_statuses

        files = {status.version: status.files for status in campaign_statuses(connection)}
    assert files == {"v1": 3, "v2": 1}
