"""Planes, noise groups and wire order of an APA or CRP: what noise filtering and signal processing must know of the detector.

Sources: Wire-Cell's ProtoDUNE-HD configuration in DUNE's dunereco (`pdhd-coh-groups.jsonnet`, `chndb-base.jsonnet`, wires file; Apache-2.0)
and, for ProtoDUNE-VD, DUNE-DAQ's channel map `PD2VDTPCChannelMap_v2`. The tables are in data/*_geometry.npz.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError

DATA = Path(__file__).parent / "data"

# Number of the Wire-Cell anode, by element. Wire-Cell has two anodes in each CRP; here a CRP keeps its own number.
ANODES = {
    "pdhd": {"P02SU": 0, "P02NL": 1, "P01SU": 2, "P01NL": 3},
    "pdvd": {"CRP2": 2, "CRP3": 3, "CRP4": 4, "CRP5": 5},
}
_FIRST_CHANNEL = {
    "pdhd": {"P02SU": 0, "P02NL": 2560, "P01SU": 5120, "P01NL": 7680},
    "pdvd": {"CRP5": 0, "CRP4": 3072, "CRP2": 6144, "CRP3": 9216},
}
_PLANE_SIZES = {"pdhd": {"U": 800, "V": 800, "W": 960}, "pdvd": {"U": 952, "V": 952, "W": 1168}}

# A group with fewer channels tells signal from common noise too badly.
MIN_GROUP_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class PlaneGeometry:
    """One plane of an element. `rows` are its rows in the element's arrays, offline channel `first_channel` + i in the i-th.

    `role` is the plane whose response and thresholds apply; `swapped` is true in an APA in which V and W have exchanged their roles.
    `pitch_order` lists the plane's rows (0 = its first) as the wires follow each other in space.
    """

    name: str
    role: str
    swapped: bool
    first_channel: int
    rows: slice
    pitch_order: NDArray[np.intp]

    @property
    def n_channels(self) -> int:
        return len(self.pitch_order)

    @property
    def induction(self) -> bool:
        return self.role != "W"

    @property
    def tight_filter(self) -> str:
        """The set of constants of the filter Wiener_tight."""
        return "Wiener_tight_APA1" if self.swapped else "Wiener_tight"

    @property
    def has_noise_kernel(self) -> bool:
        """Whether the noise filter deconvolves this plane's common noise, to tell signal from noise by it."""
        return self.name == self.role != "W"


@dataclass(frozen=True, slots=True)
class ElementGeometry:
    """One APA or CRP, for rows in the order of the offline channels. `groups` hold the rows that share coherent noise, `half_boards`
    those of half a front-end board (none where they are not known).
    """

    detector: str
    element: str
    anode: int
    planes: tuple[PlaneGeometry, ...]
    groups: tuple[NDArray[np.intp], ...]
    half_boards: tuple[NDArray[np.intp], ...]
    listed_bad: NDArray[np.bool_]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results must know."""
        if self.detector == "pdvd":
            return ("signal processing uses the field response of ProtoDUNE-HD: charges of ProtoDUNE-VD are not validated",)
        if self.anode == 0:
            return ("P02SU: V is processed as collection and W as induction plane, as by Wire-Cell, because this APA collects on V",)
        return ()


def geometry_of(detector: str, element: str, channels: NDArray[np.int32]) -> ElementGeometry:
    """The geometry of `element` for rows that belong to the offline `channels` (int32 [rows], ascending).

    Raises:
        DataError: a channel does not belong to the element, or a plane has gaps.
    """
    if element not in ANODES.get(detector, {}):
        raise DataError(f"{detector}: no element {element!r}; there are: {', '.join(ANODES.get(detector, {})) or 'none'}")
    first = _FIRST_CHANNEL[detector][element]
    size = sum(_PLANE_SIZES[detector].values())
    if len(channels) == 0 or channels[0] < first or channels[-1] >= first + size:
        raise DataError(f"{element}: its channels are {first} to {first + size - 1}, found {channels[:1]} to {channels[-1:]}")
    if np.any(np.diff(channels) <= 0):
        raise DataError(f"{element}: channels are not in ascending order")
    anode = ANODES[detector][element]
    table = _tables(detector)
    return ElementGeometry(
        detector=detector,
        element=element,
        anode=anode,
        planes=tuple(_planes(detector, element, anode, first, channels)),
        groups=_groups(table["coherent_group"][channels]),
        half_boards=_groups(table["half_board"][channels]) if "half_board" in table else (),
        listed_bad=np.isin(channels, table["bad_channels"]) if "bad_channels" in table else np.zeros(len(channels), bool),
    )


def _planes(detector: str, element: str, anode: int, first: int, channels: NDArray[np.int32]) -> list[PlaneGeometry]:
    planes = []
    begin = first
    for name, size in _PLANE_SIZES[detector].items():
        rows = slice(*(int(edge) for edge in np.searchsorted(channels, (begin, begin + size))))
        if rows.stop > rows.start:
            here = channels[rows]
            if here[-1] - here[0] + 1 != len(here):
                raise DataError(f"{element} {name}: the channels between {here[0]} and {here[-1]} have gaps")
            swapped = detector == "pdhd" and anode == 0
            planes.append(
                PlaneGeometry(
                    name=name,
                    # The V plane of this APA collects the charge; Wire-Cell exchanges the two (plane2layer [0, 2, 1]).
                    role={"V": "W", "W": "V"}.get(name, name) if swapped else name,
                    swapped=swapped,
                    first_channel=int(here[0]),
                    rows=rows,
                    pitch_order=_pitch_order(detector, first, here),
                )
            )
        begin += size
    return planes


def _pitch_order(detector: str, first: int, channels: NDArray[np.int32]) -> NDArray[np.intp]:
    if detector != "pdhd":
        return np.arange(len(channels))
    order = _tables(detector)["wire_order"].astype(np.intp) + first
    inside: NDArray[np.intp] = order[(order >= channels[0]) & (order <= channels[-1])] - channels[0]
    return inside


def _groups(labels: NDArray[np.int16]) -> tuple[NDArray[np.intp], ...]:
    by_label = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[by_label])) + 1
    groups = np.split(by_label, edges)
    return tuple(rows for rows in groups if labels[rows[0]] >= 0 and len(rows) >= MIN_GROUP_CHANNELS)


@cache
def _tables(detector: str) -> dict[str, NDArray[Any]]:
    with np.load(DATA / f"{detector}_geometry.npz") as file:
        return {name: file[name] for name in file.files}
