"""What the tests of the stages share: a small piece of a ProtoDUNE-HD event with Wire-Cell's answer, raw files, and runs by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dune_prompt.records import Assignment, InputFile, Report
from stages import job
from stages.nf_sp import channel_noise, pedestal, resampling
from stages.rawdata.metadata import record_of
from stages.rawdata.writer import FileSpec, RecordContent, write_raw_file
from stages.stage import Payload

DATA = Path(__file__).parent.parent / "data"
ATTEMPT = "01J0QZ5W3V5T9H0F1N2M3P4Q5R"


@dataclass(frozen=True, slots=True)
class TwoBoards:
    """Two FEMBs (80 U, 80 V, 96 W channels) of P02NL over 0.77 ms: simulated ADC values at 512 ns and the real Wire-Cell's `gauss`.

    1500 ticks become 1536 of 500 ns. Wire-Cell saw the whole readout, so the ends of the window are not comparable.
    """

    adc: NDArray[np.uint16]
    channels: NDArray[np.int32]
    gauss: NDArray[np.float32]

    def waveforms(self) -> NDArray[np.float32]:
        """Waveforms around 0 at ticks of 500 ns, noise not filtered."""
        _, samples = pedestal.measure(self.adc, None)
        resampled = resampling.resample(samples, resampling.grid(samples.shape[1], 512.0))
        channel_noise.centre_and_measure(resampled, None)
        return resampled


@pytest.fixture(scope="session")
def two_boards() -> TwoBoards:
    with np.load(DATA / "pdhd_two_femb.npz") as file:
        return TwoBoards(file["adc"], file["channels"], file["gauss"].astype(np.float32))


@pytest.fixture(scope="session")
def raw_file(tmp_path_factory: pytest.TempPathFactory, two_boards: TwoBoards) -> Path:
    """A raw file of two short trigger records of P02NL, in DUNE-DAQ's layout: the two FEMBs, and noise on all other channels."""
    random = np.random.default_rng(1)
    records = []
    for number in (5, 7):
        n_ticks = 640
        noise = 13 * random.standard_normal((2560, n_ticks), np.float32)
        noise += np.repeat([9402.0, 9402.0, 3601.0], [800, 800, 960])[:, None].astype(np.float32)
        adc = np.rint(noise).astype(np.uint16)
        adc[two_boards.channels - 2560] = two_boards.adc[:, 500 : 500 + n_ticks]
        timestamp = 107_424_688_000_000_000 + number * 62_500_000
        records.append(RecordContent(number, timestamp, timestamp - 15_616, {"P02NL": adc}, error_bits=number == 7))
    path = tmp_path_factory.mktemp("raw") / "np04hd_raw_run027296_0003_dataflow0_datawriter_0_20240619T110330.hdf5"
    spec = FileSpec("pdhd", 27296, 3, 1_718_795_010_000, 1_718_795_052_000)
    write_raw_file(path, spec, records)
    return path


def payload_of(stages: dict[str, dict[str, Any]], detector: str = "pdhd") -> Payload:
    return Payload(
        campaign="pdhd-prompt",
        version="v1",
        detector=detector,
        file_hash="0" * 64,
        code_version="0.1",
        outputs={"namespace": "hd-protodune-det-reco", "data_tier": "full-reconstructed"},
        stages=stages,
    )


def assignment_of(raw: Path, output_dir: Path, *stages: str, **changes: Any) -> Assignment:
    record = record_of(raw) if raw.exists() else None
    values: dict[str, Any] = {
        "attempt": ATTEMPT,
        "task": "1",
        "campaign": "pdhd-prompt",
        "version": "v1",
        "stages": stages,
        "raw": InputFile(
            raw.name, (str(raw),), did=record.did if record else "hd-protodune:gone.hdf5", metadata=record.metadata if record else {}
        ),
        "output_dir": str(output_dir),
        "report": str(output_dir / "report.json"),
    }
    return Assignment(**(values | changes))


Walk = Callable[..., tuple[Report, int]]


@pytest.fixture
def walk(raw_file: Path, tmp_path: Path) -> Walk:
    """Walk stages on the raw file as a job would, with `settings` of the stages; outputs go to a folder in tmp_path."""

    def run(
        *stages: str,
        settings: dict[str, dict[str, Any]] | None = None,
        raw: Path = raw_file,
        folder: str = "out",
        detector: str = "pdhd",
        **changes: Any,
    ) -> tuple[Report, int]:
        return job.walk(assignment_of(raw, tmp_path / folder, *stages, **changes), payload_of(settings or {}, detector))

    return run


@dataclass(frozen=True, slots=True)
class Chain:
    """A complete run of the first three stages."""

    report: Report
    folder: Path

    def path(self, suffix: str) -> Path:
        return next(path for path in self.folder.iterdir() if path.name.endswith(suffix))


@pytest.fixture(scope="session")
def chain(raw_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """nf_sp, declare and evaluate with the payload numpy, keeping the filtered frame."""
    folder = tmp_path_factory.mktemp("chain")
    payload = payload_of({"nf_sp": {"keep": ["nf"]}})
    report, exit_code = job.walk(assignment_of(raw_file, folder, "nf_sp", "declare", "evaluate"), payload)
    assert exit_code == 0, report
    return Chain(report, folder)
