"""The binary structures around the ADC values: trigger record header, component requests, fragment header.

Little-endian, as DUNE-DAQ daqdataformats defines them (TriggerRecordHeaderData v3-v5, ComponentRequest v2, FragmentHeader v4-v5).
Times are in ticks of the DUNE timing system (DTS): 62.5 MHz, 16 ns, counted from the Unix epoch.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from dune_prompt.errors import DataError

DTS_TICKS_PER_S = 62_500_000

FRAGMENT_MARKER = 0x11112222
TRIGGER_RECORD_MARKER = 0x33334444
FRAGMENT_HEADER_BYTES = 72
UNUSED = 0xFFFFFFFF


class Subsystem(IntEnum):
    """What a source id belongs to (daqdataformats SourceID)."""

    UNKNOWN = 0
    DETECTOR_READOUT = 1
    HW_SIGNALS_INTERFACE = 2
    TRIGGER = 3
    TR_BUILDER = 4


class FragmentType(IntEnum):
    """The fragment types that hold TPC data, and the trigger's own (daqdataformats FragmentHeader)."""

    TRIGGER_CANDIDATE = 8
    WIBETH = 12
    TDEETH = 15


class DetectorId(IntEnum):
    """The subdetectors with TPC data, and the trigger (detdataformats DetID)."""

    DAQ = 1
    HD_TPC = 3
    VD_BOTTOM_TPC = 10
    VD_TOP_TPC = 11


TPC_FRAGMENT_TYPES = {"WIBEth": FragmentType.WIBETH, "TDEEth": FragmentType.TDEETH}

_FRAGMENT_ERRORS = {0: "data not found", 1: "incomplete", 2: "invalid window"}

_FRAGMENT_HEADER = struct.Struct("<IIQQQQQIIIHHHHI")
_TRIGGER_HEADER = {3: struct.Struct("<IIQQQIIHHHHHHI"), 4: struct.Struct("<IIQQQIIQHHIHHI"), 5: struct.Struct("<IIQQQIIQHHIHHI")}
_COMPONENT_REQUEST = struct.Struct("<IIHHIQQ")
_SOURCE_ID_VERSION = 2
_COMPONENT_REQUEST_VERSION = 2


class FragmentHeader(NamedTuple):
    """The 72 bytes before the frames. `size` is what the writer believed; the dataset's length is what counts."""

    marker: int
    version: int
    size: int
    trigger_number: int
    trigger_timestamp: int
    window_begin: int
    window_end: int
    run: int
    error_bits: int
    fragment_type: int
    sequence: int
    detector_id: int
    source_id_version: int
    subsystem: int
    source_id: int

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> FragmentHeader:
        """The header at the start of `data` (at least 72 bytes); nothing is checked."""
        return cls._make(_FRAGMENT_HEADER.unpack_from(data))

    def pack(self) -> bytes:
        return _FRAGMENT_HEADER.pack(*self)


class ComponentRequest(NamedTuple):
    """One fragment the trigger asked for: whose, and the readout window in DTS ticks."""

    subsystem: int
    source_id: int
    window_begin: int
    window_end: int


@dataclass(frozen=True, slots=True)
class TriggerHeader:
    """The header of a trigger record. `timestamp` in DTS ticks, `trigger_type` a set of bits, one for each trigger candidate type."""

    trigger_number: int
    timestamp: int
    trigger_type: int
    run: int
    sequence: int
    max_sequence: int
    error_bits: int
    components: tuple[ComponentRequest, ...] = ()
    version: int = 4

    @classmethod
    def unpack(cls, data: bytes | memoryview, where: str) -> TriggerHeader:
        """Read a TriggerRecordHeader dataset; `where` names it in errors.

        Raises:
            DataError: wrong marker, unknown version, or fewer component requests than announced.
        """
        if len(data) < _TRIGGER_HEADER[3].size:
            raise DataError(f"{where}: {len(data)} bytes are too few for a trigger record header")
        marker, version = struct.unpack_from("<II", data)
        if marker != TRIGGER_RECORD_MARKER:
            raise DataError(f"{where}: marker 0x{marker:08x} instead of 0x{TRIGGER_RECORD_MARKER:08x}")
        layout = _TRIGGER_HEADER.get(version)
        if layout is None:
            raise DataError(f"{where}: trigger record header version {version}, known are {', '.join(map(str, _TRIGGER_HEADER))}")
        if len(data) < layout.size:
            raise DataError(f"{where}: {len(data)} bytes are too few for a trigger record header version {version}")
        _, _, number, timestamp, n_components, run, error_bits, trigger_type, sequence, max_sequence, *_ = layout.unpack_from(data)
        if len(data) < layout.size + n_components * _COMPONENT_REQUEST.size:
            raise DataError(f"{where}: announces {n_components} component requests, its {len(data)} bytes hold fewer")
        components = []
        for index in range(n_components):
            _, _, _, subsystem, source_id, begin, end = _COMPONENT_REQUEST.unpack_from(data, layout.size + index * _COMPONENT_REQUEST.size)
            components.append(ComponentRequest(subsystem, source_id, begin, end))
        return cls(number, timestamp, trigger_type, run, sequence, max_sequence, error_bits, tuple(components), version)

    def pack(self, builder_id: int) -> bytes:
        """The dataset of this header, from the trigger record builder `builder_id`."""
        source = (_SOURCE_ID_VERSION, Subsystem.TR_BUILDER, builder_id)
        unused = UNUSED & 0xFFFF if self.version == 3 else UNUSED
        head = _TRIGGER_HEADER[self.version].pack(
            TRIGGER_RECORD_MARKER,
            self.version,
            self.trigger_number,
            self.timestamp,
            len(self.components),
            self.run,
            self.error_bits,
            self.trigger_type,
            self.sequence,
            self.max_sequence,
            unused,
            *source,
        )
        requests = (
            _COMPONENT_REQUEST.pack(
                _COMPONENT_REQUEST_VERSION, UNUSED, _SOURCE_ID_VERSION, item.subsystem, item.source_id, item.window_begin, item.window_end
            )
            for item in self.components
        )
        return head + b"".join(requests)


def fragment_errors(error_bits: int) -> str:
    """The error bits of a fragment in words, such as `data not found, bit 4`."""
    bits = [bit for bit in range(error_bits.bit_length()) if error_bits >> bit & 1]
    return ", ".join(_FRAGMENT_ERRORS.get(bit, f"bit {bit}") for bit in bits)
