"""Names of raw files: `<prefix>_run<RRRRRR>_<IIII>_<application>_<writer>_<YYYYMMDDThhmmss>.hdf5`.

Source: DUNE-DAQ dfmodules HDF5DataStore with the settings of daqconf; prefixes and their run types from rawdatautils
createMetadataFilesForDataN.sh.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from dune_prompt.errors import DataError

# The prefix tells the offline run type, which is also the namespace in the catalogues.
RUN_TYPES = {
    "np04hd": "hd-protodune",
    "np02vd": "vd-protodune",
    "np04hdcoldbox": "hd-coldbox",
    "np02vdcoldbox": "vd-coldbox",
}
DETECTORS = {"np04hd": "pdhd", "np04hdcoldbox": "pdhd", "np02vd": "pdvd", "np02vdcoldbox": "pdvd"}
DATA_TIERS = {"raw": "raw", "tp": "trigprim"}

_NAME = re.compile(
    r"(?P<environment>np0[24][a-z]*)_(?P<kind>raw|tp)_run(?P<run>\d{6,})_(?P<index>\d{4,})_(?P<writer>[A-Za-z0-9_.-]+)_(?P<created>\d{8}T\d{6})\.hdf5"
)
_CREATED = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class RawFileName:
    """What the name of a raw file says. `writer` is application and writer, `created` UTC, to the second."""

    environment: str
    kind: str
    run: int
    index: int
    writer: str
    created: datetime

    @classmethod
    def parse(cls, name: str) -> Self:
        """The parts of `name`.

        Raises:
            DataError: it is not named as the data acquisition names raw files.
        """
        match = _NAME.fullmatch(name)
        if match is None or match["environment"] not in RUN_TYPES:
            raise DataError(f"{name[:120]!r} is not the name of a raw file (<detector>_raw_run<run>_<index>_<writer>_<time>.hdf5)")
        try:
            created = datetime.strptime(match["created"], _CREATED).replace(tzinfo=UTC)
        except ValueError:
            raise DataError(f"{name[:120]!r}: {match['created']} is no date and time") from None
        return cls(match["environment"], match["kind"], int(match["run"]), int(match["index"]), match["writer"], created)

    def __str__(self) -> str:
        created = self.created.strftime(_CREATED)
        return f"{self.environment}_{self.kind}_run{self.run:06d}_{self.index:04d}_{self.writer}_{created}.hdf5"

    @property
    def run_type(self) -> str:
        """The offline run type, such as `hd-protodune`; also the catalogues' namespace."""
        return RUN_TYPES[self.environment]

    @property
    def data_tier(self) -> str:
        return DATA_TIERS[self.kind]
