"""The systemd units: golden files, systemd's own opinion of them, and values that try to break out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from declare_daemon.checks.needs import Surroundings
from dune_prompt.cli.units import command, unit_texts
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Site, load_site
from templates.systemd_quote import systemdarg, systemdpath, systemdquote

GOLDEN = Path(__file__).parent / "golden" / "systemd"
NOBODY = Surroundings({}, 4_000_000_000)

SITE = """
site: cern-np04
workspace: /var/lib/dune-prompt
buffer: {path: /eos/experiment/neutplatform/protodune/np04/buffer}
streams: [{name: physics, pattern: "np04hd_raw_run*.hdf5", release: {move_to: /data1/processed}}]
catalogs:
  - {kind: sam, url: "https://samweb.fnal.gov:8483/sam/dune/api", cert: /var/lib/dune-prompt/credentials/proxy.pem}
  - {kind: metacat, url: "https://metacat.fnal.gov:9443/dune_meta_prod/app", auth_url: "https://metacat.fnal.gov:8143/auth/dune"}
"""


def site_of(folder: Path, text: str = SITE) -> Site:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "site.yaml").write_text(text)
    return load_site(folder / "site.yaml")


def texts_of(site: Site) -> dict[str, str]:
    program = ["/opt/dune-prompt/bin/dune-prompt"]
    return unit_texts(site, Path("/etc/dune-prompt/site.yaml"), "np04prompt", program, ["/data2/outputs"], NOBODY)


def test_the_units_of_the_example_are_the_golden_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/bin/python")
    texts = texts_of(site_of(tmp_path))
    assert sorted(texts) == sorted(path.name for path in GOLDEN.iterdir())
    for name, text in texts.items():
        assert text == (GOLDEN / name).read_text("utf-8"), name


def test_only_credentials_that_the_site_needs_have_timers(tmp_path: Path) -> None:
    plain = SITE.partition("catalogs:")[0].replace("/eos/", "/data/")
    assert not [name for name in texts_of(site_of(tmp_path, plain)) if "renew" in name]
    texts = texts_of(site_of(tmp_path, plain + 'catalogs: [{kind: metacat, url: "https://m/app"}]'))
    assert sorted(name for name in texts if name.endswith("timer") and "renew" in name) == [
        "dune-prompt-renew-metacat.timer",
        "dune-prompt-renew-token.timer",
    ]
    assert "auth login -m token" in texts["dune-prompt.env"]


def test_a_proxy_named_in_the_site_file_is_the_one_that_is_renewed(tmp_path: Path) -> None:
    sam = '{kind: sam, url: "https://s/api", cert: /etc/dune-prompt/proxy.pem}'
    environment = texts_of(site_of(tmp_path, SITE.partition("catalogs:")[0] + f"catalogs: [{sam}]"))["dune-prompt.env"]
    assert "X509_USER_PROXY=/etc/dune-prompt/proxy.pem\n" in environment
    assert "-out /etc/dune-prompt/proxy.pem" in environment


def test_network_mounts_are_not_touched_when_the_daemon_starts(tmp_path: Path) -> None:
    (line,) = [
        line for line in texts_of(site_of(tmp_path))["dune-prompt-declare.service"].splitlines() if line.startswith("ReadWritePaths")
    ]
    assert line == 'ReadWritePaths="/var/lib/dune-prompt" "-/data1/processed" "-/data2/outputs"'


def in_odd_folders(tmp_path: Path) -> dict[str, str]:
    """Units of an installation whose paths have everything in them that means something to systemd."""
    odd = tmp_path / "a folder with %n, $HOME, 'quotes' and ${x}; #1"
    program = tmp_path / "100% $HOME; #1" / "dune-prompt"  # systemd runs no program with a quote in its path
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    site = site_of(odd, SITE.replace("/var/lib/dune-prompt", "work space").replace("/data1/processed", "processed 100%"))
    (odd / "dune-prompt.env").touch()
    return unit_texts(site, odd / "site.yaml", "np04prompt", [str(program)], [], NOBODY)


def test_odd_paths_are_whole_words_for_systemd(tmp_path: Path) -> None:
    odd = str(tmp_path / "a folder with %%n, $HOME, 'quotes' and ${x}; #1")
    unit = in_odd_folders(tmp_path)["dune-prompt-declare.service"]
    dollars = odd.replace("$", "$$")
    assert f'ExecStart="{tmp_path}/100%% $HOME; #1/dune-prompt" "declare" "run" "--site" "{dollars}/site.yaml"\n' in unit
    assert f"EnvironmentFile={odd}/dune-prompt.env\n" in unit
    assert f'ReadWritePaths="{odd}/work space" "-{odd}/processed 100%%"\n' in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    units = tmp_path / "units"
    units.mkdir()
    texts = in_odd_folders(tmp_path)
    for name, text in texts.items():
        (units / name).write_text(text)
    names = [str(units / name) for name in texts if not name.endswith(".env")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_environment_file_gives_a_shell_exactly_the_paths(tmp_path: Path) -> None:
    texts = in_odd_folders(tmp_path)
    path = tmp_path / "environment"
    path.write_text(texts["dune-prompt.env"])
    shell = 'set -a; . "$1"; printf "%s\\n%s\\n" "$DUNE_PROMPT_SITE" "$HOME"'
    done = subprocess.run(["sh", "-c", shell, "sh", str(path)], capture_output=True, text=True, check=True)
    odd = tmp_path / "a folder with %n, $HOME, 'quotes' and ${x}; #1"
    assert done.stdout.splitlines() == [f"{odd}/site.yaml", f"{odd}/work space/credentials"]


def test_the_renewing_command_is_run_with_its_quotes(tmp_path: Path) -> None:
    """What systemd makes of the unit's ExecStart, done by hand: `$$` is `$`, `\\"` is `"`."""
    (line,) = [
        line for line in texts_of(site_of(tmp_path))["dune-prompt-renew-proxy.service"].splitlines() if line.startswith("ExecStart=")
    ]
    script = line.removeprefix('ExecStart=/bin/sh -ec "').removesuffix('"').replace("$$", "$").replace('\\"', '"')
    done = subprocess.run(
        ["/bin/sh", "-ec", script], env={"RENEW_PROXY": "printf '%s|' 'a b' c\"d\" \"$X\"", "X": "e f"}, capture_output=True, text=True
    )
    assert done.stdout == "a b|cd|e f|"
    unset = subprocess.run(["/bin/sh", "-ec", script], env={}, capture_output=True, text=True)
    assert unset.returncode != 0
    assert "RENEW_PROXY: is not set in the environment file" in unset.stderr


@pytest.mark.parametrize("name", ["line\nbreak", 'a "quote"', "back\\slash", "tab\t"])
def test_a_path_that_systemd_cannot_take_is_refused(tmp_path: Path, name: str) -> None:
    site = site_of(tmp_path).model_copy(update={"workspace": Path("/var/lib", name)})
    with pytest.raises(ConfigError, match="systemd"):
        texts_of(site)


def test_a_program_that_systemd_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not run such a program"):
        unit_texts(site_of(tmp_path), tmp_path / "site.yaml", "np04prompt", ["/opt/bob's/bin/dune-prompt"], [], NOBODY)


def unquoted(word: str) -> str:
    """What systemd reads in a word in double quotes (systemd.syntax(7)), specifiers resolved."""
    assert word.startswith('"')
    assert word.endswith('"')
    text, found = word[1:-1], ""
    while text:
        assert text[0] not in '"\n'
        length = 2 if text[0] in "\\%" else 1
        assert length == 1 or text[1] in ('"\\' if text[0] == "\\" else "%")
        found, text = found + text[length - 1], text[length:]
    return found


printable = st.text(st.characters(blacklist_categories=("C", "Z"))) | st.text(" $%\"'\\{}a;#")


@given(printable)
def test_a_quoted_word_is_read_back_as_it_was(value: str) -> None:
    assert unquoted(systemdquote(value)) == value
    assert unquoted(systemdarg(value)).replace("$$", "$") == value
    assert systemdarg(value).count("$") == 2 * value.count("$")


@given(st.text())
def test_no_value_begins_a_new_line(value: str) -> None:
    for quote in (systemdquote, systemdarg, systemdpath):
        try:
            text = quote(value)
        except ValueError:
            continue
        assert len(text.splitlines()) <= 1


# ---- the command ----


@pytest.fixture
def site_path(tmp_path: Path) -> Path:
    site_of(tmp_path)
    return tmp_path / "site.yaml"


def run(site_path: Path, *options: str) -> str:
    result = CliRunner().invoke(command, ["--site", str(site_path), "--user", "np04prompt", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_units_are_written_and_the_environment_is_for_its_owner_only(site_path: Path, tmp_path: Path) -> None:
    output = run(site_path, "--output", str(tmp_path / "units"))
    assert (tmp_path / "units" / "dune-prompt.env").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "units" / "dune-prompt-declare.service").exists()
    assert f"-o np04prompt {tmp_path}/units/dune-prompt.env {tmp_path}/dune-prompt.env" in output


def test_an_edited_environment_is_never_overwritten(site_path: Path, tmp_path: Path) -> None:
    run(site_path, "--output", str(tmp_path / "units"))
    (tmp_path / "units" / "dune-prompt.env").write_text("mine")
    (tmp_path / "units" / "dune-prompt-check.timer").write_text("old")
    assert "stays as it is" in run(site_path, "--output", str(tmp_path / "units"))
    assert (tmp_path / "units" / "dune-prompt.env").read_text() == "mine"
    assert "OnCalendar" in (tmp_path / "units" / "dune-prompt-check.timer").read_text()


def test_a_dry_run_prints_everything_and_writes_nothing(site_path: Path, tmp_path: Path) -> None:
    output = run(site_path, "--dry-run", "--output", str(tmp_path / "units"))
    assert "==> dune-prompt-declare.service" in output
    assert not (tmp_path / "units").exists()


def test_a_user_that_is_no_name_is_refused(site_path: Path) -> None:
    result = CliRunner().invoke(command, ["--site", str(site_path), "--user", "root\nExecStart=/bin/sh", "--dry-run"])
    assert result.exit_code == 2
