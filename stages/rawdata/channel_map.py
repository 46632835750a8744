"""Channel maps: from a stream of the readout (crate, slot, stream) and its 64 channels to offline channels.

ProtoDUNE-HD is a formula, ProtoDUNE-VD a table. The maps are known by the names they have upstream:

* `PD2HDChannelMap_v6`: DUNE-DAQ detchannelmaps, config/pd2hd;
* `PD2HDChannelMap_WIBEth_visiblewires_v1`: LArSoft (duneprototypes) since mid-2025: v6 with the U and V channels shifted round their 800 by
  -3 on P02SU and P01SU and by +3 on P02NL and P01NL, W as in v6. The default, and that of the Wire-Cell channel groups;
* `PD2VDTPCChannelMap_v2`: DUNE-DAQ detchannelmaps, config/pd2vd.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import ConfigError
from stages.rawdata.frames import FRAME_CHANNELS, Address
from stages.rawdata.structures import DetectorId, FragmentType

HD_V6 = "PD2HDChannelMap_v6"
HD_VISIBLE_WIRES = "PD2HDChannelMap_WIBEth_visiblewires_v1"
VD_V2 = "PD2VDTPCChannelMap_v2"
DEFAULT_MAP = {"pdhd": HD_VISIBLE_WIRES, "pdvd": VD_V2}

# ProtoDUNE-HD: APA -> crate, and APA -> Wire-Cell anode ident, which is also the order of offline channels.
HD_CRATES = {"P02SU": 1, "P02NL": 3, "P01SU": 2, "P01NL": 4}
HD_ANODES = {"P02SU": 0, "P02NL": 1, "P01SU": 2, "P01NL": 3}

U, V, W = 0, 1, 2  # planes; W is called Z in ProtoDUNE-VD

_HD_CHANNELS, _HD_INDUCTION, _HD_COLLECTION = 2560, 800, 960
_STREAMS = (0, 1, 2, 3, 64, 65, 66, 67)

# FEMB of [slot][pair of streams].
_FEMB = ((6, 5, 2, 1), (8, 7, 4, 3), (14, 13, 10, 9), (16, 15, 12, 11))
_HD_FEMB = (*_FEMB, (20, 19, 18, 17))
_VD_FEMB = (*_FEMB, (22, 21, 18, 17), (24, 23, 20, 19))

# PD2HDChannelMap_v6 as a formula; it reproduces all 10,240 rows of the table.
# For each [ASIC][ASIC channel] of a FEMB the plane and the place within the FEMB's wires.
_UVW = [U] * 5 + [V] * 5 + [W] * 6
_WVU = _UVW[::-1]
_HD_PLANE = np.array([_UVW, _WVU, _WVU, _UVW, _UVW, _WVU, _WVU, _UVW])
_HD_WIRE = np.array(
    [
        [31, 33, 35, 37, 39, 8, 6, 4, 2, 0, 10, 8, 6, 4, 2, 0],
        [1, 3, 5, 7, 9, 11, 1, 3, 5, 7, 9, 38, 36, 34, 32, 30],
        [13, 15, 17, 19, 21, 23, 11, 13, 15, 17, 19, 28, 26, 24, 22, 20],
        [21, 23, 25, 27, 29, 18, 16, 14, 12, 10, 22, 20, 18, 16, 14, 12],
        [11, 13, 15, 17, 19, 28, 26, 24, 22, 20, 34, 32, 30, 28, 26, 24],
        [25, 27, 29, 31, 33, 35, 21, 23, 25, 27, 29, 18, 16, 14, 12, 10],
        [37, 39, 41, 43, 45, 47, 31, 33, 35, 37, 39, 8, 6, 4, 2, 0],
        [1, 3, 5, 7, 9, 38, 36, 34, 32, 30, 46, 44, 42, 40, 38, 36],
    ]
)

# ProtoDUNE-VD: offline order of the CRPs, and the source id of their first stream.
_VD_SOURCE_IDS = {"CRP5": 500, "CRP4": 400, "CRP2": 201, "CRP3": 301}


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of 64 channels: who sends it, and the offline channels of its 64 channels."""

    source_id: int
    detector_id: int
    address: Address
    channels: NDArray[np.int32] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Element:
    """An APA or CRP: `n_channels` offline channels from `first_channel` on, read out by `streams` (in order of source id)."""

    name: str
    first_channel: int
    n_channels: int
    streams: tuple[Stream, ...] = field(repr=False)

    @property
    def channels(self) -> NDArray[np.int32]:
        """Its offline channels, in order."""
        return np.arange(self.first_channel, self.first_channel + self.n_channels, dtype=np.int32)

    @property
    def fragment_type(self) -> FragmentType:
        return self.streams[0].address.fragment_type


@dataclass(frozen=True)
class ChannelMap:
    """A detector's channel map: elements in order of offline channel, and for each offline channel its plane and front-end board.

    `plane[channel]` is 0 (U), 1 (V) or 2 (W, Z). `femb[channel]` is the number of the FEMB (128 channels) in its APA or CRP, from 1;
    the cards (64 channels) of the upper CRPs of ProtoDUNE-VD have no such number and are counted in order of source id.
    """

    name: str
    detector: str
    elements: tuple[Element, ...]
    plane: NDArray[np.uint8] = field(repr=False)
    femb: NDArray[np.uint8] = field(repr=False)
    _streams: dict[Address, tuple[Element, Stream]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        streams = {stream.address: (element, stream) for element in self.elements for stream in element.streams}
        object.__setattr__(self, "_streams", streams)
        # Maps are shared by all that read files.
        self.plane.setflags(write=False)
        self.femb.setflags(write=False)
        for _, stream in streams.values():
            stream.channels.setflags(write=False)

    def find(self, address: Address) -> tuple[Element, Stream] | None:
        """The APA or CRP and the stream at `address`, None when the map does not have it."""
        return self._streams.get(address)

    def element(self, name: str) -> Element:
        """The APA or CRP called `name`."""
        for element in self.elements:
            if element.name == name:
                return element
        raise ConfigError(f"{self.name}: no APA or CRP {name!r}; there are: {', '.join(e.name for e in self.elements)}")


@cache
def channel_map(name: str) -> ChannelMap:
    """The channel map called `name`.

    Raises:
        ConfigError: there is no such map.
    """
    if name not in MAPS:
        raise ConfigError(f"no channel map {name!r}; there are: {', '.join(MAPS)}")
    return MAPS[name](name)


def _pdhd(name: str) -> ChannelMap:
    elements = []
    plane = np.repeat(np.array([U, V, W], np.uint8), (_HD_INDUCTION, _HD_INDUCTION, _HD_COLLECTION))
    femb = np.empty(_HD_CHANNELS * len(HD_ANODES), np.uint8)
    for apa, anode in HD_ANODES.items():
        crate, first = HD_CRATES[apa], anode * _HD_CHANNELS
        streams = []
        for slot in range(len(_HD_FEMB)):
            for index, stream in enumerate(_STREAMS):
                number = _HD_FEMB[slot][index // 2]
                channels = (first + _hd_stream(number, index % 2, north=apa.endswith("NL"), shifted=name == HD_VISIBLE_WIRES)).astype(
                    np.int32
                )
                femb[channels] = number
                address = Address(FragmentType.WIBETH, crate, slot, stream)
                streams.append(Stream(100 * crate + 8 * slot + index, DetectorId.HD_TPC, address, channels))
        elements.append(Element(apa, first, _HD_CHANNELS, tuple(streams)))
    return ChannelMap(name, "pdhd", tuple(elements), np.tile(plane, len(HD_ANODES)), femb)


def _hd_stream(femb: int, half: int, *, north: bool, shifted: bool) -> NDArray[np.int64]:
    """The channels within the APA of the 64 channels of one stream: half a FEMB, four ASICs."""
    asics = slice(4 * half, 4 * half + 4)
    plane, wire = _HD_PLANE[asics].ravel(), _HD_WIRE[asics].ravel()
    u = (360 - 40 * (femb - 1) + wire) % _HD_INDUCTION
    v = 40 * (femb - 1) + wire
    w = 48 * (femb - 1) + wire if femb <= 10 else 912 - 48 * (femb - 11) + 47 - wire
    if north:
        u, v, w = (747 - u) % _HD_INDUCTION, (747 - v) % _HD_INDUCTION, (w + 480) % _HD_COLLECTION
    if shifted:
        shift = 3 if north else -3
        u, v = (u + shift) % _HD_INDUCTION, (v + shift) % _HD_INDUCTION
    return np.choose(plane, (u, _HD_INDUCTION + v, 2 * _HD_INDUCTION + w))


def _pdvd(name: str) -> ChannelMap:
    with resources.files("stages.rawdata").joinpath("data/pdvd_channel_map.npz").open("rb") as file, np.load(file) as table:
        columns = {key: table[key].astype(np.int32) for key in table.files}
    elements = []
    order = np.argsort(columns["offline"])
    plane = columns["plane"][order].astype(np.uint8)
    femb = np.empty(len(order), np.uint8)
    for crp, first_source_id in _VD_SOURCE_IDS.items():
        rows = np.flatnonzero(columns["crp"] == int(crp.removeprefix("CRP")))
        in_daq_order = rows[np.argsort(columns["daq_order"][rows])]
        streams = []
        for index, row in enumerate(in_daq_order.reshape(-1, FRAME_CHANNELS)):
            det_id, crate, slot, stream = (int(columns[key][row[0]]) for key in ("det_id", "crate", "slot", "stream"))
            bottom = det_id == DetectorId.VD_BOTTOM_TPC
            channels = columns["offline"][row[np.argsort(columns["stream_channel"][row])]]
            femb[channels] = _VD_FEMB[slot][index % 8 // 2] if bottom else 1 + index
            address = Address(FragmentType.WIBETH if bottom else FragmentType.TDEETH, crate, slot, stream)
            streams.append(Stream(first_source_id + index, det_id, address, channels))
        offline = np.concatenate([stream.channels for stream in streams])
        elements.append(Element(crp, int(offline.min()), len(offline), tuple(streams)))
    return ChannelMap(name, "pdvd", tuple(elements), plane, femb)


MAPS = {HD_VISIBLE_WIRES: _pdhd, HD_V6: _pdhd, VD_V2: _pdvd}
