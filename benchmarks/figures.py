"""Chooses figures of a benchmark by name, measures them, and prints them as lines or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any


def run(description: str | None, figures: Mapping[str, Callable[[], dict[str, Any]]], beside: Mapping[str, str] | None = None) -> None:
    """The command line of a benchmark. `beside` are numbers of others, shown in brackets."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="*", choices=sorted(figures), default=list(figures))
    options = parser.parse_args()
    result = {name: figures[name]() for name in options.only}
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, values in result.items():
        note = f"  [{beside[name]}]" if beside and name in beside else ""
        print(name, "  ".join(f"{key} {value}" for key, value in values.items()) + note)
