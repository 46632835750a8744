"""Where a deterministic Rucio storage element wants a file, below its prefix.

The formulas are those of Rucio's `rucio/rse/translation.py` (`RSEDeterministicTranslation`), and declad's `rel_path_function: hash`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from dune_prompt.errors import ConfigError


def hashed(scope: str, name: str) -> str:
    """`scope/c5/2e/name`, with the first four digits of the MD5 of `scope:name`: Rucio's default, and that of DUNE's storage elements."""
    digits = hashlib.md5(f"{scope}:{name}".encode(), usedforsecurity=False).hexdigest()
    return f"{_folder(scope)}/{digits[:2]}/{digits[2:4]}/{name}"


def identity(scope: str, name: str) -> str:
    """`scope/name`."""
    return f"{_folder(scope)}/{name}"


def _folder(scope: str) -> str:
    """The scopes of users and groups become folders in folders."""
    return scope.replace(".", "/") if scope.startswith(("user", "group")) else scope


ALGORITHMS: dict[str, Callable[[str, str], str]] = {"hash": hashed, "identity": identity}


def relative_path(algorithm: str, scope: str, name: str) -> str:
    """The path below the prefix by `algorithm`, the storage element's attribute `lfn2pfn_algorithm`.

    Raises:
        ConfigError: an algorithm of a policy package, which only the server has.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"path algorithm {algorithm!r} of the storage element is not known here; known are {', '.join(ALGORITHMS)}")
    return ALGORITHMS[algorithm](scope, name)
