"""Reference runs: what is kept of a run, read back as it was, the newest in force, and none where there is nothing to keep."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from dashboard.dqm.scalars import INDEX, median_over_files
from dashboard.dqm.storage import RECORD, Stored
from dashboard.quality import references
from dashboard.quality.references import read_reference, read_references, reference_of_run, set_reference
from dune_prompt.errors import ConfigError
from dune_prompt.store import Store, event_table

NOW = 1_718_795_400.0
Content = dict[str, Any]
Make = Callable[..., Content]
Keep = Callable[..., Stored]
PlaneOf = Callable[[Content, str, str], Content]


@pytest.fixture
def run_of_three(make: Make, keep: Keep, plane: PlaneOf) -> list[Content]:
    """Three files of run 27296; what is compared below differs between them."""
    contents = []
    for index, noise in enumerate((14.0, 18.0, 15.0)):
        content = make(index=index)
        of_plane = plane(content, "P02SU", "W")
        of_plane["rms_nf_adc"]["median"] = noise
        of_plane["spectrum"]["after_adc"][3] = noise
        of_plane["channels"]["rms_nf_adc"][7] = None if index == 1 else noise
        of_plane["hit_charge_e"]["counts"][0] = index + 1
        contents.append(content)
        keep(content)
    return contents


def test_of_a_run_medians_means_and_sums_are_kept(store: Store, workspace: Path, run_of_three: list[Content]) -> None:
    with store.read() as connection:
        reference = reference_of_run(connection, workspace, "pdhd-prompt", "v1", 27296)
    assert reference is not None
    assert (reference.id, reference.files, reference.detector, reference.run_type) == (0, 3, "pdhd", "cosmics")
    assert len(reference.planes) == 12
    kept = reference.planes["P02SU", "W"]
    assert kept.scalars[INDEX["rms_nf_adc"]] == median((14.0, 18.0, 15.0))
    assert kept.spectrum["after_adc"][3] == pytest.approx(np.mean((14, 18, 15)), abs=1e-4)
    assert kept.spectrum["after_spread_adc"][3] == pytest.approx(np.std((14, 18, 15), ddof=1), abs=1e-4)
    assert kept.channels["rms_nf_adc"][7] == 14.5
    assert kept.channels["first"] == 120
    assert kept.hit_charge_e["counts"][0] == 6
    json.dumps([kept.spectrum, kept.hit_charge_e, kept.channels], allow_nan=False)


def test_a_reference_is_read_back_as_it_was_made(store: Store, workspace: Path, run_of_three: list[Content]) -> None:
    row = set_reference(store, workspace, 27296, by="ana", why="a quiet run", now=NOW)
    with store.read() as connection:
        made = reference_of_run(connection, workspace, "pdhd-prompt", "v1", 27296)
        found = read_reference(connection, workspace, "pdhd", "cosmics")
        assert read_reference(connection, workspace, "pdhd", "physics") is None
        assert read_reference(connection, workspace, "pdvd", "cosmics") is None
    assert found is not None
    assert made is not None
    assert (found.id, found.run, found.set_by, found.why, found.files) == (row.id, 27296, "ana", "a quiet run", 3)
    assert found.planes.keys() == made.planes.keys()
    for key, plane in made.planes.items():
        np.testing.assert_allclose(found.planes[key].scalars, plane.scalars, rtol=1e-6)
        assert found.planes[key].spectrum == plane.spectrum
        assert found.planes[key].hit_charge_e == plane.hit_charge_e
        assert found.planes[key].channels == plane.channels


def test_the_newest_reference_counts_and_the_others_are_history(store: Store, workspace: Path, make: Make, keep: Keep) -> None:
    for run in (1, 2):
        keep(make(run))
    for at, run in enumerate((1, 2, 1)):
        set_reference(store, workspace, run, by="ana", why=f"the {at}th", now=NOW + at)
    with store.read() as connection:
        rows = read_references(connection)
        events = connection.execute(
            sa.select(event_table.c.before, event_table.c.after, event_table.c.by, event_table.c.message)
            .where(event_table.c.subject == "quality:reference:pdhd:cosmics")
            .order_by(event_table.c.id)
        ).all()
        found = read_reference(connection, workspace, "pdhd", "cosmics")
    assert [(row.run, row.in_force) for row in rows] == [(1, True), (2, False), (1, False)]
    assert found is not None
    assert found.id == rows[0].id
    assert [tuple(event) for event in events] == [
        (None, "run 1", "ana", "the 0th"),
        ("run 1", "run 2", "ana", "the 1th"),
        ("run 2", "run 1", "ana", "the 2th"),
    ]


def test_files_that_are_gone_or_damaged_are_left_out(store: Store, workspace: Path, make: Make, keep: Keep) -> None:
    kept = [keep(make(index=index)) for index in range(4)]
    (workspace / kept[0].folder / RECORD).unlink()
    (workspace / kept[1].folder / RECORD).write_text("{")
    with store.read() as connection:
        reference = reference_of_run(connection, workspace, "pdhd-prompt", "v1", 27296)
    assert reference is not None
    assert reference.files == 2


def test_a_run_without_records_is_no_reference(store: Store, workspace: Path, make: Make, keep: Keep) -> None:
    keep(make())
    with store.read() as connection:
        assert reference_of_run(connection, workspace, "pdhd-prompt", "v1", 5) is None
    with pytest.raises(ConfigError, match="run 5: there is no data-quality record of it"):
        set_reference(store, workspace, 5, by="ana", why="x", now=NOW)
    with pytest.raises(ConfigError, match="by other v9"):
        set_reference(store, workspace, 27296, campaign="other", version="v9", by="ana", why="x", now=NOW)
    assert not (workspace / references.FOLDER).exists()


def test_of_a_long_run_files_are_taken_evenly(
    store: Store, workspace: Path, make: Make, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "MOST_FILES", 3)
    for index in range(7):
        content = make(index=index)
        for element in content["elements"]:
            for plane in element["planes"]:
                plane["hit_charge_e"]["counts"][0] = 10**index
        keep(content)
    with store.read() as connection:
        reference = reference_of_run(connection, workspace, "pdhd-prompt", "v1", 27296)
    assert reference is not None
    assert reference.planes["P02SU", "U"].hit_charge_e["counts"][0] == 1 + 10**3 + 10**6


def test_files_with_other_channels_or_bins_are_not_mixed_in(store: Store, workspace: Path, make: Make, keep: Keep, plane: PlaneOf) -> None:
    keep(make(index=0))
    other = make(index=1)
    changed = plane(other, "P02SU", "U")
    changed["channels"]["first"] += 1000
    changed["hit_charge_e"]["edges"] = [2 * edge for edge in changed["hit_charge_e"]["edges"]]
    changed["spectrum"] = {name: values[:10] for name, values in changed["spectrum"].items()}
    keep(other)
    with store.read() as connection:
        reference = reference_of_run(connection, workspace, "pdhd-prompt", "v1", 27296)
    assert reference is not None
    first = plane(make(index=0), "P02SU", "U")
    kept = reference.planes["P02SU", "U"]
    assert kept.channels["first"] == first["channels"]["first"]
    assert kept.hit_charge_e == first["hit_charge_e"]
    assert kept.spectrum["frequency_mhz"] == first["spectrum"]["frequency_mhz"]


@given(st.lists(st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3, width=32)), min_size=3, max_size=3), min_size=1, max_size=9))
def test_the_median_is_that_of_what_is_known(rows: list[list[float | None]]) -> None:
    found = median_over_files(np.array(rows, np.float32))
    for column in range(3):
        known = [value for row in rows if (value := row[column]) is not None]
        if known:
            assert found[column] == pytest.approx(median(known), rel=1e-5, abs=1e-4)
        else:
            assert np.isnan(found[column])
