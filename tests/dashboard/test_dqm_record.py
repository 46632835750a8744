"""The record's model against what the stage writes, and against the page that describes it."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dashboard.dqm.record as received
import stages.evaluate.record as written
from dashboard.dqm.record import read_record
from dashboard.dqm.scalars import INDEX, PLANES, pack, unpack
from stages.evaluate import elements

PARTS = [
    "Range",
    "BeforeAfter",
    "Spectrum",
    "Histogram",
    "Channels",
    "Plane",
    "Element",
    "RecordProblem",
    "TriggerRecords",
    "Picture",
    "Performance",
    "DqmRecord",
]


@pytest.mark.parametrize("name", PARTS)
def test_every_field_the_stage_writes_is_known_here_and_the_other_way_round(name: str) -> None:
    of_stage = {field.name for field in dataclasses.fields(getattr(written if hasattr(written, name) else elements, name))}
    here = {field.alias or key for key, field in getattr(received, name).model_fields.items()}
    assert here == of_stage


def test_both_speak_the_same_schema() -> None:
    assert received.SCHEMA == written.RECORD_SCHEMA
    assert typing.get_args(received.DqmRecord.model_fields["schema_"].annotation) == (received.SCHEMA,)


def test_a_file_without_data_has_a_record(record: Any) -> None:
    content = record(elements=0) | {"records": None, "payload": "noop", "gain_mv_per_fc": None, "file_index": None}
    assert pack(read_record(json.dumps(content).encode())) == b""


def test_the_scalars_of_a_record_are_small_and_read_back(record: Any) -> None:
    content = record(channels=800, elements=4)
    block = pack(read_record(json.dumps(content).encode()))
    assert len(block) <= 4 * 300
    scalars = unpack(block, 4)
    for row, element in zip(scalars, content["elements"], strict=True):
        for plane in element["planes"]:
            values = row[PLANES.index(plane["plane"])]
            assert values[INDEX["rms_nf_adc_p95"]] == pytest.approx(plane["rms_nf_adc"]["p95"], rel=1e-6)
            assert values[INDEX["hits"]] == pytest.approx(plane["hits"], rel=1e-6)
            assert np.isnan(values[INDEX["sp_gain"]])


def test_the_page_that_describes_the_record_names_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "dqm-record.md").read_text()
    for name in PARTS[2:]:
        for key in getattr(received, name).model_fields:
            assert f"`{key.rstrip('_')}`" in page, f"{name}.{key}"
