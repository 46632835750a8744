"""What the site file says about alarms: limits, mute windows, targets; and what is wrong with it, by line and key."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site, load_site
from dune_prompt.settings.alarms import RULE_NAMES, MuteSettings, WatchSettings

SITE = """
site: test
buffer: {path: buffer, capacity: 200TB}
streams:
  - {name: physics, pattern: "np04hd_raw_run*.hdf5", process: true, lifetime: 24h}
"""
DOCS = Path(__file__).parents[2] / "docs" / "alarms.md"


def load(folder: Path, text: str) -> Site:
    path = folder / "site.yaml"
    path.write_text(SITE + text)
    return load_site(path)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def window(**values: Any) -> MuteSettings:
    return MuteSettings.model_validate({"why": "x"} | values)


def test_a_site_file_that_says_nothing_looks_for_everything(tmp_path: Path) -> None:
    site = load(tmp_path, "")
    assert all(getattr(site.watch, name) is not None for name in RULE_NAMES)
    assert (site.alarms.look_every, site.alarms.mail, site.alarms.webhook) == (30, None, ())
    assert site.watch.buffer_above is not None
    assert site.watch.buffer_above > site.buffer.high_water


def test_every_rule_can_be_switched_off_and_has_a_number_of_looks(tmp_path: Path) -> None:
    site = load(tmp_path, f"watch: {{{', '.join(f'{name}: null' for name in RULE_NAMES)}, after: {{parked: 9}}}}")
    assert [getattr(site.watch, name) for name in RULE_NAMES] == [None] * len(RULE_NAMES)
    assert {name: site.watch.looks(name) for name in ("parked", "behind", "failures", "late")} == {
        "parked": 9,
        "behind": 10,
        "failures": 4,
        "late": 2,
    }


def test_the_examples_of_the_documentation_can_be_loaded_together(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len(examples) == 3
    parts = [part for example in examples for part in example.split("\nalarms:\n")]
    alarms = "".join(part.removeprefix("alarms:\n") for part in parts[1:])
    site = load(tmp_path, f"{parts[0]}\nalarms:\n{alarms}")
    assert (site.watch.no_file_for, site.watch.quality_bad, site.watch.looks("away_for")) == (300, None, 4)
    assert (site.alarms.mute[0].until, site.alarms.mute[1].from_, site.alarms.mute[1].to) == (at("2026-11-26T16:00"), 22 * 60, 6 * 60)
    assert site.alarms.webhook[0].url_file == tmp_path / "secrets" / "mattermost-hook"
    assert site.alarms.mail is not None
    assert site.alarms.mail.address == ("cernmx.cern.ch", 25)


def test_the_defaults_of_the_documentation_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^| ]+) \|", DOCS.read_text("utf-8"), re.MULTILINE))
    written = yaml.safe_load("\n".join(f"{name}: {rows[name]}" for name in RULE_NAMES))
    assert WatchSettings.model_validate(written) == WatchSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("watch: {no_fil: 3min}", "site.yaml:6: watch.no_fil: unknown key; allowed: after, away_for, behind, "),
        ("watch: {no_file_for: 3}", "site.yaml:6: watch.no_file_for: 3 is no quantity; write it as 24h"),
        ("watch:\n  no_file_for: 8h", "site.yaml:6: watch: run_over_after must be longer than no_file_for"),
        ("watch: {clock_skew: 0.5s}", "watch.clock_skew: differences below 1s cannot be told from delays"),
        ("watch: {parked: 0}", "watch.parked: Input should be greater than or equal to 1"),
        ("watch: {failures: 120%}", "watch.failures: '120%' is not between 0% and 100%"),
        ("watch: {after: {parkd: 3}}", "watch.after.parkd.[key]: Input should be 'no_file_for', 'no_decision_for'"),
        ("watch: {after: {parked: 0}}", "watch.after.parked: Input should be greater than or equal to 1"),
        ("alarms: {look_every: 0.1s}", "alarms.look_every: Input should be greater than or equal to 1"),
        ("alarms: {owners: {parkd: anna}}", "alarms.owners.parkd.[key]: Input should be 'no_file_for'"),
        ("alarms: {mute: [{why: x}]}", "alarms.mute.0: it would never end: give until, or from and to, or days; to switch a rule off"),
        ("alarms: {mute: [{until: 2026-11-30}]}", "alarms.mute.0.why: missing"),
        ("alarms: {mute: [{rule: parkd, until: 2026-11-30, why: x}]}", "alarms.mute.0.rule: fits no rule; there are no_file_for, "),
        ("alarms: {mute: [{until: soon, why: x}]}", "alarms.mute.0.until: write a date, UTC, as 2026-11-26 or 2026-11-26T08:00"),
        ("alarms: {mute: [{from: 8, to: 25:00, why: x}]}", "alarms.mute.0.to: write a time of day, UTC, as 08:30"),
        ("alarms: {mute: [{from: 08:00, why: x}]}", "alarms.mute.0: from and to belong together"),
        ("alarms: {mute: [{from: 08:00, to: 8:00, why: x}]}", "alarms.mute.0: from and to are the same time"),
        ("alarms: {mute: [{days: [mo], why: x}]}", "alarms.mute.0.days.0: Input should be 'mon', 'tue'"),
        ("alarms: {webhook: [{name: x}]}", "alarms.webhook.0: give either url or url_file"),
        ("alarms: {webhook: [{name: x, url: 'http://a', url_file: b}]}", "alarms.webhook.0: give either url or url_file"),
        ("alarms: {webhook: [{name: x, url: 'ftp://a'}]}", "alarms.webhook.0.url: URL scheme should be 'http' or 'https'"),
        ("alarms: {webhook: [{name: x, url: 'http://a', events: [risen]}]}", "alarms.webhook.0.events.0: Input should be 'raised'"),
        ("alarms: {webhook: [{name: x, url: 'http://a'}, {name: x, url: 'http://b'}]}", "alarms: two webhooks are called x"),
        ("alarms: {mail: {server: a, from: me, to: [a@b.ch]}}", "alarms.mail.from: String should match pattern"),
        ("alarms: {mail: {server: a, from: a@b.ch, to: []}}", "alarms.mail.to: Tuple should have at least 1 item"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert message in str(error.value)


def test_a_wrong_address_is_the_only_thing_of_it_that_an_error_shows(tmp_path: Path) -> None:
    """What is wrong with another key says nothing of the address beside it."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "alarms: {webhook: [{name: X, url: 'https://hooks.example.org/geheim'}]}")
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "inside", "outside"),
    [
        ({"until": "2024-06-20"}, ["2024-06-19T23:59", "2020-01-01T00:00"], ["2024-06-20T00:00"]),
        ({"from": "08:00", "to": "10:00"}, ["2024-06-19T08:00", "2024-06-20T09:59"], ["2024-06-19T07:59", "2024-06-19T10:00"]),
        ({"from": "22:00", "to": "06:00"}, ["2024-06-19T22:00", "2024-06-19T05:59"], ["2024-06-19T06:00", "2024-06-19T21:59"]),
        # Wednesday is the 19th: the window that begins then lasts into Thursday.
        (
            {"from": "22:00", "to": "06:00", "days": ["wed"]},
            ["2024-06-19T23:00", "2024-06-20T05:00"],
            ["2024-06-19T05:00", "2024-06-20T23:00"],
        ),
        # A window that begins on Sunday lasts into Monday.
        ({"from": "22:00", "to": "06:00", "days": ["sun"]}, ["2024-06-24T05:00"], ["2024-06-23T05:00", "2024-06-25T05:00"]),
        ({"days": ["sat", "sun"]}, ["2024-06-22T00:00", "2024-06-23T23:59"], ["2024-06-21T23:59", "2024-06-24T00:00"]),
        ({"from": "18:00", "to": "24:00"}, ["2024-06-19T23:59"], ["2024-06-20T00:00"]),
        ({"from": "08:00", "to": "10:00", "until": "2024-06-19T09:00"}, ["2024-06-19T08:30"], ["2024-06-19T09:30", "2024-06-20T08:30"]),
    ],
)
def test_a_window_holds_when_it_says(values: dict[str, Any], inside: list[str], outside: list[str]) -> None:
    mute = window(**values)
    assert [text for text in inside if not mute.holds(at(text))] == []
    assert [text for text in outside if mute.holds(at(text))] == []


@given(begin=st.integers(0, 1439), length=st.integers(1, 1439), minute=st.integers(0, 3 * 1440))
def test_a_daily_window_is_as_long_as_it_says(begin: int, length: int, minute: int) -> None:
    mute = window(**{"from": begin, "to": (begin + length) % 1440})
    midnight = at("2024-06-19T00:00")
    assert mute.holds(midnight + 60 * minute + 59) is ((minute - begin) % 1440 < length)


def test_a_window_is_about_the_rules_and_subjects_that_fit() -> None:
    mute = window(rule="no_*", subject="run 28*", until="2100-01-01")
    assert mute.covers("no_file_for", "run 28100", 0)
    assert not mute.covers("no_file_for", "run 29100", 0)
    assert not mute.covers("parked", "run 28100", 0)


@pytest.mark.parametrize("text", ["22:30", "1350", 1350])
def test_a_time_of_day_means_the_same_with_and_without_quotes(text: Any) -> None:
    # Without quotes YAML 1.1 reads 22:30 as 22 * 60 + 30.
    if text == "1350":
        with pytest.raises(ValueError, match="write a time of day"):
            window(**{"from": text, "to": "23:00"})
    else:
        assert window(**{"from": text, "to": "23:00"}).from_ == 1350
