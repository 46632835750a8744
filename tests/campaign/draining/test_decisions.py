"""Definitions for SAM, and whether "done" means the same everywhere."""

from __future__ import annotations

import pytest

from campaign.definition import InputSettings
from campaign.draining.agreement import Difference, compare
from campaign.draining.sam_definition import of_dataset, of_runs, slice_of
from dune_prompt.errors import ConfigError
from dune_prompt.records import MadeBy
from tests.servers.samweb_parts.dims import parse

MADE_BY = MadeBy("pdhd-prompt", "v1.2", "evaluate")


def test_a_definition_of_runs_drains_by_itself() -> None:
    definition = of_runs("hd-protodune", MADE_BY, [28050, 28049])
    assert definition.name == "pdhd-prompt_v1.2_evaluate_open_hd-protodune_28049-28050-2"
    assert definition.dimensions == (
        "( data_tier 'raw' and run_type 'hd-protodune' and run_number 28049,28050 ) minus "
        "isparentof:( DUNE.campaign 'pdhd-prompt' and version 'v1.2' and application 'evaluate' with availability anylocation ) "
        "with availability anylocation"
    ).replace("DUNE.campaign", "dune.campaign")


def test_the_same_question_has_the_same_name_and_another_one_another() -> None:
    names = {of_runs("hd-protodune", MADE_BY, runs).name for runs in ([1], [1, 1], [2], [], [1, 2])}
    assert len(names) == 4


@pytest.mark.parametrize("dataset", ["hd-protodune:hd-protodune_28049", "hd-protodune:hd-protodune_*", "ours:calibration"])
def test_sams_parser_understands_the_definition_of_a_dataset(dataset: str) -> None:
    definition = of_dataset(dataset, MADE_BY)
    parse(definition.dimensions)
    parse(slice_of(definition, 100, minus_snapshot=12))


def test_what_cannot_be_a_definition_is_refused() -> None:
    with pytest.raises(ConfigError, match="definition's name"):
        of_runs("it is", MADE_BY)
    with pytest.raises(ConfigError, match="cannot be asked for"):
        of_runs("it's", MADE_BY)


def test_where_all_agree_there_is_no_difference() -> None:
    assert compare({"a", "b"}, {"sam": {"a", "b"}, "metacat": {"a", "b"}}, inputs=["a", "b", "c"]) == []


def test_each_difference_names_who_says_what() -> None:
    found = compare({"a", "b"}, {"sam": {"a"}, "metacat": {"a", "b", "c"}})
    assert found == [Difference("b", ("ledger", "metacat"), ("sam",)), Difference("c", ("metacat",), ("ledger", "sam"))]
    assert found[0].sentence == "b: done in ledger, metacat, not done in sam"


def test_a_catalogue_that_is_away_says_nothing() -> None:
    assert compare({"a"}, {"metacat": {"a"}}) == []


@pytest.mark.parametrize("did", ["hd-protodune:*", "no_namespace_*", "ns:run_*_*", "ns:it's"])
def test_a_pattern_that_would_take_the_whole_catalogue_or_is_none_is_refused(did: str) -> None:
    with pytest.raises(ValueError, match="datasets"):
        InputSettings(datasets=(did,))


def test_datasets_and_recalls_do_not_bound_the_inputs_of_a_version() -> None:
    recall = {"rse": "DUNE_CERN_EOS"}
    assert not InputSettings.model_validate({"datasets": ["ns:run_*"], "recall": recall}).bounded
    assert InputSettings.model_validate({"datasets": ["ns:run_*"], "from_run": 1}).bounded
