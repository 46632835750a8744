"""The data-quality record as it arrives: docs/reference/dqm-record.md, schema 1, checked field by field.

Fields this code does not know are allowed (they may be added under the same number) and kept with the record, but not shown.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from dune_prompt.errors import DataError
from dune_prompt.records import check_name

SCHEMA = 1
LONGEST_SHOWN = 8  # errors of one record


def _file_name(value: str) -> str:
    try:
        return check_name(value)
    except DataError as error:
        raise ValueError(str(error)) from None


def _picture_name(value: str) -> str:
    if not value.endswith(".png"):
        raise ValueError(f"picture {value[:80]!r}: only .png is taken")
    return _file_name(value)


Word = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_file_name)]
PictureName = Annotated[str, AfterValidator(_picture_name)]
Text = Annotated[str, Field(max_length=2000)]
Count = Annotated[int, Field(ge=0)]
Number = float | None


class Part(BaseModel):
    """Numbers are finite and no texts; what nobody knows here is left out."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, extra="ignore")


class Range(Part):
    """Median and 5 % and 95 % points over the channels of a plane."""

    median: Number
    p05: Number
    p95: Number


class BeforeAfter(Part):
    """Before and after noise filtering."""

    before: Number
    after: Number


class Spectrum(Part):
    """Mean |FFT| of the good channels of a plane, ADC against MHz."""

    frequency_mhz: tuple[float, ...] = Field(max_length=10_000)
    before_adc: tuple[Number, ...]
    after_adc: tuple[Number, ...]

    @model_validator(mode="after")
    def _same_length(self) -> Spectrum:
        if not len(self.frequency_mhz) == len(self.before_adc) == len(self.after_adc):
            raise ValueError("frequency_mhz, before_adc and after_adc differ in length")
        return self


class Histogram(Part):
    """Counts between edges."""

    edges: tuple[float, ...] = Field(max_length=10_001)
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _edges_fit(self) -> Histogram:
        if len(self.edges) != len(self.counts) + 1 and (self.edges or self.counts):
            raise ValueError(f"{len(self.counts)} counts need {len(self.counts) + 1} edges, not {len(self.edges)}")
        return self


class Channels(Part):
    """One entry a channel; entry i is offline channel `first` + i."""

    first: Count
    pedestal_adc: tuple[Number, ...] = Field(max_length=20_000)
    rms_raw_adc: tuple[Number, ...] = Field(max_length=20_000)
    rms_nf_adc: tuple[Number, ...] = Field(max_length=20_000)
    charge_e: tuple[Number, ...] = Field(max_length=20_000)

    @model_validator(mode="after")
    def _same_length(self) -> Channels:
        if len({len(self.pedestal_adc), len(self.rms_raw_adc), len(self.rms_nf_adc), len(self.charge_e)}) != 1:
            raise ValueError("pedestal_adc, rms_raw_adc, rms_nf_adc and charge_e differ in length")
        return self


class Plane(Part):
    """One plane of an element."""

    plane: Literal["U", "V", "W"]
    n_channels: Count
    n_missing: Count | None
    n_dead: Count | None
    n_noisy: Count | None
    n_low: Count | None
    n_high: Count | None
    missing_fraction: Number
    saturated_fraction: Number
    pedestal_adc: Range
    std_raw_adc: Range
    rms_raw_adc: Range
    rms_nf_adc: Range
    coherent_rms_adc: BeforeAfter
    coherent_fraction: Number
    correlation: BeforeAfter
    spectrum: Spectrum
    charge_e: Number
    hits: Number
    hit_charge_e: Histogram
    sp_nonzero_fraction: Number
    sp_gain: Number = None
    channels: Channels


class PlaneOfRecord(Part):
    """One plane in one trigger record."""

    plane: Literal["U", "V", "W"]
    hits: Number
    charge_e: Number
    rms_nf_adc: Number
    n_missing: Count


class ByRecord(Part):
    """An element in one trigger record."""

    record: int
    sequence: int
    planes: tuple[PlaneOfRecord, ...] = Field(max_length=3)


class Element(Part):
    """One APA or CRP."""

    element: Word
    anode: Count
    channel_map: Text
    n_records: Count
    n_ticks: Count
    tick_ns: float
    planes: tuple[Plane, ...] = Field(max_length=3)
    by_record: tuple[ByRecord, ...] = Field((), max_length=500)

    @model_validator(mode="after")
    def _planes_once(self) -> Element:
        if len({plane.plane for plane in self.planes}) != len(self.planes):
            raise ValueError(f"element {self.element}: a plane is given twice")
        return self


class RecordProblem(Part):
    """What is wrong with a trigger record."""

    record: int
    sequence: int
    element: str | None
    problem: Text


class TriggerRecords(Part):
    """What the file holds and how much of it could be used."""

    n_records: Count
    n_used: Count
    n_unusable: Count
    n_with_error_bits: Count
    error_bits: int
    n_problems: Count
    problems: tuple[RecordProblem, ...] = Field(max_length=1000)
    first_record: int | None
    last_record: int | None
    first_timestamp: int | None
    last_timestamp: int | None


class Picture(Part):
    """An event display that is uploaded with the record."""

    name: PictureName
    title: Text
    element: Word
    plane: Literal["U", "V", "W"]
    kind: Word
    record: int
    sequence: int | None = None
    first_channel: Count | None = None
    n_channels: Count | None = None
    n_ticks: Count | None = None
    ticks_per_pixel: Count | None = None
    tick_ns: Number = None
    low: Number = None
    high: Number = None
    unit: Text | None = None


class Performance(Part):
    """What `nf_sp` cost."""

    wall_s: Number
    cpu_s: Number
    rss_bytes: int | None
    input_bytes: Count
    mb_per_s: Number
    cpu_s_by_step: dict[str, Number]


class DqmRecord(Part):
    """The data quality of one raw file as (campaign, version) sees it."""

    schema_: Literal[1] = Field(alias="schema")
    made_at: float
    input_did: str = Field(min_length=1, max_length=400)
    run: Annotated[int, Field(ge=0, lt=2**31)]
    file_index: Annotated[int, Field(ge=0, lt=2**31)] | None
    detector: Annotated[Word, Field(max_length=16)]
    data_stream: Text | None
    start_time: Number
    end_time: Number
    campaign: Word
    version: Word
    attempt: Annotated[Word, Field(max_length=26)]
    stage: Word = "evaluate"
    payload: Annotated[Text, Field(max_length=64)]
    gain_mv_per_fc: Number
    notes: tuple[Text, ...] = Field(max_length=100)
    records: TriggerRecords | None
    elements: tuple[Element, ...] = Field(max_length=200)
    pictures: tuple[Picture, ...] = Field(max_length=200)
    performance: Performance

    @model_validator(mode="after")
    def _consistent(self) -> DqmRecord:
        _file_name(self.input_name)
        if len({element.element for element in self.elements}) != len(self.elements):
            raise ValueError("an element is given twice")
        if len({picture.name for picture in self.pictures}) != len(self.pictures):
            raise ValueError("a picture is given twice")
        return self

    @property
    def input_name(self) -> str:
        """The raw file's name, without its namespace."""
        return self.input_did.rpartition(":")[2]

    @property
    def run_type(self) -> str:
        """What kind of data it is: runs of one kind are judged by the same limits and have a reference of their own."""
        return (self.data_stream or "")[:64]


def read_record(content: bytes) -> DqmRecord:
    """Check the JSON text of a record.

    Raises:
        DataError: it is no JSON, has another schema, or a field is missing or wrong; the first few errors are listed with their place.
    """
    try:
        return DqmRecord.model_validate_json(content)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
    for problem in problems:
        if problem["loc"] == ("schema",):
            raise DataError(f"record: schema {_short(problem['input'])}: this service reads schema {SCHEMA}")
    lines = [f"{'.'.join(str(part) for part in problem['loc']) or 'record'}: {problem['msg']}" for problem in problems[:LONGEST_SHOWN]]
    more = f" (and {len(problems) - LONGEST_SHOWN} more)" if len(problems) > LONGEST_SHOWN else ""
    raise DataError("record: " + "; ".join(lines) + more)


def _short(value: Any) -> str:
    return "is missing" if isinstance(value, dict) else repr(value)[:40]
