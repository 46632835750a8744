"""The checksum of files: the same as zlib's, whatever computes it."""

from __future__ import annotations

import zlib
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.checksum import CHUNK_BYTES, Adler32, adler32_of
from dune_prompt.errors import TransientError


def zlibs(data: bytes) -> tuple[int, str]:
    return len(data), f"{zlib.adler32(data):08x}"


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3_000_000])
def test_a_checksum_is_that_of_zlib(tmp_path: Path, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    (tmp_path / "file").write_bytes(data)
    assert adler32_of(tmp_path / "file") == zlibs(data)


@given(st.lists(st.binary(max_size=10_000), max_size=5))
def test_how_content_is_cut_into_pieces_makes_no_difference(pieces: list[bytes]) -> None:
    total = Adler32()
    for piece in pieces:
        total.add(memoryview(piece))
    assert total.result == zlibs(b"".join(pieces))


def test_small_values_keep_their_leading_zeros() -> None:
    total = Adler32()
    total.add(memoryview(b"\0"))
    assert total.result == (1, "00010001")


def test_reading_ends_when_the_daemon_stops(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    stop = Event()
    stop.set()
    with pytest.raises(TransientError, match="stopped"):
        adler32_of(tmp_path / "file", stop)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        adler32_of(tmp_path / "file")
