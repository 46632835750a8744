"""Planes, groups and wire order."""

from __future__ import annotations

import numpy as np
import pytest

from dune_prompt.errors import DataError
from stages.nf_sp.geometry import ANODES, geometry_of
from stages.rawdata.channel_map import DEFAULT_MAP, channel_map

ALL = [(detector, element) for detector in ANODES for element in ANODES[detector]]


def channels_of(detector: str, element: str) -> np.ndarray:
    return channel_map(DEFAULT_MAP[detector]).element(element).channels


@pytest.mark.parametrize(("detector", "element"), ALL)
def test_planes_are_those_of_the_readers_channel_map(detector: str, element: str) -> None:
    channels = channels_of(detector, element)
    geometry = geometry_of(detector, element, channels)
    plane_number = channel_map(DEFAULT_MAP[detector]).plane[channels]
    assert [plane.name for plane in geometry.planes] == ["U", "V", "W"]
    for number, plane in enumerate(geometry.planes):
        assert (plane_number[plane.rows] == number).all()
        assert channels[plane.rows][0] == plane.first_channel
        assert np.array_equal(np.sort(plane.pitch_order), np.arange(plane.n_channels))
    assert sum(plane.n_channels for plane in geometry.planes) == len(channels)


@pytest.mark.parametrize(("detector", "element"), ALL)
def test_groups_are_within_a_plane_of_one_board_and_leave_few_channels_out(detector: str, element: str) -> None:
    channels = channels_of(detector, element)
    table = channel_map(DEFAULT_MAP[detector])
    geometry = geometry_of(detector, element, channels)
    for group in geometry.groups:
        assert len(np.unique(table.plane[channels[group]])) == 1
        assert len(np.unique(table.femb[channels[group]])) == 1
    grouped = np.concatenate(geometry.groups)
    assert len(np.unique(grouped)) == len(grouped)
    assert len(channels) - len(grouped) <= 16


def test_an_apa_of_protodune_hd_has_sixty_groups() -> None:
    geometry = geometry_of("pdhd", "P02NL", channels_of("pdhd", "P02NL"))
    assert sorted({len(group) for group in geometry.groups}) == [40, 48]
    assert len(geometry.groups) == 60
    assert geometry.listed_bad.sum() == 7
    assert geometry.notes == ()


def test_neighbours_in_space_follow_each_other_in_the_wire_order() -> None:
    u = geometry_of("pdhd", "P02NL", channels_of("pdhd", "P02NL")).planes[0]
    assert u.pitch_order[:3].tolist() == [400, 401, 402]
    assert u.pitch_order[398:402].tolist() == [798, 799, 399, 398]


def test_on_p02su_the_v_plane_collects() -> None:
    geometry = geometry_of("pdhd", "P02SU", channels_of("pdhd", "P02SU"))
    assert [(plane.name, plane.role, plane.induction) for plane in geometry.planes] == [
        ("U", "U", True),
        ("V", "W", False),
        ("W", "V", True),
    ]
    assert "P02SU" in geometry.notes[0]


def test_protodune_vd_is_marked_as_not_validated() -> None:
    assert "not validated" in geometry_of("pdvd", "CRP4", channels_of("pdvd", "CRP4")).notes[0]


def test_a_part_of_the_channels_is_enough() -> None:
    channels = np.arange(3300, 3400, dtype=np.int32)
    geometry = geometry_of("pdhd", "P02NL", channels)
    assert [(plane.name, plane.n_channels, plane.first_channel) for plane in geometry.planes] == [("U", 60, 3300), ("V", 40, 3360)]


@pytest.mark.parametrize(
    ("detector", "element", "channels", "message"),
    [
        ("pdhd", "CRP2", [2560], "no element 'CRP2'"),
        ("mars", "P02NL", [2560], "no element"),
        ("pdhd", "P02NL", [2559, 2560], "its channels are 2560 to 5119"),
        ("pdhd", "P02NL", [], "its channels are 2560 to 5119"),
        ("pdhd", "P02NL", [2561, 2560], "not in ascending order"),
        ("pdhd", "P02NL", [2560, 2570], "gaps"),
    ],
)
def test_channels_that_do_not_fit_are_refused(detector: str, element: str, channels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        geometry_of(detector, element, np.array(channels, np.int32))
