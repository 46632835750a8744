"""The shell script around jobs: its text, and values in it that try to break out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templates import render

GOLDEN = Path(__file__).parent / "golden"
SHELLS = [shell for shell in ("bash", "dash", "busybox") if shutil.which(shell)]


def text_of(**changes: str) -> str:
    return render(
        "job.sh.j2", **({"campaign": "pdhd-prompt", "version": "v1", "python": "3.11", "sites": "CERN", "unpacked": "@tar"} | changes)
    )


def test_the_script_is_the_golden_one() -> None:
    assert text_of() == (GOLDEN / "job.sh.txt").read_text("utf-8")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_understands_it(tmp_path: Path, shell: str) -> None:
    (tmp_path / "job.sh").write_text(text_of())
    command = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run([*command, "-n", str(tmp_path / "job.sh")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_makes_the_shell_echo_what_it_does() -> None:
    assert "set -x" not in text_of()
    assert "-v" not in text_of().splitlines()[0]


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=30))
def test_no_value_breaks_out_of_the_script(value: str) -> None:
    """The part that sets the values, run alone, gives exactly them."""
    text = text_of(sites=value, python=value)
    begin = text.index("campaign=")
    part = text[begin : text.index("bundle=${1-}")]
    done = subprocess.run(["sh", "-c", f'{part}\nprintf "%s|%s" "$sites" "$python_version"'], capture_output=True, env={})
    assert done.returncode == 0
    assert done.stdout.decode() == f"{value}|{value}"
