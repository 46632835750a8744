"""Data-quality records and pictures as jobs upload them."""

from __future__ import annotations

import io
import math
import random
from typing import Any

import numpy as np
from PIL import Image

NOW = 1_718_795_400.0  # 2024-06-19 11:10:00 UTC
ULID_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(number: int) -> str:
    """An attempt id; a greater number makes a later one."""
    digits = ""
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits = ULID_DIGITS[digit] + digits
    return digits


def did(run: int, index: int) -> str:
    return f"hd-protodune:np04hd_raw_run{run:06d}_{index:04d}_dataflow0_datawriter_0_20240619T110330.hdf5"


Range = dict[str, float]


def _plane(plane: str, first: int, n: int, rng: random.Random, noise: float) -> dict[str, Any]:
    pedestal = 2350.0 if plane != "W" else 900.0
    dead = {rng.randrange(n) for _ in range(2)}
    # With as many digits as `evaluate` writes.
    raw = [0.4 if i in dead else round(noise * rng.gauss(1, 0.05) + 1.5 * math.sin(i / 40), 3) for i in range(n)]
    filtered = [round(value * 0.78 * rng.gauss(1, 0.02), 3) for value in raw]
    pedestals = [round(pedestal + rng.gauss(0, 25), 1) for _ in range(n)]

    def spread(values: list[float]) -> Range:
        ordered = sorted(values)
        return {"median": ordered[n // 2], "p05": ordered[n // 20], "p95": ordered[-n // 20]}

    mhz = [0.0078 + i * 0.0153 for i in range(64)]
    before = [noise * (0.25 + 1.3 * f * math.exp(-3 * f)) * rng.gauss(1, 0.02) + (8 if abs(f - 0.42) < 0.01 else 0) for f in mhz]
    edges = [0.0, *(500.0 * 1.25**i for i in range(20))]
    return {
        "plane": plane,
        "n_channels": n,
        "n_missing": 0,
        "n_dead": len(dead),
        "n_noisy": rng.randrange(4),
        "n_low": 11,
        "n_high": 1,
        "missing_fraction": 0.0,
        "saturated_fraction": 1e-6,
        "pedestal_adc": spread(pedestals),
        "std_raw_adc": spread([value * 1.05 for value in raw]),
        "rms_raw_adc": spread(raw),
        "rms_nf_adc": spread(filtered),
        "coherent_rms_adc": {"before": 5.4, "after": 1.1},
        "coherent_fraction": 0.13 + rng.gauss(0, 0.01),
        "correlation": {"before": 0.12, "after": 0.004},
        "spectrum": {"frequency_mhz": mhz, "before_adc": before, "after_adc": [value * 0.6 for value in before]},
        "charge_e": 1.8e8 * rng.gauss(1, 0.05),
        "hits": float(round(5120 * rng.gauss(1, 0.05))),
        "hit_charge_e": {"edges": edges, "counts": [int(900 * math.exp(-((i - 12) ** 2) / 18)) for i in range(20)]},
        "sp_nonzero_fraction": 0.023,
        "channels": {"first": first, "pedestal_adc": pedestals, "rms_raw_adc": raw, "rms_nf_adc": filtered, "charge_e": [2e5] * n},
    }


def make_record(run: int = 27296, index: int = 0, *, attempt: str | None = None, channels: int = 40, elements: int = 2) -> dict[str, Any]:
    """A data-quality record as `evaluate` writes it (docs/reference/dqm-record.md)."""
    rng = random.Random(1000 * run + index)
    name = did(run, index)
    stem = name.partition(":")[2].removesuffix(".hdf5")
    names = ("P02SU", "P02NL", "P01SU", "P01NL")
    shown = [
        {
            "element": element,
            "anode": names.index(element),
            "channel_map": "PD2HD v6 (formula)",
            "n_records": 1,
            "n_ticks": 5824,
            "tick_ns": 512.0,
            "planes": [
                _plane("U", 2560 * names.index(element), channels, rng, 22.0),
                _plane("V", 2560 * names.index(element) + channels, channels, rng, 20.0),
                _plane("W", 2560 * names.index(element) + 2 * channels, channels, rng, 14.0),
            ],
        }
        for element in names[:elements]
    ]
    return {
        "schema": 1,
        "made_at": NOW - 30 + index,
        "input_did": name,
        "run": run,
        "file_index": index,
        "detector": "pdhd",
        "data_stream": "cosmics",
        "start_time": NOW - 200,
        "end_time": NOW - 160,
        "campaign": "pdhd-prompt",
        "version": "v1",
        "attempt": attempt or ulid(1001),
        "payload": "numpy",
        "gain_mv_per_fc": 14.0,
        "notes": [],
        "records": {
            "n_records": 2,
            "n_used": 1,
            "n_unusable": 1,
            "n_with_error_bits": 1,
            "error_bits": 1,
            "n_problems": 1,
            "problems": [{"record": 9, "sequence": 0, "element": None, "problem": "trigger record header has marker 0x0"}],
            "first_record": 1,
            "last_record": 9,
            "first_timestamp": 107424688125000000,
            "last_timestamp": 107424688187500000,
        },
        "elements": shown,
        "pictures": [
            {
                "name": f"{stem}_pdhd-prompt_v1_{element['element']}_{plane}_{kind}.png",
                "title": f"{element['element']} {plane}, trigger record 1: {kind}",
                "element": element["element"],
                "plane": plane,
                "kind": kind,
                "record": 1,
            }
            for element in shown
            for plane in "UVW"
            for kind in ("raw", "nf", "sp")
        ],
        "performance": {
            "wall_s": 12.3,
            "cpu_s": 11.8,
            "rss_bytes": 412_000_000,
            "input_bytes": 26_249_048,
            "mb_per_s": 2.13,
            "cpu_s_by_step": {"read": 0.4, "noise_filter": 1.2},
        },
    }


def png(width: int = 8, height: int = 8, seed: int = 0) -> bytes:
    """A picture of grey noise, with a few straight tracks when it is large enough."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(40, 12, (height, width)).clip(0, 255).astype(np.uint8)
    for _ in range(8 if width > 100 else 0):
        y = np.arange(rng.integers(height // 2), height)
        x = (rng.integers(width) + rng.uniform(-1.5, 1.5) * y).astype(int)
        inside = (x >= 0) & (x < width)
        pixels[y[inside], x[inside]] = rng.integers(150, 255)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()
