"""Whether "done" means the same everywhere, and which inputs a version may name."""

from __future__ import annotations

import pytest

from campaign.definition import InputSettings
from campaign.draining.agreement import Difference, compare


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
