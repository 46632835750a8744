"""Which event displays a raw file gets, and how fine they are: `nf_sp` collects their images, `evaluate` draws them.

Standard library only, as jobs that process nothing read it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dune_prompt.errors import ConfigError
from stages.stage import Payload

# The dashboard takes 200 pictures a file, and four APAs or CRPs make 36 of one trigger record.
MAX_RECORDS = 5
MAX_PICTURE_BYTES = 1_500_000
# Bytes of a PNG for each pixel of noise: where every tick has its own, and where a pixel is the extreme of several, which vary more.
BYTES_PER_TICK, BYTES_PER_EXTREME = 0.2, 0.37
# What all pictures of a plane need, relative to one of its noise: before and after noise filtering, and charge, which is nearly empty.
KINDS_OF_NOISE = 2.1
# A picture with fewer pixels along the readout is of no use; rather some pictures are left out.
MIN_TIME_PIXELS = 400


@dataclass(frozen=True, slots=True)
class Displays:
    """The setting `displays` of `evaluate`: which files have them, of how many trigger records, and the bytes of all of a file.

    Without the setting, as in a run by hand, every file has displays.
    """

    every: int = 1
    records: int = 1
    budget_bytes: int = 8_000_000

    @classmethod
    def of(cls, payload: Payload) -> Displays:
        """Read the setting.

        Raises:
            ConfigError: a value is not one of those allowed.
        """
        settings = payload.stages.get("evaluate", {}).get("displays")
        if settings is None:
            return cls()
        if not isinstance(settings, Mapping):
            raise ConfigError(f"stages.evaluate.displays {settings!r}: expected every, records and budget")
        return cls(
            every=_whole(settings, "every", 0),
            records=_whole(settings, "records", 1, MAX_RECORDS),
            budget_bytes=_whole(settings, "budget", 1),
        )

    def records_of(self, file_index: int | None) -> int:
        """How many of its first usable trigger records file `file_index` (None: it has no index) shows; 0 for a file without displays."""
        if self.every == 0 or (file_index is not None and file_index % self.every):
            return 0
        return self.records

    def ticks_per_pixel(self, n_channels: int, n_widest: int, n_ticks: int) -> int:
        """How many ticks share a pixel: as few as let all displays fit into the budget, and each into `MAX_PICTURE_BYTES`.

        `n_channels` are those of a whole trigger record, `n_widest` those of its largest plane. This is known before anything is drawn,
        so it rests on the size pictures usually have.
        """
        share = min(self.budget_bytes / (self.records * KINDS_OF_NOISE * n_channels), MAX_PICTURE_BYTES / n_widest) / n_ticks
        if share >= BYTES_PER_TICK:
            return 1
        return max(1, min(math.ceil(BYTES_PER_EXTREME / share), n_ticks // MIN_TIME_PIXELS))


def _whole(settings: Mapping[str, Any], name: str, lowest: int, highest: int | None = None) -> int:
    value = settings.get(name)
    if type(value) is not int or value < lowest or (highest is not None and value > highest):
        allowed = f"a whole number, at least {lowest}" + (f" and at most {highest}" if highest is not None else "")
        raise ConfigError(f"stages.evaluate.displays.{name} {value!r}: {allowed}")
    return value
