"""Regions of interest, and how they touch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as arrays

from stages.nf_sp import regions
from stages.nf_sp.regions import Regions

masks = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=14))


def region(*parts: tuple[int, int, int]) -> Regions:
    return Regions(*(np.array(column, np.intp) for column in zip(*parts, strict=True)))


def paint(chosen: Regions, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, int)
    number, tick = chosen.ticks()
    np.add.at(mask, (chosen.wire[number], tick), 1)
    return mask


@given(masks)
def test_stretches_are_the_mask(mask: np.ndarray) -> None:
    found = regions.stretches(mask)
    assert np.array_equal(paint(found, mask.shape), mask)
    touching = (found.wire[1:] == found.wire[:-1]) & (found.last[:-1] + 1 >= found.first[1:])
    assert not touching.any()


@given(masks, masks)
def test_pairs_are_all_that_share_more_than_a_tick(one: np.ndarray, other: np.ndarray) -> None:
    these, those = regions.stretches(one), regions.stretches(other)
    for distance in (0, 1, 2):
        left, right = regions.pairs(these, those, distance)
        expected = {
            (i, j)
            for i in range(len(these))
            for j in range(len(those))
            if those.wire[j] == these.wire[i] + distance
            and those.first[j] < those.last[j]
            and min(these.last[i], those.last[j]) > max(these.first[i], those.first[j])
        }
        found = {(i, j) for i, j in zip(left.tolist(), right.tolist(), strict=True) if those.first[j] < those.last[j]}
        found = {(i, j) for i, j in found if these.first[i] < these.last[i]}
        assert found == expected


def test_with_reach_those_nearby_are_pairs_too() -> None:
    these, those = region((3, 10, 14)), region((5, 20, 30), (5, 40, 50))
    assert len(regions.pairs(these, those, 2)[0]) == 0
    assert regions.pairs(these, those, 2, reach=7)[1].tolist() == [0]


@given(masks)
def test_clusters_are_the_parts_that_hang_together(mask: np.ndarray) -> None:
    found = regions.stretches(mask)
    left, right = regions.links(found)
    label = regions.clusters(len(found), left, right)
    assert (label[left] == label[right]).all()
    # What has the same label is reached by links.
    reach = np.eye(len(found), dtype=bool)
    reach[left, right] = reach[right, left] = True
    for _ in range(len(found)):
        reach = reach @ reach
    assert np.array_equal(label[:, None] == label[None], reach)


@given(masks)
def test_extended_regions_cover_the_old_ones_and_share_at_most_their_ends(mask: np.ndarray) -> None:
    found = regions.stretches(mask)
    after = regions.extended(found, *regions.links(found))
    assert paint(after, mask.shape)[mask].all()
    same = after.wire[1:] == after.wire[:-1]
    assert (after.last[:-1][same] <= after.first[1:][same]).all()


def test_a_region_becomes_as_long_as_its_neighbours() -> None:
    chosen = region((0, 10, 20), (1, 15, 30), (2, 28, 32))
    longer = regions.extended(chosen, *regions.links(chosen))
    assert longer.first.tolist() == [10, 10, 15]
    assert longer.last.tolist() == [30, 32, 32]


def test_overlaps_after_extension_are_split_in_the_middle() -> None:
    chosen = region((0, 10, 40), (1, 12, 15), (1, 25, 30))
    longer = regions.extended(chosen, *regions.links(chosen))
    assert longer.first.tolist() == [10, 10, 20]
    assert longer.last.tolist() == [40, 20, 40]


def test_content_is_what_lies_above_the_line_between_the_ends() -> None:
    values = np.array([[0, 1, 5, 3, 4, 9]], np.float32)
    number, tick, above = regions.content(values, region((0, 1, 4), (0, 4, 5)))
    assert number.tolist() == [0, 0, 0, 0, 1, 1]
    assert tick.tolist() == [1, 2, 3, 4, 4, 5]
    assert above.tolist() == [0, 3, 0, 0, 0, 0]


def test_a_weak_region_is_kept_by_a_good_one_it_is_linked_to() -> None:
    chosen = region((0, 10, 20), (1, 15, 25), (2, 24, 30), (2, 50, 60))
    good = np.array([True, False, False, False])
    assert regions.touching(4, *regions.links(chosen), good).tolist() == [True, True, False, False]


def test_where_nothing_is_nothing_is_found() -> None:
    none = regions.stretches(np.zeros((3, 5), bool))
    left, right = regions.links(none)
    assert len(none) == len(left) == len(right) == 0
    assert len(regions.extended(none, left, right)) == 0
    assert regions.clusters(0, left, right).tolist() == []
