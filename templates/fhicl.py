"""Writes values as FHiCL, the language of art's job files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def fhicl(value: Any) -> str:
    """`value` (as JSON has them) in FHiCL; texts are quoted, so that nothing in them is taken for anything else.

    Raises:
        ValueError: a value or a name that FHiCL cannot have.
    """
    match value:
        case None:
            return "@nil"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} has no form in FHiCL")
            return repr(value)
        case str():
            if any(ord(character) < 32 for character in value):
                raise ValueError(f"{value!r}: a text without control characters")
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case list() | tuple():
            return "[" + ", ".join(fhicl(item) for item in value) + "]"
        case Mapping():
            if bad := [name for name in value if not isinstance(name, str) or not _NAME.fullmatch(name)]:
                raise ValueError(f"{bad[0]!r} is no name in FHiCL")
            return "{ " + " ".join(f"{name}: {fhicl(item)}" for name, item in value.items()) + " }"
    raise ValueError(f"{value!r} has no form in FHiCL")
