"""Sidecars of both forms and HDF5 attributes become the metadata that MetaCat wants."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.metadata import KEY, MANDATORY, clean_text, complete, completed, describe, file_index
from declare_daemon.root_attributes import root_metadata
from declare_daemon.sidecar import Description, adler32, describe_content, seconds
from dune_prompt.errors import DataError
from dune_prompt.records import FileRecord

NAME = "np04hd_raw_run028049_0145_dataflow0_datawriter_0_20240718T054941.hdf5"


def describe_json(content: Any) -> Any:
    return complete(describe_content(content, NAME, "sidecar"), "sidecar")


@pytest.fixture
def sam_sidecar() -> dict[str, Any]:
    """As createMetadataFilesForDataN.sh and insert_extra_fields.py write it (SAM's form)."""
    return {
        "data_stream": "test",
        "data_tier": "raw",
        "event_count": 161,
        "events": [1, 2, 161],
        "file_format": "hdf5",
        "file_name": NAME,
        "file_type": "detector",
        "first_event": 1,
        "last_event": 161,
        "runs": [[28049, 1, "hd-protodune"]],
        "checksum": ["enstore:123", "adler32:7ca0f06"],
        "file_size": 4245678901,
        "start_time": "2024-06-19T11:03:30+00:00",
        "end_time": "2024-06-19T11:04:12",
        "DUNE.campaign": "Pre-Fall 2024",
    }


def test_a_sam_sidecar_becomes_metacat_metadata(sam_sidecar: dict[str, Any]) -> None:
    found = describe_json(sam_sidecar)
    assert (found.namespace, found.dataset) == ("hd-protodune", "hd-protodune:hd-protodune_28049")
    assert (found.size_bytes, found.adler32) == (4245678901, "07ca0f06")
    assert found.metadata == {
        "core.data_stream": "test",
        "core.data_tier": "raw",
        "core.end_time": 1718795052.0,
        "core.event_count": 161,
        "core.events": [1, 2, 161],
        "core.file_content_status": "good",
        "core.file_format": "hdf5",
        "core.file_type": "detector",
        "core.first_event_number": 1,
        "core.group": "dune",
        "core.last_event_number": 161,
        "core.run_type": "hd-protodune",
        "core.runs": [28049],
        "core.runs_subruns": [2804900001],
        "core.start_time": 1718795010.0,
        "dune.campaign": "Pre-Fall 2024",
        "retention.class": "unknown",
        "retention.status": "active",
    }


def test_a_metacat_sidecar_stays_as_it_is(raw_metadata: dict[str, Any]) -> None:
    content = {"name": NAME, "namespace": "hd-protodune", "size": 5, "checksums": {"adler32": "DE309FC6"}, "metadata": raw_metadata}
    found = describe_json(content)
    assert found.metadata == raw_metadata | {"core.group": "dune"}
    assert found.adler32 == "de309fc6"


def test_the_example_of_the_data_acquisition_is_understood(shared_data: Path) -> None:
    for path in (shared_data / "raw").glob("np04hd*.hdf5"):
        from_sidecar = describe(str(path), sidecar=f"{path}.json")
        from_file = describe(str(path), sidecar=None)
        assert from_sidecar.dataset == from_file.dataset == "hd-protodune:hd-protodune_27296"
        differing = {key for key, value in from_file.metadata.items() if from_sidecar.metadata[key] != value}
        assert differing == {"retention.class"}


@pytest.mark.parametrize("spelling", [True, "true", "True", "TRUE"])
def test_daq_test_is_a_string_in_one_spelling(raw_metadata: dict[str, Any], spelling: Any) -> None:
    metadata = raw_metadata | {"dune.daq_test": spelling}
    assert complete(Description(NAME, metadata=metadata), "x").metadata["dune.daq_test"] == "True"


@pytest.mark.parametrize(
    "key", sorted(MANDATORY.keys() - {"core.file_content_status", "retention.class", "retention.status", "core.run_type"})
)
def test_what_is_mandatory_is_missed_by_name(raw_metadata: dict[str, Any], key: str) -> None:
    metadata = {name: value for name, value in raw_metadata.items() if name != key}
    with pytest.raises(DataError, match=f"{key} missing"):
        complete(Description(NAME, "hd-protodune", metadata=metadata), "x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("core.runs", []),
        ("core.runs", ["28049"]),
        ("core.runs", [2**40]),
        ("core.runs_subruns", [-1]),
        ("core.start_time", "yesterday"),
        ("core.data_tier", ""),
        ("core.data_tier", 3),
        ("core.event_count", "3"),
        ("dune.daq_test", "maybe"),
        ("dune.nonsense", float("nan")),
        ("nodot", 1),
        ("Upper.case", 1),
    ],
)
def test_wrong_values_are_refused(raw_metadata: dict[str, Any], key: str, value: Any) -> None:
    with pytest.raises(DataError):
        complete(Description(NAME, "hd-protodune", metadata=raw_metadata | {key: value}), "x")


@pytest.mark.parametrize("namespace", ["../etc", "a b", "", "x" * 300])
def test_names_no_catalogue_accepts_are_refused(raw_metadata: dict[str, Any], namespace: str) -> None:
    with pytest.raises(DataError):
        complete(Description(NAME, namespace, metadata=raw_metadata | {"core.run_type": namespace}), "x")


def test_events_are_optional(raw_metadata: dict[str, Any]) -> None:
    without = {key: value for key, value in raw_metadata.items() if "event" not in key}
    assert complete(Description(NAME, metadata=without), "x").metadata.keys() == without.keys() | {"core.group"}


def test_a_derived_file_must_say_what_made_it(raw_metadata: dict[str, Any], derived_metadata: dict[str, Any]) -> None:
    good = FileRecord("reco", "x.npz", 1, "00000001", derived_metadata, ("a:b",), "reco:d")
    assert completed(good).parents == ("a:b",)
    with pytest.raises(DataError, match=r"core.application.family.*missing"):
        completed(FileRecord("reco", "x.npz", 1, "00000001", raw_metadata | {"core.data_tier": "sp"}, ("a:b",), "reco:d"))
    with pytest.raises(DataError, match="no dataset"):
        completed(FileRecord("reco", "x.npz", 1, "00000001", derived_metadata, ("a:b",)))


def test_times_a_sidecar_lacks_are_looked_up_in_the_file(tmp_path: Path, sam_sidecar: dict[str, Any], tiny_hdf5: Any) -> None:
    tiny_hdf5(tmp_path / NAME)
    del sam_sidecar["start_time"], sam_sidecar["end_time"]
    sidecar = tmp_path / f"{NAME}.json"
    sidecar.write_text(json.dumps(sam_sidecar))
    found = describe(str(tmp_path / NAME), sidecar=str(sidecar))
    assert (found.metadata["core.start_time"], found.metadata["core.data_stream"]) == (1718795010.0, "test")


def test_root_attributes_become_metadata(tmp_path: Path, tiny_hdf5: Any) -> None:
    tiny_hdf5(tmp_path / "new.hdf5", creation_timestamp=1718795010300, record_type="TimeSlice", run_was_for_test_purposes="true")
    found = root_metadata(str(tmp_path / "new.hdf5"))
    assert (found["core.data_tier"], found["core.start_time"], found["dune.daq_test"]) == ("trigprim", 1718795010.0, "true")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"closing_timestamp": None}, "did not close"),
        ({"operational_environment": "np99"}, "none of np02vd"),
        ({"run_number": None}, "run_number is missing"),
        ({"creation_timestamp": "noon"}, "no number"),
    ],
)
def test_a_file_the_daq_did_not_finish_is_refused(tmp_path: Path, tiny_hdf5: Any, change: dict[str, Any], said: str) -> None:
    tiny_hdf5(tmp_path / "bad.hdf5", **change)
    with pytest.raises(DataError, match=said):
        root_metadata(str(tmp_path / "bad.hdf5"))


@pytest.mark.parametrize("content", [b"", b"plain", b"\x89HDF\r\n\x1a\n" + b"?" * 200])
def test_a_file_that_is_no_hdf5_is_bad_data_not_an_outage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.hdf5").write_bytes(content)
    with pytest.raises(DataError, match="HDF5"):
        root_metadata(str(tmp_path / "x.hdf5"))


def test_a_missing_file_is_no_bad_data(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        root_metadata(str(tmp_path / "x.hdf5"))


@pytest.mark.parametrize(
    "value",
    ["adler32:de309fc", "0de309fc", "DE309FC", {"adler32": "de309fc"}, ["adler32:0de309fc"], ["de309fc"], ["md5:x", "adler32:de309fc"]],
)
def test_every_spelling_of_a_checksum_is_eight_small_digits(value: Any) -> None:
    assert adler32(value, "x") == "0de309fc"


@pytest.mark.parametrize("value", [None, {}, [], {"md5": "x"}, ["md5:x", "sha:y"]])
def test_no_adler32_among_the_checksums_is_none(value: Any) -> None:
    assert adler32(value, "x") is None


@pytest.mark.parametrize("value", ["", "adler32:", "123456789", "xyz", 7, {"adler32": 7}])
def test_a_checksum_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="adler32"):
        adler32(value, "x")


@pytest.mark.parametrize(
    "value", ["2024-06-19T11:03:30+00:00", "2024-06-19T11:03:30", "2024-06-19T13:03:30+02:00", 1718795010, "1718795010.0"]
)
def test_times_are_seconds_in_utc(value: Any) -> None:
    assert seconds(value, "x") == 1718795010.0


@pytest.mark.parametrize(
    ("name", "index"), [(NAME, 145), ("np02vd_raw_run039252_0007_df-s04-d0_dw_0_20250829T115242.hdf5", 7), ("x.npz", None)]
)
def test_the_file_index_is_in_the_name(name: str, index: int | None) -> None:
    assert file_index(name) == index


@given(st.text())
def test_clean_text_is_printable_ascii_and_stays_clean(text: str) -> None:
    clean = clean_text(text)
    assert set(clean) <= set(string.printable) - set('"\\\n\r\t\x0b\x0c')
    assert clean_text(clean) == clean


@given(st.text(alphabet=string.ascii_letters + string.digits + " '!#$%&()*+,-./:;<=>?@[]^_`{|}~"))
def test_what_is_clean_is_not_changed(text: str) -> None:
    assert clean_text(text) == text


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_keys = st.sampled_from(
    [
        "name",
        "namespace",
        "size",
        "checksums",
        "checksum",
        "metadata",
        "runs",
        "core.runs",
        "events",
        "start_time",
        "core.end_time",
        "parents",
        "dune.daq_test",
        "dataset",
        "core.data_tier",
        "DUNE.campaign",
        "file_type",
        "core.run_type",
    ]
)


@given(st.dictionaries(_keys, _json, max_size=6), st.dictionaries(_keys | st.text(max_size=5), _json, max_size=4))
def test_whatever_a_sidecar_holds_it_is_understood_or_bad_data(
    raw_metadata: dict[str, Any], top: dict[str, Any], inner: dict[str, Any]
) -> None:
    content = {"namespace": "hd-protodune", "size": 1, "checksums": {"adler32": "1"}, "metadata": raw_metadata | inner} | top
    try:
        found = describe_json(content)
    except DataError:
        return
    assert json.loads(json.dumps(found.metadata, allow_nan=False)) == found.metadata
    assert all(KEY.fullmatch(key) for key in found.metadata)
    assert complete(Description(NAME, found.namespace, metadata=found.metadata, dataset=found.dataset), "x").metadata == found.metadata


@given(_json)
def test_no_json_document_makes_the_reader_fall_over(content: Any) -> None:
    with pytest.raises(DataError):
        describe_json(content)
