"""`dune-prompt stage run`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dune_prompt.cli import main
from dune_prompt.records import Report, read_json


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["stage", "run", *arguments])
    return int(ended.value.code or 0)


def test_all_stages_by_hand_with_a_table(raw_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run("all", "--input", str(raw_file), "--output", str(tmp_path / "out"), "--payload", "noop", "--dqm-dir", str(tmp_path / "dqm"))
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["stage", "state", "wall_s", "cpu_s", "peak_mb", "outputs", "output_mb"]
    assert [line.split()[:2] for line in lines[1:]] == [[name, "ok"] for name in ("nf_sp", "declare", "evaluate", "dqm_upload")]
    assert Report.from_json(read_json(tmp_path / "out" / "report.json"), "report").ok
    assert len(list((tmp_path / "dqm").rglob("record.json"))) == 1


def test_a_later_stage_takes_files_of_an_earlier_run(raw_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tmp_path / "first"
    assert run("nf_sp", "--input", str(raw_file), "--output", str(first), "--payload", "noop") == 0
    capsys.readouterr()
    earlier = [
        part for path in first.glob("*_v0_*") if path.suffix != ".json" or "quality" in path.name for part in ("--earlier", f"nf_sp:{path}")
    ]
    report = tmp_path / "reports" / "second.json"
    assert (
        run("declare,evaluate", "--input", str(raw_file), "--output", str(tmp_path / "b"), "--report", str(report), "--json", *earlier) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert [row["stage"] for row in rows] == ["declare", "evaluate"]
    assert report.is_file()


def test_the_exit_code_is_the_stages(raw_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--input", str(raw_file), "--output", str(tmp_path)) == 30
    assert "nf_sp gave no file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reco"], "no stage 'reco'"),
        (["nf_sp", "--payload", "magic"], "there are numpy, wirecell"),
        (["nf_sp", "--cpus", "0"], "stages.nf_sp.cpus 0"),
        (["nf_sp", "--gain", "10"], "14 or 7.8"),
        (["evaluate", "--earlier", "nf_sp"], "give the stage and the file"),
    ],
)
def test_wrong_options_are_named(
    raw_file: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--input", str(raw_file), "--output", str(tmp_path)) == 30
    assert message in capsys.readouterr().err


def test_a_file_whose_name_tells_no_detector_needs_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw.hdf5").write_bytes(os.urandom(10))
    assert run("nf_sp", "--input", str(tmp_path / "raw.hdf5"), "--output", str(tmp_path)) == 30
    assert "give --detector" in capsys.readouterr().err


def test_a_payload_with_settings_of_its_own_takes_them_from_a_file(
    raw_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "count"
    program.write_text('#!/bin/sh\nwc -c < "$1" > "$2/size.txt"\n')
    program.chmod(0o755)
    settings = tmp_path / "nf_sp.yaml"
    settings.write_text(f"payload: command\ncommand: {{run: [{program}, '{{input}}', '{{output}}'], outputs: {{size: size.txt}}}}\n")
    assert run("nf_sp", "--settings", str(settings), "--input", str(raw_file), "--output", str(tmp_path / "out")) == 0
    (made,) = (tmp_path / "out").glob("*_size.txt")
    assert int(made.read_text()) == raw_file.stat().st_size
    settings.write_text("payload: command\n")
    assert run("nf_sp", "--settings", str(settings), "--input", str(raw_file), "--output", str(tmp_path / "out")) == 30
    assert "payload command needs its settings" in capsys.readouterr().err
