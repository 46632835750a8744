"""The payload that processes nothing: what it costs is what the machinery around it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dune_prompt.records import Assignment, InputFile, Report, read_json, write_json

Walk = Callable[..., tuple[Report, int]]

SETTINGS = {"nf_sp": {"payload": "noop"}}

SCRIPT = """
import sys
from stages.job import main
from stages.stage import Payload
payload = Payload("c", "v1", "pdhd", "0" * 64, "0.1", {"namespace": "n", "data_tier": "t"}, STAGES)
code = main(["nf_sp,declare,evaluate,dqm_upload", "--assignment", sys.argv[1]], payload)
loaded = [name for name in ("numpy", "h5py", "scipy", "PIL", "requests", "pydantic", "sqlalchemy") if name in sys.modules]
print(code, loaded)
"""


def test_the_whole_chain_runs_and_its_record_holds_the_performance_only(walk: Walk, raw_file: Path, tmp_path: Path) -> None:
    report, exit_code = walk("nf_sp", "declare", "evaluate", settings=SETTINGS)
    assert exit_code == 0
    assert [stage.state for stage in report.stages] == ["ok", "ok", "ok"]
    record = read_json(tmp_path / "out" / report.stages[2].outputs[0].name)
    assert record["elements"] == record["pictures"] == []
    assert record["records"] is None
    assert (record["run"], record["file_index"]) == (27296, 3)
    assert record["performance"]["input_bytes"] == raw_file.stat().st_size
    assert len(report.stages[2].outputs) == 1


def test_the_output_depends_on_the_input_alone(walk: Walk) -> None:
    first, _ = walk("nf_sp", settings=SETTINGS)
    second, _ = walk("nf_sp", settings=SETTINGS, folder="again")
    assert first.stages[0].outputs[0] == second.stages[0].outputs[0]
    assert first.stages[0].outputs[0].declared


def test_a_job_imports_no_numpy(raw_file: Path, tmp_path: Path) -> None:
    metadata: dict[str, Any] = {
        "core.data_stream": "cosmics",
        "core.start_time": 1.0,
        "core.end_time": 2.0,
        "core.event_count": 1,
        "core.first_event_number": 1,
        "core.last_event_number": 1,
        "core.file_type": "detector",
        "core.run_type": "hd-protodune",
        "core.runs": [27296],
        "core.runs_subruns": [2729600001],
        "retention.class": "physics",
    }
    assignment = Assignment(
        attempt="01J0QZ5W3V5T9H0F1N2M3P4Q5R",
        task="1",
        campaign="c",
        version="v1",
        stages=("nf_sp", "declare", "evaluate", "dqm_upload"),
        raw=InputFile(raw_file.name, (str(raw_file),), did=f"hd-protodune:{raw_file.name}", metadata=metadata),
        output_dir=str(tmp_path / "out"),
        report=str(tmp_path / "report.json"),
    )
    write_json(tmp_path / "assignment.json", assignment.to_json())
    stages = {"nf_sp": {"payload": "noop"}, "dqm_upload": {"targets": [{"kind": "directory", "path": str(tmp_path / "dqm")}]}}
    script = SCRIPT.replace("STAGES", repr(stages))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "assignment.json")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "0 []", done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["stages"][3]["state"] == "ok"
    assert len(list((tmp_path / "dqm").rglob("record.json"))) == 1
