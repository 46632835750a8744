"""`dune-prompt quality`: the same as the API, on the store itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner, Result

from dashboard.dqm.tables import result_table
from dashboard.quality.limits import packaged, read_limits
from dashboard.quality.run_flags import history
from dune_prompt.cli import program
from dune_prompt.errors import ConfigError, ConflictError
from dune_prompt.settings import Site
from dune_prompt.store import Store

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, site: Site, store: Store) -> Run:
    path = tmp_path / "site.yaml"
    content = {
        "site": site.site,
        "workspace": str(site.workspace),
        "store": str(store.engine.url),
        "buffer": {"path": str(tmp_path / "buffer"), "capacity": "1TB"},
        "streams": [{"name": "physics", "pattern": "*.hdf5"}],
    }
    path.write_text(yaml.safe_dump(content))

    def run(*arguments: str) -> Result:
        group, *rest = arguments
        at = next((i for i, word in enumerate(rest) if word.startswith("-")), len(rest))
        result = CliRunner().invoke(program, ["quality", group, *rest[:at], "--site", str(path), *rest[at:]], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return run


def test_limits_are_shown_edited_checked_and_set(run: Run, tmp_path: Path, store: Store) -> None:
    shown = run("limits", "show").stdout
    assert shown.startswith("# version 1: ")
    file = tmp_path / "limits.yaml"
    file.write_text(shown.replace("high_warn: 19", "high_warn: 18"))
    (change,) = json.loads(run("limits", "check", str(file), "--json").stdout)
    assert (change["check"], change["before"], change["after"]) == ("rms_nf_adc", "19\u202fADC", "18\u202fADC")
    assert run("limits", "set", str(file), "--why", "quieter").stdout == "version 2 is in force\n"
    with store.read() as connection:
        found = read_limits(connection)
    assert (found.version, found.why) == (2, "quieter")
    assert "@" in found.set_by
    assert found.limit_of("pdhd", "cosmics", "U", "rms_nf_adc").high_warn == 18  # type: ignore[union-attr]
    versions = json.loads(run("limits", "show", "--versions", "--json").stdout)
    assert [row["version"] for row in versions] == [2, 1]
    assert json.loads(run("limits", "show", "--version", "1", "--json").stdout)["version"] == 1


def test_wrong_limits_and_those_of_an_old_version_are_not_set(run: Run, tmp_path: Path, store: Store) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("checks:\n  - key: rms\n")
    with pytest.raises(ConfigError, match=r"limits.yaml:2: checks.0.key: there is no such quantity"):
        run("limits", "check", str(file))
    file.write_text("checks: []\n")
    run("limits", "set", str(file), "--why", "nothing is well known")
    file.write_text(run("limits", "show", "--version", "1").stdout)
    with pytest.raises(ConflictError, match="version 2 is in force"):
        run("limits", "set", str(file), "--why", "back", "--after", "1")
    run("limits", "set", str(file), "--why", "back")
    with store.read() as connection:
        assert (read_limits(connection).version, read_limits(connection).file) == (3, packaged())


def test_a_reference_is_set_and_records_are_judged_again(run: Run, store: Store, keep: Any, make: Any) -> None:
    keep(make())
    (row,) = json.loads(run("reference", "set", "27296", "--why", "quiet", "--json").stdout)
    assert (row["run"], row["run_type"], row["files"]) == (27296, "cosmics", 1)
    assert "in force" in run("reference", "list").stdout
    done = json.loads(run("rejudge", "--since", "9999d", "--json").stdout)
    assert done == [{"records": 1, "judged": 1, "changed": 0, "unreadable": 0}]
    assert json.loads(run("rejudge", "--run", "27296", "--json").stdout)[0]["records"] == 0
    with store.read() as connection:
        assert connection.execute(sa.select(result_table.c.verdict_id)).scalar_one() == 2


def test_a_run_is_flagged_and_the_flag_taken_back(run: Run, store: Store, keep: Any, make: Any) -> None:
    keep(make())
    assert run("flag", "27296", "bad", "--comment", "high voltage tripped").stdout == "run 27296: bad\n"
    assert run("flag", "27296", "null", "--comment", "it had not").stdout == "run 27296: its flag is taken back\n"
    with store.read() as connection:
        assert [(flag.flag.name, flag.comment) for flag in history(connection, 27296)] == [
            ("NULL", "it had not"),
            ("BAD", "high voltage tripped"),
        ]


def test_a_time_that_is_none_is_wrong_usage(run: Run) -> None:
    with pytest.raises(AssertionError, match="neither a duration such as 8h nor a date"):
        run("rejudge", "--since", "yesterday")
