"""Which channels are missing, dead, noisy, low or high, by the limits of noise filter and DAQ monitoring: to read, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dashboard.dqm.record_file import Record, planes_of
from stages.evaluate.planes import HIGH_ABOVE_ADC, LOW_BELOW_ADC
from stages.nf_sp.channel_noise import NOISY_ABOVE_ADC, QUIET_BELOW_ADC
from stages.nf_sp.pedestal import REFERENCE_GAIN

Kind = Literal["missing", "dead", "noisy", "low", "high"]
KINDS: tuple[Kind, ...] = ("missing", "dead", "noisy", "low", "high")
_VALUES = ("rms_raw_adc", "rms_nf_adc", "pedestal_adc", "charge_e")
COLUMNS = ("element", "plane", "channel", "kinds", *_VALUES)


@dataclass(frozen=True, slots=True)
class ChannelList:
    """The channels of one kind in a plane. `counted`: as the record counts them, which may differ; `rule` says what is listed."""

    kind: Kind
    channels: list[int]
    counted: int | None
    rule: str

    @property
    def ranges(self) -> list[str]:
        """The channels with neighbours joined: `4160`, `4200–4247`."""
        joined: list[list[int]] = []
        for channel in self.channels:
            if joined and joined[-1][-1] == channel - 1:
                joined[-1][-1] = channel
            else:
                joined.append([channel, channel])
        return [str(first) if first == last else f"{first}–{last}" for first, last in joined]


def channel_lists(plane: Mapping[str, Any], gain_mv_per_fc: float | None) -> list[ChannelList]:
    """The lists of one plane of a record.

    The record has the noise of each channel as half of the 16…84 % width, the mean over its trigger records. It counted low and high
    channels by the standard deviation instead, and all in each trigger record by itself.
    """
    channels: dict[Kind, list[int]] = {kind: [] for kind in KINDS}
    for channel, kinds in _kinds(plane, gain_mv_per_fc):
        for kind in kinds:
            channels[kind].append(channel)
    dead, noisy = _limits(gain_mv_per_fc)
    rules: dict[Kind, str] = {
        "missing": "no samples",
        "dead": f"RMS raw below {dead:g} ADC",
        "noisy": f"RMS raw above {noisy:g} ADC",
        "low": f"RMS raw below {LOW_BELOW_ADC[plane['plane']]:g} ADC, not dead",
        "high": f"RMS raw above {HIGH_ABOVE_ADC:g} ADC",
    }
    return [ChannelList(kind, channels[kind], plane[f"n_{kind}"], rules[kind]) for kind in KINDS]


def _limits(gain_mv_per_fc: float | None) -> tuple[float, float]:
    scale = (gain_mv_per_fc or REFERENCE_GAIN) / REFERENCE_GAIN
    return QUIET_BELOW_ADC * scale, NOISY_ABOVE_ADC * scale


def _kinds(plane: Mapping[str, Any], gain_mv_per_fc: float | None) -> Iterator[tuple[int, list[Kind]]]:
    """Every channel with what it is; nothing when it is well."""
    dead, noisy = _limits(gain_mv_per_fc)
    low = LOW_BELOW_ADC[plane["plane"]]
    for channel, rms in enumerate(plane["channels"]["rms_raw_adc"], plane["channels"]["first"]):
        kinds: list[Kind] = []
        if rms is None:
            kinds.append("missing")
        elif rms < dead:
            kinds.append("dead")
        else:
            if rms > noisy:
                kinds.append("noisy")
            if rms < low:
                kinds.append("low")
            if rms > HIGH_ABOVE_ADC:
                kinds.append("high")
        yield channel, kinds


def channels_csv(record: Record, kind: Kind | Literal["all"] | None, element: str | None, plane: str | None) -> str:
    """Channels of a record as CSV: of one kind, all there are, or (None) all that are of any kind; of one element or plane if given."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for name, found in planes_of(record):
        if element not in (None, name) or plane not in (None, found["plane"]):
            continue
        values = found["channels"]
        for channel, kinds in _kinds(found, record["gain_mv_per_fc"]):
            if kind == "all" or (kind in kinds if kind is not None else kinds):
                at = channel - values["first"]
                writer.writerow([name, found["plane"], channel, " ".join(kinds), *(values[column][at] for column in _VALUES)])
    return text.getvalue()
