"""Runs all benchmarks, one after the other, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

SUPPORT = {"__init__", "__main__", "installation"}

for path in sorted(Path(__file__).parent.glob("*.py")):
    if path.stem not in SUPPORT:
        print(f"== {path.stem}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{path.stem}", *sys.argv[1:]], check=True)
