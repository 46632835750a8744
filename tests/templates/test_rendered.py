"""Rendered text: golden files, values that try to break out, names that are missing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.definition import load_campaign
from campaign.layout import steps_of
from campaign.scripts import script_text
from templates import render

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "campaigns" / "pdhd-prompt.yaml"
GOLDEN = Path(__file__).parent / "golden"


def test_the_stage_script_of_the_example_is_the_golden_one() -> None:
    (step,) = steps_of("fused")
    assert script_text(load_campaign(EXAMPLE), step) == (GOLDEN / "chain.py.txt").read_text("utf-8")


def test_a_staged_campaign_has_a_script_for_each_stage(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(EXAMPLE.read_text("utf-8").replace("layout: fused", "layout: staged"))
    texts = [script_text(load_campaign(path), step) for step in steps_of("staged")]
    assert all(f"STAGES = '{stage}'" in text for stage, text in zip(("nf_sp", "declare", "evaluate", "dqm_upload"), texts, strict=True))


@given(st.text())
def test_no_value_breaks_out_of_a_script(value: str) -> None:
    text = render("stage_script.py.j2", campaign="c", version="v", step="s", stages=[value], payload={"key": value})
    tree = ast.parse(text)
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert constants.count(value) >= 2
    assert sum(isinstance(node, ast.Call) for node in ast.walk(tree)) == 4


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20))
def test_shquote_gives_the_shell_exactly_the_value(value: str) -> None:
    from templates import _environment

    word: Any = _environment.from_string("{{ value | shquote }}").render(value=value)
    assert subprocess.run(["sh", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout.decode() == value


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("stage_script.py.j2", campaign="c")


def test_a_script_runs_isolated_and_says_what_it_lacks(tmp_path: Path) -> None:
    (step,) = steps_of("fused")
    script = tmp_path / "chain.py"
    script.write_text(script_text(load_campaign(EXAMPLE), step))
    done = subprocess.run([sys.executable, "-I", str(script), "nowhere.json"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 30
    assert "nowhere.json: cannot be read" in done.stderr
