"""Regions of interest."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as arrays

from stages.nf_sp import regions
from stages.nf_sp.regions import Regions

masks = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12))


def region(*parts: tuple[int, int, int]) -> Regions:
    return Regions(*(np.array(column, np.intp) for column in zip(*parts, strict=True)))


def paint(chosen: Regions, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, int)
    number, tick, _ = chosen.ticks()
    np.add.at(mask, (chosen.wire[number], tick), 1)
    return mask


@given(masks)
def test_runs_are_the_mask(mask: np.ndarray) -> None:
    found = regions.runs(mask)
    assert np.array_equal(paint(found, mask.shape), mask)
    touching = (found.wire[1:] == found.wire[:-1]) & (found.stop[:-1] >= found.start[1:])
    assert not touching.any()


@given(masks)
def test_links_are_all_pairs_that_share_a_tick(mask: np.ndarray) -> None:
    found = regions.runs(mask)
    lower, upper = regions.links(found)
    expected = {
        (i, j)
        for i in range(len(found))
        for j in range(len(found))
        if found.wire[j] == found.wire[i] + 1 and found.start[j] < found.stop[i] and found.start[i] < found.stop[j]
    }
    assert set(zip(lower.tolist(), upper.tolist(), strict=True)) == expected


@given(masks)
def test_extended_regions_cover_the_old_ones_and_never_overlap(mask: np.ndarray) -> None:
    after = paint(regions.extend(regions.runs(mask)), mask.shape)
    assert after.max(initial=0) <= 1
    assert after[mask].all()


def test_a_region_becomes_as_long_as_its_neighbours() -> None:
    extended = regions.extend(region((0, 10, 20), (1, 15, 30), (2, 28, 32)))
    assert extended.start.tolist() == [10, 10, 15]
    assert extended.stop.tolist() == [30, 32, 32]


def test_overlaps_after_extension_are_split_in_the_middle() -> None:
    extended = regions.extend(region((0, 10, 40), (1, 12, 15), (1, 25, 30)))
    assert extended.start.tolist() == [10, 10, 20]
    assert extended.stop.tolist() == [40, 20, 40]


def test_a_weak_region_is_rescued_by_a_good_neighbour() -> None:
    chosen = region((0, 10, 20), (1, 15, 25), (2, 24, 30), (2, 50, 60))
    assert regions.supported(chosen, np.array([True, False, False, False])).tolist() == [True, True, False, False]


def test_widening_stops_at_the_ends() -> None:
    mask = np.zeros((1, 30), bool)
    mask[0, [2, 20]] = True
    assert np.flatnonzero(regions.widen(mask)).tolist() == [*range(8), *range(15, 26)]
