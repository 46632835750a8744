"""`dune-prompt declare`, as an operator uses it, and killed as hard as the kernel can."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from declare_daemon.journal.writer import lease_name
from dune_prompt.cli import program
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.store.lease import holder_of

SITE = """
site: test
buffer: {path: buffer}
service: {interval: 0.1s}
streams:
  - {name: physics, pattern: "np04hd_raw_run*.hdf5", process: true}
"""


@pytest.fixture
def site_file(world: Any) -> Path:
    """The world's installation as a site file; the command line brings its own daemon."""
    path = world.root / "site.yaml"
    path.write_text(SITE)
    return Path(path)


def declare(site_file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(program, ["declare", arguments[0], "--site", str(site_file), *arguments[1:]])


def test_once_declares_everything_closed_and_says_so(world: Any, site_file: Path) -> None:
    names = [world.put(index) for index in range(2)]
    result = declare(site_file, "once", "--json")
    assert result.exit_code == 0, result.output
    assert [(row["file"], row["state"]) for row in json.loads(result.stdout)] == [(f"hd-protodune:{name}", "declared") for name in names]
    assert json.loads(declare(site_file, "once", "--json").stdout) == []


def test_once_says_that_something_must_be_tried_again(world: Any, site_file: Path) -> None:
    world.put(0, sidecar="{")
    result = declare(site_file, "once")
    assert isinstance(result.exception, TransientError)
    assert result.exception.exit_code == 20
    assert "1 files wait" in str(result.exception)
    assert "not JSON" in str(result.exception)


def test_once_says_that_the_buffer_is_away(world: Any, site_file: Path) -> None:
    (world.buffer / ".buffer").unlink()
    result = declare(site_file, "once")
    assert isinstance(result.exception, TransientError)
    assert "sentinel" in str(result.exception)


def test_a_dry_run_tells_and_does_nothing(world: Any, site_file: Path) -> None:
    good, bad = world.put(0), world.put(1, sidecar="{")
    (world.buffer / "stranger").touch()
    before = world.tree()
    rows = {row["name"]: row["would"] for row in json.loads(declare(site_file, "once", "--dry-run", "--json").stdout)}
    assert rows[good] == "verify, declare in hd-protodune:hd-protodune_28049, process as stream physics"
    assert rows[bad].startswith("wait, then quarantine: ")
    assert rows["stranger"] == "alarm: fits no stream"
    assert world.files() == {}
    assert world.tree() == before
    world.settle()
    rows = {row["name"]: row["would"] for row in json.loads(declare(site_file, "once", "--dry-run", "--json").stdout)}
    assert rows == {bad: "verify, declare"}


def test_status_counts_and_names_what_a_person_must_see(world: Any, site_file: Path) -> None:
    declared, bad, waiting = world.put(0), world.put(1, sidecar="{"), None
    world.settle_for(60)
    waiting = world.put(2, sidecar="{")
    world.settle()
    (world.buffer / "stranger").touch()
    world.unmount()
    world.settle_for(300, tick=10)
    status = json.loads(declare(site_file, "status", "--json").stdout)
    assert status["counts"]["buffer"] == {"declared": 1, "quarantined": 1, "found": 1}
    assert [row["file"] for row in status["waiting"]] == [waiting]
    assert [(row["file"], row["state"]) for row in status["stopped"]] == [(bad, "quarantined")]
    assert [row["subject"] for row in status["alarms"]] == [f"buffer:{world.buffer}"]
    text = declare(site_file, "status").stdout
    for expected in ("not JSON", "sentinel", "quarantined", waiting):
        assert expected in text
    assert declared not in text


def test_retry_puts_a_quarantined_file_back_to_be_tried_again(world: Any, site_file: Path) -> None:
    name = world.put(0, sidecar="{")
    world.settle_for(60)
    world.daemon.close()
    world.kill()
    assert json.loads(declare(site_file, "retry", name, "--dry-run", "--json").stdout)[0]["was"] == "quarantined"
    assert declare(site_file, "retry", "--quarantined").exit_code == 0
    assert world.states() == {name: "found"}
    assert world.tree() == {f"buffer/{name}", f"buffer/{name}.json", "site.yaml"}
    world.write_sidecar(name, world.sidecar(name, (world.buffer / name).read_bytes()))
    world.settle()
    assert world.states() == {name: "declared"}


def test_retry_leaves_the_move_to_the_running_daemon(world: Any, site_file: Path) -> None:
    name = world.put(0, sidecar="{")
    world.settle_for(60)
    world._daemon._lease.renew(time.time())
    assert declare(site_file, "retry", name).exit_code == 0
    assert world.states() == {name: "returning"}
    world.write_sidecar(name, world.sidecar(name, b""))
    world.settle()
    assert world.file(name).reason is not None
    assert "another sidecar" in world.file(name).reason
    assert world.states() == {name: "quarantined"}


def test_retry_has_a_conflict_looked_at_again(world: Any, site_file: Path) -> None:
    name = world.put(data=b"one")
    world.settle()
    world.put(data=b"two")
    world.settle()
    assert world.states() == {name: "conflict"}
    world.put(data=b"one")
    world.kill()
    assert declare(site_file, "retry", f"hd-protodune:{name}").exit_code == 0
    world.settle_for(5)
    assert world.states() == {name: "declared"}


@pytest.mark.parametrize(("name", "said"), [("unknown", "knows no such file"), ("", "is declared: only")])
def test_only_stopped_files_are_tried_again(world: Any, site_file: Path, name: str, said: str) -> None:
    declared = world.put()
    world.settle()
    result = declare(site_file, "retry", name or declared)
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)
    assert declare(site_file, "retry").exit_code == 2


def start(site_file: Path) -> subprocess.Popen[bytes]:
    code = "from dune_prompt.cli import main; main()"
    command = [sys.executable, "-c", code, "declare", "run", "--site", str(site_file), "--interval", "0.02"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def lease_holder(world: Any) -> str | None:
    with world.store.read() as connection:
        return holder_of(connection, lease_name(world.site.buffer.path), now=time.time())


def declared(world: Any) -> int:
    return sum(state == "declared" for state in world.states().values())


def test_killed_again_and_again_in_the_middle_it_declares_each_file_once(world: Any, site_file: Path) -> None:
    names: list[str] = []
    for kill in range(3):
        daemon = start(site_file)
        wait_until(lambda: declared(world) == len(names))
        for _ in range(10):
            names.append(world.put(len(names)))
            time.sleep(0.003)
        # A different moment of its work each time.
        wait_until(lambda: len(world.files()) >= len(names) - 5)
        time.sleep(0.004 * kill)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.communicate()
    assert declare(site_file, "once").exit_code == 0
    assert world.states() == dict.fromkeys(names, "declared")
    assert world.in_catalog() == {
        f"hd-protodune:{name}": ((world.buffer / name).stat().st_size, str(world.buffer / name), ("hd-protodune:hd-protodune_28049",))
        for name in names
    }
    assert sorted(world.in_intake()) == names


def test_sigterm_ends_the_daemon_in_order(world: Any, site_file: Path) -> None:
    name = world.put()
    daemon = start(site_file)
    wait_until(lambda: world.states() == {name: "declared"})
    daemon.send_signal(signal.SIGTERM)
    _, errors = daemon.communicate(timeout=20)
    assert daemon.returncode == 0, errors.decode()
    assert json.loads(declare(site_file, "status", "--json").stdout)["daemon"] is None


def test_a_second_daemon_is_refused_by_name_of_the_first(world: Any, site_file: Path) -> None:
    first = start(site_file)
    try:
        wait_until(lambda: lease_holder(world))
        assert json.loads(declare(site_file, "status", "--json").stdout)["daemon"] == lease_holder(world)
        second = start(site_file)
        _, errors = second.communicate(timeout=20)
        assert second.returncode == 40
        assert b"is held by" in errors
    finally:
        first.kill()
        first.communicate()
