"""The data-quality record of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from dashboard.dqm.record import read_record
from dune_prompt.records import FileRecord, InputFile, Report, read_json
from stages.evaluate import elements
from stages.evaluate import record as schema

Walk = Callable[..., tuple[Report, int]]
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "reference" / "dqm-record.md"


@pytest.fixture(scope="module")
def content(chain: Any) -> dict[str, Any]:
    found: dict[str, Any] = read_json(chain.path("_metrics.json"))
    return found


def test_the_record_identifies_the_file_and_who_made_it(content: dict[str, Any], raw_file: Path) -> None:
    assert content["schema"] == 1
    assert content["input_did"] == f"hd-protodune:{raw_file.name}"
    assert (content["run"], content["file_index"], content["detector"]) == (27296, 3, "pdhd")
    assert (content["campaign"], content["version"], content["payload"]) == ("pdhd-prompt", "v1", "numpy")
    assert content["gain_mv_per_fc"] == 14.0


def test_the_record_tells_about_the_trigger_records(content: dict[str, Any]) -> None:
    records = content["records"]
    assert (records["n_records"], records["n_used"], records["n_unusable"]) == (2, 2, 0)
    assert (records["n_with_error_bits"], records["error_bits"]) == (1, 1)
    assert (records["first_record"], records["last_record"]) == (5, 7)
    assert records["last_timestamp"] - records["first_timestamp"] == 2 * 62_500_000


def test_noise_and_charge_of_the_planes_are_what_was_put_in(content: dict[str, Any]) -> None:
    (element,) = content["elements"]
    assert (element["element"], element["anode"], element["n_records"], element["n_ticks"]) == ("P02NL", 1, 2, 640)
    assert [plane["plane"] for plane in element["planes"]] == ["U", "V", "W"]
    for plane, n_channels, pedestal in zip(element["planes"], (800, 800, 960), (9402, 9402, 3601), strict=True):
        assert plane["n_channels"] == n_channels
        assert plane["pedestal_adc"]["median"] == pytest.approx(pedestal, abs=1)
        assert plane["rms_raw_adc"]["median"] == pytest.approx(13, rel=0.03)
        assert plane["rms_nf_adc"]["median"] == pytest.approx(13, rel=0.06)
        assert (plane["n_missing"], plane["n_dead"], plane["n_noisy"], plane["missing_fraction"]) == (0, 0, 0, 0)
        assert plane["charge_e"] > 1e5
        assert sum(plane["hit_charge_e"]["counts"]) == pytest.approx(2 * plane["hits"])
        assert 0 < plane["sp_nonzero_fraction"] < 0.02
        assert len(plane["spectrum"]["frequency_mhz"]) == len(plane["spectrum"]["before_adc"]) <= 128
        channels = plane["channels"]
        assert all(len(channels[name]) == n_channels for name in channels if name != "first")
        assert sum(channels["charge_e"]) == pytest.approx(plane["charge_e"], rel=0.01)
    assert [plane["channels"]["first"] for plane in element["planes"]] == [2560, 3360, 4160]


def test_no_number_is_infinite_or_nan(chain: Any) -> None:
    text = chain.path("_metrics.json").read_text()
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    assert "null" in text  # the noise after filtering of channels listed as bad


def test_the_numbers_of_each_trigger_record_add_up_to_those_of_the_file(content: dict[str, Any]) -> None:
    (element,) = content["elements"]
    assert [(one["record"], one["sequence"]) for one in element["by_record"]] == [(5, 0), (7, 0)]
    for index, plane in enumerate(element["planes"]):
        of_records = [one["planes"][index] for one in element["by_record"]]
        assert {one["plane"] for one in of_records} == {plane["plane"]}
        assert sum(one["hits"] for one in of_records) == pytest.approx(2 * plane["hits"])
        assert sum(one["charge_e"] for one in of_records) == pytest.approx(2 * plane["charge_e"], abs=2)
        assert [one["n_missing"] for one in of_records] == [0, 0]
        assert [one["rms_nf_adc"] for one in of_records] == pytest.approx([plane["rms_nf_adc"]["median"]] * 2, rel=0.02)


def test_signal_processing_keeps_the_charge_of_the_collection_plane(content: dict[str, Any]) -> None:
    (element,) = content["elements"]
    assert [plane["sp_gain"] for plane in element["planes"]] == [None, None, pytest.approx(1, abs=0.05)]


def test_every_picture_of_the_record_is_an_output_and_shows_its_plane(chain: Any, content: dict[str, Any]) -> None:
    outputs = {output.name: output for output in chain.report.stages[2].outputs}
    assert len(content["pictures"]) == 9
    for picture in content["pictures"]:
        assert not outputs[picture["name"]].declared
        assert (picture["record"], picture["sequence"]) == (5, 0)
        assert picture["ticks_per_pixel"] == 1
        assert (picture["n_ticks"], picture["tick_ns"]) == ((640, 512.0) if picture["kind"] == "raw" else (655, 500.0))
        with Image.open(chain.folder / picture["name"]) as image:
            assert image.size == (picture["n_channels"], picture["n_ticks"])
    assert {(picture["plane"], picture["kind"]) for picture in content["pictures"]} == {(p, k) for p in "UVW" for k in ("raw", "nf", "sp")}
    assert {(picture["first_channel"], picture["n_channels"]) for picture in content["pictures"]} == {(2560, 800), (3360, 800), (4160, 960)}


def test_the_scale_of_a_picture_fits_the_noise_or_the_charge(content: dict[str, Any]) -> None:
    scales = {(picture["plane"], picture["kind"]): (picture["low"], picture["high"], picture["unit"]) for picture in content["pictures"]}
    low, high, unit = scales["W", "nf"]
    assert (low, unit) == (-high, "ADC")
    assert high == pytest.approx(8 * 13, rel=0.05)
    low, high, unit = scales["W", "sp"]
    assert (low, unit) == (0, "e/tick")
    assert high >= 1000


def test_the_dashboard_takes_the_record(chain: Any, content: dict[str, Any]) -> None:
    taken = read_record(chain.path("_metrics.json").read_bytes())
    plane = taken.elements[0].planes[2]
    assert plane.sp_gain == content["elements"][0]["planes"][2]["sp_gain"]
    assert [one.record for one in taken.elements[0].by_record] == [5, 7]
    assert taken.pictures[0].unit == "ADC"


@pytest.fixture
def pictures_of(walk: Walk, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], int]]:
    """The record of the raw file (its index is 3) under a setting of the displays, and the bytes of its pictures."""

    def run(every: int, records: int = 1, budget: int = 8_000_000) -> tuple[dict[str, Any], int]:
        displays = {"every": every, "records": records, "budget": budget}
        report, exit_code = walk("nf_sp", "evaluate", settings={"evaluate": {"displays": displays}})
        assert exit_code == 0, report
        content: dict[str, Any] = read_json(next((tmp_path / "out").glob("*_metrics.json")))
        pngs = list((tmp_path / "out").glob("*.png"))
        assert {path.name for path in pngs} == {picture["name"] for picture in content["pictures"]}
        return content, sum(path.stat().st_size for path in pngs)

    return run


@pytest.mark.parametrize(("every", "n_pictures"), [(20, 0), (0, 0), (3, 9)])
def test_only_every_nth_file_has_pictures(pictures_of: Any, every: int, n_pictures: int) -> None:
    content, _ = pictures_of(every)
    assert len(content["pictures"]) == n_pictures
    assert content["notes"] == []
    assert len(content["elements"]) == 1


def test_more_trigger_records_are_shown_on_request(pictures_of: Any) -> None:
    content, _ = pictures_of(1, records=2)
    assert [picture["record"] for picture in content["pictures"]] == [5] * 9 + [7] * 9


def test_pictures_beyond_the_budget_are_left_out_with_a_note(pictures_of: Any) -> None:
    content, size_bytes = pictures_of(1, budget=400_000)
    n_pictures = len(content["pictures"])
    assert 0 < n_pictures < 9
    assert size_bytes <= 400_000
    assert content["notes"] == [f"event displays: {9 - n_pictures} of 9 are left out, as the budget of a file is 0.4 MB"]
    assert {picture["plane"] for picture in content["pictures"][:3]} == {"W"}


def test_a_wrong_setting_of_the_displays_stops_nf_sp(walk: Walk) -> None:
    report, exit_code = walk("nf_sp", settings={"evaluate": {"displays": {"every": 20, "records": 9, "budget": 8_000_000}}})
    assert exit_code == 30
    assert "stages.evaluate.displays.records 9: a whole number, at least 1 and at most 5" in str(report.stages[0].message)


def test_the_record_is_declared_as_a_child_of_the_raw_file(chain: Any, raw_file: Path) -> None:
    path = chain.path("_metrics.json")
    sidecar = FileRecord.from_json(read_json(path.with_name(path.name + ".json")), "sidecar")
    assert sidecar.parents == (f"hd-protodune:{raw_file.name}",)
    assert sidecar.metadata["core.application.name"] == "evaluate"
    assert sidecar.metadata["core.file_format"] == "json"


def test_the_record_is_the_one_the_documentation_promises(content: dict[str, Any]) -> None:
    """Every field of the code is in the JSON and named on the reference page."""
    documented = set(re.findall(r"`([a-z0-9_]+)`", DOCUMENTATION.read_text()))

    def check(cls: type, value: dict[str, Any]) -> None:
        assert set(value) == {field.name for field in fields(cls)}
        hints = get_type_hints(cls, localns=vars(elements))
        for field in fields(cls):
            assert field.name in documented, f"{cls.__name__}.{field.name} is not documented"
            inner = [hint for hint in (hints[field.name], *get_args(hints[field.name])) if is_dataclass(hint)]
            below = value[field.name]
            for one in (below if isinstance(below, list) else [below])[:1]:
                if inner and one is not None:
                    assert isinstance(inner[0], type)
                    check(inner[0], one)

    documented |= {"median", "p05", "p95", "before", "after"}  # written as braces and words there
    check(schema.DqmRecord, content)


def test_numbers_that_do_not_exist_are_null() -> None:
    plain = schema._plain({"a": (float("nan"), np.float64(1.5), float("inf")), "b": {"c": None}})
    assert json.dumps(plain, allow_nan=False) == '{"a": [null, 1.5, null], "b": {"c": null}}'


def test_without_nf_sp_the_setting_is_wrong(walk: Walk) -> None:
    report, exit_code = walk("evaluate")
    assert exit_code == 30
    assert "nf_sp gave no file" in str(report.stages[0].message)


def test_a_quality_file_of_another_version_is_bad_data(walk: Walk, tmp_path: Path) -> None:
    for content in ('{"elements": []}', '{"elements": [{"element": "P02NL"}]}', "[]", "no"):
        (tmp_path / "x_quality.json").write_text(content)
        report, exit_code = walk("evaluate", earlier=(InputFile("x_quality.json", (str(tmp_path / "x_quality.json"),), stage="nf_sp"),))
        assert exit_code in (10, 30), report.stages[0].message
