"""A small installation to test the daemon in: buffer, store, embedded catalogue, a clock that stands still, and faults on demand."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from declare_daemon.catalogs import Catalogs, OpenCatalog
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.daemon import Daemon
from declare_daemon.journal import HandedOver, JournalFile, hand_over
from declare_daemon.journal.files import fetch, select_files
from dune_prompt.errors import TransientError
from dune_prompt.records import FileRecord
from dune_prompt.settings import Site, StreamSettings
from dune_prompt.store import Store, open_store

NAMESPACE = "hd-protodune"


class Crash(BaseException):
    """The process died here."""


class Faults:
    """Counts the points at which the outside world changes, and kills the process at one of them."""

    def __init__(self) -> None:
        self.passed = 0
        self.crash_at: int | None = None
        self._lock = Lock()

    def point(self) -> None:
        with self._lock:
            number, self.passed = self.passed, self.passed + 1
            crash = number == self.crash_at
            if crash:
                self.crash_at = None
        if crash:
            raise Crash(f"at point {number}")

    def around_file_changes(self, patch: pytest.MonkeyPatch) -> None:
        """Put points before and after every rename and removal of a file."""
        for method in ("rename", "unlink", "replace"):
            patch.setattr(Path, method, self._around(getattr(Path, method)))

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def changed(path: Path, *args: Any, **keywords: Any) -> Any:
            self.point()
            result = function(path, *args, **keywords)
            self.point()
            return result

        return changed


class FaultyCatalog:
    """A catalogue that can be away, that may die before or after any call, and that counts what it is asked."""

    def __init__(self, inner: EmbeddedCatalog, faults: Faults, name: str = "embedded") -> None:
        self._inner, self._faults, self.name = inner, faults, name
        self.away = False
        self.calls: list[str] = []

    def __getattr__(self, method: str) -> Any:
        function = getattr(self._inner, method)
        if method in ("close", "places"):
            return function

        def call(*args: Any, **keywords: Any) -> Any:
            self.calls.append(method)
            if self.away:
                raise TransientError(f"{self.name}: no answer")
            self._faults.point()
            answer = function(*args, **keywords)
            self._faults.point()
            return answer

        return call


class FaultyStore(Store):
    """The store, with a point before and after every commit."""

    faults: Faults

    @contextmanager
    def write(self) -> Iterator[Any]:
        with super().write() as connection:
            yield connection
            self.faults.point()
        self.faults.point()


class World:
    """One installation in `root`. Nothing happens until `settle`, `step` or `daemon` is called; time passes only by `advance`."""

    def __init__(
        self,
        root: Path,
        store_file: Path,
        *,
        streams: tuple[StreamSettings, ...] | None = None,
        buffer_settings: dict[str, Any] | None = None,
        **site: Any,
    ) -> None:
        self.root, self.buffer, self.outbox = root, root / "buffer", root / "outbox"
        self.buffer.mkdir(parents=True)
        (self.buffer / ".buffer").touch()
        shutil.copy(store_file, root / "dune-prompt.sqlite")
        self.site = Site(
            site="test",
            workspace=root,
            buffer={"path": str(self.buffer)} | (buffer_settings or {}),
            streams=streams or (stream(process=True), stream("tp", "np04hd_tp_run*.hdf5")),
            **site,
        )
        self.faults = Faults()
        self.now = 1_750_000_000.0
        plain = open_store(self.site.store_url, migrate=False)
        self.store = FaultyStore(plain.engine)
        self.store.faults = self.faults
        self.embedded = EmbeddedCatalog.at(root / "catalog.sqlite")
        self.catalog = FaultyCatalog(self.embedded, self.faults)
        self.catalogs = Catalogs((OpenCatalog("embedded", self.catalog, self.catalog),))
        self._daemon: Daemon | None = None

    # -- what others do ------------------------------------------------------------------------------------------------

    def raw_name(self, index: int, kind: str = "raw") -> str:
        return f"np04hd_{kind}_run028049_{index:04d}_dataflow0_datawriter_0_20240718T054941.hdf5"

    def sidecar(self, name: str, data: bytes, **metadata: Any) -> dict[str, Any]:
        return {
            "name": name,
            "namespace": NAMESPACE,
            "size": len(data),
            "checksums": {"adler32": f"{zlib.adler32(data):08x}"},
            "metadata": RAW_METADATA | metadata,
        }

    def put(self, index: int = 0, data: bytes | None = None, *, kind: str = "raw", sidecar: Any = ..., **metadata: Any) -> str:
        """The DAQ writes and closes a file; `sidecar` None leaves it without, other values replace its content."""
        name = self.raw_name(index, kind)
        data = f"data of {name}".encode() if data is None else data
        path = self.buffer / name
        draft = path.with_name(name + ".writing")
        draft.write_bytes(data)
        draft.rename(path)
        if sidecar is not None:
            content = self.sidecar(name, data, **metadata) if sidecar is ... else sidecar
            self.write_sidecar(name, content)
        return name

    def write_sidecar(self, name: str, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        draft = self.buffer / f"{name}.json.tmp"
        draft.write_text(text)
        draft.rename(self.buffer / f"{name}.json")

    def hand_over(self, what: str = "gauss.npz", *, of: int = 0, attempt: str = "A1", data: bytes = b"frames", **change: Any) -> FileRecord:
        """The engine commits an attempt with one output."""
        raw = self.raw_name(of)
        name = f"{Path(raw).stem}_pdhd-prompt_v1_{what}"
        folder = self.outbox / "attempts" / attempt
        folder.mkdir(parents=True, exist_ok=True)
        record = FileRecord(
            namespace="hd-protodune-det-reco",
            name=name,
            size_bytes=len(data),
            adler32=f"{zlib.adler32(data):08x}",
            metadata=RAW_METADATA | DERIVED_METADATA,
            parents=(f"{NAMESPACE}:{raw}",),
            dataset="hd-protodune-det-reco:pdhd-prompt_v1_gauss_028049",
        )
        record = FileRecord(**{field: getattr(record, field) for field in record.__dataclass_fields__} | change)
        (folder / name).write_bytes(data)
        (folder / f"{name}.json").write_text(json.dumps(record.to_json()))
        with Store(self.store.engine).write() as connection:
            hand_over(connection, [HandedOver(record, str(folder / name), attempt)], self.now)
        return record

    def declare_child(self, raw_name: str, *, stage: str = "evaluate", version: str = "v1") -> str:
        """Somebody declared a child of a raw file in the embedded catalogue; its DID."""
        made_by = DERIVED_METADATA | {"core.application.name": stage, "core.application.version": version}
        name, parent = f"{Path(raw_name).stem}_pdhd-prompt_{version}_{stage}", f"{NAMESPACE}:{raw_name}"
        record = FileRecord("hd-protodune-det-reco", name, 1, "00010001", RAW_METADATA | made_by, (parent,), "hd-protodune-det-reco:made")
        self.embedded.ensure_dataset("hd-protodune-det-reco:made")
        self.embedded.declare([record], "hd-protodune-det-reco:made")
        return record.did

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def unmount(self) -> None:
        """The mount is away: the mount point is there and empty."""
        self.buffer.rename(self.root / "unmounted")
        self.buffer.mkdir()

    def mount(self) -> None:
        self.buffer.rmdir()
        (self.root / "unmounted").rename(self.buffer)

    # -- the daemon ----------------------------------------------------------------------------------------------------

    @property
    def daemon(self) -> Daemon:
        if self._daemon is None:
            self._daemon = Daemon(self.site, self.store, self.catalogs, clock=lambda: self.now, randomness=lambda: 0.5, patience_s=10.0)
        return self._daemon

    def settle(self) -> None:
        """Let the daemon do all it can do now."""
        while self.daemon.step() or self.daemon.busy:
            pass

    def settle_for(self, seconds: float, tick: float = 5.0) -> None:
        """Let the daemon work while time passes."""
        end = self.now + seconds
        self.settle()
        while self.now < end:
            self.advance(min(tick, end - self.now))
            self.settle()

    def kill(self) -> None:
        """The daemon is gone; only files, store and catalogue are left of it."""
        if self._daemon is not None:
            self._daemon._verifier.close()
            self._daemon._mover.close()
            self._daemon = None

    def settle_with_crash(self, at: int, settle: Callable[[], None]) -> bool:
        """Run `settle` with a crash at point `at`, then start again without; whether it came to the crash."""
        self.faults.passed, self.faults.crash_at = 0, at
        try:
            settle()
        except Crash:
            self.kill()
            settle()
            return True
        self.faults.crash_at = None
        return False

    # -- what came of it -----------------------------------------------------------------------------------------------

    def files(self) -> dict[str, JournalFile]:
        with self.store.read() as connection:
            return {file.name: file for file in fetch(connection, select_files())}

    def file(self, name: str) -> JournalFile:
        return self.files()[name]

    def states(self) -> dict[str, str]:
        return {name: str(file.state) for name, file in self.files().items()}

    def tree(self) -> set[str]:
        """All files of buffer, outbox, quarantine and released folders, without sentinels and databases."""
        found = {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}
        return {path for path in found if "sqlite" not in path and not path.endswith((".buffer", ".outbox"))}

    def in_catalog(self) -> dict[str, tuple[int, str | None, tuple[str, ...]]]:
        """What the catalogue has: size, place, datasets of each file."""
        import sqlite3

        with closing(sqlite3.connect(self.root / "catalog.sqlite")) as connection:
            query = (
                "SELECT f.did, f.size_bytes, r.path, group_concat(d.did) FROM file f LEFT JOIN replica r ON r.file_id = f.id "
                "LEFT JOIN member m ON m.file_id = f.id LEFT JOIN dataset d ON d.id = m.dataset_id GROUP BY f.id"
            )
            return {did: (size, path, tuple(sorted(datasets.split(",")))) for did, size, path, datasets in connection.execute(query)}

    def in_intake(self) -> list[str]:
        """The files the engine has not taken in."""
        with self.store.read() as connection:
            query = "SELECT name FROM journal_intake JOIN journal_file ON id = file_id ORDER BY name"
            return list(connection.exec_driver_sql(query).scalars())

    def close(self) -> None:
        self.kill()
        self.store.close()
        self.embedded.close()


RAW_METADATA: dict[str, Any] = {
    "core.data_stream": "cosmics",
    "core.data_tier": "raw",
    "core.end_time": 1718795052.0,
    "core.event_count": 3,
    "core.events": [1, 9, 17],
    "core.file_content_status": "good",
    "core.file_format": "hdf5",
    "core.file_type": "detector",
    "core.first_event_number": 1,
    "core.last_event_number": 17,
    "core.run_type": NAMESPACE,
    "core.runs": [28049],
    "core.runs_subruns": [2804900001],
    "core.start_time": 1718795010.0,
    "dune.daq_test": "False",
    "retention.class": "physics",
    "retention.status": "active",
}
DERIVED_METADATA: dict[str, Any] = {
    "core.application.family": "dune-prompt",
    "core.application.name": "nf_sp",
    "core.application.version": "v1",
    "core.data_tier": "sp",
    "dune.campaign": "pdhd-prompt",
    "dune.config_file": "pdhd-prompt.yaml",
}


def stream(name: str = "physics", pattern: str = "np04hd_raw_run*.hdf5", **settings: Any) -> StreamSettings:
    return StreamSettings.model_validate({"name": name, "pattern": pattern} | settings)


@pytest.fixture(scope="session")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, migrated once."""
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    store = open_store(f"sqlite:///{path}")
    store.close()
    return path


@pytest.fixture
def world_class() -> type[World]:
    return World


@pytest.fixture
def make_world(tmp_path: Path, store_file: Path) -> Iterator[Callable[..., World]]:
    """Makes installations; settings of the site file are given by keyword."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path / f"world{len(made)}", store_file, **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture(scope="session")
def new_stream() -> Callable[..., StreamSettings]:
    return stream


@pytest.fixture(scope="session")
def raw_metadata() -> dict[str, Any]:
    return dict(RAW_METADATA)


@pytest.fixture(scope="session")
def derived_metadata() -> dict[str, Any]:
    return RAW_METADATA | DERIVED_METADATA


@pytest.fixture(scope="session")
def tiny_hdf5() -> Callable[..., None]:
    """Writes an HDF5 file with nothing but the root attributes the DAQ writes."""
    import h5py

    def write(path: Path, **change: Any) -> None:
        attributes = {
            "application_name": "dataflow0",
            "closing_timestamp": "1718795052700",
            "creation_timestamp": "1718795010300",
            "file_index": 0,
            "offline_data_stream": "cosmics",
            "operational_environment": "np04hd",
            "record_type": "TriggerRecord",
            "run_number": 28049,
            "run_was_for_test_purposes": "false",
        } | change
        with h5py.File(path, "w") as file:
            file.attrs.update({key: value for key, value in attributes.items() if value is not None})

    return write
