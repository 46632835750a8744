from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import DataError
from stages.rawdata.structures import ComponentRequest, FragmentHeader, TriggerHeader, fragment_errors

u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
components = st.lists(st.builds(ComponentRequest, u16, u32, u64, u64), max_size=5).map(tuple)


@given(st.builds(TriggerHeader, u64, u64, u16, u32, u16, u16, u32, components, st.sampled_from([3, 4, 5])), u32)
def test_a_trigger_header_of_each_version_is_read_as_written(header: TriggerHeader, builder: int) -> None:
    data = header.pack(builder)
    assert len(data) == {3: 56, 4: 64, 5: 64}[header.version] + 32 * len(header.components)
    assert TriggerHeader.unpack(data, "here") == header


def test_the_fields_of_a_version_4_header_are_where_daqdataformats_puts_them() -> None:
    data = bytearray(64)
    for offset, size, value in (
        (0, 4, 0x33334444), (4, 4, 4), (8, 8, 17), (16, 8, 1 << 60), (32, 4, 27296), (36, 4, 3), (40, 8, 1 << 40), (48, 2, 5), (50, 2, 9),
    ):  # fmt: skip
        data[offset : offset + size] = value.to_bytes(size, "little")
    assert TriggerHeader.unpack(data, "here") == TriggerHeader(17, 1 << 60, 1 << 40, 27296, 5, 9, 3, (), 4)


def test_the_fields_of_a_version_3_header_are_16_bits_wide() -> None:
    data = bytearray(56)
    for offset, size, value in ((0, 4, 0x33334444), (4, 4, 3), (8, 8, 17), (40, 2, 4), (42, 2, 5), (44, 2, 9)):
        data[offset : offset + size] = value.to_bytes(size, "little")
    header = TriggerHeader.unpack(data, "here")
    assert (header.trigger_type, header.sequence, header.max_sequence) == (4, 5, 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"\0" * 4 + data[4:], "here: marker 0x00000000 instead of 0x33334444"),
        (lambda data: data[:4] + b"\x09" + data[5:], "here: trigger record header version 9, known are 3, 4, 5"),
        (lambda data: data[:20], "here: 20 bytes are too few for a trigger record header"),
        (lambda data: data[:60], "here: 60 bytes are too few for a trigger record header version 4"),
        (lambda data: data[:90], "here: announces 1 component requests, its 90 bytes hold fewer"),
    ],
)
def test_a_bad_trigger_header_is_refused_with_the_reason(change: object, message: str) -> None:
    good = TriggerHeader(1, 2, 3, 4, 5, 6, 0, (ComponentRequest(1, 100, 0, 1),)).pack(0)
    with pytest.raises(DataError) as error:
        TriggerHeader.unpack(change(good), "here")  # type: ignore[operator]
    assert str(error.value) == message


def test_the_fields_of_a_fragment_header_are_where_daqdataformats_puts_them() -> None:
    data = bytearray(72)
    fields = {
        "marker": (0, 4), "version": (4, 4), "size": (8, 8), "trigger_number": (16, 8), "trigger_timestamp": (24, 8),
        "window_begin": (32, 8), "window_end": (40, 8), "run": (48, 4), "error_bits": (52, 4), "fragment_type": (56, 4),
        "sequence": (60, 2), "detector_id": (62, 2), "source_id_version": (64, 2), "subsystem": (66, 2), "source_id": (68, 4),
    }  # fmt: skip
    for value, (offset, size) in enumerate(fields.values(), start=1):
        data[offset : offset + size] = value.to_bytes(size, "little")
    header = FragmentHeader.unpack(bytes(data))
    assert header._asdict() == {name: value for value, name in enumerate(fields, start=1)}
    assert header.pack() == data


def test_error_bits_are_told_in_words() -> None:
    assert fragment_errors(0b10011) == "data not found, incomplete, bit 4"
