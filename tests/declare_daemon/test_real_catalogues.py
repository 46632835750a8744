"""SAM, MetaCat and Rucio together: whatever is disturbed or killed when, the servers have the same in the end, each file once."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from declare_daemon.catalogs import open_catalogs
from declare_daemon.daemon import Daemon
from declare_daemon.journal import HandedOver, hand_over
from declare_daemon.journal.files import fetch, select_files
from dune_prompt.records import FileRecord
from dune_prompt.settings import Site, load_site
from dune_prompt.store import open_store
from tests.servers.catalogues import DERIVED, NAMESPACE, Catalogues
from tests.servers.rucio import RucioServer

REPOSITORY = Path(__file__).parents[2]
RAW_FILES = 3
FAULTS: dict[str, Callable[[Any], None]] = {
    "dropped before the server acted": lambda proxy: proxy.drop(times=2),
    "dropped after the server acted": lambda proxy: proxy.drop(after=True, times=2, method="POST"),
    "never answered": lambda proxy: proxy.silence(after=True, times=1, method="POST"),
    "slow": lambda proxy: proxy.slow(0.3, times=10),
    "cut short": lambda proxy: proxy.truncate(times=2),
    **{f"answered with {code}": lambda proxy, code=code: proxy.reply(code, times=2) for code in (401, 403, 409, 429, 500, 502)},  # type: ignore[misc]
    **{
        f"done but answered with {code}": lambda proxy, code=code: proxy.reply(code, after=True, times=2, method="POST")
        for code in (409, 500, 502)
    },  # type: ignore[misc]
}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY)}
runs = itertools.count(31000)

pytestmark = [
    pytest.mark.skipif(RucioServer.missing() is not None, reason=str(RucioServer.missing())),
    # After a 401 rucio-clients drops its session with the sockets still open.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogues]:
    folder = tmp_path_factory.mktemp("servers")
    with Catalogues(folder) as servers:
        yield servers


class Place:
    """An installation with files of one run: three raw ones, and an output of the first."""

    def __init__(self, folder: Path, servers: Catalogues) -> None:
        self.folder, self.servers, self.run = folder, servers, next(runs)
        (folder / "buffer").mkdir(parents=True)
        (folder / "buffer" / ".buffer").touch()
        text = "site: test\nbuffer: {path: buffer}\nstreams:\n  - {name: physics, pattern: 'np04hd_raw_run*.hdf5', process: true}\n"
        self.site_file = folder / "site.yaml"
        self.site_file.write_text(text + servers.site_catalogs())
        self.site: Site = load_site(self.site_file)
        self.store = open_store(self.site.store_url)
        for index in range(RAW_FILES):
            self._raw(index)
        self._output()

    def _name(self, index: int) -> str:
        return f"np04hd_raw_run{self.run:06d}_{index:04d}_dataflow0_datawriter_0_20240718T054941.hdf5"

    def _raw(self, index: int) -> None:
        name, data = self._name(index), f"data {index}".encode()
        (self.folder / "buffer" / name).write_bytes(data)
        content = FileRecord(NAMESPACE, name, len(data), f"{zlib.adler32(data):08x}", self._metadata()).to_json()
        draft = self.folder / "buffer" / f"{name}.json.tmp"
        draft.write_text(json.dumps(content))
        draft.rename(self.folder / "buffer" / f"{name}.json")

    def _metadata(self) -> dict[str, Any]:
        return {
            "core.data_stream": "cosmics",
            "core.data_tier": "raw",
            "core.end_time": 1718795052.0,
            "core.event_count": 1,
            "core.events": [1],
            "core.file_format": "hdf5",
            "core.file_type": "detector",
            "core.first_event_number": 1,
            "core.last_event_number": 1,
            "core.run_type": NAMESPACE,
            "core.runs": [self.run],
            "core.runs_subruns": [self.run * 100000 + 1],
            "core.start_time": 1718795010.0,
            "dune.daq_test": "False",
        }

    def _output(self) -> None:
        name, data = f"{Path(self._name(0)).stem}_pdhd-prompt_v1_gauss.npz", b"frames"
        made = {
            "core.application.family": "dune-prompt",
            "core.application.name": "nf_sp",
            "core.application.version": "v1",
            "core.data_tier": "decoded-raw",
            "core.file_format": "npz",
            "dune.campaign": "pdhd-prompt",
            "dune.config_file": "pdhd-prompt.yaml",
            "dune.output_status": "recorded",
        }
        parent = f"{NAMESPACE}:{self._name(0)}"
        dataset = f"{DERIVED}:pdhd-prompt_v1_gauss_{self.run}"
        record = FileRecord(DERIVED, name, len(data), f"{zlib.adler32(data):08x}", self._metadata() | made, (parent,), dataset)
        folder = self.folder / "outbox" / "attempts" / "A1"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(data)
        (folder / f"{name}.json").write_text(json.dumps(record.to_json()))
        with self.store.write() as connection:
            hand_over(connection, [HandedOver(record, str(folder / name), "A1")], time.time())

    def settle(self, seconds: float = 60.0) -> None:
        """Let a daemon work until everything is declared."""
        with closing(open_catalogs(self.site)) as catalogs, closing(Daemon(self.site, self.store, catalogs)) as daemon:
            end = time.monotonic() + seconds
            while time.monotonic() < end and set(self.states().values()) != {"declared"}:
                daemon.once(0.1)
                time.sleep(0.05)
        assert self.states() == dict.fromkeys(self.states(), "declared"), self.reasons()

    def states(self) -> dict[str, str]:
        with self.store.read() as connection:
            files = fetch(connection, select_files())
        return {file.name: str(file.state) for file in files} if len(files) == RAW_FILES + 1 else {"": "not all found"}

    def reasons(self) -> dict[str, str | None]:
        with self.store.read() as connection:
            return {file.name: file.reason for file in fetch(connection, select_files())}

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def make_place(tmp_path: Path, servers: Catalogues) -> Iterator[Callable[[], Place]]:
    servers.clear()
    made: list[Place] = []

    def make() -> Place:
        made.append(Place(tmp_path / f"place{len(made)}", servers))
        return made[-1]

    yield make
    servers.clear()
    for place in made:
        place.close()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, servers: Catalogues) -> Any:
    """What the servers have of a run when nothing was disturbed."""
    place = Place(tmp_path_factory.mktemp("undisturbed") / "place", servers)
    place.settle()
    place.close()
    return servers.state(place.run)


def test_a_run_is_in_all_three_with_copies_parents_and_one_identity(expected: Any) -> None:
    assert [len(item["locations"]) for item in expected["sam"]] == [1] * 4
    assert len(expected["metacat"]) == 4
    for name, _, adler32, dataset, parents, status, same_id in expected["metacat"]:
        derived = name.endswith(".npz")
        assert same_id, "the SAM id is the MetaCat id"
        assert len(adler32) == 8
        assert dataset == (f"{DERIVED}:pdhd-prompt_v1_gauss_RUN" if derived else f"{NAMESPACE}:{NAMESPACE}_RUN")
        assert (parents is not None) == derived
        assert status == ("confirmed" if derived else None)
    rucio = expected["rucio"]
    assert [row[3] for row in rucio["replicas"]] == ["A"] * 4
    assert len(rucio["contents"]) == 4
    assert ("hd-protodune_RUN", "DUNE_CERN_EOS", "O") in [tuple(row) for row in rucio["rules"]]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_the_wire_of_all_three_changes_nothing_in_the_end(make_place: Callable[[], Place], expected: Any, fault: str) -> None:
    place = make_place()
    for proxy in place.servers.proxies.values():
        FAULTS[fault](proxy)
    place.settle()
    assert place.servers.state(place.run) == expected
    assert not list((place.folder / "quarantine").glob("*"))


@pytest.mark.parametrize("away", ["sam", "metacat", "rucio"])
def test_while_one_is_away_the_others_go_on_as_far_as_they_can(make_place: Callable[[], Place], expected: Any, away: str) -> None:
    place = make_place()
    with place.servers.proxies[away].refusing():
        with closing(open_catalogs(place.site)) as catalogs, closing(Daemon(place.site, place.store, catalogs)) as daemon:
            daemon.once(0.1)
            time.sleep(1.5)
            daemon.once(0.1)
        have = place.servers.state(place.run)
        # MetaCat needs SAM's identity of each file; everything else is independent.
        there = {"sam": bool(have["sam"]), "metacat": bool(have["metacat"]), "rucio": bool(have["rucio"]["replicas"])}
        assert there == {"sam": away != "sam", "metacat": away == "rucio", "rucio": away != "rucio"}
    place.settle()
    assert place.servers.state(place.run) == expected


@pytest.mark.parametrize("victim", ["sam", "metacat", "rucio"])
def test_a_server_killed_in_the_middle_is_waited_for(make_place: Callable[[], Place], expected: Any, victim: str) -> None:
    place = make_place()
    server = getattr(place.servers, victim)
    rule = place.servers.proxies[victim].silence(after=True, times=1, method="POST")
    with closing(open_catalogs(place.site)) as catalogs, closing(Daemon(place.site, place.store, catalogs)) as daemon:
        daemon.step()
        for _ in range(200):
            if rule.hit.wait(0.05):
                break
            daemon.step()
        assert rule.hit.is_set()
        server.kill()
    server.start()
    place.settle()
    assert place.servers.state(place.run) == expected


PARTS = 6


@pytest.mark.parametrize("part", range(PARTS))
def test_a_daemon_killed_at_any_point_is_resumed(make_place: Callable[[], Place], expected: Any, part: int) -> None:
    """SIGKILL before and after each commit of the journal and each call of a catalogue."""
    program = [sys.executable, str(Path(__file__).with_name("killed_daemon.py"))]

    def run(place: Place, point: int) -> subprocess.CompletedProcess[str]:
        command = [*program, str(place.site_file), str(point)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=REPOSITORY, env=ENVIRONMENT)

    undisturbed = run(make_place(), -1)
    assert undisturbed.returncode == 0, undisturbed.stderr
    points = int(undisturbed.stdout)
    assert points > 40
    for point in range(part, points, PARTS):
        place = make_place()
        killed = run(place, point)
        assert killed.returncode in (-9, 0), killed.stderr
        place.settle()
        assert place.servers.state(place.run) == expected, f"after a kill at point {point} of {points}"
