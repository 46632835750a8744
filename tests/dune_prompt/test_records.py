"""Sidecars, assignments and reports: what is written is read back, what is not one is refused with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import DataError
from dune_prompt.records import Assignment, FileRecord, InputFile, Output, Report, StageReport, check_name, split_did, write_json

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True)
checksums = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
numbers = st.floats(0, 2e9, allow_nan=False)
dids = st.builds(lambda a, b: f"{a}:{b}", names, names)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
metadata = st.dictionaries(st.text(min_size=1, max_size=8), values, max_size=3)

records = st.builds(
    FileRecord, names, names, st.integers(0, 2**62), checksums, metadata, st.lists(dids, max_size=2).map(tuple), st.none() | dids
)
outputs = st.builds(Output, names, st.integers(0, 2**40), checksums, st.booleans())
inputs = st.builds(InputFile, names, st.lists(st.text(min_size=1, max_size=9), max_size=2).map(tuple), st.none() | dids, names, metadata)
stages = st.builds(
    StageReport,
    names,
    st.sampled_from(["ok", "failed"]),
    numbers,
    numbers,
    numbers,
    st.integers(0, 2**40),
    st.lists(outputs, max_size=2).map(tuple),
    metadata,
    st.none() | st.text(max_size=5),
    st.none() | st.text(max_size=5),
)
reports = st.builds(Report, names, names, names, names, names, st.lists(stages, max_size=3).map(tuple))
assignments = st.builds(
    Assignment,
    names,
    names,
    names,
    names,
    st.lists(names, max_size=4).map(tuple),
    inputs,
    names,
    names,
    st.lists(inputs, max_size=2).map(tuple),
    st.none() | names,
    st.none() | names,
)


@given(st.one_of(records, reports, assignments))
def test_what_is_written_is_read_back(item: Any) -> None:
    assert type(item).from_json(json.loads(json.dumps(item.to_json())), "here") == item


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["schema", "name", "size", "checksums", "stages", "metadata"]), inner)
    ),
    max_leaves=8,
)


@given(junk)
def test_anything_else_is_refused_with_its_place(content: Any) -> None:
    for kind in (FileRecord, Report, Assignment):
        try:
            kind.from_json(content, "somewhere.json")
        except DataError as error:
            assert "somewhere.json" in str(error)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", ".hidden", "-rf", "a:b", "x" * 256, "a\n", "µ"])
def test_a_name_that_is_a_path_or_that_a_catalogue_refuses_is_refused(name: str) -> None:
    with pytest.raises(DataError):
        check_name(name)


def test_a_did_has_two_parts() -> None:
    assert split_did("a:b:c") == ("a", "b:c")
    for wrong in ("a", ":b", "a:", ""):
        with pytest.raises(DataError):
            split_did(wrong)


def test_a_report_of_another_schema_is_refused() -> None:
    content = Report("a", "t", "c", "v", "h", ()).to_json() | {"schema": 99}
    with pytest.raises(DataError, match="schema 99"):
        Report.from_json(content, "r")


def test_a_report_without_stages_is_not_ok() -> None:
    stage = StageReport("nf_sp", "ok", 0.0, 1.0, 1.0, 1)
    report = Report("a", "t", "c", "v", "h", (stage,))
    assert report.ok
    assert not replace(report, stages=()).ok
    assert not replace(report, stages=(stage, replace(stage, state="failed"))).ok


def test_a_token_is_not_shown() -> None:
    assignment = Assignment("a", "t", "c", "v", (), InputFile("x", ()), "o", "r", token="hush")
    assert "hush" not in repr(assignment)


def test_a_private_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "assignment.json"
    write_json(path, {"token": "x"}, private=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
