#!/usr/bin/env python3
"""Stands for `wire-cell` in tests: takes the same options, and behaves as the real one was seen to, at its worst too (FAKE_MODE).

What it writes is not signal processing: a few pixels of charge on every channel.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

arguments = sys.argv[1:]
options = {}
while arguments:
    name = arguments.pop(0)
    options.setdefault(name, []).append(arguments.pop(0))
tla = dict(item.partition("=")[::2] for item in [*options.get("-A", []), *options.get("--tla-code", [])])
gain = float(dict(item.partition("=")[::2] for item in options["-V"])["elecGain"])
log = next(sink for sink in options["-l"] if not sink.startswith("stderr")).rpartition(":")[0]
mode = os.environ.get("FAKE_MODE", "good")
apa, infile, outfile = int(tla["apa"]), tla["infile"], tla["outfile"]

with Path(log).open("a") as file:  # appended, as the real one does
    file.write('[12:00:00.000] I [ timer  ] Timer: 12.3 wall-sec, 11.5 core-sec: (WireCell::SigProc::OmnibusSigProc) "sp"\n')
    file.write('[12:00:00.000] I [ timer  ] Timer: 2.5 wall-sec, 2.25 core-sec: (OmnibusNoiseFilter) "nf"\n')
    if mode == "abort":
        file.write("[12:00:00.000] E [ io ] [error] bad pig read\n")

if not os.environ.get("WIRECELL_PATH"):
    print("terminate called after throwing: failed to find file pgraph.jsonnet, check WIRECELL_PATH", file=sys.stderr)
    sys.exit(1)
if mode == "abort":
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.abort()
if mode == "hang":
    time.sleep(600)
if mode == "empty":
    Path(outfile).write_bytes(b"PK\x05\x06" + bytes(18))
    sys.exit(0)

arrays = {}
with np.load(infile) as source:
    idents = sorted(int(name.rpartition("_")[2]) for name in source.files if name.startswith("frame_*_"))
    for ident in idents:
        adc, channels = source[f"frame_*_{ident}"], source[f"channels_*_{ident}"]
        time_ns, tick_ns, _ = source[f"tickinfo_*_{ident}"]
        if mode == "lost" and ident == idents[-1]:
            continue
        n_ticks = int(adc.shape[1] * tick_ns / 500)
        rows = np.zeros((len(channels), n_ticks), np.float32)
        if mode != "nothing":
            rows[:, 100:110] = 1000
        if mode == "nan":
            rows[5, 5] = np.nan
        if mode == "channels":
            channels = channels + 1
        if mode == "short":
            rows = np.pad(rows, ((0, 0), (0, 1)))
        for tag in ("gauss", "wiener"):
            arrays[f"frame_{tag}{apa}_{ident}"] = rows
            arrays[f"channels_{tag}{apa}_{ident}"] = channels.astype(np.int32)
            arrays[f"tickinfo_{tag}{apa}_{ident}"] = np.array([time_ns, 500.0, 0.0])
        arrays[f"summary_wiener{apa}_{ident}"] = np.full(len(channels), 182.0 * (1.8 if mode == "gain" else 1.0))
        arrays[f"chanmask_bad_{ident}"] = np.array([[2580, 0, n_ticks], [2600, 50, 105]], np.int32)
np.savez(outfile, **arrays)
