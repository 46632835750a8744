"""Site files: what is wrong is named with file, line, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import ConfigError
from dune_prompt.settings import load_site
from dune_prompt.settings.units import parse_duration, parse_fraction, parse_size

GOOD = """
site: test
buffer: {path: buffer, capacity: 200TB}
streams:
  - {name: physics, pattern: "np04hd_raw_run*.hdf5", process: true, lifetime: 24h}
"""


def load(folder: Path, text: str) -> object:
    path = folder / "site.yaml"
    path.write_text(text)
    return load_site(path)


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(GOOD)
    site = load_site(path)
    assert site.buffer.path == str(tmp_path / "buffer")
    assert site.workspace == tmp_path
    assert site.store_url == f"sqlite:///{tmp_path}/dune-prompt.sqlite"
    assert site.buffer.capacity == 200 * 10**12
    assert site.catalogs[0].kind == "embedded"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("capacity: 200TB", "capacty: 200TB"), "site.yaml:3: buffer.capacty: unknown key; allowed: capacity, high_water, low_water"),
        (("lifetime: 24h", "lifetime: 24 parsecs"), "site.yaml:5: streams.0.lifetime: '24 parsecs' is no quantity; write it as 24h"),
        (("site: test", "site: Test Site"), "site.yaml:2: site: String should match pattern '^[a-z0-9-]+$' (found 'Test Site')"),
        (("site: test", "sites: test"), "site: missing"),
        (("site: test", "site: test\nsite: again"), "site.yaml:3: site: given twice"),
        (("buffer: {", "catalogs: [{kind: oracle}]\nbuffer: {"), "site.yaml:3: catalogs.0: Input tag 'oracle' found using 'kind'"),
        (("buffer: {", "catalogs: [{rse: X}]\nbuffer: {"), "site.yaml:3: catalogs.0: kind is missing"),
        (("buffer: {", "catalogs: [{kind: embedded}, {kind: rucio}]\nbuffer: {"), "site.yaml:3: catalogs.1.rse: missing"),
        (("buffer: {", "catalogs: [{kind: embedded, rses: X}]\nbuffer: {"), "catalogs.0.rses: unknown key; allowed: kind, rse"),
        (
            ("buffer: {", "catalogs: [{kind: rucio, rse: X}]\nbuffer: {"),
            "catalogs: none of them keeps metadata; list embedded, sam or metacat",
        ),
        (
            ("buffer: {", "catalogs: [{kind: rucio, rse: X}, {kind: embedded}]\nbuffer: {"),
            "catalogs: must be listed in the order embedded, rucio",
        ),
        (("buffer: {", "catalogs: [{kind: embedded}, {kind: embedded}]\nbuffer: {"), "catalogs: embedded is listed twice"),
        (
            ("buffer: {", "catalogs: [{kind: metacat, url: 'http://x', auth: x509, user: u}]\nbuffer: {"),
            "site.yaml:3: catalogs.0: auth x509 needs auth_url and cert",
        ),
        (("lifetime: 24h", "release: {delete: true}"), "streams: physics: release.delete needs a copy elsewhere"),
        (("lifetime: 24h", "release: {delete: true, move_to: x}"), "site.yaml:5: streams.0.release: give either move_to or delete"),
        (("path: buffer", "path: 'root://host/one/slash'"), "an XRootD address has the form root://host[:port]//path"),
        (("path: buffer", "path: buffer, sacrifice: [tp]"), "buffer.sacrifice: there is no stream tp"),
        (("buffer: {", "slots: {min: 9, max: 2}\nbuffer: {"), "site.yaml:3: slots: min (9) is above max (2)"),
        (("buffer: {path", "buffer: path"), "site.yaml:3"),
        (("200TB}", "200TB"), "not YAML"),
    ],
)
def test_a_wrong_site_file_is_refused_with_file_line_and_key(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, GOOD.replace(*change))
    assert message in str(refusal.value)


def test_all_errors_of_a_file_are_listed_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("capacity", "capacty").replace("24h", "soon")
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, text)
    assert len(str(refusal.value).splitlines()) == 2


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_site(tmp_path / "nowhere.yaml")


def test_a_stream_is_found_by_name_and_by_what_the_metadata_mean(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        """
site: test
buffer: {path: buffer}
streams:
  - {name: tests, pattern: "np04hd_raw_run*.hdf5", where: {dune.daq_test: true}}
  - {name: physics, pattern: "np04hd_raw_run*.hdf5"}
"""
    )
    site = load_site(tmp_path / "site.yaml")
    for written in (True, "True", "true"):
        stream = site.stream_of("np04hd_raw_run000001_0000.hdf5", {"dune.daq_test": written})
        assert stream is not None
        assert stream.name == "tests"
    physics = site.stream_of("np04hd_raw_run000001_0000.hdf5", {"dune.daq_test": "False"})
    assert physics is not None
    assert physics.name == "physics"
    assert site.stream_of("np02vd_raw_run000001_0000.hdf5", {}) is None


def test_quantities_are_read_with_their_units() -> None:
    assert parse_duration("30min") == 1800
    assert parse_duration("1.5h") == 5400
    assert parse_size("2GiB") == 2**31
    assert parse_size("3GB") == 3 * 10**9
    assert parse_fraction("90%") == 0.9
    assert parse_fraction(0.25) == 0.25


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_a_clear_refusal(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert "quantity" in str(error)


def test_a_number_without_a_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="write it as 24h"):
        parse_duration(24)
    with pytest.raises(ValueError, match="between"):
        parse_fraction("120%")


@pytest.mark.parametrize(
    ("every", "kept"), [("1min", True), ("59min", True), ("23h", True), ("30s", False), ("90s", False), ("90min", False), ("1d", False)]
)
def test_poms_launches_as_often_as_its_cron_can(tmp_path: Path, every: str, kept: bool) -> None:
    path = tmp_path / "site.yaml"
    login = "{host: dunegpvm16.fnal.gov, token_file: /t}"
    path.write_text(
        "site: s\nbuffer: {path: b}\nstreams: [{name: physics, pattern: '*'}]\n"
        f"launchers: [{{kind: poms, url: 'https://poms.example', login: {login}, every: {every}}}]\n"
    )
    if kept:
        load_site(path)
    else:
        with pytest.raises(ConfigError, match="every 1 to 59 minutes, or every 1 to 23 whole hours"):
            load_site(path)
