"""Stands in for `python-ldap`: the directory is a JSON file of names and passwords, its path the server's address."""

from __future__ import annotations

import json
from pathlib import Path


class INVALID_CREDENTIALS(Exception):  # noqa: N801, N818 - as python-ldap spells it
    """The password is not that of the name."""


class Directory:
    def __init__(self, passwords: dict[str, str]) -> None:
        self._passwords = passwords

    def simple_bind_s(self, name: str, password: str) -> None:
        if self._passwords.get(name) != password:
            raise INVALID_CREDENTIALS


def initialize(address: str) -> Directory:
    return Directory(json.loads(Path(address).read_text()))
