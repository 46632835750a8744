"""SAM's query language, as far as we and POMS use it: `data_tier raw and version 'v1' minus isparentof:( … ) with limit 5`.

The grammar is that of the server's own parser, of which fermitools/metacat has a copy (`conversion_mwm/sam_parser/parser.py`). Here too
`minus`, `union` and `intersect` come last and go from left to right, `and` binds closer than `or`, and names are not case sensitive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

TOKEN = re.compile(
    r"""\s*(?:
    (?P<quoted>'[^']*'|"[^"]*") |
    (?P<colon>(?:defname|isparentof|ischildof|availability)\s*:) |
    (?P<op><=|>=|!=|=|<|>) |
    (?P<mark>[(),]) |
    (?P<word>[A-Za-z0-9_.%?+-]+)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
RANGE = re.compile(r"(\d+(?:\.\d+)?|\d{4}-\d\d-\d\d)-(\d+(?:\.\d+)?|\d{4}-\d\d-\d\d)")
SET_OPERATORS = ("minus", "union", "intersect")
KEYWORDS = {"and", "or", "not", "with", *SET_OPERATORS}


class DimensionError(Exception):
    """The query cannot be understood."""


@dataclass(frozen=True)
class Dimension:
    """`name op values`; `op` is one of = != < <= > >= like, `not like`, in, `not in`, range."""

    name: str
    op: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    name: str


@dataclass(frozen=True)
class Relative:
    """`isparentof` or `ischildof` what the subquery finds."""

    relation: str
    query: Query


@dataclass(frozen=True)
class Combination:
    """`and`, `or`, `not`, `minus`, `union` or `intersect` of parts."""

    op: str
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Query:
    """A whole query or subquery, with what follows `with`."""

    node: Node
    limit: int | None = None
    offset: int = 0
    stride: int = 1
    anywhere: bool = False


Node: TypeAlias = "Dimension | Definition | Relative | Combination | Query"


@dataclass
class _Parser:
    tokens: list[tuple[str, str]] = field(default_factory=list)
    at: int = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "the end")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def is_word(self, *words: str) -> bool:
        kind, text = self.peek()
        return kind == "word" and text.lower() in words

    def accept(self, mark: str) -> bool:
        if self.peek() == ("mark", mark):
            self.at += 1
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            self.fail(mark)

    def fail(self, wanted: str) -> NoReturn:
        raise DimensionError(f"Parse error: expected {wanted}, found {self.peek()[1]!r}")

    def query(self) -> Query:
        node = self.alternatives()
        while self.is_word(*SET_OPERATORS):
            op = self.take()[1].lower()
            node = Combination(op, (node, self.alternatives()))
        limits: dict[str, int] = {}
        anywhere = False
        while self.is_word("with"):
            self.take()
            word = self.take()[1].lower()
            if word == "availability":
                anywhere = anywhere or self.value().lower() in ("anylocation", "virtual", "any")
            elif word in ("limit", "offset", "stride"):
                text = self.value()
                if not text.isdecimal():
                    raise DimensionError(f"Parse error: {word} {text!r}")
                limits[word] = int(text)
            else:
                raise DimensionError(f"Unknown option {word!r}")
        return Query(node, limits.get("limit"), limits.get("offset", 0), limits.get("stride", 1), anywhere)

    def alternatives(self) -> Node:
        parts = [self.all_of()]
        while self.is_word("or"):
            self.take()
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else Combination("or", tuple(parts))

    def all_of(self) -> Node:
        parts = [self.term()]
        while self.is_word("and"):
            self.take()
            parts.append(self.term())
        return parts[0] if len(parts) == 1 else Combination("and", tuple(parts))

    def term(self) -> Node:
        if self.is_word("not"):
            self.take()
            return Combination("not", (self.term(),))
        if self.accept("("):
            query = self.query()
            self.expect(")")
            plain = query == Query(query.node)
            return query.node if plain else query
        kind, text = self.take()
        if kind == "colon":
            word = text.rstrip(": ").lower()
            if word == "defname":
                return Definition(self.value())
            if word == "availability":
                raise DimensionError("availability: is not understood here")
            self.expect("(")
            query = self.query()
            self.expect(")")
            return Relative(word, query)
        if kind != "word" or text.lower() in KEYWORDS or not text[0].isalpha():
            self.at -= 1
            self.fail("a dimension")
        return self.dimension(text.lower())

    def dimension(self, name: str) -> Dimension:
        op = "="
        if self.peek()[0] == "op":
            op = self.take()[1]
        else:
            negated = self.is_word("not")
            if negated:
                self.take()
            if self.is_word("like", "in"):
                op = ("not " if negated else "") + self.take()[1].lower()
            elif negated:
                self.fail("like or in")
        brackets = self.accept("(")
        values = [self.value()]
        while self.accept(","):
            values.append(self.value())
        if brackets:
            self.expect(")")
        if len(values) == 1 and op in ("=", "in") and (match := RANGE.fullmatch(values[0])):
            return Dimension(name, "range", (match[1], match[2]))
        if len(values) > 1 and op == "=":
            op = "in"
        if len(values) > 1 and op not in ("in", "not in"):
            raise DimensionError(f"Parse error: {op} takes one value")
        return Dimension(name, op, tuple(values))

    def value(self) -> str:
        kind, text = self.take()
        if kind == "quoted":
            return text[1:-1]
        if kind != "word" or text.lower() in KEYWORDS:
            self.at -= 1
            self.fail("a value")
        return text


def parse(text: str) -> Query:
    """The query as a tree.

    Raises:
        DimensionError: saying what is wrong.
    """
    if not text.strip():
        raise DimensionError("Dimensions string is empty")
    if not text.isascii():
        raise DimensionError("Dimensions contain invalid (non-ascii) characters")
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise DimensionError(f"Parse error at column {at + 1}")
        assert match.lastgroup is not None
        tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    parser = _Parser(tokens)
    query = parser.query()
    if parser.at < len(tokens):
        parser.fail("the end")
    return query
