"""Memory of a process is its own, not that of the process that started it."""

from __future__ import annotations

import subprocess
import sys

from stages.memory import peak_rss_bytes


def test_what_was_held_and_given_back_counts() -> None:
    block = bytearray(300_000_000)
    del block
    assert peak_rss_bytes() > 250_000_000


def test_a_small_child_of_a_large_process_is_small() -> None:
    block = bytearray(300_000_000)
    script = "from stages.memory import peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(block) > 10 * int(done.stdout)
