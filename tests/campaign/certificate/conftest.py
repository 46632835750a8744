from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.why.rows import Books


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = Books.open(tmp_path)
    yield opened
    opened.store.close()
