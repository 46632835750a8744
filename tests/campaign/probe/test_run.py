"""A probe from the buffer to the end of the chain, with a chain that goes on, stops or breaks as the test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign.definition import Campaign, load_campaign
from campaign.layout import CHAIN
from campaign.ledger.tables import attempt_table, campaign_table, task_table
from campaign.places import job_dir
from campaign.probe import history, raw_file
from campaign.probe.history import Probe
from campaign.probe.run import LEASE, Prober, choose_campaign, clear_up, probe
from campaign.probe.verdict import Outcome, durations
from declare_daemon.catalogs import Catalogs, Copies, OpenCatalog
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table, obligation_table
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.records import SIDECAR_SUFFIX, write_json
from dune_prompt.settings import load_site
from dune_prompt.settings.probe import ProbeSettings
from dune_prompt.store import Lease, LeaseHeldError, event_table, open_store

RUN = 999_900
SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "np04hd_raw_run*.hdf5", where: {dune.daq_test: false}, process: true, lifetime: 1h}
  - {name: other, pattern: "np04hd_tp_run*.hdf5", lifetime: 1h}
"""
CAMPAIGN = """
campaign: test-prompt
detector: pdhd
stream: physics
version: v1
required: true
stages: {nf_sp: {payload: numpy}}
outputs: {namespace: hd-protodune-det-reco, data_tier: decoded-raw}
"""
ATTEMPT = "01HF" + "A" * 22
NUMBERS = {"n_elements": 1, "charge_e": 453782483.0, "hits": 10829.0}


class Killed(BaseException):
    """The process of the probe ends here."""


@dataclass
class CopiesKnown:
    """A catalogue of copies whose rules are satisfied or not."""

    name: str = "rucio"
    satisfied: bool = True
    away: bool = False
    asked: list[str] = field(default_factory=list)

    def copies(self, dids: Sequence[str], dataset: str, keeping: Any, *, closely: bool = True) -> dict[str, Copies]:
        if self.away:
            raise TransientError("rucio: no answer")
        self.asked += dids
        rules = {"CERN_PDUNE_CASTOR": "OK" if self.satisfied else "REPLICATING"}
        return {did: Copies(did, 10, "00000001", {"DUNE_CERN_EOS": "root://x//y"}, rules) for did in dids}


@dataclass
class World:
    """An installation in a folder, the time, and what happens each time the probe waits."""

    folder: Path
    copies: CopiesKnown = field(default_factory=CopiesKnown)
    now: float = 1_700_000_000.0
    script: list[Callable[[], None]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=lambda: dict(NUMBERS))
    settings: ProbeSettings = field(default_factory=lambda: ProbeSettings(run=RUN, stream="physics", frames=4, late_after="60s"))

    def __post_init__(self) -> None:
        (self.folder / "buffer").mkdir()
        (self.folder / "buffer" / ".buffer").touch()
        (self.folder / "site.yaml").write_text(SITE)
        (self.folder / "c.yaml").write_text(CAMPAIGN)
        self.site = load_site(self.folder / "site.yaml")
        self.campaign: Campaign = load_campaign(self.folder / "c.yaml").settings
        self.store = open_store(self.site.store_url)
        row = {"id": 7, "name": "test-prompt", "version": "v1", "stream": "physics", "detector": "pdhd", "layout": "fused"}
        row |= {"required": True, "file_hash": "0" * 64, "content": {}, "first_seen": 0.0}
        self.write(sa.insert(campaign_table).values(**row))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.script:
            self.script.pop(0)()

    def prober(self) -> Prober:
        catalogs = Catalogs((OpenCatalog("rucio", None, self.copies),))  # type: ignore[arg-type]
        return Prober(self.site, self.settings, self.campaign, self.store, catalogs, lambda: self.now, self.sleep)

    def probe(self) -> Probe:
        return probe(self.prober())

    def write(self, *statements: Any) -> None:
        with self.store.write() as connection:
            for statement in statements:
                connection.execute(statement)

    def one(self, query: Any) -> Any:
        with self.store.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def in_buffer(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "buffer").iterdir() if path.name != ".buffer")

    def probes(self) -> list[Probe]:
        with self.store.read() as connection:
            return history.newest(connection, 100)

    # what daemon and engine do

    def raw_name(self) -> str:
        return next(name for name in self.in_buffer() if name.endswith(".hdf5"))

    def notice(self, state: FileState = FileState.FOUND) -> None:
        name = self.raw_name()
        row = {"origin": "buffer", "name": name, "path": str(self.folder / "buffer" / name), "state": state.value, "stream": "physics"}
        row |= {
            "did": f"hd-protodune:{name}",
            "run": RUN,
            "found_at": self.now,
            "reason": "bad" if state is FileState.QUARANTINED else None,
        }
        self.write(sa.insert(file_table).values(**row))
        did = row["did"]
        self.write(sa.insert(obligation_table).values(did=did, campaign="test-prompt", version="v1", child="evaluate"))

    def declare(self) -> None:
        raw = file_table.c.origin == "buffer"
        values = {"state": "declared", "verified_at": self.now, "declared_at": self.now + 0.1}
        self.write(sa.update(file_table).where(raw).values(**values))

    def take_in(self) -> None:
        did = self.one(sa.select(file_table.c.did).where(file_table.c.origin == "buffer"))
        row = {"id": 1, "input_id": 1, "campaign_id": 7, "input_did": did, "step": CHAIN, "state": "ready", "run": RUN, "size_bytes": 1}
        row |= {"deadline": 0.0, "allowed_failures": 4, "ready_at": 0.0, "created_at": self.now}
        self.write(sa.insert(task_table).values(**row))

    def submit(self) -> None:
        row = {"id": ATTEMPT, "task_id": 1, "number": 1, "state": "submitted", "stages": "nf_sp,declare,evaluate,dqm_upload"}
        row |= {"launcher": "local", "lease_until": 0.0, "created_at": self.now, "submitted_at": self.now, "host": "worker"}
        self.write(sa.insert(attempt_table).values(**row), sa.update(task_table).values(state="submitted", submitted_at=self.now))

    def run_job(self) -> None:
        stages = []
        for index, name in enumerate(("nf_sp", "declare", "evaluate", "dqm_upload")):
            metrics = {"evaluate": self.numbers, "nf_sp": {"payload": "numpy", "wall_s": self.now}}.get(name, {})
            times = {"started": self.now + index, "ended": self.now + index + 1}
            stages.append({"name": name, "state": "ok", **times, "cpu_s": 1.0, "rss_bytes": 1, "outputs": [], "metrics": metrics})
        folder = job_dir(self.site.workspace, ATTEMPT)
        folder.mkdir(parents=True, exist_ok=True)
        report = {"schema": 1, "attempt": ATTEMPT, "task": "1", "campaign": "test-prompt", "version": "v1", "host": "worker"}
        write_json(folder / "report.json", report | {"stages": stages})
        self.now += 4
        self.write(
            sa.update(attempt_table).values(state="succeeded", ended_at=self.now),
            sa.update(task_table).values(state="reported", reported_at=self.now),
        )

    def declare_outputs(self) -> None:
        for name in ("gauss.npz", "metrics.json"):
            row = {"origin": "outbox", "name": name, "path": name, "state": "declared", "did": f"reco:{name}", "attempt": ATTEMPT}
            row |= {"found_at": self.now, "verified_at": self.now + 1, "declared_at": self.now + 2, "dataset": "reco:set"}
            self.write(sa.insert(file_table).values(**row))
        self.now += 2

    def finish(self) -> None:
        self.write(sa.update(task_table).values(state="done", done_at=self.now))
        self.write(sa.update(obligation_table).values(met_at=self.now))

    def chain(self) -> list[Callable[[], None]]:
        return [self.notice, self.declare, self.take_in, self.submit, self.run_job, self.declare_outputs, self.finish]

    def forget_the_chain(self) -> None:
        """As if it were another file: the next probe's rows have the same keys here."""
        self.write(*(sa.delete(table) for table in (obligation_table, attempt_table, task_table, file_table)))
        for path in (self.folder / "buffer").glob("np04*"):
            path.unlink()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_a_probe_passes_every_hop_and_its_numbers_become_the_expected_ones(world: World) -> None:
    world.script = world.chain()
    sent = world.probe()
    assert (sent.outcome, sent.launcher, sent.host) == (Outcome.OK, "local", "worker")
    hops = ["found", "verified", "declared", "taken_in", "submitted", "started", "nf_sp", "declare", "evaluate", "dqm_upload"]
    assert sorted(sent.hops) == sorted([*hops, "placed", "outputs_declared", "done", "rules"])
    assert "expected ones from now on" in str(sent.message)
    with world.store.read() as connection:
        assert history.expected(connection, sent) == {f"evaluate.{key}": value for key, value in NUMBERS.items()}
    assert world.probes() == [sent]


def test_the_file_is_put_into_the_buffer_as_the_data_acquisition_does_it(world: World) -> None:
    sent = _late(world)
    name = world.raw_name()
    assert name.startswith(f"np04hd_raw_run{RUN}_0000_")
    assert world.in_buffer() == [name, name + SIDECAR_SUFFIX]
    sidecar = json.loads((world.folder / "buffer" / (name + SIDECAR_SUFFIX)).read_text())
    assert (sidecar["name"], sidecar["metadata"]["core.runs"], sidecar["metadata"]["retention.class"]) == (name, [RUN], "other")
    assert f"{sidecar['namespace']}:{name}" == sent.did
    assert not (world.site.workspace / "probe").exists()


def test_its_content_is_always_the_same(world: World) -> None:
    from stages.rawdata import RawFile

    samples = []
    for later in (0.0, 3601.0):
        file = raw_file.make(world.folder / "made", world.settings, world.prober().stream, "pdhd", world.now + later)
        with RawFile.open(file.path) as raw:
            record = raw.records[0]
            samples.append(raw.block(record, raw.elements(record)[0]).adc.copy())
        assert file.raw == "pdhd-4-frames-seed-20260101"
    assert (samples[0] == samples[1]).all()


def _late(world: World) -> Probe:
    sent = world.probe()
    assert sent.outcome is Outcome.LATE
    return sent


def _events(world: World) -> list[tuple[str, str]]:
    with world.store.read() as connection:
        rows = connection.execute(sa.select(event_table.c.before, event_table.c.after).where(event_table.c.subject == "probe"))
        return [(row.before, row.after) for row in rows]


@pytest.mark.parametrize(
    ("passed", "where"),
    [
        (0, "the declare daemon has not noticed it"),
        (1, "its raw file is found"),
        (2, "its raw file is declared, but the service has not taken it into the ledger"),
        (3, "its task is ready: waits for a free slot"),
        (4, "its task is submitted: waits in the batch system"),
        (5, "its task is reported"),
    ],
)
def test_a_late_probe_says_where_it_is_and_holds_the_buffer_no_longer(world: World, passed: int, where: str) -> None:
    world.script = world.chain()[:passed]
    sent = _late(world)
    assert str(sent.message).startswith("after 60 s")
    assert where in str(sent.message)
    if passed:
        assert world.one(sa.select(obligation_table.c.waived_by)) == "probe"
    assert _events(world) == [("ok", "late")]


def test_a_late_probe_is_completed_by_the_next_one(world: World) -> None:
    world.script = world.chain()[:4]
    late = _late(world)
    for step in world.chain()[4:]:
        step()
    clear_up(world.prober())
    completed = world.probes()[0]
    assert completed.id == late.id
    assert completed.outcome is Outcome.LATE
    assert {"done", "outputs_declared", "rules"} <= completed.hops.keys()


def test_a_file_that_was_noticed_only_after_its_probe_was_late_does_not_hold_the_buffer(world: World) -> None:
    _late(world)
    world.notice()
    assert world.one(sa.select(obligation_table.c.waived_by)) is None
    clear_up(world.prober())
    assert world.one(sa.select(obligation_table.c.waived_by)) == "probe"


def test_other_numbers_are_told_and_can_be_accepted(world: World) -> None:
    world.script = world.chain()
    world.probe()
    world.forget_the_chain()
    world.now += 3600
    world.numbers["hits"] = 10000.0
    world.script = world.chain()
    sent = world.probe()
    assert sent.outcome is Outcome.DIFFERENT
    assert sent.message == "evaluate.hits is 10000 instead of 10829 (-7.66%)"
    assert _events(world) == [("ok", "different")]
    with world.store.write() as connection:
        history.expect(connection, sent, world.now)
    world.forget_the_chain()
    world.now += 3600
    world.script = world.chain()
    assert world.probe().outcome is Outcome.OK
    assert _events(world) == [("ok", "different"), ("different", "ok")]


def test_expected_numbers_may_come_from_a_file(world: World) -> None:
    path = world.folder / "expected.json"
    path.write_text(json.dumps({f"evaluate.{key}": value for key, value in NUMBERS.items()} | {"evaluate.hits": 1}))
    world.settings = world.settings.model_copy(update={"expected": path})
    world.script = world.chain()
    assert world.probe().outcome is Outcome.DIFFERENT


def test_a_new_code_version_has_its_own_expected_numbers(world: World) -> None:
    world.script = world.chain()
    sent = world.probe()
    with world.store.read() as connection:
        assert history.expected(connection, replace(sent, code_version="next")) is None


def test_a_probe_whose_task_is_parked_has_failed(world: World) -> None:
    def park() -> None:
        world.write(sa.update(task_table).values(state="parked", message="nf_sp: boom"))

    world.script = [*world.chain()[:4], park]
    sent = world.probe()
    assert sent.outcome is Outcome.FAILED
    assert "parked" in str(sent.message)
    assert "nf_sp: boom" in str(sent.message)


def test_a_probe_whose_file_is_quarantined_has_failed(world: World) -> None:
    world.script = [lambda: world.notice(FileState.QUARANTINED)]
    sent = world.probe()
    assert sent.outcome is Outcome.FAILED
    assert "quarantined: bad" in str(sent.message)


def test_rules_that_are_not_satisfied_make_it_late_only_if_asked_for(world: World) -> None:
    world.copies.satisfied = False
    world.script = world.chain()
    sent = world.probe()
    assert sent.outcome is Outcome.OK
    assert "rules" not in sent.hops
    world.forget_the_chain()
    world.now += 3600
    world.settings = world.settings.model_copy(update={"rules": True})
    world.script = world.chain()
    sent = _late(world)
    assert "rules are not satisfied yet" in str(sent.message)


def test_a_catalogue_that_is_away_leaves_only_the_rules_unknown(world: World) -> None:
    world.copies.away = True
    world.script = world.chain()
    sent = world.probe()
    assert sent.outcome is Outcome.OK
    assert "rules" not in sent.hops


@pytest.mark.parametrize("dies_after", range(7))
def test_a_probe_that_died_is_found_by_the_next_and_its_file_holds_nothing(world: World, dies_after: int) -> None:
    def die() -> None:
        raise Killed

    world.script = [*world.chain()[:dies_after], die]
    with pytest.raises(Killed):
        world.probe()
    world.now += 3600
    lost = clear_up(world.prober())
    assert [item.outcome for item in lost] == [Outcome.LOST]
    if dies_after:
        assert world.one(sa.select(obligation_table.c.waived_by)) == "probe"
    assert clear_up(world.prober()) == []
    assert _events(world) == [("ok", "lost")]


@pytest.mark.parametrize("at", ["copy", "sidecar"])
def test_what_a_probe_left_half_done_in_the_buffer_is_taken_away(world: World, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    original = raw_file.send

    def die_in_the_middle(site: Any, stream: Any, file: Any) -> None:
        if at == "sidecar":
            original(site, replace_sidecar(stream), file)
        else:
            (world.folder / "buffer" / f".{file.record.name}.part").write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(raw_file, "send", die_in_the_middle)
    with pytest.raises(Killed):
        world.probe()
    assert len(world.in_buffer()) == 1
    monkeypatch.undo()
    clear_up(world.prober())
    assert world.in_buffer() == []


def replace_sidecar(stream: Any) -> Any:
    return stream.model_copy(update={"sidecar": False})


def test_a_whole_file_of_a_probe_that_died_is_left_to_the_daemon(world: World) -> None:
    def die() -> None:
        raise Killed

    world.script = [die]
    with pytest.raises(Killed):
        world.probe()
    before = world.in_buffer()
    world.write(sa.text("UPDATE probe SET sent_at = NULL"))  # it died before it could write that down
    clear_up(world.prober())
    assert world.in_buffer() == before
    assert len(before) == 2


def test_two_probes_at_once_are_refused(world: World) -> None:
    lease = Lease.acquire(world.store, LEASE, now=world.now)
    world.write(sa.text("UPDATE lease SET holder = 'elsewhere/1/1'"))
    with pytest.raises(LeaseHeldError):
        world.probe()
    assert world.in_buffer() == []
    assert lease.name == "probe"


def test_a_buffer_that_is_away_sends_nothing(world: World) -> None:
    (world.folder / "buffer" / ".buffer").unlink()
    with pytest.raises(TransientError, match="sentinel"):
        world.probe()
    assert world.in_buffer() == []
    assert [item.outcome for item in world.probes()] == [Outcome.FAILED]


def test_a_file_that_would_land_in_another_stream_is_not_sent(world: World) -> None:
    world.settings = world.settings.model_copy(update={"stream": "other"})
    with pytest.raises(ConfigError, match="fits stream 'physics', not 'other'"):
        world.probe()
    assert world.in_buffer() == []


def test_the_campaign_is_one_that_processes_the_reserved_run(world: World) -> None:
    other = world.campaign.model_copy(update={"campaign": "other", "inputs": world.campaign.inputs.model_copy(update={"to_run": 30000})})
    assert choose_campaign([other, world.campaign], world.settings) is world.campaign
    named = world.settings.model_copy(update={"campaign": "other"})
    with pytest.raises(ConfigError, match="'other' does not process run 999900"):
        choose_campaign([other, world.campaign], named)


def test_a_store_that_is_away_for_a_while_ends_no_probe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"n": 0}
    original = type(world.store).read

    def sometimes(store: Any) -> Any:
        calls["n"] += 1
        if calls["n"] in (8, 9):
            raise TransientError("the store does not answer")
        return original(store)

    world.script = world.chain()
    monkeypatch.setattr(type(world.store), "read", sometimes)
    assert world.probe().outcome is Outcome.OK


def test_old_probes_are_not_looked_at_for_ever(world: World) -> None:
    _late(world)
    world.now += 30 * 86400.0
    world.notice()
    clear_up(world.prober())
    assert "found" not in world.probes()[0].hops


def test_what_workers_elsewhere_copy_is_timed_apart(world: World) -> None:
    def run_elsewhere() -> None:
        world.run_job()
        path = job_dir(world.site.workspace, ATTEMPT) / "report.json"
        report = json.loads(path.read_text())
        first = report["stages"][0]
        first["ended"] = first["started"] + 10.0
        first["metrics"] |= {"copied_in_bytes": 4_000_000, "copy_in_s": 3.0, "copied_out_bytes": 1000, "copy_out_s": 2.0}
        write_json(path, report)

    world.script = [*world.chain()[:4], run_elsewhere, *world.chain()[5:]]
    taken = durations(world.probe().hops, world.now)
    assert (taken["copied_in"], taken["nf_sp"], taken["copied_out"]) == (3.0, 5.0, 2.0)


def test_two_probes_one_after_the_other_have_files_of_their_own(world: World) -> None:
    world.script = world.chain()
    world.probe()
    name = world.raw_name()
    world.forget_the_chain()
    world.now = world.probes()[0].made_at + 0.1
    world.script = [lambda: None, *world.chain()]
    world.probe()
    assert world.raw_name() != name
