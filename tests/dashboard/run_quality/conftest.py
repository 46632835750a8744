"""A store with data quality of three runs: one of 300 files of which one is bad, the reference run, and another.

Of the detector's four APAs three have data. It is filled once, and copied for each test.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from campaign.ledger.tables import campaign_table, count_table, task_table
from dashboard.dqm.record import read_record
from dashboard.dqm.rollup import Roller
from dashboard.dqm.storage import DqmStorage
from dashboard.quality.judging import Judge
from dashboard.quality.references import set_reference
from dune_prompt.store import Store, open_store
from stages.evaluate.pictures import charge, waveforms
from stages.images import CHARGE_LEVEL, WAVEFORM_LEVEL

NOW = 1_718_795_400.0
RUN, REFERENCE_RUN, OTHER_RUN = 27304, 27296, 27300
FILES, BAD, WITHOUT = 300, 57, (120, 121)
CHANNELS, TICKS = 800, 1456
RECORDS = 12
ODD_RECORD = 7
# Front-end board 3 of the V plane in the bad file is noisy, and four channels of it are dead.
NOISY = range(120, 160)

Content = dict[str, Any]
MakeRecord = Callable[..., Content]


def file_name(run: int, index: int) -> str:
    return f"np04hd_raw_run{run:06d}_{index:04d}_dataflow0_datawriter_0_20240619T110330.hdf5"


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """`make_record` of the conftest one folder up, which is a plugin and no module to import from."""
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(Path(__file__).parents[1] / "conftest.py"):
            return module.make_record  # type: ignore[no-any-return]
    raise LookupError("the conftest of tests/dashboard is not loaded")


def usual(make_record: MakeRecord, run: int, index: int, *, channels: int = 40, elements: int = 3) -> Content:
    """A record of a good file of twelve trigger records."""
    content = make_record(run, index, channels=channels, elements=elements)
    content["made_at"] = NOW + index
    content["start_time"], content["end_time"] = NOW + 60.0 * index, NOW + 60.0 * index + 50
    content["records"] |= {
        "n_records": RECORDS,
        "n_used": RECORDS,
        "n_unusable": 0,
        "n_with_error_bits": 0,
        "n_problems": 0,
        "problems": [],
    }
    content["pictures"] = []
    rng = np.random.default_rng(1000 * run + index)
    for element in content["elements"]:
        element["n_records"] = RECORDS
        for plane in element["planes"]:
            _give_noise(plane, rng)
            if plane["plane"] == "W":
                plane["sp_gain"] = float(np.round(rng.normal(0.98, 0.01), 4))
            plane["channels"]["charge_e"] = [round(float(value), -1) for value in rng.gamma(9, 22_000, channels)]
        element["by_record"] = [
            {
                "record": number,
                "sequence": 0,
                "planes": [
                    {
                        "plane": plane["plane"],
                        "hits": float(rng.poisson(plane["hits"])),
                        "charge_e": plane["charge_e"] * float(rng.normal(1, 0.04)),
                        "rms_nf_adc": plane["rms_nf_adc"]["median"] * float(rng.normal(1, 0.005)),
                        "n_missing": 0,
                    }
                    for plane in element["planes"]
                ],
            }
            for number in range(1, RECORDS + 1)
        ]
    return content


def _give_noise(plane: Content, rng: np.random.Generator) -> None:
    """Channels have a noise of their own, which hardly changes from file to file; a few are dead."""
    values = plane["channels"]
    channels = values["first"] + np.arange(plane["n_channels"])
    own = np.random.default_rng(int(channels[0]))
    raw = {"U": 26.0, "V": 25.0, "W": 19.0}[plane["plane"]] + own.normal(0, 0.7, len(channels)) + np.sin(channels / 40)
    raw += rng.normal(0, 0.12, len(channels))
    raw[channels % 397 == 11] = 2.0
    filtered = 0.68 * raw + rng.normal(0, 0.08, len(channels))
    for name, numbers in (("rms_raw_adc", raw), ("rms_nf_adc", filtered)):
        values[name] = [round(float(value), 2) for value in numbers]
        low, middle, high = np.quantile(values[name], (0.05, 0.5, 0.95))
        plane[name] = {"median": round(float(middle), 3), "p05": round(float(low), 3), "p95": round(float(high), 3)}
    plane["std_raw_adc"] = plane["rms_raw_adc"]
    plane["n_dead"] = int((raw < 10).sum())
    plane["n_noisy"] = plane["n_low"] = plane["n_missing"] = plane["n_high"] = 0


def bad(make_record: MakeRecord, run: int, index: int) -> Content:
    """The same with a noisy board, a trigger record with hardly a hit, another that is broken, and event displays."""
    content = usual(make_record, run, index, channels=CHANNELS)
    plane = plane_of(content, "P02NL", "V")
    values = plane["channels"]
    for channel in NOISY:
        dead = channel % 10 == 0
        values["rms_raw_adc"][channel] = 9.0 if dead else 66.0 + channel % 7
        values["rms_nf_adc"][channel] = 1.5 if dead else 38.0 + channel % 5
    plane["n_dead"] = sum(rms < 10 for rms in values["rms_raw_adc"])
    plane["n_noisy"] = sum(rms > 50 for rms in values["rms_raw_adc"])
    plane["rms_nf_adc"] = {"median": 31.0, "p05": 14.0, "p95": 42.0}
    spectrum = plane["spectrum"]
    for name in ("before_adc", "after_adc"):
        spectrum[name] = [
            value * (2.2 if 0.3 < f < 0.5 else 1.3) for f, value in zip(spectrum["frequency_mhz"], spectrum[name], strict=True)
        ]
    of_record = next(item for item in element_of(content, "P02NL")["by_record"] if item["record"] == ODD_RECORD)
    of_record["planes"][1]["hits"] = 12.0
    content["records"] |= {
        "n_used": RECORDS - 1,
        "n_unusable": 1,
        "n_problems": 1,
        "problems": [{"record": 9, "sequence": 0, "element": None, "problem": "trigger record header has marker 0x0"}],
    }
    content["pictures"] = [
        {
            "name": f"{Path(file_name(run, index)).stem}_P02NL_{name}_{kind}_{record}.png",
            "title": f"P02NL {name}, trigger record {record}: {kind}",
            "element": "P02NL",
            "plane": name,
            "kind": kind,
            "record": record,
            "sequence": 0,
            "first_channel": plane_of(content, "P02NL", name)["channels"]["first"],
            "n_channels": CHANNELS,
            "ticks_per_pixel": 4,
            "n_ticks": 4 * TICKS,
            "tick_ns": 512.0,
            "low": 0.0 if kind == "sp" else -160.0,
            "high": 2400.0 if kind == "sp" else 160.0,
            "unit": "e/tick" if kind == "sp" else "ADC",
        }
        for record in (1, 2)
        for name in "VW"
        for kind in ("raw", "nf", "sp")
    ]
    return content


def display(kind: str, seed: int, shape: tuple[int, int] = (CHANNELS, TICKS)) -> bytes:
    """A picture as `evaluate` draws it: noise, tracks, and before filtering noise that channels share."""
    rng = np.random.default_rng(seed)
    tracks = np.zeros(shape)
    for _ in range(9):
        ticks = np.arange(int(rng.integers(shape[1] // 3)), shape[1])
        channels = (rng.integers(shape[0]) + rng.uniform(-1.2, 1.2) * (ticks - ticks[0])).astype(int)
        inside = (channels >= 0) & (channels < shape[0])
        tracks[channels[inside], ticks[inside]] = rng.uniform(5, 12)
    if kind == "sp":
        return charge(np.clip(np.rint(tracks * 1.4), 0, CHARGE_LEVEL).astype(np.int8))[0]
    noise = rng.normal(0, 0.9, shape)
    if kind == "raw":
        common = np.repeat(rng.normal(0, 1.2, (shape[0] // 40, shape[1])), 40, axis=0)
        noise += common
    levels = np.clip(np.rint(noise + tracks - 0.6 * np.roll(tracks, 3, axis=1)), -WAVEFORM_LEVEL, WAVEFORM_LEVEL)
    return waveforms(levels.astype(np.int8))[0]


def element_of(content: Content, element: str) -> Content:
    return next(item for item in content["elements"] if item["element"] == element)


def plane_of(content: Content, element: str, plane: str) -> Content:
    return next(item for item in element_of(content, element)["planes"] if item["plane"] == plane)


@dataclass
class Filled:
    """What was put into the store: the records by run and file index."""

    store: Path
    workspace: Path
    contents: dict[tuple[int, int], Content]
    run: int = RUN
    reference_run: int = REFERENCE_RUN
    other_run: int = OTHER_RUN
    bad: int = BAD
    without: tuple[int, ...] = WITHOUT
    last: int = FILES + len(WITHOUT) - 1
    odd_record: int = ODD_RECORD

    def name(self, index: int, run: int = RUN) -> str:
        return file_name(run, index)

    def indices(self, run: int = RUN) -> list[int]:
        """The files that have a record, in order."""
        return sorted(index for of_run, index in self.contents if of_run == run)

    def of(self, index: int, run: int = RUN) -> Content:
        return self.contents[run, index]

    def plane(self, index: int, element: str, plane: str, run: int = RUN) -> Content:
        return plane_of(self.of(index, run), element, plane)


def keep(storage: DqmStorage, content: Content, now: float, pictures: dict[str, bytes] | None = None) -> None:
    text = json.dumps(content).encode()
    storage.keep(read_record(text), text, {name: io.BytesIO(png) for name, png in (pictures or {}).items()}, now)


@pytest.fixture(scope="session")
def filled(empty_store: Path, tmp_path_factory: pytest.TempPathFactory, make_record: MakeRecord) -> Filled:
    folder = tmp_path_factory.mktemp("filled")
    path, workspace = folder / "store.sqlite", folder / "workspace"
    path.write_bytes(empty_store.read_bytes())
    store = open_store(f"sqlite:///{path}", migrate=False)
    _write_ledger(store)
    storage = DqmStorage(store, workspace, Judge(store, workspace))
    contents = {(REFERENCE_RUN, i): usual(make_record, REFERENCE_RUN, i, channels=CHANNELS) for i in range(3)}
    contents |= {(OTHER_RUN, i): usual(make_record, OTHER_RUN, i, channels=CHANNELS) for i in range(2)}
    for content in contents.values():
        keep(storage, content, NOW)
    set_reference(store, workspace, REFERENCE_RUN, by="expert", why="cosmics, all is well", now=NOW)
    indices = [i for i in range(FILES + len(WITHOUT)) if i not in WITHOUT]
    of_run = {(RUN, i): bad(make_record, RUN, i) if i == BAD else usual(make_record, RUN, i) for i in indices}
    last = (RUN, indices[-1])
    of_run[last] = usual(make_record, *last, channels=CHANNELS)
    for place, content in enumerate(of_run.values()):
        pictures = {
            picture["name"]: display(picture["kind"], 10 * picture["record"] + ord(picture["plane"])) for picture in content["pictures"]
        }
        keep(storage, content, NOW + place, pictures)
    Roller(store).roll_stale(NOW + 1000)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return Filled(path, workspace, contents | of_run)


def _write_ledger(store: Store) -> None:
    files = FILES + len(WITHOUT)
    campaign = {"id": 1, "name": "pdhd-prompt", "version": "v1", "stream": "physics", "detector": "pdhd", "layout": "fused"}
    campaign |= {"required": True, "file_hash": "0" * 64, "content": {}, "first_seen": NOW}
    times = dict.fromkeys(("created_at", "ready_at", "closed_at"), NOW)
    tasks = [
        {"id": i + 1, "input_id": i + 1, "campaign_id": 1, "input_did": f"hd-protodune:{file_name(RUN, i)}", "step": "chain"}
        | {"state": "running" if i in WITHOUT else "done", "late": False, "run": RUN, "file_index": i, "size_bytes": 4_000_000_000}
        | {"deadline": NOW + 86400, "failures": 0, "attempts": 1, "allowed_failures": 4, **times}
        | {"done_at": None if i in WITHOUT else NOW}
        for i in range(files)
    ]
    counts = [
        {"campaign_id": 1, "run": RUN, "step": "chain", "state": state, "late": False, "tasks": number}
        for state, number in (("done", FILES), ("running", len(WITHOUT)))
    ]
    with store.write() as connection:
        for table, rows in ((campaign_table, [campaign]), (task_table, tasks), (count_table, counts)):
            connection.execute(sa.insert(table), rows)


@pytest.fixture
def store(tmp_path: Path, filled: Filled) -> Iterator[Store]:
    path = tmp_path / "store.sqlite"
    path.write_bytes(filled.store.read_bytes())
    # Files are replaced and never written into, so links will do.
    shutil.copytree(filled.workspace, tmp_path / "workspace", copy_function=os.link)
    store = open_store(f"sqlite:///{path}", migrate=False)
    yield store
    store.close()


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join(" ".join(parts).split())

    def every(self, tag: str | None = None, **attributes: str) -> list[Node]:
        """The elements inside with this tag and these attributes (`cls`: one of its classes)."""
        found = []
        for child in self.children:
            if isinstance(child, str):
                continue
            classes = child.attributes.get("class", "").split()
            fits = all(value in classes if name == "cls" else child.attributes.get(name) == value for name, value in attributes.items())
            if fits and tag in (None, child.tag):
                found.append(child)
            found += child.every(tag, **attributes)
        return found

    def one(self, tag: str | None = None, **attributes: str) -> Node:
        found = self.every(tag, **attributes)
        assert len(found) == 1, f"{len(found)} of {tag} {attributes}"
        return found[0]

    def has(self, tag: str | None = None, **attributes: str) -> bool:
        return bool(self.every(tag, **attributes))


class _Reader(HTMLParser):
    """Reads a page into nodes; scripts keep their text."""

    _VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.stack = [Node("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in self._VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._VOID:
            assert self.stack[-1].tag == tag, f"</{tag}> ends <{self.stack[-1].tag}>"
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


@dataclass
class Page(Node):
    """A page with its address, and what its scripts draw from."""

    address: str = ""

    @property
    def data(self) -> Any:
        return json.loads(self.one("script", id="quality-data").text)

    def section(self, name: str) -> Node:
        return self.one(id=name)


@pytest.fixture
def look(client: Any) -> Callable[..., Page]:
    """Look at the data-quality page of a run; without JavaScript."""

    def at(run: int = RUN, *, query: str = "", **chosen: Any) -> Page:
        answer = client.get(f"/runs/{run}/quality{query}", params=chosen or None)
        assert answer.status_code == 200, answer.text
        reader = _Reader()
        reader.feed(answer.text)
        reader.close()
        assert len(reader.stack) == 1, "an element is not closed"
        return Page("page", {}, reader.stack[0].children, address=str(answer.url))

    return at


@pytest.fixture
def put(store: Store, site: Any) -> Callable[..., None]:
    """Keep one more record, and roll its run up unless told otherwise."""
    storage = DqmStorage(store, site.workspace, Judge(store, site.workspace))
    roller = Roller(store)

    def one(content: Content, pictures: dict[str, bytes] | None = None, *, at: float = NOW + 2000, roll: bool = True) -> None:
        keep(storage, content, at, pictures)
        if roll:
            roller.roll_stale(at)

    return one


@pytest.fixture
def good_record(make_record: MakeRecord) -> Callable[..., Content]:
    """Another record of a good file."""
    return lambda run, index, **more: usual(make_record, run, index, **more)
