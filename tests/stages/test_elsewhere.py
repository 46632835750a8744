"""Jobs that share nothing with the engine: from the bundle through job.sh, as a batch system starts them.

Whatever happens there is a report that the engine can read, nothing half-written has a final name, and nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from campaign.bundle import build, write_wrapper
from campaign.definition import CampaignFile, load_campaign
from dune_prompt.checksum import adler32_of
from dune_prompt.process import start_time
from dune_prompt.records import Assignment, FileRecord, InputFile, Report, read_json, write_json
from stages.elsewhere import Scratch
from stages.job import Stopped, Workplace
from stages.rawdata.metadata import record_of
from stages.stage import STAGES, Payload
from templates import render
from tests.servers.engine_answers import EngineAnswers
from tests.servers.unpacking import unpack_all
from tests.servers.xrootd import XrootdServer

ATTEMPT = "01J0QZ5W3V5T9H0F1N2M3P4Q5R"
TOKEN = "hush-hush-hush"
PROMPT_S = 60.0
CAMPAIGN = """
campaign: test-prompt
detector: pdhd
stream: physics
version: v1
layout: fused
stages:
  nf_sp: {payload: PAYLOAD, lifetime: 1h}
  evaluate: {displays: {every: 1}}
  dqm_upload: {targets: [{kind: directory, path: DQM}]}
outputs: {namespace: hd-protodune-det-reco, data_tier: full-reconstructed}
"""


def campaign_file(folder: Path, payload: str) -> CampaignFile:
    path = folder / f"{payload}.yaml"
    path.write_text(CAMPAIGN.replace("PAYLOAD", payload).replace("DQM", str(folder / "dqm")))
    return load_campaign(path)


@dataclass(frozen=True, slots=True)
class Shipped:
    """What the engine ships for a campaign: the bundle and the shell around it."""

    bundle: Path
    wrapper: Path
    dqm: Path


def ship(folder: Path, payload: str) -> Shipped:
    file = campaign_file(folder, payload)
    return Shipped(build(folder / "bundles", file), write_wrapper(folder / payload, file), folder / "dqm")


@pytest.fixture(scope="module")
def noop(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return ship(tmp_path_factory.mktemp("noop"), "noop")


@pytest.fixture(scope="module")
def numpy(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return ship(tmp_path_factory.mktemp("numpy"), "numpy")


@dataclass
class Worker:
    """A machine elsewhere: an environment of its own, a folder the job starts in, and scratch space."""

    folder: Path
    raw: Path
    place: Path
    environment: dict[str, str]

    @property
    def cwd(self) -> Path:
        return self.folder / "start"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def assignment(self, **changes: Any) -> Assignment:
        record = record_of(self.raw)
        size_bytes, adler32 = adler32_of(self.raw)
        assignment = Assignment(
            attempt=ATTEMPT,
            task="7",
            campaign="test-prompt",
            version="v1",
            stages=tuple(STAGES),
            raw=InputFile(
                self.raw.name, (str(self.raw),), did=record.did, metadata=record.metadata, size_bytes=size_bytes, adler32=adler32
            ),
            output_dir=str(self.place / "attempts" / ATTEMPT),
            report="/nowhere/on/a/worker/report.json",
            token=TOKEN,
            in_place=False,
        )
        return replace(assignment, **changes)

    def write(self, assignment: Assignment, name: str = "assignment.json") -> str:
        write_json(self.cwd / name, assignment.to_json(), private=True)
        return name

    def start(self, wrapper: Path, bundle: str | Path, assignment: str, shell: str = "bash") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [shell, str(wrapper), str(bundle), assignment],
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, wrapper: Path, bundle: str | Path, assignment: str, shell: str = "bash") -> tuple[int, str, Report]:
        return self.finish(self.start(wrapper, bundle, assignment, shell))

    def finish(self, job: subprocess.Popen[str]) -> tuple[int, str, Report]:
        """Exit code, output and report of a job; whatever job it was, it has cleaned up and told no secret."""
        with job:
            try:
                output, _ = job.communicate(timeout=PROMPT_S)
            finally:
                job.kill()
        assert TOKEN not in output
        assert list(self.scratch.iterdir()) == []
        return job.returncode, output, self.report()

    def report(self) -> Report:
        path = self.cwd / "report.json"
        return Report.from_json(read_json(path), str(path))

    def outputs(self) -> list[str]:
        return sorted(path.name for path in self.place.rglob("*") if path.is_file())


@pytest.fixture
def worker(tmp_path: Path, raw_file: Path) -> Worker:
    """Its Python is this one; what else is on it tries to get between the job and its code."""
    for name in ("start", "scratch", "place", "poison", "bin"):
        (tmp_path / name).mkdir()
    for name in ("stages", "dune_prompt", "numpy", "json", "site", "sitecustomize", "usercustomize"):
        for folder in ("start", "poison"):
            (tmp_path / folder / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    (tmp_path / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}").symlink_to(Path(sys.executable).resolve())
    return Worker(
        tmp_path,
        raw_file,
        tmp_path / "place",
        {
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": str(tmp_path / "poison"),
            "PYTHONSTARTUP": str(tmp_path / "poison" / "stages.py"),
            "_CONDOR_SCRATCH_DIR": str(tmp_path / "scratch"),
            "TMPDIR": "/nowhere",
            "RES_OPTIONS": os.environ["RES_OPTIONS"],
        },
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PROMPT_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_job_walks_the_chain_and_leaves_its_outputs_and_report(worker: Worker, noop: Shipped, shell: str) -> None:
    code, output, report = worker.run(noop.wrapper, noop.bundle, worker.write(worker.assignment()), shell)
    assert code == 0, output
    assert report.ok
    assert [stage.name for stage in report.stages] == list(STAGES)
    folder = worker.place / "attempts" / ATTEMPT
    for stage in report.stages:
        for made in stage.outputs:
            assert adler32_of(folder / made.name) == (made.size_bytes, made.adler32)
            if made.declared:
                assert FileRecord.from_json(read_json(folder / f"{made.name}.json"), made.name).parents == (record_of(worker.raw).did,)
    assert read_json(folder / "report.json") == read_json(worker.cwd / "report.json")
    assert not [name for name in worker.outputs() if name.endswith(".part")]
    assert report.stages[0].metrics["copied_in_bytes"] == worker.raw.stat().st_size
    assert f"attempt {ATTEMPT} of task 7" in output


def test_the_numpy_chain_needs_nothing_of_the_worker(worker: Worker, numpy: Shipped) -> None:
    code, output, report = worker.run(numpy.wrapper, numpy.bundle, worker.write(worker.assignment()))
    assert code == 0, output
    assert report.ok
    assert any(name.endswith("_gauss.npz") for name in worker.outputs())
    assert any(path.suffix == ".png" for path in numpy.dqm.rglob("*"))


def test_an_unpacked_bundle_is_used_as_jobsub_leaves_it(worker: Worker, noop: Shipped) -> None:
    unpacked = worker.folder / "unpacked"
    with tarfile.open(noop.bundle) as archive:
        unpack_all(archive, unpacked)
    before = sorted(unpacked.rglob("*"))
    worker.environment |= {"INPUT_TAR_DIR_LOCAL": str(unpacked), "JOBSUBJOBSECTION": "3", "PROCESS": "0"}
    worker.write(worker.assignment(), "3.json")
    code, output, _ = worker.run(noop.wrapper, "@tar", str(worker.cwd))
    assert code == 0, output
    assert sorted(unpacked.rglob("*")) == before


def test_everything_may_lie_on_a_server(worker: Worker, noop: Shipped) -> None:
    if missing := XrootdServer.missing():
        pytest.skip(missing)
    with tempfile.TemporaryDirectory() as folder, XrootdServer(Path(folder)) as server:
        raw = server.put(f"/eos/raw/{worker.raw.name}", worker.raw.read_bytes())
        server.make_folder("/eos/outbox")
        assignment = worker.assignment(output_dir=server.url(f"/eos/outbox/attempts/{ATTEMPT}"))
        gone = server.url("/eos/raw/gone.hdf5")
        assignment = replace(assignment, raw=replace(assignment.raw, places=(gone, raw)))
        assignments = server.put("/eos/outbox/submissions/1/0.json", json.dumps(assignment.to_json()).encode())
        code, output, report = worker.run(noop.wrapper, noop.bundle, assignments.rpartition("/")[0])
        assert code == 0, output
        placed = server.local(f"/eos/outbox/attempts/{ATTEMPT}")
        assert {made.name for stage in report.stages for made in stage.outputs} < {path.name for path in placed.iterdir()}
        assert Report.from_json(read_json(placed / "report.json"), "report") == report


def test_an_input_on_a_server_alone_is_copied_in_where_all_else_is_shared(worker: Worker) -> None:
    if missing := XrootdServer.missing():
        pytest.skip(missing)
    with tempfile.TemporaryDirectory() as folder, XrootdServer(Path(folder)) as server:
        raw = server.put(f"/eos/raw/{worker.raw.name}", worker.raw.read_bytes())
        item = replace(worker.assignment().raw, places=("/gone", raw))
        workplace = Workplace(worker.assignment(in_place=True))
        copy = workplace.locate(item)
        assert copy.read_bytes() == worker.raw.read_bytes()
        workplace.close()
        assert not copy.exists()


def test_the_engine_hears_of_the_start_and_gets_the_report(worker: Worker, noop: Shipped) -> None:
    with EngineAnswers(heartbeats=(500, 200), reports=(500, 200)) as engine:
        code, output, report = worker.run(noop.wrapper, noop.bundle, worker.write(worker.assignment(service_url=engine.url)))
        assert code == 0, output
        assert [request.method for request in engine.heard] == ["POST", "PUT", "PUT"]
        assert {request.token for request in engine.heard} == {TOKEN}
        assert Report.from_json(engine.reported()[-1], "report") == report


def test_an_attempt_that_is_over_does_not_begin(worker: Worker, noop: Shipped) -> None:
    with EngineAnswers(heartbeats=(410,)) as engine:
        code, _, report = worker.run(noop.wrapper, noop.bundle, worker.write(worker.assignment(service_url=engine.url)))
        assert engine.reported() == []
    assert (code, worker.outputs()) == (0, [])
    assert [(stage.state, stage.error_class) for stage in report.stages] == [("failed", "lost")]


# what goes wrong


@dataclass(frozen=True, slots=True)
class Altered:
    """An unpacked bundle whose payload does what the test wants; it says in `begun` when it is there."""

    folder: Path
    begun: Path

    def child(self) -> int:
        wait_for(lambda: self.begun.exists() and self.begun.read_text() != "")
        return int(self.begun.read_text())


@pytest.fixture
def altered(worker: Worker, noop: Shipped) -> Callable[[str], Altered]:
    def alter(code: str) -> Altered:
        folder = worker.folder / "altered"
        with tarfile.open(noop.bundle) as archive:
            unpack_all(archive, folder)
        begun = worker.folder / "begun"
        body = "\n".join(f"    {line}" for line in code.splitlines())
        text = f"import os, signal, subprocess, time\nfrom pathlib import Path\nBEGUN = Path({str(begun)!r})\ndef run(context):\n{body}\n"
        (folder / "stages" / "nf_sp" / "noop.py").write_text(text)
        contact = folder / "stages" / "contact.py"
        contact.write_text(contact.read_text().replace("PERIOD_S = 60.0", "PERIOD_S = 0.05"))
        return Altered(folder, begun)

    return alter


LONG = "child = subprocess.Popen(['sleep', '600'])\nBEGUN.write_text(str(child.pid))\ntime.sleep(600)"


def test_told_to_end_a_job_ends_with_all_its_processes_and_reports(
    worker: Worker, noop: Shipped, altered: Callable[[str], Altered]
) -> None:
    bundle = altered(LONG)
    with EngineAnswers() as engine:
        job = worker.start(noop.wrapper, bundle.folder, worker.write(worker.assignment(service_url=engine.url)))
        child = bundle.child()
        job.send_signal(signal.SIGTERM)
        code, _, report = worker.finish(job)
        assert Report.from_json(engine.reported()[-1], "report") == report
    wait_for(lambda: start_time(child) is None)
    assert code == 20
    assert report.stages[-1].error_class == "site"
    assert "SIGTERM" in str(report.stages[-1].message)
    assert worker.outputs() == ["report.json"]


def test_the_shell_of_debian_passes_the_signal_on_too(worker: Worker, noop: Shipped, altered: Callable[[str], Altered]) -> None:
    bundle = altered(LONG)
    job = worker.start(noop.wrapper, bundle.folder, worker.write(worker.assignment()), "sh")
    child = bundle.child()
    job.send_signal(signal.SIGTERM)
    code, _, report = worker.finish(job)
    wait_for(lambda: start_time(child) is None)
    assert (code, report.stages[-1].error_class) == (20, "site")


def test_when_the_engine_gives_an_attempt_up_its_job_ends_and_delivers_nothing(
    worker: Worker, noop: Shipped, altered: Callable[[str], Altered]
) -> None:
    bundle = altered(LONG)
    with EngineAnswers(heartbeats=(200, 200, 410)) as engine:
        job = worker.start(noop.wrapper, bundle.folder, worker.write(worker.assignment(service_url=engine.url)))
        child = bundle.child()
        code, _, report = worker.finish(job)
        assert engine.reported() == []
    wait_for(lambda: start_time(child) is None)
    assert (code, worker.outputs()) == (0, [])
    assert report.stages[-1].error_class == "lost"


def test_a_job_that_does_not_listen_is_killed_and_the_shell_reports(
    worker: Worker, noop: Shipped, altered: Callable[[str], Altered]
) -> None:
    bundle = altered("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LONG)
    wrapper = worker.folder / "hasty.sh"
    wrapper.write_text(noop.wrapper.read_text().replace("grace_s=90", "grace_s=0.2"))
    job = worker.start(wrapper, bundle.folder, worker.write(worker.assignment()))
    child = bundle.child()
    job.send_signal(signal.SIGTERM)
    code, _, report = worker.finish(job)
    wait_for(lambda: start_time(child) is None)
    assert (code, report.stages[0].error_class) == (20, "site")
    assert (report.attempt, report.task) == (ATTEMPT, "7")


@pytest.mark.parametrize(
    ("code", "exit_code", "error_class", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "crashed", "exit code 139 and left no report"),
        ("os._exit(0)", 1, "crashed", "exit code 0 and left no report"),
        ("subprocess.Popen(['sleep', '600']); os._exit(7)", 7, "crashed", "exit code 7 and left no report"),
        ("raise MemoryError", 1, "memory", "out of memory"),
        ("raise OSError(28, os.strerror(28))", 20, "site", "No space left"),
        ("raise TimeoutError('the mount hangs')", 20, "transient", "the mount hangs"),
        ("1 / 0", 1, "payload", "ZeroDivisionError"),
    ],
)
def test_however_the_payload_ends_there_is_a_report(
    worker: Worker, noop: Shipped, altered: Callable[[str], Altered], code: str, exit_code: int, error_class: str, message: str
) -> None:
    found, output, report = worker.run(noop.wrapper, altered(code).folder, worker.write(worker.assignment()))
    assert found == exit_code, output
    assert [(stage.name, stage.state, stage.error_class) for stage in report.stages] == [("nf_sp", "failed", error_class)]
    assert message in str(report.stages[0].message)
    assert (report.attempt, report.task, report.campaign, report.version) == (ATTEMPT, "7", "test-prompt", "v1")


def test_what_was_made_before_a_failure_is_delivered(worker: Worker, noop: Shipped) -> None:
    shutil.rmtree(noop.dqm, ignore_errors=True)
    noop.dqm.write_text("no folder")
    try:
        code, _, report = worker.run(noop.wrapper, noop.bundle, worker.write(worker.assignment()))
    finally:
        noop.dqm.unlink()
    assert code == 20
    assert [stage.state for stage in report.stages] == ["ok", "ok", "ok", "failed"]
    assert {made.name for stage in report.stages for made in stage.outputs} < set(worker.outputs())


def test_a_truncated_input_is_the_inputs_trouble(worker: Worker, noop: Shipped) -> None:
    assignment = worker.assignment()
    short = worker.folder / "short.hdf5"
    short.write_bytes(worker.raw.read_bytes()[:-1])
    changed = replace(assignment, raw=replace(assignment.raw, places=(str(short),)))
    code, _, report = worker.run(noop.wrapper, noop.bundle, worker.write(changed))
    assert (code, report.stages[0].error_class) == (20, "input")
    assert worker.outputs() == ["report.json"]


def test_a_place_that_is_not_mounted_here_is_the_sites_trouble(worker: Worker, noop: Shipped) -> None:
    assignment = worker.assignment(output_dir=str(worker.folder / "eos" / "outbox" / "attempts" / ATTEMPT))
    code, _, report = worker.run(noop.wrapper, noop.bundle, worker.write(assignment))
    assert (code, report.stages[0].error_class) == (20, "site")


@pytest.mark.parametrize(("here", "goes"), [("CERN", True), ("cern", True), ("RAL", False), ("CERN-PROD", False), ("", False)])
def test_a_job_runs_at_the_sites_it_may_run_at(worker: Worker, noop: Shipped, here: str, goes: bool) -> None:
    worker.environment |= {"DUNE_PROMPT_SITES": "FNAL_GPGrid,CERN", "GLIDEIN_Site": here}
    with EngineAnswers() as engine:
        code, _, report = worker.run(noop.wrapper, noop.bundle, worker.write(worker.assignment(service_url=engine.url)))
        assert Report.from_json(engine.reported()[-1], "report") == report
    assert code == (0 if goes else 20)
    assert report.ok is goes
    if not goes:
        assert report.stages[0].error_class == "site"
        assert "may run at FNAL_GPGrid,CERN only" in str(report.stages[0].message)
        assert worker.outputs() == ["report.json"]


@pytest.fixture
def no_python(worker: Worker) -> Path:
    """A job.sh for a Python that no machine has."""
    path = worker.folder / "job.sh"
    path.write_text(render("job.sh.j2", campaign="test-prompt", version="v1", python="3.999", sites="", unpacked="@tar"))
    return path


def test_without_a_python_the_shell_reports(worker: Worker, noop: Shipped, no_python: Path) -> None:
    code, output, report = worker.run(no_python, noop.bundle, worker.write(worker.assignment()), "sh")
    assert code == 20
    assert [(stage.name, stage.error_class) for stage in report.stages] == [("nf_sp", "site")]
    assert "no Python 3.999" in str(report.stages[0].message)
    assert (report.attempt, report.task, report.campaign, report.version) == (ATTEMPT, "7", "test-prompt", "v1")
    assert "no Python 3.999" in output


def test_the_shells_report_goes_beside_the_outputs_on_a_server(worker: Worker, noop: Shipped, no_python: Path) -> None:
    if missing := XrootdServer.missing():
        pytest.skip(missing)
    with tempfile.TemporaryDirectory() as folder, XrootdServer(Path(folder)) as server:
        server.make_folder("/eos/outbox")
        assignment = worker.assignment(output_dir=server.url(f"/eos/outbox/attempts/{ATTEMPT}"))
        _, _, report = worker.run(no_python, noop.bundle, worker.write(assignment))
        assert Report.from_json(read_json(server.local(f"/eos/outbox/attempts/{ATTEMPT}/report.json")), "report") == report


def test_a_damaged_bundle_is_the_sites_trouble(worker: Worker, noop: Shipped) -> None:
    damaged = worker.folder / "damaged.tar.gz"
    damaged.write_bytes(noop.bundle.read_bytes()[:-1000])
    code, _, report = worker.run(noop.wrapper, damaged, worker.write(worker.assignment()))
    assert (code, report.stages[0].error_class) == (20, "site")
    assert "cannot be unpacked" in str(report.stages[0].message)


@pytest.mark.parametrize("assignment", ["gone.json", "/nowhere", "report.json"])
def test_without_an_assignment_there_is_a_report_too(worker: Worker, noop: Shipped, assignment: str) -> None:
    code, output, report = worker.run(noop.wrapper, noop.bundle, assignment)
    assert (code, report.stages[0].error_class) == (20, "site")
    assert "the assignment cannot be had" in output


def test_a_report_of_an_earlier_job_is_never_taken_for_this_ones(worker: Worker, noop: Shipped, altered: Callable[[str], Altered]) -> None:
    (worker.cwd / "report.json").write_text("of yesterday")
    _, _, report = worker.run(noop.wrapper, altered("os._exit(3)").folder, worker.write(worker.assignment()))
    assert report.stages[0].error_class == "crashed"


# when it is told to end


@pytest.fixture
def scratch(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scratch]:
    monkeypatch.setenv("TMPDIR", str(worker.scratch))
    payload = Payload("c", "v", "pdhd", "0", "0", {}, {"nf_sp": {"lifetime": 100.0}, "declare": {"lifetime": 20.0}})
    scratch = Scratch(worker.assignment(stages=("nf_sp", "declare")), payload, None)
    yield scratch
    scratch.remove()


@pytest.mark.parametrize(("used_s", "error_class"), [(0, "site"), (100, "site"), (110, "time_limit"), (500, "time_limit")])
def test_sigterm_after_nearly_all_of_the_time_means_that_it_was_over(scratch: Scratch, used_s: float, error_class: str) -> None:
    scratch._began -= used_s
    scratch.enter("nf_sp")
    with pytest.raises(Stopped) as raised:
        scratch.terminated(signal.SIGTERM, None)
    assert raised.value.error_class == error_class
    scratch.terminated(signal.SIGTERM, None)


def test_sigterm_between_two_stages_ends_the_job_before_the_next(scratch: Scratch) -> None:
    scratch.enter("nf_sp")
    scratch.leave()
    scratch.terminated(signal.SIGTERM, None)
    with pytest.raises(Stopped):
        scratch.enter("declare")


def test_a_job_of_this_machine_has_no_contact(worker: Worker, noop: Shipped) -> None:
    with EngineAnswers() as engine:
        report_path = worker.folder / "report.json"
        assignment = worker.assignment(service_url=engine.url, in_place=True, report=str(report_path))
        with tarfile.open(noop.bundle) as archive:
            unpack_all(archive, worker.folder / "bundle")
        command = [sys.executable, "-I", str(worker.folder / "bundle"), "run", "all", "--assignment", worker.write(assignment)]
        assert subprocess.run(command, cwd=worker.cwd, env=worker.environment | {"TMPDIR": "/tmp"}).returncode == 0
        assert Report.from_json(read_json(report_path), "report").ok
        assert engine.heard == []
    assert list(worker.scratch.iterdir()) == []
