"""The base of the enums of states: every state has a sentence that says what it means."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class State(StrEnum):
    """A state; its members are written `NAME = "name", "what is so in it"`."""

    sentence: str

    def __new__(cls, value: str, sentence: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member
