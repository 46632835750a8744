"""Draws the event displays of a file, as many as its budget pays for: each plane before and after noise filtering, and its charge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stages.derived import derived_name
from stages.displays import Displays
from stages.evaluate import pictures
from stages.evaluate.quality_file import QualityArrays
from stages.evaluate.record import Picture
from stages.stage import StageContext

_KINDS = {"raw": "pedestal subtracted", "nf": "after noise filtering", "sp": "charge"}
_PLANES = "WUV"


class Shot(NamedTuple):
    """One image that `nf_sp` kept, with its element and its plane as the quality file describes them."""

    element: Mapping[str, Any]
    plane: Mapping[str, Any]
    image: Mapping[str, Any]


class Drawn(NamedTuple):
    """A picture and its PNG."""

    picture: Picture
    png: bytes


def write(context: StageContext, infos: Sequence[Mapping[str, Any]], arrays: QualityArrays) -> tuple[list[Picture], list[str]]:
    """Write the PNGs into the output folder; what they are, and a note when the budget leaves some out.

    `infos` are the elements of the quality file.

    Raises:
        ConfigError: the setting is wrong. DataError: an image is not there.
    """
    displays = Displays.of(context.payload)
    shots = in_order(infos)
    written = []
    for picture, png in within(displays.budget_bytes, (_draw(context, shot, arrays) for shot in shots)):
        (context.output_dir / picture.name).write_bytes(png)
        written.append(picture)
    if len(written) == len(shots):
        return written, []
    budget = f"{displays.budget_bytes / 1e6:g} MB"
    return written, [f"event displays: {len(shots) - len(written)} of {len(shots)} are left out, as the budget of a file is {budget}"]


def in_order(infos: Sequence[Mapping[str, Any]]) -> list[Shot]:
    """All images in the order in which the budget is spent: by trigger record, element, plane (W first) and kind."""
    shots = [
        Shot(info, plane, image)
        for info in infos
        for plane in info["planes"]
        for image in info["pictures"]
        if image["plane"] == plane["plane"]
    ]
    kinds = list(_KINDS)
    return sorted(
        shots,
        key=lambda shot: (
            shot.image["ident"],
            shot.element["anode"],
            _PLANES.index(shot.plane["plane"]),
            kinds.index(shot.image["kind"]),
        ),
    )


def within(budget_bytes: int, drawn: Iterable[Drawn]) -> Iterator[Drawn]:
    """The first pictures that fit into the budget together. After one that does not fit no other is drawn."""
    for one in drawn:
        budget_bytes -= len(one.png)
        if budget_bytes < 0:
            return
        yield one


def _draw(context: StageContext, shot: Shot, arrays: QualityArrays) -> Drawn:
    info, plane, image = shot
    kind, limit = image["kind"], image["limit"]
    levels = arrays.image(info["element"], image["array"])
    if kind == "sp":
        png, shared = pictures.charge(levels)
        low, unit, scale = 0.0, "e/tick", f"0 to {limit:.0f} e per tick"
    else:
        png, shared = pictures.waveforms(levels)
        low, unit, scale = -limit, "ADC", f"±{limit:.0f} ADC"
    # The sequence number tells the parts of a split readout apart.
    record = f"{image['record']}" + (f".{image['sequence']}" if image["sequence"] else "")
    picture = Picture(
        name=derived_name(context, f"{info['element']}_{plane['plane']}_{kind}_{record}", "png"),
        title=f"{info['element']} {plane['plane']}, trigger record {record}: {_KINDS[kind]}, {scale}",
        element=info["element"],
        plane=plane["plane"],
        kind=kind,
        record=image["record"],
        sequence=image["sequence"],
        first_channel=plane["first_channel"],
        n_channels=plane["n_channels"],
        ticks_per_pixel=image["ticks_per_pixel"] * shared,
        n_ticks=image["n_ticks"],
        tick_ns=image["tick_ns"],
        low=low,
        high=limit,
        unit=unit,
    )
    return Drawn(picture, png)
