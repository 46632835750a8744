"""Records as they are kept, limits made by hand, and what of a record a test wants otherwise."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboard.dqm.record import DqmRecord, read_record
from dashboard.dqm.storage import DqmStorage, Stored
from dashboard.quality.judging import Judge
from dashboard.quality.limits import LimitsFile, read_limits, set_limits
from dune_prompt.store import Store

NOW = 1_718_795_400.0
Content = dict[str, Any]

TEXT = {"words": "what it is", "means": "what it means", "do": "what to do"}


def a_check(key: str, *limits: Content, group: str = "noise", **more: Any) -> Content:
    return {"key": key, "group": group, **TEXT, "limits": list(limits) or [{"high_warn": 1.0}], **more}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def make(record: Callable[..., Content]) -> Callable[..., Content]:
    """A record in which all is well: as the common one, but without a broken trigger record, and always with the same numbers."""
    first = record(elements=4, channels=60)

    def make(run: int = 27296, index: int = 0, **more: Any) -> Content:
        content = copy.deepcopy(first)
        named = record(run, index, elements=0)
        content |= {key: named[key] for key in ("run", "file_index", "input_did", "made_at", "attempt")} | {"pictures": []}
        content["records"] |= {"n_records": 2, "n_used": 2, "n_unusable": 0, "n_with_error_bits": 0, "n_problems": 0, "problems": []}
        return content | more

    return make


@pytest.fixture
def typed() -> Callable[[Content], DqmRecord]:
    return lambda content: read_record(json.dumps(content).encode())


@pytest.fixture
def judge(store: Store, workspace: Path) -> Judge:
    return Judge(store, workspace)


@pytest.fixture
def keep(store: Store, workspace: Path, judge: Judge, typed: Callable[[Content], DqmRecord]) -> Callable[..., Stored]:
    """Keeps a record as an upload does, judged."""
    storage = DqmStorage(store, workspace, judge)

    def keep(content: Content, at: float = NOW) -> Stored:
        return storage.keep(typed(content), json.dumps(content).encode(), {}, at)

    return keep


@pytest.fixture
def put_limits(store: Store) -> Callable[..., int]:
    """Makes these checks the limits in force."""

    def put(*checks: Content, why: str = "a test") -> int:
        with store.write() as connection:
            after = read_limits(connection).version
            content = LimitsFile.model_validate({"checks": checks})
            return set_limits(connection, content, after_version=after, by="somebody", why=why, now=NOW)

    return put


@pytest.fixture
def check() -> Callable[..., Content]:
    return a_check


def plane_of(content: Content, element: str, plane: str) -> Content:
    return next(p for e in content["elements"] if e["element"] == element for p in e["planes"] if p["plane"] == plane)


@pytest.fixture
def plane() -> Callable[[Content, str, str], Content]:
    """A plane of a record, to be changed."""
    return plane_of
