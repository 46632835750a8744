from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import DataError
from stages.rawdata.file_name import RUN_TYPES, RawFileName


@pytest.mark.parametrize(
    ("name", "run", "index", "writer", "run_type", "tier"),
    [
        (
            "np04hd_raw_run028676_0145_dataflow5_datawriter_0_20240814T044406.hdf5",
            28676,
            145,
            "dataflow5_datawriter_0",
            "hd-protodune",
            "raw",
        ),
        ("np02vd_raw_run039229_0024_df-s05-d4_dw_0_20250829T115242.hdf5", 39229, 24, "df-s05-d4_dw_0", "vd-protodune", "raw"),
        ("np02vdcoldbox_raw_run037040_0023_df-s02-d0_dw_0_20250704T183417.hdf5", 37040, 23, "df-s02-d0_dw_0", "vd-coldbox", "raw"),
        (
            "np04hd_tp_run035722_0000_tp-stream-writer_tpw_0_20250403T131152.hdf5",
            35722,
            0,
            "tp-stream-writer_tpw_0",
            "hd-protodune",
            "trigprim",
        ),
    ],
)
def test_names_of_real_files_are_understood(name: str, run: int, index: int, writer: str, run_type: str, tier: str) -> None:
    parts = RawFileName.parse(name)
    assert (parts.run, parts.index, parts.writer, parts.run_type, parts.data_tier) == (run, index, writer, run_type, tier)
    assert str(parts) == name


@given(
    st.builds(
        RawFileName,
        st.sampled_from(sorted(RUN_TYPES)),
        st.sampled_from(["raw", "tp"]),
        st.integers(0, 10**7),
        st.integers(0, 10**5),
        st.from_regex(r"[a-z0-9-]+_[a-z]+_[0-9]", fullmatch=True),
        st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)).map(lambda t: t.replace(microsecond=0)),  # noqa: DTZ001
    )
)
def test_a_name_that_was_made_is_read_back(name: RawFileName) -> None:
    assert RawFileName.parse(str(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "np04hd_raw_run027296_0000_dataflow0_datawriter_0_20240619T110330.hdf5.writing",
        "np04hd_raw_run027296_0000_dataflow0_datawriter_0_20240619T110330.root",
        "np04xx_raw_run027296_0000_dataflow0_datawriter_0_20240619T110330.hdf5",
        "np04hd_raw_run27296_0000_dataflow0_datawriter_0_20240619T110330.hdf5",
        "../np04hd_raw_run027296_0000_dataflow0_datawriter_0_20240619T110330.hdf5",
        "np04hd_raw_run027296_0000_data/flow_20240619T110330.hdf5",
        "np04hd_raw_run027296_0000_dataflow0_datawriter_0_20241332T110330.hdf5",
        "",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DataError):
        RawFileName.parse(name)
