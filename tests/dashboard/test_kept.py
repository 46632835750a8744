"""Values that are kept for the next who asks."""

from __future__ import annotations

import pytest

from dashboard.kept import Kept


def test_a_value_is_made_once_until_others_have_pushed_it_out() -> None:
    kept: Kept[str, str] = Kept(2)
    made: list[str] = []

    def ask(key: str) -> str:
        return kept.get(key, lambda: made.append(key) or key.upper())

    assert [ask(key) for key in "aab"] == ["A", "A", "B"]
    assert made == ["a", "b"]
    # Asking for one keeps it longer.
    ask("a")
    ask("c")
    ask("a")
    assert made == ["a", "b", "c"]
    ask("b")
    assert made == ["a", "b", "c", "b"]


def test_what_cannot_be_made_is_tried_again() -> None:
    kept: Kept[str, float] = Kept(2)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 / 0)
    assert kept.get("a", lambda: 1.0) == 1.0
