"""Checks what Wire-Cell wrote, frame by frame, and puts it into the output: it says that all is well also when it made nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.frames import FrameFile, FrameHeader, FrameKey, FrameWriter
from stages.nf_sp import masks
from stages.nf_sp.part import PIECE_ROWS
from stages.nf_sp.quality import ElementQuality
from stages.nf_sp.resampling import TICK_NS
from stages.nf_sp.statistics import Samples
from stages.nf_sp.wirecell.raw_frames import Inputs, Sent

# The noise of a collection channel after deconvolution, in electrons per tick: 182 whatever the gain of the electronics; a gain that
# is set wrongly (14 for 7.8 or the other way round) makes 328 or 101 of it, and Wire-Cell does not notice.
NOISE_E = (130.0, 260.0)


def take_over(outputs: Mapping[str, Path], inputs: Inputs, writer: FrameWriter, gain_mv_per_fc: float) -> list[str]:
    """Write the frames of all APAs, record by record, into `writer`; notes for the quality file.

    Raises:
        DataError: a frame is missing, or is not of the channels and ticks that were sent, or holds numbers that cannot be.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        files = {element: stack.enter_context(FrameFile(path)) for element, path in outputs.items()}
        for element, sent in inputs.sent.items():
            _complete(files[element], outputs[element], inputs.found.qualities[element].geometry.anode, sent)
        for ident in sorted({one.ident for sent in inputs.sent.values() for one in sent}):
            bad = []
            record = None
            for element, sent in inputs.sent.items():
                for one in sent:
                    if one.ident == ident:
                        record = one.record
                        quality = inputs.found.qualities[element]
                        bad.append(_frame(files[element], outputs[element], one, quality, inputs, writer, gain_mv_per_fc, notes))
            if record is not None:
                inputs.found.used.append(record)
                writer.mask("bad", ident, np.concatenate(bad))
    return list(dict.fromkeys(notes))


def _complete(file: FrameFile, path: Path, anode: int, sent: list[Sent]) -> None:
    for tag in (f"gauss{anode}", f"wiener{anode}"):
        found, wanted = {key.ident for key in file.keys if key.tag == tag}, {one.ident for one in sent}
        if found != wanted:
            missing = ", ".join(str(ident) for ident in sorted(wanted - found)[:5]) or "none"
            raise DataError(f"{path.name}: wire-cell ended with 0 but wrote {len(found)} of {len(wanted)} frames {tag}; missing: {missing}")


def _frame(
    file: FrameFile,
    path: Path,
    sent: Sent,
    quality: ElementQuality,
    inputs: Inputs,
    writer: FrameWriter,
    gain_mv_per_fc: float,
    notes: list[str],
) -> NDArray[np.int32]:
    """Check and write both frames of one APA and record; its mask."""
    anode = quality.geometry.anode
    masked = np.zeros((len(sent.channels), sent.n_ticks), np.bool_)
    for channel, begin, end in np.concatenate([file.mask("bad", sent.ident), sent.missing]):
        row = np.searchsorted(sent.channels, channel)
        if row < len(sent.channels) and sent.channels[row] == channel:
            masked[row, begin:end] = True
    threshold = np.full(len(sent.channels), np.nan, np.float32)
    for tag in ("gauss", "wiener"):
        key = FrameKey(f"{tag}{anode}", sent.ident)
        rows = _rows(file, path, key, sent)
        rows[masked] = 0
        summary = None
        if tag == "gauss":
            gauss = rows
        else:
            summary = file.summary(key)
            threshold = threshold if summary is None or len(summary) != len(rows) else summary
        header = FrameHeader(key, sent.channels, sent.n_ticks, sent.time_ns, TICK_NS)
        writer.write(header, (rows[begin : begin + PIECE_ROWS] for begin in range(0, len(rows), PIECE_ROWS)), summary)
    if not gauss.any() and not masked.all():
        raise DataError(f"{path.name}: record {sent.record.number}: wire-cell found no charge at all on anode {anode}")
    inputs.found.charge_e += float(gauss.sum(dtype=np.float64))
    quality.charge(np.zeros_like(gauss), gauss, threshold, [float("nan")] * len(quality.geometry.planes), gain_mv_per_fc)
    if sent.images is not None:
        sent.images.take_charge("sp", gauss)
    _judge_gain(threshold, quality, notes)
    return masks.ranges(sent.channels, masked)


def _rows(file: FrameFile, path: Path, key: FrameKey, sent: Sent) -> Samples:
    header = file.header(key)
    if not np.array_equal(header.channels, sent.channels):
        raise DataError(f"{path.name}: frame {key.tag} of record {sent.record.number} has other channels than were sent")
    if header.n_ticks + header.first_tick > sent.n_ticks or header.tick_ns != TICK_NS:
        raise DataError(
            f"{path.name}: frame {key.tag} of record {sent.record.number} has {header.n_ticks} ticks of {header.tick_ns:g} ns from "
            f"{header.first_tick} on, expected {sent.n_ticks} of {TICK_NS:g} ns"
        )
    rows = np.zeros((len(sent.channels), sent.n_ticks), np.float32)
    begin = 0
    for piece in file.rows(key):
        rows[begin : begin + len(piece), header.first_tick : header.first_tick + header.n_ticks] = piece
        begin += len(piece)
    if not np.isfinite(rows).all():
        raise DataError(f"{path.name}: frame {key.tag} of record {sent.record.number} holds numbers that are not finite")
    return rows


def _judge_gain(threshold: Samples, quality: ElementQuality, notes: list[str]) -> None:
    for plane in quality.geometry.planes:
        known = threshold[plane.rows][threshold[plane.rows] > 0]
        if plane.name == "W" and len(known) and not NOISE_E[0] <= float(np.median(known)) <= NOISE_E[1]:
            notes.append(
                f"{quality.geometry.element}: noise after deconvolution is {np.median(known):.0f} electrons per tick on W, not about 182: "
                "is gain_mV_per_fC that of the run?"
            )
