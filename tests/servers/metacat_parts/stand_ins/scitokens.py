"""Stands in for `scitokens`: accepts no token, so that MetaCat's code goes on to the tokens its own server has signed."""

from __future__ import annotations


class SciToken:
    @staticmethod
    def deserialize(encoded: str) -> SciToken:
        raise ValueError("no SciToken")
