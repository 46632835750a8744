"""What people type reaches the commands with the arguments these take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from campaign.commands.canary import DROP, PROMOTE
from campaign.commands.exclude import EXCLUDE, INCLUDE, WAIVE
from campaign.commands.pause import PAUSE, RESUME
from campaign.commands.protocol import Command
from campaign.commands.reconcile import RECONCILE
from campaign.commands.redo import REDO
from dune_prompt.cli.campaign import asking
from dune_prompt.cli.campaign.canary import canary
from dune_prompt.cli.campaign.exclude import exclude, include, waive
from dune_prompt.cli.campaign.pause import pause, resume
from dune_prompt.cli.campaign.reconcile import reconcile
from dune_prompt.cli.campaign.redo import redo
from tests.campaign.two_versions import TwoVersions


@pytest.mark.parametrize(
    ("part", "line", "command", "arguments"),
    [
        (redo, "27 --version v2 --retire-old --dry-run", REDO, {"run": 27, "version": "v2", "retire_old": True, "dry_run": True}),
        (exclude, "27 --why noise --campaign prompt", EXCLUDE, {"run": 27, "why": "noise", "campaign": "prompt"}),
        (include, "27", INCLUDE, {"run": 27, "campaign": None}),
        (waive, "a.hdf5 raw:b.hdf5 --why bad --undo", WAIVE, {"files": ("a.hdf5", "raw:b.hdf5"), "why": "bad", "undo": True}),
        (pause, "prompt --version v1 --why fire", PAUSE, {"campaign": "prompt", "version": "v1", "why": "fire"}),
        (resume, "prompt", RESUME, {"campaign": "prompt", "version": None}),
        (canary, "promote prompt v2 --dry-run", PROMOTE, {"campaign": "prompt", "version": "v2", "dry_run": True}),
        (canary, "drop prompt v2 --retire", DROP, {"campaign": "prompt", "version": "v2", "retire": True}),
        (reconcile, "--run 27 --repair", RECONCILE, {"run": 27, "repair": True, "dry_run": False}),
    ],
)
def test_a_command_is_asked_with_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, part: click.Command, line: str, command: Command, arguments: dict[str, Any]
) -> None:
    asked = []

    def ask(site_path: Path, name: str, **content: Any) -> list[dict[str, Any]]:
        asked.append((name, command.arguments(**content)))
        return [{"what": "something"}]

    monkeypatch.setattr(asking, "ask", ask)
    result = CliRunner().invoke(part, [*line.split(), "--json"], catch_exceptions=False)
    assert (result.exit_code, json.loads(result.output)) == (0, [{"what": "something"}])
    ((name, content),) = asked
    assert name == command.name
    assert {key: getattr(content, key) for key in arguments} == arguments


@pytest.mark.parametrize(("part", "line"), [(exclude, "27"), (pause, "prompt"), (waive, "a.hdf5")])
def test_nothing_is_left_out_or_stopped_without_a_reason(part: click.Command, line: str) -> None:
    result = CliRunner().invoke(part, line.split())
    assert result.exit_code == 2
    assert "Missing option '--why'" in result.output


def test_a_comparison_is_printed_as_table_with_its_verdict_and_as_json(tmp_path: Path) -> None:
    with TwoVersions.open(tmp_path, v2="inputs: {from_run: 1}\ncanary: {last: 10}") as house:
        dids = house.arrive(7)
        house.take_in()
        house.process("v1", dids, wall=100.0)
        house.process("v2", dids, wall=50.0)
    line = ["compare", "prompt", "v2", "--site", str(tmp_path / "site.yaml")]
    table = CliRunner().invoke(canary, line, catch_exceptions=False).output.splitlines()
    assert table[0].split() == ["quantity", "unit", "files", "v1", "v2", "difference", "percent", "p", "answer"]
    assert table[-1] == (
        "prompt v2 beside v1, 7 files processed by both. Differs by more than 5%: wall time (-50.0%). Alike in 2 of 3 quantities."
    )
    content = json.loads(CliRunner().invoke(canary, [*line, "--json"], catch_exceptions=False).output)
    assert content["verdict"] == table[-1]
    assert [item["what"] for item in content["lines"]] == ["wall time", "CPU time", "memory"]
