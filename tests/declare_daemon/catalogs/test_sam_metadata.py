"""What SAM keeps of a file is what we told it, in SAM's own form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.catalogs.sam_metadata import (
    MAX_TEXT,
    checksum_of,
    dataset_of,
    is_retired,
    metadata_of,
    namespace_of,
    parameter,
    to_sam,
)
from declare_daemon.metadata import clean_text, complete
from declare_daemon.sidecar import Description, describe_content
from dune_prompt.errors import DataError
from dune_prompt.records import FileRecord

NAME = "np04hd_raw_run028049_0145_dataflow7_datawriter_0_20240718T054941.hdf5"
DATASET = "hd-protodune:hd-protodune_28049"


def record(metadata: dict[str, Any], **change: Any) -> FileRecord:
    values: dict[str, Any] = {"namespace": "hd-protodune", "name": NAME, "size_bytes": 4245678901, "adler32": "07ca0f06"}
    return FileRecord(**values | {"metadata": metadata} | change)


def test_a_raw_file_takes_the_fields_of_sam(raw_metadata: dict[str, Any]) -> None:
    assert to_sam(record(raw_metadata), DATASET) == {
        "file_name": NAME,
        "file_size": 4245678901,
        "checksum": ["adler32:07ca0f06"],
        "DUNE.dataset_name": DATASET,
        "runs": [[28049, 1, "hd-protodune"]],
        "data_stream": "cosmics",
        "data_tier": "raw",
        "end_time": "2024-06-19T11:04:12+00:00",
        "event_count": 3,
        "core.events": "json:[1,9,17]",
        "content_status": "good",
        "file_format": "hdf5",
        "file_type": "detector",
        "first_event": 1,
        "last_event": 17,
        "start_time": "2024-06-19T11:03:30+00:00",
        "DUNE.daq_test": "False",
        "retention.class": "physics",
        "retention.status": "active",
    }


def test_a_derived_file_names_its_parents_and_what_made_it(derived_metadata: dict[str, Any]) -> None:
    form = to_sam(record(derived_metadata, parents=("hd-protodune:a", "hd-protodune:b", "hd-protodune:a")), DATASET)
    assert form["application"] == {"family": "dune-prompt", "name": "nf_sp", "version": "v1"}
    assert form["parents"] == [{"file_name": "a"}, {"file_name": "b"}]
    assert form["DUNE.campaign"] == "pdhd-prompt"
    assert form["DUNE.config_file"] == "pdhd-prompt.yaml"


def test_what_sam_has_no_form_for_is_kept_as_text(derived_metadata: dict[str, Any]) -> None:
    odd = derived_metadata | {"dune.workflow": {"attempt": "A1", "n": [1, None]}, "dune.flag": True, "dune.text": "json:[1]"}
    form = to_sam(record(odd), DATASET)
    assert all(isinstance(value, str | int | float) and not isinstance(value, bool) for key, value in form.items() if "." in key)
    assert metadata_of(form) == odd


@pytest.mark.parametrize(
    ("runs", "subruns"),
    [([1, 2], [100001, 200007]), ([1], [100001, 100002]), ([2], [100001]), ([1, 1], [100001, 100001]), ([2, 1], [100001, 200001])],
)
def test_runs_and_subruns_come_back_whatever_they_are(raw_metadata: dict[str, Any], runs: list[int], subruns: list[int]) -> None:
    metadata = raw_metadata | {"core.runs": runs, "core.runs_subruns": subruns}
    form = to_sam(record(metadata), DATASET)
    assert [item[0] for item in form["runs"]]
    assert metadata_of(form) == metadata


def test_a_list_of_events_too_long_for_sam_is_left_out(raw_metadata: dict[str, Any]) -> None:
    metadata = raw_metadata | {"core.events": list(range(MAX_TEXT))}
    assert metadata_of(to_sam(record(metadata), DATASET)) == {key: value for key, value in metadata.items() if key != "core.events"}


def test_a_namespace_other_than_the_datasets_cannot_be_kept(raw_metadata: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="SAM has no namespaces"):
        to_sam(record(raw_metadata), "usertests:mine")


def test_a_name_of_digits_is_refused(raw_metadata: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="file id"):
        to_sam(record(raw_metadata, name="12345"), DATASET)


def test_a_time_beyond_all_calendars_is_bad_data(raw_metadata: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"core\.start_time"):
        to_sam(record(raw_metadata | {"core.start_time": 1e30}), DATASET)


def test_a_record_others_made_is_understood() -> None:
    """As `samweb get-metadata --json` shows a ProtoDUNE-SP file (DUNE's metadata documentation)."""
    form = {
        "file_name": "x.root",
        "file_id": 6607416,
        "create_date": "2018-10-10T17:38:27+00:00",
        "user": "dunepro",
        "file_size": 8289321123,
        "checksum": ["enstore:1543", "adler32:0e94618d"],
        "content_status": "good",
        "file_type": "detector",
        "data_tier": "raw",
        "application": {"family": "art", "name": "dune-artdaq", "version": "v1_16_00b"},
        "start_time": "2018-10-10T17:25:01+00:00",
        "runs": [[5141, 1, "protodune-sp"]],
        "DUNE.campaign": "fd_mc_2023a",
        "DUNE_MC.beam_flux_ID": 1,
        "lum_block_ranges": "all",
    }
    assert metadata_of(form) == {
        "core.file_content_status": "good",
        "core.file_type": "detector",
        "core.data_tier": "raw",
        "core.application.family": "art",
        "core.application.name": "dune-artdaq",
        "core.application.version": "v1_16_00b",
        "core.start_time": 1539192301.0,
        "core.runs": [5141],
        "core.runs_subruns": [514100001],
        "core.run_type": "protodune-sp",
        "dune.campaign": "fd_mc_2023a",
        "dune_mc.beam_flux_id": 1,
        "core.lum_block_ranges": "all",
    }
    assert (checksum_of(form), dataset_of(form), namespace_of(form), is_retired(form)) == ("0e94618d", None, "protodune-sp", False)


def test_odd_values_of_others_stop_nothing() -> None:
    form = {
        "file_name": "x",
        "start_time": "once",
        "runs": [[1, 2]],
        "checksum": ["enstore:1"],
        "a.b": "json:{",
        "retired_date": "2026-01-01",
    }
    assert metadata_of(form) == {"core.start_time": "once", "a.b": "json:{"}
    assert checksum_of(form) == ""
    assert is_retired(form)


def test_sams_own_form_is_a_sidecar_we_understand(raw_metadata: dict[str, Any]) -> None:
    """The DAQ writes sidecars in SAM's form; what we tell SAM can be read by the same code."""
    form = {key: value for key, value in to_sam(record(raw_metadata), DATASET).items() if "events" not in key}
    described = complete(describe_content(form | {"events": [1, 9, 17]}, NAME, "x"), "x")
    assert described.metadata.items() >= {key: value for key, value in raw_metadata.items() if not isinstance(value, list)}.items()
    assert described.metadata["core.runs_subruns"] == raw_metadata["core.runs_subruns"]


texts = st.text(max_size=30).map(clean_text)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
keys = st.from_regex(r"[a-z][a-z0-9_-]{0,8}(\.[a-z0-9_-]{1,8}){1,2}", fullmatch=True)
runs_in_files = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=3)


@given(
    more=st.dictionaries(keys, values.filter(lambda value: value is not None), max_size=5),
    runs=runs_in_files,
    subruns=st.lists(st.integers(0, 2**40), min_size=1, max_size=3),
    start_ms=st.integers(0, 4_000_000_000_000),
    start=st.floats(0, 4e9),
    events=st.lists(st.integers(0, 2**31), max_size=5),
)
def test_metadata_of_the_daemon_survive_sam(
    raw_metadata: dict[str, Any],
    more: dict[str, Any],
    runs: list[int],
    subruns: list[int],
    start_ms: int,
    start: float,
    events: list[int],
) -> None:
    metadata = raw_metadata | {"core.runs": runs, "core.runs_subruns": subruns, "core.start_time": start_ms / 1000, "core.end_time": start}
    given_description = Description(
        NAME, "hd-protodune", metadata=metadata | {"core.events": events} | {f"my_{key}": value for key, value in more.items()}
    )
    ours = complete(given_description, "x").metadata
    form = to_sam(record(ours), DATASET)
    back = metadata_of(form)
    assert back == ours
    assert {key: type(value) for key, value in back.items()} == {key: type(value) for key, value in ours.items()}
    assert all(parameter(key).lower() == key for key in ours)
