"""Walking the stages of an attempt: whatever happens, there is a report that says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from dune_prompt.records import Assignment, InputFile, Report, read_json, write_json
from stages import job
from stages.stage import Payload, StageContext, StageResult

Walk = Callable[..., tuple[Report, int]]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[StageContext], StageResult]]:
    """Stand-ins for the stages, by name."""
    run: dict[str, Callable[[StageContext], StageResult]] = {}
    monkeypatch.setattr("stages.job.load", lambda name: SimpleNamespace(run=run[name]))
    return run


def raising(error: BaseException) -> Callable[[StageContext], StageResult]:
    def run(_context: StageContext) -> StageResult:
        raise error

    return run


def writing(name: str) -> Callable[[StageContext], StageResult]:
    def run(context: StageContext) -> StageResult:
        (context.output_dir / name).write_text(name)
        return StageResult((name,), {"n": 1})

    return run


@pytest.mark.parametrize(
    ("error", "exit_code", "error_class"),
    [
        (DataError("bad"), 10, "data"),
        (TransientError("away"), 20, "transient"),
        (ConfigError("wrong"), 30, "configuration"),
        (ConflictError("two truths"), 40, "conflict"),
        (OSError(28, "No space left on device"), 20, "transient"),
        (MemoryError(), 1, "memory"),
        (ZeroDivisionError("division by zero"), 1, "payload"),
    ],
)
def test_a_failure_in_the_middle_ends_the_walk_and_is_reported(
    walk: Walk, stages: dict[str, Any], error: BaseException, exit_code: int, error_class: str
) -> None:
    stages.update(nf_sp=writing("a.txt"), declare=raising(error), evaluate=writing("b.txt"))
    report, code = walk("nf_sp", "declare", "evaluate")
    assert code == exit_code
    assert [(stage.name, stage.state, stage.error_class) for stage in report.stages] == [
        ("nf_sp", "ok", None),
        ("declare", "failed", error_class),
    ]
    assert report.stages[0].outputs[0].name == "a.txt"
    assert report.stages[1].message
    assert Report.from_json(report.to_json(), "report") == report


def test_an_output_that_was_not_written_is_no_success(walk: Walk, stages: dict[str, Any]) -> None:
    stages["nf_sp"] = lambda _context: StageResult(("gone.npz",))
    report, code = walk("nf_sp")
    assert code == 20
    assert "gone.npz" in str(report.stages[0].message)


def test_an_output_name_that_is_a_path_is_refused(walk: Walk, stages: dict[str, Any]) -> None:
    stages["nf_sp"] = lambda _context: StageResult(("../report.json",))
    _, code = walk("nf_sp")
    assert code == 10


def test_stages_see_the_files_of_those_before_them(walk: Walk, stages: dict[str, Any], tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def look(context: StageContext) -> StageResult:
        seen.update(context.files)
        return StageResult()

    (tmp_path / "old.npz").write_text("old")
    stages.update(declare=writing("a.txt"), evaluate=writing("b.txt"), dqm_upload=look)
    earlier = (InputFile("old.npz", (str(tmp_path / "nowhere"), str(tmp_path / "old.npz")), stage="nf_sp"),)
    _, code = walk("declare", "evaluate", "dqm_upload", earlier=earlier)
    assert code == 0
    assert seen == {"nf_sp": (tmp_path / "old.npz",), "evaluate": (tmp_path / "out" / "b.txt",)}


def test_an_input_that_has_left_is_a_transient_failure(walk: Walk, tmp_path: Path) -> None:
    report, code = walk("nf_sp", settings={"nf_sp": {"payload": "noop"}}, raw=tmp_path / "gone.hdf5")
    assert code == 20
    assert "not found at" in str(report.stages[0].message)


def test_a_broken_raw_file_is_a_data_failure(walk: Walk, tmp_path: Path) -> None:
    path = tmp_path / "np04hd_raw_run027296_0000_dataflow0_datawriter_0_20240619T110330.hdf5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
    raw = InputFile(path.name, (str(path),), did=f"hd-protodune:{path.name}")
    report, code = job.walk(
        Assignment("a", "t", "c", "v", ("nf_sp", "evaluate"), raw, str(tmp_path / "out"), str(tmp_path / "report.json")),
        Payload("c", "v", "pdhd", "0", "0", {"namespace": "n", "data_tier": "t"}, {}),
    )
    assert code == 10
    assert len(report.stages) == 1


def assignment(tmp_path: Path, raw: Path, token: str | None) -> Path:
    job_dir = tmp_path / "job"
    job_dir.mkdir()
    content = Assignment(
        attempt="01J",
        task="1",
        campaign="c",
        version="v1",
        stages=("nf_sp",),
        raw=InputFile(raw.name, (str(raw),), did=f"hd-protodune:{raw.name}"),
        output_dir=str(tmp_path / "out"),
        report=str(job_dir / "report.json"),
        token=token,
    )
    write_json(job_dir / "assignment.json", content.to_json(), private=True)
    return job_dir


PAYLOAD = Payload("c", "v1", "pdhd", "0" * 64, "0.1", {"namespace": "n", "data_tier": "t"}, {"nf_sp": {"payload": "noop"}})


def test_a_job_leaves_its_report_and_starts_only_once(tmp_path: Path, raw_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job_dir = assignment(tmp_path, raw_file, token="secret-token")
    arguments = ["nf_sp", "--assignment", str(job_dir / "assignment.json")]
    assert job.main(arguments, PAYLOAD) == 0
    report = Report.from_json(read_json(job_dir / "report.json"), "report")
    assert report.ok
    (job_dir / "report.json").unlink()
    assert job.main(arguments, PAYLOAD) == 0
    assert not (job_dir / "report.json").exists()
    assert "secret-token" not in "".join(capsys.readouterr())


def test_stages_that_are_not_of_the_assignment_are_left_out(tmp_path: Path, raw_file: Path) -> None:
    job_dir = assignment(tmp_path, raw_file, token=None)
    assert job.main(["nf_sp,declare", "--assignment", str(job_dir / "assignment.json")], PAYLOAD) == 0
    assert [stage.name for stage in Report.from_json(read_json(job_dir / "report.json"), "report").stages] == ["nf_sp"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reco", "--assignment", "x"], "no stage 'reco'"),
        (["nf_sp", "--assignment", "/nowhere/assignment.json"], "cannot be read"),
        (["nf_sp", "--input", "x"], "--input, --output and --report are needed"),
    ],
)
def test_wrong_arguments_are_a_wrong_setting(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.main(arguments, PAYLOAD) == 30
    assert message in capsys.readouterr().err


def test_progress_is_told_in_lines_but_not_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    say = job.progress_lines(0.0)
    say(1, 20)
    say(2, 20)
    silent = job.progress_lines(60.0)
    silent(3, 20)
    assert capsys.readouterr().err == "1 of 20 trigger records\n2 of 20 trigger records\n"
