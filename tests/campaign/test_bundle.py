"""The worker bundle: the same bytes for the same inputs, all a job needs in it, and nothing it must not have."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from campaign import bundle_contents
from campaign.bundle import build, write_wrapper
from campaign.bundle_contents import libraries_of
from campaign.definition import CampaignFile, load_campaign
from dune_prompt.cli.campaign.bundle import bundle as bundle_command
from dune_prompt.errors import ConfigError
from tests.servers.unpacking import unpack_all

CAMPAIGN = """
campaign: test-prompt
detector: pdhd
stream: physics
version: v1
layout: LAYOUT
stages: {nf_sp: {payload: PAYLOAD}}
outputs: {namespace: hd-protodune-det-reco, data_tier: full-reconstructed}
"""
SITE = """
site: test
buffer: {path: buffer}
streams:
  - {name: physics, pattern: "*.hdf5", process: true, lifetime: 1h}
slots: {min: 1, max: 4}
"""


def campaign_in(folder: Path, payload: str = "noop", layout: str = "fused") -> CampaignFile:
    folder.mkdir(exist_ok=True)
    path = folder / "c.yaml"
    path.write_text(CAMPAIGN.replace("PAYLOAD", payload).replace("LAYOUT", layout))
    return load_campaign(path)


@pytest.fixture(scope="module")
def numpy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numpy")
    return build(folder / "bundles", campaign_in(folder, "numpy"))


def unpacked(bundle: Path, folder: Path) -> Path:
    with tarfile.open(bundle) as archive:
        unpack_all(archive, folder)
    return folder


def names_in(bundle: Path) -> set[str]:
    with tarfile.open(bundle) as archive:
        return set(archive.getnames())


def test_threads_that_build_at_once_get_the_same_bundle(tmp_path: Path) -> None:
    file = campaign_in(tmp_path)
    gate = threading.Barrier(6)

    def one(_: int) -> Path:
        gate.wait()
        return build(tmp_path / "bundles", file)

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(one, range(6)))) == 1
    assert not list((tmp_path / "bundles").glob("*.tmp"))


def test_from_two_folders_comes_the_same_file_byte_for_byte(tmp_path: Path) -> None:
    first, second = (build(tmp_path / name / "bundles", campaign_in(tmp_path / name)) for name in ("one", "two"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert first.name.startswith("dune-prompt-test-prompt-v1-")
    assert len(list(first.parent.iterdir())) == 2  # and no drafts


def test_another_campaign_file_or_library_gives_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {build(tmp_path / "bundles", campaign_in(tmp_path / "a", layout=layout)).name for layout in ("fused", "staged")}
    monkeypatch.setattr(bundle_contents, "ALWAYS", ())
    names.add(build(tmp_path / "bundles", campaign_in(tmp_path / "a")).name)
    assert len(names) == 3


def test_what_is_there_is_not_built_again_and_what_is_gone_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = campaign_in(tmp_path / "a")
    first = build(tmp_path / "bundles", file)
    content = first.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("campaign.bundle._archive", lambda *_: pytest.fail("built again"))
        assert build(tmp_path / "bundles", file) == first
    first.unlink()
    assert build(tmp_path / "bundles", file).read_bytes() == content


def test_entries_have_no_owner_no_time_and_no_odd_modes(numpy_bundle: Path) -> None:
    with tarfile.open(numpy_bundle) as archive:
        entries = archive.getmembers()
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries} == {(0, 0, "", "", 315_532_800)}
    assert {(entry.isdir(), entry.mode) for entry in entries} == {(True, 0o755), (False, 0o644)}
    names = [entry.name for entry in entries if entry.isfile()]
    assert names == sorted(names)


def test_a_bundle_holds_no_catalogue_client_no_engine_and_no_credential(numpy_bundle: Path, tmp_path: Path) -> None:
    names = names_in(numpy_bundle)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"__main__.py", "manifest.json", "dune_prompt", "stages", "scripts", "lib"}
    assert {name for name in names if name.startswith("dune_prompt/")} == {f"dune_prompt/{name}" for name in bundle_contents.FRAME}
    libraries = {name.split("/")[1] for name in names if name.startswith("lib/")}
    assert libraries.isdisjoint({"metacat", "rucio", "samweb_client", "XRootD", "sqlalchemy", "jinja2", "pydantic", "click", "yaml"})
    assert not [name for name in names if name.endswith((".pyc", ".pem.key")) or "/tests/" in name or "token" in name.lower()]
    folder = unpacked(numpy_bundle, tmp_path / "b")
    ours = [path for path in folder.rglob("*") if path.is_file() and "lib" not in path.relative_to(folder).parts]
    here = str(Path(__file__).parents[2]).encode()
    assert not [path for path in ours if here in path.read_bytes()]


def test_the_manifest_says_where_it_runs_and_what_is_in_it(numpy_bundle: Path) -> None:
    with tarfile.open(numpy_bundle) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert manifest["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert manifest["glibc"] <= "2.34"
    assert manifest["libraries"]["numpy"] == metadata.version("numpy")
    assert (manifest["campaign"], manifest["version"], manifest["steps"]) == ("test-prompt", "v1", ["chain"])
    assert len(manifest["campaign_file_sha256"]) == 64


def test_with_scipy_it_is_no_larger_than_60_mb_and_a_noop_brings_no_arrays(tmp_path: Path, numpy_bundle: Path) -> None:
    assert numpy_bundle.stat().st_size < 60e6
    assert not [name for name in names_in(build(tmp_path / "b", campaign_in(tmp_path / "a"))) if "numpy" in name.split("/")]


def test_every_library_is_imported_from_the_bundle_whatever_lies_around(numpy_bundle: Path, tmp_path: Path) -> None:
    folder = unpacked(numpy_bundle, tmp_path / "b")
    (tmp_path / "poison").mkdir()
    for name in ("numpy", "stages", "dune_prompt", "PIL"):
        (tmp_path / "poison" / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    (folder / "stages" / "job.py").write_text(
        "from sys import exit as leave\n"
        "def main(argv, payload):\n"
        "    import dune_prompt, h5py, numpy, PIL.Image, requests, scipy.fft, scipy.ndimage, stages, zlib_ng.zlib_ng\n"
        "    for module in (dune_prompt, h5py, numpy, PIL, requests, scipy, stages, zlib_ng): print(module.__file__)\n"
        "    print(payload.campaign, argv)\n"
        "    return 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", str(folder), "run", "all", "--assignment", "x"],
        cwd=tmp_path / "poison",
        env={"PYTHONPATH": str(tmp_path / "poison")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *files, last = done.stdout.splitlines()
    assert all(file.startswith(str(folder.resolve())) for file in files), files
    assert last == "test-prompt ['all', '--assignment', 'x']"


def test_another_python_is_refused_in_words(tmp_path: Path) -> None:
    folder = unpacked(build(tmp_path / "bundles", campaign_in(tmp_path / "a")), tmp_path / "b")
    main = folder / "__main__.py"
    main.write_text(main.read_text().replace(f"PYTHON = {sys.version_info[:2]}", "PYTHON = (3, 4)"))
    done = subprocess.run([sys.executable, "-I", str(folder), "run", "all"], capture_output=True, text=True)
    assert done.returncode == 20
    assert "this bundle is for Python 3.4, not" in done.stderr


def test_a_staged_campaign_has_all_its_scripts(tmp_path: Path) -> None:
    bundle = build(tmp_path / "bundles", campaign_in(tmp_path / "a", layout="staged"))
    scripts = {name for name in names_in(bundle) if name.startswith("scripts/")}
    assert scripts == {f"scripts/{stage}.py" for stage in ("nf_sp", "declare", "evaluate", "dqm_upload")}


class Installed:
    """A distribution as `importlib.metadata` gives it."""

    version = "1.0"
    files = ()

    def __init__(self, **texts: str) -> None:
        self.texts = texts

    def read_text(self, name: str) -> str | None:
        return self.texts.get(name.partition(".")[0])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"WHEEL": "Tag: cp311-cp311-linux_x86_64\n"}, "was built for this machine"),
        ({"WHEEL": "Tag: cp311-cp311-manylinux_2_39_x86_64\n"}, "needs glibc 2.39, workers have 2.34"),
        ({"WHEEL": "Tag: py3-none-any\n", "direct_url": '{"url": "file:///x", "dir_info": {"editable": true}}'}, "from a folder of this"),
        ({}, "was not installed from a wheel"),
    ],
)
def test_a_library_that_other_machines_cannot_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, texts: dict[str, str], message: str
) -> None:
    file = campaign_in(tmp_path / "a")
    monkeypatch.setattr(metadata, "distribution", lambda _name: Installed(**texts))
    with pytest.raises(ConfigError, match=message):
        libraries_of(file.settings)


@pytest.mark.parametrize(
    ("tags", "glibc"),
    [
        (["py3-none-any"], None),
        (["cp311-cp311-manylinux_2_27_x86_64", "cp311-cp311-manylinux_2_28_x86_64"], (2, 27)),
        (["cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"], (2, 17)),
        (["cp311-cp311-manylinux1_x86_64"], (2, 5)),
    ],
)
def test_the_oldest_c_library_is_read_from_the_wheels_tags(tags: list[str], glibc: tuple[int, int] | None) -> None:
    assert bundle_contents._glibc_of("x", tags) == glibc


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle_contents, "ALWAYS", ("no-such-library",))
    with pytest.raises(ConfigError, match="no-such-library is not installed here"):
        libraries_of(campaign_in(tmp_path / "a").settings)


def test_the_command_builds_and_shows_the_bundles_of_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaign_in(tmp_path / "campaigns")
    (tmp_path / "buffer").mkdir()
    (tmp_path / "site.yaml").write_text(SITE)

    def call(*arguments: str) -> Any:
        bundle_command.main(["--site", str(tmp_path / "site.yaml"), "--json", *arguments], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    (shown,) = call("--dry-run")
    assert shown["bundle"] is None
    assert not list(tmp_path.rglob("*.tar.gz"))
    (built,) = call("--output", str(tmp_path / "here"))
    assert Path(built["bundle"]).parent == tmp_path / "here"
    assert Path(built["bundle"]).is_file()
    with pytest.raises(ConfigError, match="no campaign 'other'"):
        call("--campaign", "other")


def test_the_shell_script_is_ready_to_run(tmp_path: Path) -> None:
    path = write_wrapper(tmp_path / "submission", campaign_in(tmp_path / "a"), sites="CERN")
    assert path == tmp_path / "submission" / "job.sh"
    assert path.stat().st_mode & 0o777 == 0o755
    assert "sites=CERN\n" in path.read_text()


def test_every_payload_of_the_campaign_file_has_its_libraries_named() -> None:
    from typing import get_args

    from campaign.bundle_contents import OF_PAYLOAD
    from campaign.definition import NfSpSettings
    from stages.nf_sp.stage import PAYLOADS

    assert set(OF_PAYLOAD) == set(PAYLOADS) == set(get_args(NfSpSettings.model_fields["payload"].annotation))
