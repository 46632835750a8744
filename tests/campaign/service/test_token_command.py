"""`dune-prompt token`: the secret is printed once, and what is done holds at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from click.testing import CliRunner, Result

from benchmarks.installation import Pipeline
from campaign.ledger.tables import token_table
from campaign.service.scopes import GRANTABLE
from campaign.service.tokens import Tokens
from dune_prompt.cli import program
from dune_prompt.errors import ConfigError
from dune_prompt.settings import load_site
from dune_prompt.store import event_table, open_store

SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "*.hdf5", lifetime: 1h}
"""
LAUNCHERS = """
launchers:
  - {kind: poms, url: "http://127.0.0.1:9", login: {host: dunegpvm16.fnal.gov, token_file: /home/dunepro/launch-token}}
"""
FORM = re.compile(r"dp_[0-9a-f]{10}_[0-9a-f]{32}")


class Line:
    """The command line at one site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "site.yaml").write_text(SITE)

    def __call__(self, command: str, *arguments: str) -> Result:
        return CliRunner().invoke(program, ["token", command, "--site", str(self.folder / "site.yaml"), *arguments])

    def made(self, *arguments: str) -> str:
        result = self("create", *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    def listed(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self("list", "--json").stdout)
        return rows

    def knows(self, token: str) -> bool:
        site = load_site(self.folder / "site.yaml")
        with closing(open_store(site.store_url)) as store:
            return Tokens(store, site.workspace).authenticate(token) is not None


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_standard_output_is_the_token_alone(line: Line) -> None:
    result = line("create", "poms-fnal", "--scope", "launch", "--expires", "90d")
    assert FORM.fullmatch(result.stdout.strip())
    assert result.stderr.startswith("poms-fnal may launch, until ")
    rotated = line("rotate", "poms-fnal")
    assert FORM.fullmatch(rotated.stdout.strip())
    assert line.knows(result.stdout.strip())
    assert line.knows(rotated.stdout.strip())
    assert line("revoke", "poms-fnal").stdout == "poms-fnal is revoked\n"
    assert not line.knows(rotated.stdout.strip())


def test_the_secret_is_seen_once_and_nowhere_else(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    results = [line("create", "a", "--scope", "launch"), line("create", "b", "--scope", "upload", "--json"), line("rotate", "a")]
    tokens = [FORM.findall(result.stdout) for result in results]
    assert [len(found) for found in tokens] == [1, 1, 1]
    later = [line("list"), line("list", "--json"), line("create", "a", "--scope", "launch"), line("revoke", "a"), line("list")]
    seen = [result.stderr for result in results] + [text for result in later for text in (result.output, str(result.exception))]
    with closing(open_store(load_site(line.folder / "site.yaml").store_url)) as store, store.read() as connection:
        seen += [repr(connection.execute(sa.select(table)).all()) for table in (token_table, event_table)]
    files = b"".join(path.read_bytes() for path in line.folder.rglob("*") if path.is_file())
    for (token,) in tokens:
        secret = token.rpartition("_")[2]
        assert secret not in "\n".join([*seen, caplog.text])
        assert secret.encode() not in files


def test_the_list_says_what_each_may_and_until_when(line: Line) -> None:
    line.made("poms", "--scope", "launch", "--scope", "upload", "--scope", "launch", "--expires", "2d")
    line.made("shift", "--scope", "operate")
    line("rotate", "shift", "--grace", "2h")
    poms, old, new = line.listed()
    assert (poms["scopes"], poms["state"], poms["last_used_at"]) == (["upload", "launch"], "good", None)
    assert poms["ends_at"] == poms["expires_at"] == pytest.approx(time.time() + 2 * 86400, abs=60)
    assert [(row["name"], row["state"]) for row in (old, new)] == [("shift", "replaced"), ("shift", "good")]
    assert old["ends_at"] == pytest.approx(time.time() + 7200, abs=60)
    assert new["ends_at"] is None
    assert "@" in new["created_by"]
    header, *lines = line("list").stdout.splitlines()
    assert header.split() == ["name", "scopes", "state", "good", "until", "last", "used", "made", "by", "id"]
    assert [text.split()[0] for text in lines] == ["poms", "shift", "shift"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["poms"], "--scope"),
        (["poms", "--scope", "tokens"], "'tokens' is not one of"),
        (["poms", "--scope", "launch", "--expires", "soon"], "neither a duration"),
        (["poms", "--scope", "launch", "--expires", "2001-01-01"], "is over"),
    ],
)
def test_what_cannot_be_meant_is_refused_as_wrong_usage(line: Line, arguments: list[str], says: str) -> None:
    result = line("create", *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert line.listed() == []


def test_what_makes_no_sense_here_is_said(line: Line) -> None:
    for arguments in (["rotate", "none"], ["revoke", "none"], ["create", "operator", "--scope", "launch"]):
        result = line(*arguments)
        assert isinstance(result.exception, ConfigError)
    assert line("rotate", "x", "--grace", "soon").exit_code == 2


def test_the_help_tells_of_every_scope(line: Line) -> None:
    text = " ".join(line("create", "--help").output.split())
    for scope in GRANTABLE:
        assert scope.sentence in text


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pipeline]:
    pipeline = Pipeline(tmp_path / "site")
    pipeline.site_path.write_text(pipeline.site_path.read_text() + LAUNCHERS)
    pipeline.start("service")
    ends = time.monotonic() + 60
    while True:
        try:
            requests.get(f"http://127.0.0.1:{pipeline.port}/api/v1/status", timeout=5).raise_for_status()
            break
        except requests.RequestException:
            assert time.monotonic() < ends, (pipeline.folder / "service.log").read_text()
            time.sleep(0.2)
    yield pipeline
    pipeline.stop()


def test_a_launch_works_with_a_token_made_while_the_service_runs_until_it_is_revoked(running: Pipeline, tmp_path: Path) -> None:
    seen: list[str] = []

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "dune_prompt", *arguments], capture_output=True, text=True, timeout=60)

    def token(*arguments: str) -> str:
        done = run("token", *arguments, "--site", str(running.site_path))
        assert done.returncode == 0, done.stderr
        seen.append(done.stderr)
        return done.stdout.strip()

    def launch(text: str) -> tuple[int, str]:
        path = tmp_path / "launch-token"
        path.write_text(text)
        path.chmod(0o600)
        url = f"http://127.0.0.1:{running.port}"
        done = run("launch", f"--service={url}", f"--token-file={path}", "--campaign=kills", "--campaign-version=v1", "--stage=chain")
        path.unlink()
        seen.append(done.stdout + done.stderr)
        return done.returncode, done.stdout + done.stderr

    first = token("create", "poms-fnal", "--scope", "launch")
    assert launch(first) == (0, "nothing to do: nothing waits\n")
    uploader = token("create", "uploader", "--scope", "upload")
    exit_code, said = launch(uploader)
    assert exit_code == 30
    assert "this needs a token with the scope launch" in said
    second = token("rotate", "poms-fnal", "--grace", "0s")
    exit_code, said = launch(first)
    assert exit_code == 30
    assert "a valid token with the scope launch is needed" in said
    assert launch(second)[0] == 0
    token("revoke", "poms-fnal")
    assert launch(second)[0] == 30
    running.stop()
    everything = b"".join(path.read_bytes() for path in running.folder.rglob("*") if path.is_file() and not path.is_symlink())
    for text in (first, second, uploader):
        secret = text.rpartition("_")[2]
        assert secret.encode() not in everything
        assert secret not in "".join(seen)
