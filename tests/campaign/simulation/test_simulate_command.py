"""`dune-prompt campaign simulate` as it is typed."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from campaign.simulation.parameters import load_parameters
from dune_prompt.cli.campaign.simulate import command

SHORT = ["--for", "1h", "--set", "job_time=60s", "--slots", "120", "--rate", "3GB/s"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUNE_PROMPT_SITE", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), catch_exceptions=True)


def test_the_answer_comes_in_a_sentence_with_numbers_and_their_sources() -> None:
    result = run(*SHORT)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "All 2,700 files are prompt."
    assert any(line.startswith("backlog, peak") for line in lines)
    assert any("streams.0.file_size" in line and line.endswith("assumed") for line in lines)
    assert any("streams.0.rate" in line and line.endswith("set") for line in lines)


def test_json_holds_parameters_sources_and_the_course() -> None:
    content = json.loads(run(*SHORT, "--json").stdout)
    assert content["outcome"]["fraction_prompt"] == 1.0
    assert content["outcome"]["samples"][-1]["processed"] == 2700
    assert content["parameters"]["slots"]["max"] == 120
    assert {"key", "value", "source"} == set(content["sources"][0])


def test_an_outage_is_given_in_one_word() -> None:
    content = json.loads(run(*SHORT, "--outage", "batch:10min:20min:lost", "--json").stdout)
    # What came in the outage, and the jobs that were lost.
    assert content["outcome"]["backlog_peak"] == pytest.approx(0.75 * 600 + 0.75 * 122, abs=15)
    assert content["outcome"]["failures"]["lost"] > 0


def test_resources_need_no_simulation() -> None:
    result = run("--resources", "--rate", "3GB/s")
    assert result.exit_code == 0
    assert "619.0 on average" in result.stdout
    (needed,) = json.loads(run("--resources", "--rate", "3GB/s", "--json").stdout)["resources"]
    assert needed["core_hours_per_day"] == pytest.approx(619 * 24, rel=0.01)


def test_a_sweep_prints_a_line_for_each_combination(tmp_path: Path) -> None:
    result = run(*SHORT, "--sweep", "slots.max=30:50:10", "--sweep", "rate=1GB/s,3GB/s", "--plot", "map.png")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["slots.max", "rate", "prompt"]
    assert [line.split()[:2] for line in lines[1:7]] == [[slots, rate] for slots in ("30", "40", "50") for rate in ("1GB/s", "3GB/s")]
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    content = json.loads(run(*SHORT, "--sweep", "slots.max=30,50", "--json", "--plot", "line.svg").stdout)
    assert len(content["sweep"]) == 2
    assert "<svg" in (tmp_path / "line.svg").read_text()


def test_find_answers_in_words() -> None:
    result = run("--for", "1h", "--set", "job_time=60s", "--set", "lifetime=5min", "--rate", "3GB/s", "--find", "slots", "--prompt", "99%")
    assert result.exit_code == 0, result.output
    assert "slots (slots.max) are needed for 99.00 % prompt" in result.stdout
    assert "enough" in result.stderr
    content = json.loads(run(*SHORT, "--set", "lifetime=5min", "--find", "rate", "--json").stdout)
    assert content["value"] > 1e9
    assert content["tried"]


def test_the_course_is_drawn_and_drawn_the_same_again(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        assert run(*SHORT, "--outage", "batch:10min:20min", "--plot", name).exit_code == 0
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    text = first.decode()
    for title in ("Files", "Backlog", "Slots", "Buffer"):
        assert f"{title}:" in text or title in text


def test_parameters_are_written_down_and_read_again(tmp_path: Path) -> None:
    before = json.loads(run(*SHORT, "--write-parameters", "before.yaml", "--json").stdout)
    assert load_parameters(tmp_path / "before.yaml").slots.max == 120
    again = json.loads(run("--parameters", "before.yaml", "--json").stdout)
    assert again["outcome"] == before["outcome"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "rate"],
        ["--set", "speed=3"],
        ["--set", "rate=fast"],
        ["--outage", "batch:1h"],
        ["--sweep", "slots.max=1:2"],
        ["--sweep", "slots.max=1,2", "--resources"],
        ["--find", "slots", "--prompt", "most"],
        ["--for", "10min", "--plot", "picture.gif"],
        ["--site", "nowhere.yaml"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code != 0
    assert result.exception is not None


@pytest.mark.parametrize(("package", "extra"), [("simpy", "simulation"), ("matplotlib", "report")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for module in [name for name in sys.modules if name.startswith("campaign.simulation") or name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    result = run(*SHORT, "--plot", "a.png")
    assert f"dune-prompt[{extra}]" in str(result.exception)


def test_a_site_gives_its_slots_and_lifetimes(tmp_path: Path) -> None:
    (tmp_path / "campaigns").mkdir()
    (tmp_path / "campaigns" / "c.yaml").write_text(
        "campaign: c\ndetector: pdhd\nstream: physics\nversion: v1\noutputs: {namespace: reco, data_tier: decoded-raw}\n"
    )
    (tmp_path / "site.yaml").write_text(
        "site: test\nbuffer: {path: buffer, capacity: 50TB}\n"
        'streams: [{name: physics, pattern: "*.hdf5", process: true, lifetime: 6h, release: {move_to: done}}]\n'
        "slots: {min: 1, max: 7}\n"
    )
    result = run("--for", "10min", "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["parameters"]["slots"]["max"] == 7
    assert content["parameters"]["buffer"]["capacity"] == "50000000000000B"
    assert {item["key"]: item["source"] for item in content["sources"]}["streams.0.lifetime"] == "site file"
