"""The demo, as a newcomer runs it: whole, with a bad file in it, and a second time in the same folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dune_prompt.cli.demo.daq import KINDS, fault_of
from dune_prompt.cli.demo.workspace import DemoFolder
from dune_prompt.process import start_time


def demo(workspace: Path, *arguments: str) -> tuple[int, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "dune_prompt", "demo", "--exit", "--json", "--workspace", str(workspace), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, json.loads(done.stdout or "{}") | {"stderr": done.stderr}


def test_good_files_are_processed_once_and_a_bad_one_is_told_and_a_second_run_continues(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    code, summary = demo(workspace, "--files", "4", "--rate", "10", "--faults")
    assert code == 0, summary
    assert (summary["ok"], summary["files"], summary["good"]) == (True, 4, 3)
    assert summary["states"] == {"done": 3, "quarantined": 1}
    (bad,) = [file for file in summary["details"] if file["fault"]]
    assert bad["fault"] == "truncated"
    assert "its sidecar says" in bad["why"]
    assert len(list((workspace / "quarantine").glob("*.reason.json"))) == 1
    assert "dashboard: http://127.0.0.1:" in summary["stderr"]
    for target in ("dqm", "dqm-directory"):
        assert len(list((workspace / target).rglob("record.json"))) == 3

    code, summary = demo(workspace, "--files", "1")
    assert (code, summary["files"], summary["processed_once"]) == (0, 5, 4)


def test_two_demos_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / "w")
    folder.buffer.mkdir(parents=True)
    children = {"1": start_time(1)}
    folder.processes.write_text(json.dumps({"demo": [os.getpid(), start_time(os.getpid())], "children": children}))
    code, summary = demo(folder.root)
    assert code == 40
    assert f"another demo runs here (process {os.getpid()})" in summary["stderr"]


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    code, summary = demo(tmp_path)
    assert code == 30
    assert "not a demo's workspace" in summary["stderr"]


def test_one_file_in_ten_is_bad_each_in_another_way() -> None:
    faults = [fault_of(index) for index in range(100)]
    assert [index for index, fault in enumerate(faults) if fault] == list(range(3, 100, 10))
    named = [fault for fault in faults if fault]
    assert len(set(named)) == len(named) == len(set(KINDS))
