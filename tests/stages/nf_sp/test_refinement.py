"""Which regions of interest stay, and how long they are."""

from __future__ import annotations

import numpy as np

from stages.nf_sp import refinement
from stages.nf_sp.geometry import geometry_of
from stages.nf_sp.regions import Regions

N_TICKS = 600
NOISE = 200.0


def region(*parts: tuple[int, int, int]) -> Regions:
    return Regions(*(np.array(column, np.intp) for column in zip(*parts, strict=True))) if parts else Regions(*[np.empty(0, np.intp)] * 3)


def plane(*signals: tuple[int, int, float, float], n_wires: int = 7) -> np.ndarray:
    """Gaussian signals (wire, tick, height, width) on a quiet plane."""
    tick = np.arange(N_TICKS)
    values = np.zeros((n_wires, N_TICKS), np.float32)
    for wire, centre, height, width in signals:
        values[wire] += (height * np.exp(-0.5 * ((tick - centre) / width) ** 2)).astype(np.float32)
    return values


def induction(values: np.ndarray, tight: Regions, loose: Regions) -> list[tuple[int, int, int]]:
    noise = np.full(len(values), NOISE, np.float32)
    found = refinement.of_induction(values, noise, tight, loose, refinement.Rules())
    return list(zip(found.wire.tolist(), found.first.tolist(), found.last.tolist(), strict=True))


def test_a_loose_region_without_a_tight_one_is_dropped() -> None:
    values = plane((1, 300, 3000, 20), (4, 300, 3000, 20))
    found = induction(values, region((1, 265, 335)), region((1, 240, 360), (4, 240, 360)))
    assert {wire for wire, _, _ in found} == {1}


def test_a_loose_region_stays_if_it_hangs_together_with_one_that_holds_a_tight_one() -> None:
    values = plane((1, 300, 3000, 20), (2, 310, 3000, 20), (3, 320, 3000, 20))
    found = induction(values, region((1, 265, 335)), region((1, 240, 360), (2, 250, 370), (3, 260, 380)))
    # Broken pieces need a tight region of their own, or a link to one that has it.
    assert {wire for wire, _, _ in found} == {1, 2, 3}


def test_a_tight_region_outside_of_all_loose_ones_stays() -> None:
    values = plane((1, 300, 3000, 4))
    ((wire, first, last),) = induction(values, region((1, 280, 320)), region())
    assert wire == 1
    assert first < 300 < last


def test_a_region_shrinks_to_what_is_confirmed() -> None:
    values = plane((1, 300, 3000, 8))
    ((_, first, last),) = induction(values, region((1, 290, 310)), region((1, 200, 420)))
    assert (first, last) == (285, 315)


def test_a_region_is_as_long_as_those_it_is_linked_to() -> None:
    values = plane((1, 300, 3000, 8), (2, 306, 3000, 8))
    found = induction(values, region((1, 285, 310), (2, 296, 321)), region((1, 240, 360), (2, 240, 360)))
    (_, first1, last1), (_, first2, last2) = found
    assert (first1, last1) == (first2, last2)


def test_what_is_small_and_alone_is_a_fake_and_what_is_linked_to_something_large_is_not() -> None:
    small = plane((1, 300, 700, 6))
    assert induction(small, region((1, 285, 315)), region()) == []
    beside = plane((1, 300, 700, 6), (2, 300, 4000, 6))
    assert {wire for wire, _, _ in induction(beside, region((1, 285, 315), (2, 285, 315)), region())} == {1, 2}


def test_what_never_rises_above_the_limit_is_dropped() -> None:
    assert induction(plane((1, 300, 500, 6)), region((1, 285, 315)), region((1, 285, 315))) == []


def test_a_collection_region_is_not_broken() -> None:
    values = plane((1, 250, 5000, 10), (1, 350, 5000, 10))
    noise = np.full(len(values), NOISE, np.float32)
    found = refinement.of_collection(values, noise, region((1, 200, 400)), refinement.Rules())
    assert (found.first.tolist(), found.last.tolist()) == ([200], [400])


def test_the_apa_that_collects_on_v_has_looser_rules_on_w() -> None:
    u, v, w = geometry_of("pdhd", "P02SU", np.arange(2560, dtype=np.int32)).planes
    assert refinement.Rules.of(w) == refinement.Rules(1.5, 20, 0)
    assert refinement.Rules.of(u) == refinement.Rules.of(v) == refinement.Rules(2.5)
    assert refinement.Rules.of(geometry_of("pdhd", "P02NL", np.arange(2560, 5120, dtype=np.int32)).planes[2]) == refinement.Rules()


def test_an_empty_plane_has_no_regions() -> None:
    assert induction(plane(), region(), region()) == []
