"""`dune-prompt raw info|dump|generate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dune_prompt.cli import program
from dune_prompt.errors import ConfigError, DataError, TransientError
from stages.rawdata.channel_map import HD_V6, HD_VISIBLE_WIRES


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, ["raw", *map(str, arguments)])


def generated(folder: Path, *options: str) -> Path:
    result = call("generate", "--out", folder, "--frames", "2", *options)
    assert result.exit_code == 0, result.output
    return Path(result.stdout.strip())


def test_info_shows_the_file_its_records_and_their_parts(cropped_hd: Path) -> None:
    lines = call("info", cropped_hd).stdout.splitlines()
    assert lines == [
        f"{cropped_hd.name}: run 27296, file 0, 0.6 MB",
        "  np04hd, dataflow0, stream cosmics, test run: no",
        f"  layout 5, 2024-06-19 11:03:30 UTC to 2024-06-19 11:04:12 UTC, channel map {HD_VISIBLE_WIRES}",
        "record  usable  APA/CRP  streams  frames  ticks  masked  fragments",
        "1.0     yes     P02NL    40/40    2       128    0.0%    1 Trigger_Candidate, 40 WIBEth",
    ]


def test_info_tells_which_records_of_a_faulty_file_can_be_used(write: Callable) -> None:
    def empty_first(record: int, draft: Any) -> Any:
        if record == 1:
            draft.frames = draft.frames[:0]
        return draft

    path = write(frames=1, numbers=(1, 2), alter=empty_first, closed_ms=None).path
    result = call("info", path, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["usable"], [record["usable"] for record in found["records"]]) == (True, [False, True])
    assert found["problems"] == ["never closed (no closing_timestamp): the last trigger records may be missing"]
    assert found["records"][0]["problems"][-1] == "P02SU: no usable frame"
    assert found["records"][1]["elements"] == [
        {"element": "P02SU", "fragments": 40, "expected": 40, "ticks": 64, "frames": 1.0, "masked": 0.0}
    ]
    text = call("info", path).stdout
    assert "never closed\n" not in text
    assert "to never closed, channel map" in text
    assert "  ! 1.0: P02SU: no usable frame" in text


def test_info_ends_with_a_data_error_when_nothing_can_be_used(tmp_path: Path) -> None:
    empty = generated(tmp_path, "--fault", "empty_fragments")
    result = call("info", empty)
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 10
    assert "1.0     no" in result.stdout
    truncated = generated(tmp_path, "--fault", "truncated", "--first-index", "1")
    result = call("info", truncated, "--json")
    assert isinstance(result.exception, DataError)
    found = json.loads(result.stdout)
    assert (found["usable"], found["records"]) == (False, [])
    assert "truncated" in found["problems"][0]


def test_info_on_a_file_that_is_away_is_no_data_error(tmp_path: Path) -> None:
    assert isinstance(call("info", tmp_path / "nothing.hdf5").exception, TransientError)


def test_dump_writes_one_array_file_for_each_record_and_apa(write: Callable, tmp_path: Path) -> None:
    written = write(frames=1, numbers=(12, 13), elements=("P02SU", "P01NL"))
    folder = tmp_path / "arrays"
    result = call("dump", written.path, "--out", folder)
    assert result.exit_code == 0
    stem = written.path.stem
    names = sorted(f"{stem}_tr{number}.0_{apa}.npz" for number in (12, 13) for apa in ("P02SU", "P01NL"))
    assert sorted(item.name for item in folder.iterdir()) == names
    with np.load(folder / f"{stem}_tr13.0_P01NL.npz") as found:
        assert np.array_equal(found["adc"], written.adc[13]["P01NL"])
        assert found["channels"].tolist() == list(range(7680, 10240))
        assert not found["mask"].any()
        assert (int(found["first_timestamp"]), float(found["tick_ns"])) == (107424688437500000, 512.0)
        assert str(found["channel_map"]) == HD_VISIBLE_WIRES


def test_dump_uses_the_map_it_is_told(cropped_hd: Path, tmp_path: Path) -> None:
    assert call("dump", cropped_hd, "--out", tmp_path, "--map", HD_V6).exit_code == 0
    with np.load(next(tmp_path.glob("*.npz"))) as found:
        assert str(found["channel_map"]) == HD_V6
    assert isinstance(call("dump", cropped_hd, "--out", tmp_path, "--map", "v7").exception, ConfigError)


def test_dump_leaves_out_and_names_what_cannot_be_used(write: Callable, tmp_path: Path) -> None:
    def empty(record: int, draft: Any) -> Any:
        if (record, draft.stream.source_id // 100) == (1, 1):
            draft.frames = draft.frames[:0]
        return draft

    written = write(frames=1, numbers=(1, 2), elements=("P02SU", "P02NL"), alter=empty)
    folder = tmp_path / "arrays"
    result = call("dump", written.path, "--out", folder)
    assert result.exit_code == 0
    assert len(list(folder.iterdir())) == 3
    assert "left out:" in result.stderr
    assert "TriggerRecord00001.0000: P02SU: no usable frame" in result.stderr
    assert isinstance(call("dump", generated(tmp_path, "--fault", "empty_fragments"), "--out", folder).exception, DataError)


def test_a_dump_that_fails_leaves_nothing_half_written(cropped_hd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, **_arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert isinstance(call("dump", cropped_hd, "--out", tmp_path).exception, OSError)
    assert not list(tmp_path.iterdir())


def test_generate_makes_the_files_it_names(tmp_path: Path) -> None:
    result = call("generate", "--out", tmp_path / "new", "--files", 2, "--records", 3, "--apas", 2, "--ticks", 65, "--run", 28001, "--json")
    assert result.exit_code == 0
    made = json.loads(result.stdout)
    assert [Path(item["file"]).name[:28] for item in made] == ["np04hd_raw_run028001_0000_da", "np04hd_raw_run028001_0001_da"]
    for item in made:
        assert Path(item["file"]).stat().st_size == item["size_bytes"]
    found = json.loads(call("info", made[1]["file"], "--json").stdout)
    assert [record["record"] for record in found["records"]] == ["4.0", "5.0", "6.0"]
    assert {(e["element"], e["ticks"]) for record in found["records"] for e in record["elements"]} == {("P02SU", 128), ("P02NL", 128)}


def test_generate_lists_the_faults_and_refuses_contradictions(tmp_path: Path) -> None:
    assert "bad_marker" in call("generate", "--out", tmp_path, "--fault", "help").stdout
    assert isinstance(call("generate", "--out", tmp_path, "--fault", "none").exception, ConfigError)
    assert isinstance(call("generate", "--out", tmp_path, "--frames", 2, "--ticks", 64).exception, ConfigError)


def test_generate_keeps_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    def one_second_each(*_args: Any, **_options: Any) -> Path:
        clock[0] += 1.0
        return tmp_path

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("stages.rawdata.generator.generate_file", one_second_each)
    assert call("generate", "--out", tmp_path, "--files", 3, "--rate", 0.25).exit_code == 0
    assert slept == [0.0, 3.0, 3.0]
