"""declare seals what is complete, and refuses what a catalogue would refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dune_prompt.checksum import adler32_of
from dune_prompt.errors import DataError
from dune_prompt.records import InputFile, Report
from stages import declare
from stages.stage import Payload, StageContext

Walk = Callable[..., tuple[Report, int]]

METADATA: dict[str, Any] = {
    "core.application.family": "dune-prompt",
    "core.application.name": "nf_sp",
    "core.application.version": "v1",
    "core.data_stream": "cosmics",
    "core.data_tier": "full-reconstructed",
    "core.start_time": 1718795010.0,
    "core.end_time": 1718795052,
    "core.event_count": 2,
    "core.first_event_number": 5,
    "core.last_event_number": 7,
    "core.file_content_status": "good",
    "core.file_format": "npz",
    "core.file_type": "detector",
    "core.run_type": "hd-protodune",
    "core.runs": [27296],
    "core.runs_subruns": [2729600001],
    "retention.status": "active",
    "retention.class": "physics",
    "dune.config_file": "pdhd-prompt.yaml",
    "dune.campaign": "pdhd-prompt",
    "dune.workflow": {"attempt": "01J"},
}


class Output:
    """A file of nf_sp with its sidecar, and a work file beside it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "x_gauss.npz"
        self.path.write_bytes(b"charge")
        self.work_file = folder / "x_quality.json"
        self.work_file.write_text("{}")
        self.sidecar: dict[str, Any] = {
            "name": self.path.name,
            "namespace": "hd-protodune-det-reco",
            "size": 6,
            "checksums": {"adler32": adler32_of(self.path)[1]},
            "metadata": dict(METADATA),
            "parents": [{"did": "hd-protodune:raw.hdf5"}],
        }

    def context(self) -> StageContext:
        self.path.with_name(self.path.name + ".json").write_text(json.dumps(self.sidecar))
        payload = Payload("c", "v1", "pdhd", "0" * 64, "0.1", {}, {})
        return StageContext(
            "declare", payload, "01J", InputFile("raw.hdf5", ()), {"nf_sp": (self.path, self.work_file)}, self.path.parent / "elsewhere"
        )


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


def test_a_complete_file_is_sealed_where_it_lies_and_work_files_are_not(output: Output) -> None:
    result = declare.run(output.context())
    assert result.sealed == (output.path,)
    assert result.files == ()
    assert result.metrics == {"n_sealed": 1, "sealed_bytes": 6}


def refusal(output: Output) -> str:
    with pytest.raises(DataError) as error:
        declare.run(output.context())
    return str(error.value)


def test_a_file_changed_after_its_sidecar_is_refused(output: Output) -> None:
    output.path.write_bytes(b"chArge")
    assert "x_gauss.npz: adler32" in refusal(output)
    output.path.write_bytes(b"char")
    assert "4 bytes, its sidecar says 6" in refusal(output)
    output.path.unlink()
    assert "the file is gone" in refusal(output)


@pytest.mark.parametrize("key", declare.REQUIRED_METADATA)
def test_every_mandatory_key_is_asked_for(output: Output, key: str) -> None:
    del output.sidecar["metadata"][key]
    assert f"metadata without {key}" in refusal(output)
    output.sidecar["metadata"][key] = None
    assert f"metadata without {key}" in refusal(output)


def test_all_missing_keys_are_named_at_once(output: Output) -> None:
    for key in ("core.runs", "core.run_type"):
        del output.sidecar["metadata"][key]
    assert "metadata without core.run_type, core.runs; those of the raw file come from its sidecar" in refusal(output)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("core.runs", [], "core.runs must be a list of whole numbers, not empty"),
        ("core.runs", ["27296"], "core.runs must be a list"),
        ("core.event_count", 2.0, "core.event_count must be a whole number"),
        ("core.event_count", True, "core.event_count must be a whole number"),
        ("core.start_time", "1718795010", "core.start_time must be a number"),
        ("core.data_tier", "", "core.data_tier must be text"),
        ("dune.campaign", "it's", "dune.campaign must be printable ASCII without quotes"),
        ("dune.campaign", 'a"b', "dune.campaign must be printable ASCII"),
        ("dune.campaign", "a\\b", "dune.campaign must be printable ASCII"),
        ("dune.campaign", "a\nb", "dune.campaign must be printable ASCII"),
        ("dune.campaign", "käse", "dune.campaign must be printable ASCII"),
        ("dune.workflow", {"attempt": "a'b"}, "dune.workflow.attempt must be printable ASCII"),
        ("dune.workflow", {"Attempt": "a"}, "key dune.workflow.Attempt has upper case"),
        ("DUNE.campaign", "x", "key DUNE.campaign has upper case"),
    ],
)
def test_values_a_catalogue_refuses_are_refused(output: Output, key: str, value: Any, message: str) -> None:
    output.sidecar["metadata"][key] = value
    assert message in refusal(output)


def test_a_derived_file_needs_a_parent(output: Output) -> None:
    del output.sidecar["parents"]
    assert "no parents" in refusal(output)


def test_a_sidecar_of_another_file_is_refused(output: Output) -> None:
    output.sidecar["name"] = "y_gauss.npz"
    assert "its sidecar is of y_gauss.npz" in refusal(output)


def test_nothing_to_seal_is_an_error(output: Output) -> None:
    context = output.context()
    output.path.with_name(output.path.name + ".json").unlink()
    with pytest.raises(DataError, match="none of the 2 files of the stages before has a sidecar"):
        declare.run(context)


def test_the_report_lists_sealed_files_also_of_another_folder(walk: Walk, tmp_path: Path) -> None:
    settings = {"nf_sp": {"payload": "noop"}}
    first, _ = walk("nf_sp", settings=settings)
    earlier = tuple(InputFile(item.name, (str(tmp_path / "out" / item.name),), stage="nf_sp") for item in first.stages[0].outputs)
    second, exit_code = walk("declare", "evaluate", settings=settings, earlier=earlier, folder="other")
    assert exit_code == 0
    assert second.stages[0].outputs == first.stages[0].outputs[:1]
    assert second.stages[0].outputs[0].declared
    assert [path.name for path in (tmp_path / "other").glob("*gauss*")] == []
