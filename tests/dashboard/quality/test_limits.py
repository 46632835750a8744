"""Limits: the file people write, its mistakes, its versions, and which limit counts where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dashboard.dqm.metrics import Group
from dashboard.dqm.scalars import SCALARS
from dashboard.quality import limits
from dashboard.quality.changes import changes
from dashboard.quality.limits import BOUNDS, Limit, LimitsFile, as_json, load_limits, read_limits, set_limits, to_yaml
from dashboard.quality.quantities import QUANTITIES
from dashboard.quality.tables import limits_table
from dune_prompt.errors import ConfigError, ConflictError
from dune_prompt.store import Store, event_table

NOW = 1_718_795_400.0
Check = Callable[..., dict[str, Any]]

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    values = sorted(draw(st.lists(numbers, min_size=4, max_size=4)))
    left_out = draw(st.sets(st.sampled_from(BOUNDS)))
    rule: dict[str, Any] = {name: value for name, value in zip(BOUNDS, values, strict=True) if name not in left_out}
    rule["run_type"] = draw(st.text("abcdef*?", min_size=1, max_size=8))
    if planes := draw(st.sets(st.sampled_from("UVW"))):
        rule["planes"] = sorted(planes)
    return rule


texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=40)


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.lists(st.sampled_from(SCALARS), unique=True, max_size=4))
    return {
        "checks": [
            {
                "key": key,
                "group": draw(st.sampled_from([group.value for group in Group])),
                "words": draw(texts),
                "means": draw(texts),
                "do": draw(texts),
                "limits": draw(
                    st.lists(rules(), min_size=1, max_size=3, unique_by=lambda rule: (rule["run_type"], str(rule.get("planes"))))
                ),
            }
            for key in keys
        ]
    }


@given(files())
def test_a_file_that_is_written_out_and_read_again_is_the_same(content: dict[str, Any]) -> None:
    file = LimitsFile.model_validate(content)
    assert LimitsFile.model_validate(yaml.safe_load(to_yaml(file))) == file
    assert LimitsFile.model_validate(as_json(file)) == file
    assert changes(file, file) == []


@given(st.lists(numbers, min_size=2, max_size=4, unique=True))
def test_limits_in_the_wrong_order_are_refused(values: list[float]) -> None:
    names = BOUNDS[: len(values)]
    rule = dict(zip(names, values, strict=True))
    check = {"key": "hits", "group": "signal", "words": "w", "means": "m", "do": "d", "limits": [rule]}
    if values == sorted(values):
        LimitsFile.model_validate({"checks": [check]})
    else:
        with pytest.raises(ValidationError, match="is above"):
            LimitsFile.model_validate({"checks": [check]})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"key": "rms_nf"}, r"limits.yaml:3: checks.0.key: there is no such quantity; there are: .*rms_nf_adc.*'rms_nf'"),
        ({"group": "sound"}, r"limits.yaml:4: checks.0.group: .*'sound'"),
        ({"limits": [{"high_wran": 3}]}, r"checks.0.limits.0.high_wran: unknown key; allowed: .*high_warn"),
        ({"limits": [{"high_warn": "many"}]}, r"checks.0.limits.0.high_warn: .*number.*'many'"),
        ({"limits": [{"high_warn": float("inf")}]}, r"checks.0.limits.0.high_warn: a limit is a finite number \(found 'inf'\)"),
        ({"limits": [{"low_warn": 9, "high_warn": 3}]}, r"checks.0.limits.0: low_warn \(9\) is above high_warn \(3\)"),
        ({"limits": [{"planes": ["X"], "high_warn": 1}]}, r"checks.0.limits.0.planes.0: .*'X'"),
        ({"limits": []}, r"checks.0.limits: "),
        ({"limits": [{"high_warn": 1}, {"high_warn": 2}]}, r"checks.0: two limits for detector \*, run type \*, planes U V W"),
        ({"means": ""}, r"checks.0.means: "),
        ({"at_gain_mv_per_fc": 0}, r"checks.0.at_gain_mv_per_fc: .*'0'"),
        ({"key": "unusable_fraction", "limits": [{"planes": ["U"], "high_warn": 1}]}, r"is of the file as a whole"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_line_key_and_value(tmp_path: Path, check: Check, wrong: dict[str, Any], said: str) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(yaml.safe_dump({"format": 1, "checks": [check("rms_nf_adc") | wrong]}, sort_keys=False))
    with pytest.raises(ConfigError, match=said):
        load_limits(path)


def test_a_quantity_checked_twice_is_refused(tmp_path: Path, check: Check) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(yaml.safe_dump({"checks": [check("hits"), check("hits")]}))
    with pytest.raises(ConfigError, match="hits is checked twice"):
        load_limits(path)


def test_the_first_limit_that_fits_counts(check: Check) -> None:
    rules = (
        {"detector": "pdhd", "run_type": "noise*"},
        {"detector": "pdhd", "planes": ["W"], "high_warn": 2},
        {"detector": "pd*", "high_warn": 3},
    )
    found = limits.Limits(1, NOW, "x", "y", LimitsFile.model_validate({"checks": [check("hits", *rules)]}))
    assert found.limit_of("pdhd", "noise_run", "W", "hits") is None  # left out on purpose
    assert found.limit_of("pdhd", "cosmics", "W", "hits") == Limit(None, None, 2.0, None)
    assert found.limit_of("pdhd", "cosmics", "U", "hits") == Limit(None, None, 3.0, None)
    assert found.limit_of("pdvd", "noise_run", "W", "hits") == Limit(None, None, 3.0, None)
    assert found.limit_of("sbnd", "cosmics", "W", "hits") is None
    assert found.limit_of("pdhd", "cosmics", "W", "charge_e") is None


def test_the_packaged_limits_check_every_group_and_name_quantities_that_exist() -> None:
    packaged = limits.packaged()
    assert {check.group for check in packaged.checks} == set(Group)
    assert all(check.key in QUANTITIES for check in packaged.checks)
    assert all(check.limit_of(detector, "cosmics", "W") for check in packaged.checks for detector in ("pdhd", "pdvd"))


def test_the_packaged_limits_are_version_1_of_a_store_and_put_there_once(store: Store) -> None:
    with store.read() as connection:
        assert read_limits(connection).version == 1
    for now in (NOW, NOW + 10):
        with store.write() as connection:
            limits.ensure(connection, now)
    with store.read() as connection:
        rows = connection.execute(sa.select(limits_table)).all()
        assert [(row.version, row.set_at) for row in rows] == [(1, NOW)]
        assert read_limits(connection).file == limits.packaged()


def test_a_new_version_says_who_set_it_and_why_and_the_old_one_stays(store: Store, check: Check) -> None:
    content = LimitsFile.model_validate({"checks": [check("hits")]})
    with store.write() as connection:
        assert set_limits(connection, content, after_version=1, by="ana", why="quieter now", now=NOW) == 2
    with store.read() as connection:
        now, before = read_limits(connection), read_limits(connection, 1)
        assert (now.version, now.set_at, now.set_by, now.why, list(now.checks)) == (2, NOW, "ana", "quieter now", ["hits"])
        assert before.file == limits.packaged()
        events = connection.execute(sa.select(event_table).where(event_table.c.subject == "quality:limits")).all()
    assert [(row.room, row.before, row.after, row.by, row.message) for row in events][-1] == (
        "dashboard",
        "version 1",
        "version 2",
        "ana",
        "quieter now",
    )


def test_limits_made_from_an_older_version_are_refused(store: Store, check: Check) -> None:
    with store.write() as connection:
        set_limits(connection, LimitsFile.model_validate({"checks": [check("hits")]}), after_version=1, by="ana", why="a", now=NOW)
    with pytest.raises(ConflictError, match="version 2 is in force, set by ana"), store.write() as connection:
        set_limits(connection, LimitsFile.model_validate({"checks": []}), after_version=1, by="bo", why="b", now=NOW)
    with store.read() as connection:
        assert read_limits(connection).version == 2


def test_the_same_again_is_no_new_version(store: Store) -> None:
    with pytest.raises(ConfigError, match="those of version 1 already"), store.write() as connection:
        set_limits(connection, limits.packaged(), after_version=1, by="bo", why="b", now=NOW)


def test_a_version_that_does_not_exist_is_no_empty_one(store: Store) -> None:
    with store.read() as connection, pytest.raises(ConfigError, match="no version 7"):
        read_limits(connection, 7)


def test_what_a_version_changed_is_told_in_words(check: Check) -> None:
    before = LimitsFile.model_validate(
        {"checks": [check("hits", {"planes": ["W"], "high_warn": 4}, {"detector": "pdvd", "high_warn": 1}), check("n_dead")]}
    )
    after = LimitsFile.model_validate(
        {"checks": [check("hits", {"planes": ["W"], "high_warn": 5}, {"low_warn": 2}, do="call"), check("missing_fraction")]}
    )
    told = [(change.check, change.what, change.before, change.after) for change in changes(before, after)]
    assert ("hits", "do", "what to do", "call") in told
    assert ("hits", "every detector W: high_warn", "4\u202f/record", "5\u202f/record") in told
    assert ("hits", "every detector", "–", "low_warn 2\u202f/record") in told
    assert ("hits", "pdvd", "high_warn 1\u202f/record", "–") in told
    assert ("missing_fraction", "check", "–", "added: what it is") in told
    assert told[-1] == ("n_dead", "check", "what it is", "removed")
    assert len(told) == 6
