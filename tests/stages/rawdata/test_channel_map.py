from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dune_prompt.errors import ConfigError
from stages.rawdata.channel_map import HD_ANODES, HD_CRATES, HD_V6, HD_VISIBLE_WIRES, VD_V2, U, V, W, channel_map
from stages.rawdata.frames import Address
from stages.rawdata.structures import FragmentType


@pytest.mark.parametrize("name", [HD_V6, HD_VISIBLE_WIRES, VD_V2])
def test_every_offline_channel_has_exactly_one_place_in_the_readout(name: str) -> None:
    channels = channel_map(name)
    found = np.concatenate([stream.channels for element in channels.elements for stream in element.streams])
    assert np.array_equal(np.sort(found), np.arange({"pdhd": 10240, "pdvd": 12288}[channels.detector]))
    addresses = {stream.address for element in channels.elements for stream in element.streams}
    assert len(addresses) == found.size // 64
    for element in channels.elements:
        own = np.concatenate([stream.channels for stream in element.streams])
        assert np.array_equal(np.sort(own), element.channels)
        assert [stream.source_id for stream in element.streams] == sorted(stream.source_id for stream in element.streams)


@pytest.mark.parametrize("name", [HD_V6, HD_VISIBLE_WIRES])
def test_each_apa_has_800_u_800_v_960_w_and_each_femb_40_40_48(name: str) -> None:
    channels = channel_map(name)
    for element in channels.elements:
        plane, femb = channels.plane[element.channels], channels.femb[element.channels]
        assert np.bincount(plane).tolist() == [800, 800, 960]
        assert (np.diff(plane.astype(int)) >= 0).all()
        for which, count in ((U, 40), (V, 40), (W, 48)):
            assert np.bincount(femb[plane == which])[1:].tolist() == [count] * 20


# Rows of PD2HDChannelMap_v6.txt of DUNE-DAQ detchannelmaps, from all over the table.
@pytest.mark.parametrize(
    ("apa", "crate", "slot", "stream", "channel", "offline", "plane", "femb"),
    [
        ("P02SU", 1, 0, 66, 20, 1609, W, 1),
        ("P02SU", 1, 2, 64, 30, 32, U, 10),
        ("P02NL", 3, 1, 0, 20, 4985, W, 8),
        ("P01SU", 2, 2, 0, 61, 7519, W, 14),
        ("P01NL", 4, 4, 1, 53, 9229, V, 20),
    ],
)
def test_rows_of_the_v6_table(apa: str, crate: int, slot: int, stream: int, channel: int, offline: int, plane: int, femb: int) -> None:
    channels = channel_map(HD_V6)
    match = channels.find(Address(FragmentType.WIBETH, crate, slot, stream))
    assert match is not None
    assert (match[0].name, match[1].channels[channel]) == (apa, offline)
    assert (channels.plane[offline], channels.femb[offline]) == (plane, femb)


# Rows of PD2VDTPCChannelMap_v2.txt of DUNE-DAQ detchannelmaps.
@pytest.mark.parametrize(
    ("crp", "kind", "crate", "slot", "stream", "channel", "offline", "plane", "femb"),
    [
        ("CRP5", FragmentType.WIBETH, 11, 0, 0, 48, 633, U, 6),
        ("CRP5", FragmentType.WIBETH, 11, 0, 66, 49, 2534, W, 1),
        ("CRP4", FragmentType.WIBETH, 10, 5, 67, 30, 4832, V, 19),
        ("CRP2", FragmentType.TDEETH, 3, 0, 0, 30, 7321, V, None),
        ("CRP2", FragmentType.TDEETH, 7, 4, 0, 24, 7478, V, None),
        ("CRP2", FragmentType.TDEETH, 5, 6, 0, 35, 7572, V, None),
    ],
)
def test_rows_of_the_vd_table(
    crp: str, kind: FragmentType, crate: int, slot: int, stream: int, channel: int, offline: int, plane: int, femb: int | None
) -> None:
    channels = channel_map(VD_V2)
    match = channels.find(Address(kind, crate, slot, stream))
    assert match is not None
    assert (match[0].name, match[1].channels[channel], channels.plane[offline]) == (crp, offline, plane)
    if femb is not None:
        assert channels.femb[offline] == femb


def test_visible_wires_shifts_u_and_v_of_v6_by_three_and_leaves_w() -> None:
    for old, new in zip(channel_map(HD_V6).elements, channel_map(HD_VISIBLE_WIRES).elements, strict=True):
        shift = 3 if old.name.endswith("NL") else -3
        for before, after in zip(old.streams, new.streams, strict=True):
            a, b = before.channels - old.first_channel, after.channels - new.first_channel
            for first in (0, 800):
                here = (a >= first) & (a < first + 800)
                assert np.array_equal((a[here] - first + shift) % 800, b[here] - first)
            assert np.array_equal(a[a >= 1600], b[a >= 1600])


def test_visible_wires_has_the_coherent_groups_of_wire_cell(shared_data: Path) -> None:
    groups = np.load(shared_data / "nfsp" / "pdhd_channels.npz")
    channels = channel_map(HD_VISIBLE_WIRES)
    for apa, anode in HD_ANODES.items():
        own = channels.element(apa).channels
        assert np.array_equal(groups[f"apa{anode}_cohgroup"], channels.plane[own] * 20 + channels.femb[own].astype(int) - 1)


def test_apas_stand_in_the_order_of_wire_cell_anodes_and_have_their_crates() -> None:
    elements = channel_map(HD_VISIBLE_WIRES).elements
    assert {element.name: index for index, element in enumerate(elements)} == HD_ANODES
    assert (
        {element.name: element.streams[0].address.crate for element in elements}
        == HD_CRATES
        == {"P02SU": 1, "P02NL": 3, "P01SU": 2, "P01NL": 4}
    )
    assert [element.first_channel for element in channel_map(VD_V2).elements] == [0, 3072, 6144, 9216]


def test_unknown_maps_and_elements_are_named_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=f"no channel map 'v7'; there are: {HD_VISIBLE_WIRES}"):
        channel_map("v7")
    with pytest.raises(ConfigError, match="no APA or CRP 'CRP2'; there are: P02SU, P02NL, P01SU, P01NL"):
        channel_map(HD_V6).element("CRP2")
    assert channel_map(HD_V6).find(Address(FragmentType.TDEETH, 1, 0, 0)) is None
