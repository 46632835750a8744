"""Configurations of declad become site files that load, and no key of them is lost without a word."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.declad import PLACEHOLDER, Translation, site_from_declad
from declare_daemon.declad_keys import REFUSED_BY_DECLAD, WITHOUT_COUNTERPART
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site, load_site
from dune_prompt.settings.catalogs import EmbeddedCatalogSettings, MetacatSettings, RucioSettings, SamSettings

# A buffer on EOS at CERN, all three catalogues; the dropbox is mounted, transfers use its XRootD address.
CERN_EOS = """
scanner:
    type:       local
    location:   /eos/experiment/neutplatform/protodune/np04/buffer
    filename_patterns: ["np04hd_raw_run*.hdf5", "np04hd_tp_run*.hdf5"]
    ls_command_template: "ls -ln $location"
    parse_re: "^(?P<type>[a-z-])\\\\S+\\\\s+(?P<size>\\\\d+)\\\\s+(?P<path>\\\\S+)$"
    interval: 60
    timeout: 30
log: logs/declad.log
max_movers: 10
retry_cooldown: 3600
keep_interval: 86400
meta_suffix: .json
metacat_dataset: dune:all
metacat_url: https://metacat.fnal.gov:9443/dune_meta_prod/app
rucio:
  declare_to_rucio: yes
  dataset_did_template: "%(run_type)s:%(run_type)s_%(run_number)s"
  target_rses: [FNAL_DCACHE, CERN_PDUNE_CASTOR]
  drop_rse: DUNE_CERN_EOS
  activity: T0 Export
source_server: root://eospublic.cern.ch:1094
source_root_path: /eos/experiment/neutplatform/protodune/np04/buffer
destination_server: eospublic.cern.ch:1094
destination_root_path: /eos/experiment/neutplatform/protodune/dune
rel_path_function: hash
create_dirs_command_template: "xrdfs $server mkdir -p $path"
copy_command_template: "xrdcp --force --silent --tpc first $src_url $dst_url"
delete_command_template: "rm $path"
quarantine_location: /eos/experiment/neutplatform/protodune/np04/quarantine
sam_location_template: "cern-eos:/eos/experiment/neutplatform/protodune/dune/$dst_rel_dir"
samweb: {user: dunepro, url: "https://samweb.fnal.gov:8483/sam/dune/api", cert: /opt/dunepro/proxy, key: /opt/dunepro/proxy}
transfer_timeout: 120
web_gui: {port: 8443, site_title: declad, prefix: /declad}
graphite: {host: filer-carbon.cern.ch, port: 2004, namespace: fts.protodune, interval: 10, bin: 60}
"""

# A dropbox at Fermilab that is listed and reached by XRootD; its paths are made from metadata; no SAM.
FNAL_XROOTD = """
scanner:
  type: xrootd
  server: fndca1.fnal.gov:1094
  location: /pnfs/fnal.gov/usr/dune/scratch/dunepro/dropbox
  filename_pattern: "*.root"
  ls_command_template: "xrdfs $server ls -l $location"
  parse_re: "x"
declare_to_sam: false
source_server: fndca1.fnal.gov:1094
source_root_path: /pnfs/fnal.gov/usr/dune/scratch/dunepro/dropbox
destination_server: fndca1.fnal.gov
destination_root_path: /pnfs/fnal.gov/usr/dune/persistent/staging
rel_path_function: template
rel_path_pattern: "%(core.run_type)s/%(core.data_tier)s"
metacat_url: https://metacat.fnal.gov:9443/dune_meta_prod/app
rucio: {drop_rse: DUNE_US_FNAL_DISK_STAGE, target_rses: []}
samweb: {user: dunepro, url: "https://samweb.fnal.gov:8483/sam/dune/api"}
"""


def loaded(translation: Translation) -> Site:
    """The site file as the programs read it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "site.yaml")
        path.write_text(translation.site_yaml, "utf-8")
        return load_site(path)


def noted(translation: Translation) -> dict[str, str]:
    return {note.key: note.why for note in translation.notes}


def keys_of(content: dict[Any, Any]) -> set[str]:
    """All keys of a configuration, as declad's own check names them."""
    return {
        name
        for key, value in content.items()
        for name in ([f"{key}.{inner}" for inner in value] if isinstance(value, dict) and value else [str(key)])
    }


def test_a_dropbox_on_eos_keeps_its_catalogues_and_places() -> None:
    site = loaded(site_from_declad(CERN_EOS))
    assert site.buffer.path == "/eos/experiment/neutplatform/protodune/np04/buffer"
    assert site.buffer.worker_url == "root://eospublic.cern.ch:1094//eos/experiment/neutplatform/protodune/np04/buffer"
    assert [stream.pattern for stream in site.streams] == ["np04hd_raw_run*.hdf5", "np04hd_tp_run*.hdf5"]
    assert all(stream.declare_ and stream.sidecar and not stream.process and not stream.release.any for stream in site.streams)
    sam, metacat, rucio = site.catalogs
    assert isinstance(sam, SamSettings)
    assert (str(sam.url), sam.cert, sam.key, sam.location) == (
        "https://samweb.fnal.gov:8483/sam/dune/api",
        Path("/opt/dunepro/proxy"),
        None,
        "cern-eos:",
    )
    assert isinstance(metacat, MetacatSettings)
    assert str(metacat.url) == "https://metacat.fnal.gov:9443/dune_meta_prod/app"
    assert isinstance(rucio, RucioSettings)
    assert (rucio.rse, rucio.rules, rucio.activity) == ("DUNE_CERN_EOS", ("FNAL_DCACHE", "CERN_PDUNE_CASTOR"), "T0 Export")
    assert (rucio.place, rucio.place_url) == (True, "root://eospublic.cern.ch:1094//eos/experiment/neutplatform/protodune/dune")
    assert site.service.listen == "127.0.0.1:8443"


def test_a_dropbox_behind_xrootd_is_an_xrootd_buffer() -> None:
    translation = site_from_declad(FNAL_XROOTD)
    site = loaded(translation)
    assert site.buffer.path == "root://fndca1.fnal.gov:1094//pnfs/fnal.gov/usr/dune/scratch/dunepro/dropbox"
    assert [catalog.kind for catalog in site.catalogs] == ["metacat", "rucio"]
    rucio = site.catalogs[1]
    assert isinstance(rucio, RucioSettings)
    assert (rucio.rules, rucio.place) == ((), False)
    notes = noted(translation)
    assert "declare_to_sam` is off" in notes["samweb.url"]
    assert "hash" in notes["rel_path_function"]
    assert "rel_path_pattern" in notes


@pytest.mark.parametrize("text", [CERN_EOS, FNAL_XROOTD])
def test_every_key_of_a_real_configuration_is_carried_or_named(text: str) -> None:
    translation = site_from_declad(text)
    assert keys_of(yaml.safe_load(text)) <= translation.carried.keys() | noted(translation).keys()


def test_without_metadata_catalogues_the_embedded_one_keeps_metadata() -> None:
    text = "declare_to_metacat: false\ndeclare_to_sam: false\nrucio: {drop_rse: CERN_EOS}\n"
    embedded, rucio = loaded(site_from_declad(text)).catalogs
    assert isinstance(embedded, EmbeddedCatalogSettings)
    assert isinstance(rucio, RucioSettings)


def test_rucio_without_a_usable_element_is_left_out_and_named() -> None:
    for text in ("rucio: {target_rses: [A]}", "rucio: {drop_rse: lower case}", "rucio: {declare_to_rucio: no, drop_rse: A}"):
        translation = site_from_declad(text)
        assert [catalog.kind for catalog in loaded(translation).catalogs] == ["embedded"]
        assert any(key.startswith("rucio.") for key in noted(translation))


def test_copies_to_a_mounted_folder_need_no_server() -> None:
    text = "rucio: {drop_rse: A}\nrel_path_function: hash\ndestination_root_path: /disk/rse\n"
    for server in ("", "destination_server: localhost:1094\n"):
        translation = site_from_declad(text + server)
        rucio = loaded(translation).catalogs[1]
        assert isinstance(rucio, RucioSettings)
        assert (rucio.place, rucio.place_url) == (True, "/disk/rse")
        assert ("destination_server" in noted(translation)) == bool(server)


def test_an_extractor_becomes_a_stream_without_sidecars() -> None:
    translation = site_from_declad("scanner: {location: /data, filename_pattern: '*.hdf5', metadata_extractor: /bin/extract}")
    (stream,) = loaded(translation).streams
    assert not stream.sidecar
    assert "HDF5" in noted(translation)["scanner.metadata_extractor"]


def test_an_extractor_behind_xrootd_is_named() -> None:
    scanner = "scanner: {type: xrootd, server: a.ch, location: /data, metadata_extractor: /bin/extract}"
    translation = site_from_declad(scanner)
    (stream,) = loaded(translation).streams
    assert stream.sidecar
    assert "mounted" in noted(translation)["scanner.metadata_extractor"]


def test_a_suffix_other_than_json_is_named() -> None:
    assert "<name>.json" in noted(site_from_declad("meta_suffix: .meta"))["meta_suffix"]


def test_keys_that_declad_refuses_or_does_not_know_are_named_as_such() -> None:
    notes = noted(site_from_declad("stagger: 0.1\nmy_key: 1\nmy_section: {a: 1}\nscanner: {}\nlog:\n"))
    assert "its check refuses it" in notes["stagger"]
    assert "does not know this key" in notes["my_key"]
    assert "does not know this key" in notes["my_section.a"]
    assert (notes["scanner"], notes["log"]) == ("it is empty", "it is empty")


def test_a_missing_folder_is_a_placeholder_to_be_filled_in() -> None:
    translation = site_from_declad("")
    assert loaded(translation).buffer.path == PLACEHOLDER
    assert "put it in" in translation.site_yaml


def test_long_values_are_shortened_and_stay_on_one_line() -> None:
    (note,) = site_from_declad("copy_command_template: |\n  a\n  " + "b" * 500).notes
    assert len(note.what) <= 100
    assert "\n" not in note.what


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "x", "? {a: 1}\n: 2", "a: 2001-13-45"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="declad's configuration"):
        site_from_declad(text)


SECTIONS = {
    "scanner": (
        "type replace_location path interval location ls_command_template metadata_extractor_log metadata_extractor meta_suffix "
        "parse_re filename_patterns filename_pattern server timeout"
    ),
    "rucio": "activity dataset_did_template declare_to_rucio target_rses drop_rse",
    "samweb": "user url token cert key",
    "web_gui": "prefix site_title port",
    "graphite": "host interval port namespace bin",
}
TRANSLATED = (
    "declare_to_metacat declare_to_sam destination_root_path destination_server meta_suffix metacat_url rel_path_function "
    "sam_location_template source_root_path source_server transfer_proto"
)
TOP = sorted({*TRANSLATED.split(), *REFUSED_BY_DECLAD, *(key for key in WITHOUT_COUNTERPART if "." not in key)})
LIKELY: list[Any] = ["local", "xrootd", "hash", "template", "root", "https", ".json", "/data/x", "/", "host.ch:1094", "root://host.ch/"]
LIKELY += ["localhost", "https://host.ch:8443/app", "DUNE_CERN_EOS", ["A_B", "C"], ["*.hdf5"], [], {}, True, False, None, 8080, "no", 0]
VALUES = st.sampled_from(LIKELY) | st.text(max_size=12) | st.integers() | st.lists(st.text(max_size=5), max_size=3) | st.floats()
KEYS = st.text(max_size=8) | st.integers() | st.booleans()


@st.composite
def configurations(draw: st.DrawFn) -> dict[Any, Any]:
    """Random parts of declad's keys, and some of nobody's, with values that fit or do not."""
    content: dict[Any, Any] = draw(st.dictionaries(st.sampled_from(TOP), VALUES, max_size=12))
    for section, keys in SECTIONS.items():
        if draw(st.booleans()):
            content[section] = draw(st.dictionaries(st.sampled_from(keys.split()), VALUES, max_size=6) | VALUES)
    unknown = draw(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=2), max_size=2))
    return unknown | content


@given(configurations())
def test_whatever_a_configuration_holds_it_becomes_a_site_that_loads_and_no_key_is_lost(content: dict[Any, Any]) -> None:
    text = yaml.safe_dump(content)
    translation = site_from_declad(text)
    loaded(translation)
    assert keys_of(yaml.safe_load(text)) <= translation.carried.keys() | noted(translation).keys()


@given(st.text(max_size=60))
def test_any_text_is_translated_or_refused(text: str) -> None:
    try:
        translation = site_from_declad(text)
    except ConfigError:
        return
    loaded(translation)
