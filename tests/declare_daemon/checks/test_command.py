"""`dune-prompt check` as the operator and the hourly timer run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from declare_daemon.catalogs import Catalogs, Wanted
from declare_daemon.checks import servers
from dune_prompt.cli.check import command
from dune_prompt.store import open_store

CAMPAIGN = """
campaign: prompt
detector: pdhd
stream: physics
version: v1
outputs: {namespace: hd-protodune-det-reco, data_tier: decoded-raw, rules: [FNAL_DCACHE], lifetime: 90d}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Whatever credentials lie on this machine are not those of the test.
    for variable in ("X509_USER_PROXY", "BEARER_TOKEN_FILE", "KRB5CCNAME"):
        monkeypatch.delenv(variable, raising=False)
    for folder in ("buffer", "workspace", "campaigns", "released"):
        (tmp_path / folder).mkdir()
    (tmp_path / "buffer" / ".buffer").touch()
    (tmp_path / "campaigns" / "prompt.yaml").write_text(CAMPAIGN)
    path = tmp_path / "site.yaml"
    path.write_text(
        "site: here\nworkspace: workspace\nbuffer: {path: buffer}\n"
        "streams: [{name: physics, pattern: 'np04hd_raw_run*.hdf5', process: true, release: {move_to: released}}]\n"
    )
    return path


def run(site: Path, *options: str) -> Result:
    return CliRunner().invoke(command, ["--site", str(site), *options])


def rows(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_a_good_installation_ends_with_0_and_a_table(site: Path) -> None:
    result = run(site)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split() == ["what", "state", "owner", "expires", "renewed", "by", "detail"]
    assert "FAILED" not in result.stdout


def test_json_has_everything_of_the_table(site: Path) -> None:
    found = rows(run(site, "--json"))
    names = [row["what"].split()[0] for row in found if not row["detail"].endswith("(not needed here)")]
    assert names == ["campaigns", "buffer", "workspace", "outbox", "quarantine", "released", "store", "catalog", "slots"]
    assert set(found[0]) == {"what", "verdict", "detail", "owner", "expires_at", "renewed_by", "error_class", "alarm"}


def test_a_buffer_that_is_away_ends_with_20_and_a_wrong_setting_with_30(site: Path) -> None:
    (site.parent / "buffer" / ".buffer").unlink()
    assert run(site).exit_code == 20
    (site.parent / "campaigns" / "prompt.yaml").write_text(CAMPAIGN.replace("physics", "nothing"))
    result = run(site)
    assert result.exit_code == 30
    assert "'nothing' is not in" in result.stdout


def test_a_site_that_only_declares_needs_no_campaign(site: Path) -> None:
    site.write_text(site.read_text().replace("process: true, ", ""))
    (site.parent / "campaigns" / "prompt.yaml").unlink()
    result = run(site, "--json")
    assert result.exit_code == 0, result.output
    assert all(row["what"] != "campaigns" for row in rows(result))


def test_catalogues_are_asked_about_raw_files_and_the_outputs_of_campaigns(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Wanted] = []
    real = servers.open_catalogs

    def opened(part: Any) -> Catalogs:
        catalogs = real(part)
        inner = catalogs.all[0].parts[0].check
        monkeypatch.setattr(type(catalogs.all[0].parts[0]), "check", lambda _, wanted: asked.extend(wanted) or inner(wanted))
        return catalogs

    monkeypatch.setattr(servers, "open_catalogs", opened)
    assert run(site).exit_code == 0
    assert [(item.namespace, item.data_tier, item.keeping.rules) for item in asked] == [
        ("hd-protodune", "raw", None),
        ("hd-protodune-det-reco", "decoded-raw", ("FNAL_DCACHE",)),
    ]


def test_the_timer_prints_what_is_new_and_only_once(site: Path) -> None:
    open_store(f"sqlite:///{site.parent}/workspace/dune-prompt.sqlite").close()
    first = run(site, "--watch")
    assert (first.exit_code, first.stdout) == (0, "")
    (site.parent / "buffer" / ".buffer").unlink()
    alarm = run(site, "--watch", "--json")
    assert (alarm.exit_code, [(row["what"].split()[0], row["before"], row["alarm"]) for row in rows(alarm)]) == (
        20,
        [("buffer", "ok", "failed")],
    )
    again = run(site, "--watch")
    assert (again.exit_code, again.stdout) == (20, "")  # still wrong, so systemd still shows it; nothing new to say
    (site.parent / "buffer" / ".buffer").touch()
    assert [(row["before"], row["alarm"]) for row in rows(run(site, "--watch", "--json"))] == [("failed", None)]


def test_without_a_store_to_compare_with_the_timer_prints_all_troubles(site: Path) -> None:
    (site.parent / "buffer" / ".buffer").unlink()
    for _ in range(2):
        assert [row["what"].split()[0] for row in rows(run(site, "--watch", "--json"))] == ["buffer"]
    assert not (site.parent / "workspace" / "dune-prompt.sqlite").exists()
