"""The stage nf_sp as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dune_prompt.records import FileRecord, Report, read_json
from stages.frames import FrameFile, FrameKey
from stages.nf_sp import resampling
from stages.rawdata.reader import RawFile
from stages.stage import StageContext

Walk = Callable[..., tuple[Report, int]]


def test_all_frames_of_all_records_are_written(chain: Any) -> None:
    with FrameFile(chain.path("_gauss.npz")) as file:
        assert file.keys == tuple(FrameKey(tag, ident) for ident in (1, 2) for tag in ("gauss1", "wiener1"))
        for key in file.keys:
            header = file.header(key)
            assert np.array_equal(header.channels, np.arange(2560, 5120))
            assert (header.n_ticks, header.tick_ns, header.first_tick) == (655, 500.0, 0)
            # The readout starts 15616 DTS ticks of 16 ns before the trigger.
            assert header.time_ns == -249_856.0
        rows = np.concatenate(list(file.rows(file.keys[0])))
        assert rows.sum() > 1e6
        # The channels listed as bad.
        assert file.mask("bad", 1)[:, 0].tolist() == [2580, 2940, 3347, 3758, 3805, 3866, 4722]
        assert not rows[np.array([2580, 2940, 3347]) - 2560].any()


def test_the_filtered_waveforms_are_kept_on_request(chain: Any, raw_file: Path) -> None:
    with FrameFile(chain.path("_nf.npz")) as file, RawFile.open(raw_file) as raw:
        key = file.keys[0]
        assert key == FrameKey("raw1", 1)
        assert file.header(key).tick_ns == 500.0
        filtered = np.concatenate(list(file.rows(key)))
        adc = raw.block(raw.records[0], "P02NL").adc
    assert filtered.shape == (len(adc), 655)
    assert np.median(filtered) == pytest.approx(0, abs=0.5)
    assert filtered[100].std() == pytest.approx(adc[100].std(), rel=0.1)


def test_the_sidecar_tells_which_records_are_inside(chain: Any, raw_file: Path) -> None:
    path = chain.path("_gauss.npz")
    sidecar = FileRecord.from_json(read_json(path.with_name(path.name + ".json")), "sidecar")
    assert sidecar.parents == (f"hd-protodune:{raw_file.name}",)
    assert sidecar.namespace == "hd-protodune-det-reco"
    assert sidecar.metadata["core.events"] == [5, 7]
    assert sidecar.metadata["core.event_count"] == 2
    assert sidecar.metadata["dune.trigger_records"] == [5, 7]
    assert sidecar.metadata["dune.trigger_sequences"] == [0, 0]
    assert sidecar.metadata["core.file_format"] == "npz"


def test_the_report_holds_the_outputs_and_plain_numbers(chain: Any) -> None:
    stage = chain.report.stages[0]
    assert [(output.name.rpartition("_")[2], output.declared) for output in stage.outputs] == [
        ("gauss.npz", True),
        ("nf.npz", True),
        ("quality.npz", False),
        ("quality.json", False),
    ]
    assert stage.metrics["n_records"] == 2
    assert stage.metrics["records_unusable"] == 0
    assert stage.metrics["channel_map"] == "PD2HDChannelMap_WIBEth_visiblewires_v1"
    assert all(isinstance(value, str | int | float | bool | None) for value in stage.metrics.values())
    json.dumps(stage.metrics, allow_nan=False)


@pytest.fixture
def copy_of(raw_file: Path, tmp_path: Path) -> Callable[[Callable[[h5py.File], None]], Path]:
    """A copy of the raw file, changed."""

    def change(edit: Callable[[h5py.File], None]) -> Path:
        path = tmp_path / raw_file.name
        path.write_bytes(raw_file.read_bytes())
        with h5py.File(path, "r+") as file:
            edit(file)
        return path

    return change


def remove_tpc(file: h5py.File, record: str) -> None:
    raw_data = file[f"{record}/RawData"]
    for name in list(raw_data):
        if name.endswith("WIBEth"):
            del raw_data[name]


def test_a_record_without_tpc_data_is_left_out_and_reported(walk: Walk, copy_of: Any, tmp_path: Path) -> None:
    raw = copy_of(lambda file: remove_tpc(file, "TriggerRecord00005.0000"))
    report, exit_code = walk("nf_sp", raw=raw)
    assert exit_code == 0
    assert report.stages[0].metrics["records_unusable"] == 1
    assert report.stages[0].metrics["unusable_because"] == "record: no TPC data"
    output = report.stages[0].outputs[0].name
    with FrameFile(tmp_path / "out" / output) as file:
        assert file.keys == (FrameKey("gauss1", 2), FrameKey("wiener1", 2))
    sidecar = read_json(tmp_path / "out" / f"{output}.json")
    assert sidecar["metadata"]["core.events"] == [7]
    assert sidecar["metadata"]["dune.trigger_records"] == [5, 7]


def test_a_file_without_any_usable_record_is_bad_data_and_leaves_nothing(walk: Walk, copy_of: Any, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        for record in ("TriggerRecord00005.0000", "TriggerRecord00007.0000"):
            remove_tpc(file, record)

    report, exit_code = walk("nf_sp", raw=copy_of(edit))
    assert exit_code == 10
    assert report.stages[0].error_class == "data"
    assert "none of 2 trigger records can be used: record: no TPC data" in str(report.stages[0].message)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_record_without_header_is_processed_all_the_same(walk: Walk, copy_of: Any, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        raw_data = file["TriggerRecord00005.0000/RawData"]
        del raw_data[next(name for name in raw_data if name.endswith("TriggerRecordHeader"))]

    report, exit_code = walk("nf_sp", raw=copy_of(edit))
    assert exit_code == 0
    assert report.stages[0].metrics["records_unusable"] == 0
    assert report.stages[0].metrics["n_problems"] == 1
    with FrameFile(tmp_path / "out" / report.stages[0].outputs[0].name) as file:
        assert file.header(FrameKey("gauss1", 1)).time_ns == 0.0


def test_missing_fragments_are_masked_and_without_charge(walk: Walk, copy_of: Any, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        raw_data = file["TriggerRecord00005.0000/RawData"]
        for name in [name for name in raw_data if name.endswith("WIBEth")][:4]:
            del raw_data[name]

    report, exit_code = walk("nf_sp", raw=copy_of(edit))
    assert exit_code == 0
    with FrameFile(tmp_path / "out" / report.stages[0].outputs[0].name) as file:
        first, second = (set(file.mask("bad", ident)[:, 0].tolist()) for ident in (1, 2))
        assert len(first | second) - len(second) >= 4 * 64 - 7
        rows = np.concatenate(list(file.rows(FrameKey("gauss1", 1))))
        assert not rows[np.array(sorted(first)) - 2560].any()


def test_a_file_of_another_detector_is_a_wrong_setting(walk: Walk) -> None:
    report, exit_code = walk("nf_sp", detector="pdvd")
    assert exit_code == 30
    assert "a file of pdhd, but campaign pdhd-prompt is for pdvd" in str(report.stages[0].message)


def test_protodune_vd_is_processed_and_marked(shared_data: Path, tmp_path: Path) -> None:
    from stages import job
    from stages.stage import Payload

    raw = next((shared_data / "raw").glob("np02vd*.hdf5"))
    settings = Payload("pdvd-prompt", "v1", "pdvd", "0" * 64, "0.1", {"namespace": "vd-protodune-det-reco", "data_tier": "x"}, {})
    assignment = job.by_hand(settings, ("nf_sp",), raw, tmp_path, tmp_path / "report.json")
    report, exit_code = job.walk(assignment, settings)
    assert exit_code == 0, report
    assert report.stages[0].metrics["validated"] is False
    with FrameFile(tmp_path / report.stages[0].outputs[0].name) as file:
        assert [key.tag for key in file.keys] == ["gauss4", "wiener4", "gauss2", "wiener2"]
        bottom, top = (file.header(key).n_ticks for key in file.keys if key.tag.startswith("gauss"))
        assert (bottom, top) == (resampling.grid(512, 512.0).n_out, resampling.grid(512, 500.0).n_out)


def test_two_processes_make_what_one_makes(walk: Walk, tmp_path: Path) -> None:
    reports = {}
    for cpus in (1, 2):
        report, exit_code = walk("nf_sp", settings={"nf_sp": {"cpus": cpus, "keep": ["nf"]}}, folder=f"cpus{cpus}")
        assert exit_code == 0, report
        reports[cpus] = report.stages[0]
    assert [one.name for one in reports[1].outputs] == [two.name for two in reports[2].outputs]
    assert sorted(path.name for path in (tmp_path / "cpus2").iterdir()) == sorted(path.name for path in (tmp_path / "cpus1").iterdir())
    for output in reports[1].outputs:
        if output.name.endswith(".npz"):
            one, two = (np.load(tmp_path / f"cpus{cpus}" / output.name) for cpus in (1, 2))
            assert set(one.files) == set(two.files)
            assert all(np.array_equal(one[name], two[name], equal_nan=True) for name in one.files)
    numbers = [{key: value for key, value in reports[cpus].metrics.items() if "_s" not in key and "rss" not in key} for cpus in (1, 2)]
    assert numbers[0] == numbers[1]


def test_progress_is_told_record_by_record(raw_file: Path, tmp_path: Path) -> None:
    from stages.nf_sp import numpy_payload
    from tests.stages.conftest import assignment_of, payload_of

    told: list[tuple[int, int]] = []
    assignment = assignment_of(raw_file, tmp_path, "nf_sp")
    context = StageContext(
        "nf_sp", payload_of({}), "attempt", assignment.raw, {}, tmp_path, progress=lambda done, of: told.append((done, of))
    )
    numpy_payload.run(context)
    assert told == [(1, 2), (2, 2)]


def test_an_unknown_payload_is_a_wrong_setting(walk: Walk) -> None:
    report, exit_code = walk("nf_sp", settings={"nf_sp": {"payload": "magic"}})
    assert exit_code == 30
    assert "stages.nf_sp.payload 'magic': there are numpy, wirecell, larsoft, command, noop" in str(report.stages[0].message)


def test_a_response_that_is_not_there_is_a_wrong_setting(walk: Walk, tmp_path: Path) -> None:
    for cpus in (1, 2):
        settings = {"nf_sp": {"response": str(tmp_path / "none.npz"), "cpus": cpus}}
        report, exit_code = walk("nf_sp", settings=settings, folder=f"f{cpus}")
        assert exit_code == 30
        assert "stages.nf_sp.response" in str(report.stages[0].message)
        assert list((tmp_path / f"f{cpus}").iterdir()) == []
