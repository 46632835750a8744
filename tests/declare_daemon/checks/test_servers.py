"""Catalogues are asked for real, through their protocol; what is wanted follows from streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from declare_daemon.catalogs import Catalogs, Finding, Wanted, open_catalogs
from declare_daemon.catalogs.embedded import EmbeddedCatalog
from declare_daemon.catalogs.protocol import AS_CONFIGURED, Keeping
from declare_daemon.checks import Verdict, survey
from declare_daemon.checks.database import NEW, check_store
from declare_daemon.checks.servers import catalog_groups, check_catalog, raw_wanted
from dune_prompt.errors import ConfigError, DunePromptError, TransientError
from dune_prompt.settings import Site, StreamSettings, load_site
from dune_prompt.store import Store, open_store

WANTED = [Wanted("hd-protodune", "raw")]


class FakeCatalog:
    """A catalogue that answers as it is told."""

    name = "rucio"

    def __init__(self, findings: Sequence[Finding] = (), ping: DunePromptError | None = None) -> None:
        self._findings, self._ping = list(findings), ping
        self.asked: list[Wanted] = []

    def ping(self) -> None:
        if self._ping is not None:
            raise self._ping

    def ensure_dataset(self, did: str, keeping: Keeping = AS_CONFIGURED) -> None:
        raise AssertionError("a check writes nothing")

    def check(self, wanted: Sequence[Wanted]) -> list[Finding]:
        self.asked += wanted
        return self._findings

    def close(self) -> None: ...


def site_of(tmp_path: Path, streams: str, more: str = "") -> Site:
    (tmp_path / "workspace").mkdir(exist_ok=True)
    path = tmp_path / "site.yaml"
    path.write_text(f"site: here\nworkspace: workspace\nbuffer: {{path: buffer}}\nstreams:\n{streams}\n{more}")
    return load_site(path)


def test_findings_of_a_catalogue_become_results() -> None:
    catalog = FakeCatalog([Finding("account prompt", True, "may declare", "prompt", 5.0), Finding("hd-protodune", False, "not ours")])
    account, right = check_catalog(catalog, WANTED)
    assert catalog.asked == WANTED
    assert (account.what, account.verdict, account.owner, account.expires_at) == (
        "catalog rucio: account prompt",
        Verdict.OK,
        "prompt",
        5.0,
    )
    assert (right.verdict, right.error_class, right.detail) == (Verdict.FAILED, "configuration", "not ours")


@pytest.mark.parametrize(
    ("error", "error_class"), [(TransientError("no answer"), "transient"), (ConfigError("no such host"), "configuration")]
)
def test_a_catalogue_that_does_not_answer_is_not_asked_for_rights(error: DunePromptError, error_class: str) -> None:
    catalog = FakeCatalog([Finding("rights", True, "")], error)
    (result,) = check_catalog(catalog, WANTED)
    assert (result.error_class, result.detail, catalog.asked) == (error_class, str(error), [])


def test_a_catalogue_that_finds_nothing_out_has_not_passed() -> None:
    (result,) = check_catalog(FakeCatalog(), WANTED)
    assert result.verdict is Verdict.FAILED


def test_the_embedded_catalogue_may_be_written(tmp_path: Path) -> None:
    with closing(EmbeddedCatalog.at(tmp_path / "catalog.sqlite")) as catalog:
        assert [result.verdict for result in check_catalog(catalog, WANTED)] == [Verdict.OK]


def test_a_catalogue_that_cannot_be_opened_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path, "  - {name: a, pattern: x}", "catalogs: [{kind: embedded}, {kind: rucio, rse: A}]")

    def opened(part: Site) -> Catalogs:
        if part.catalogs[0].kind == "rucio":
            raise ConfigError("rucio-clients is not installed")
        return open_catalogs(part)

    monkeypatch.setattr("declare_daemon.checks.servers.open_catalogs", opened)
    embedded, rucio = survey(catalog_groups(site, WANTED))
    assert embedded.verdict is Verdict.OK
    assert (rucio.what, rucio.verdict, rucio.detail) == ("catalog rucio", Verdict.FAILED, "rucio-clients is not installed")


def test_no_workspace_is_made_for_the_embedded_catalogue(tmp_path: Path) -> None:
    site = site_of(tmp_path, "  - {name: a, pattern: x}")
    site.workspace.rmdir()
    (result,) = survey(catalog_groups(site, WANTED))
    assert result.verdict is Verdict.FAILED
    assert not site.workspace.exists()


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("np04hd_raw_run*.hdf5", {("hd-protodune", "raw")}),
        ("np02vd_tp_run*.hdf5", {("vd-protodune", "trigprim")}),
        ("np02vdcoldbox_raw*", {("vd-coldbox", "raw")}),
        ("np04hd_*", {("hd-protodune", "raw"), ("hd-protodune", "trigprim")}),
        (
            "np04hd*_raw_run*",
            {("hd-protodune", tier) for tier in ("raw", "trigprim")} | {("hd-coldbox", tier) for tier in ("raw", "trigprim")},
        ),
        ("np04hd_raw_run028049_0001.hdf5", {("hd-protodune", "raw")}),
        ("*.hdf5", set()),
        ("other_*", set()),
    ],
)
def test_what_will_be_declared_follows_from_the_beginning_of_the_pattern(
    tmp_path: Path, pattern: str, wanted: set[tuple[str, str]]
) -> None:
    site = site_of(tmp_path, f"  - {{name: a, pattern: '{pattern}'}}")
    assert {(item.namespace, item.data_tier) for item in raw_wanted(site)} == wanted


def test_streams_that_are_not_declared_want_nothing_and_conditions_count(tmp_path: Path) -> None:
    site = site_of(
        tmp_path,
        "  - {name: a, pattern: 'np04hd_raw_*', declare: false}\n"
        "  - {name: b, pattern: 'np02vd_raw_*', where: {core.run_type: vd-coldbox, core.data_tier: binary-raw}}",
    )
    assert raw_wanted(site) == [Wanted("vd-coldbox", "binary-raw")]
    assert isinstance(site.streams[0], StreamSettings)


# ---- the store ----


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path / 'store.sqlite'}")) as store:
        yield store


def test_a_store_with_the_right_tables_is_good(store: Store, tmp_path: Path) -> None:
    (result,) = check_store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    assert result.verdict is Verdict.OK
    assert "revision" in result.detail


def test_a_store_of_another_revision_is_named(store: Store, tmp_path: Path) -> None:
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'old'")
    (result,) = check_store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    assert (result.error_class, "revision old" in result.detail) == ("configuration", True)


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    (result,) = check_store(f"sqlite:///{tmp_path / 'deep' / 'store.sqlite'}")
    assert (result.verdict, result.detail) == (Verdict.OK, NEW)
    assert list(tmp_path.iterdir()) == []


def test_a_database_server_that_is_away_is_waited_for_and_its_password_is_not_shown() -> None:
    (result,) = check_store("postgresql+psycopg2://prompt:geheim@127.0.0.1:9/prompt")
    assert (result.verdict, result.error_class) == (Verdict.FAILED, "transient")
    assert "geheim" not in f"{result.what} {result.detail}"


def test_an_address_that_is_none_is_a_setting() -> None:
    (result,) = check_store("nonsense")
    assert result.error_class == "configuration"
    (result,) = check_store("oracle9://x")
    assert result.error_class == "configuration"
