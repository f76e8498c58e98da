"""The filter's language as a tree: reading it, taking it apart, writing it anew. What it means says `filters`.

filter     = either
either     = both { "or" both }
both       = plain { "and" plain }
plain      = "not" plain | "(" either ")" | comparison
comparison = column ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~" ) value
           | column [ "not" ] "in" "(" value { "," value } ")"
           | column "is" [ "not" ] "empty"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from app.runs_table import columns, values

LONGEST, DEEPEST, MOST_VALUES = 4000, 30, 1000
"""Characters of a filter, brackets in brackets, values of one list: a table asks for no more."""

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~", "!~", "in", "not in", "is empty", "is not empty"]


class FilterError(ValueError):
    """The filter cannot be read; `place` is the character (from 0) at which that became clear."""

    def __init__(self, place: int, message: str) -> None:
        self.place, self.message = place, message
        super().__init__(f"{message} (at character {place + 1})")


@dataclass(frozen=True, slots=True)
class Comparison:
    column: str
    """A column's key, or `tag` or `notes`."""
    operator: Operator
    words: tuple[str, ...]
    """The values as they were typed."""
    place: int = 0
    """Where its value begins, or else its column: what an error points at."""

    def __str__(self) -> str:
        match self.operator:
            case "is empty" | "is not empty":
                return f"{self.column} {self.operator}"
            case "in" | "not in":
                return f"{self.column} {self.operator} ({', '.join(map(quoted, self.words))})"
            case _:
                return f"{self.column} {self.operator} {quoted(self.words[0])}"


@dataclass(frozen=True, slots=True)
class Not:
    part: Node

    def __str__(self) -> str:
        return f"not {_bracketed(self.part)}"


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " and ".join(_bracketed(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " or ".join(_bracketed(part) for part in self.parts)


Node = Comparison | Not | Both | Either


def read(text: str) -> Node | None:
    """The filter as a tree; None for an empty one. Raises `FilterError`; `filters.parse` looks at the values."""
    return _Reader(text).whole() if text.strip() else None


def parts(text: str) -> list[Node]:
    """What must all be true, one by one: the chips above the table. Raises `FilterError`."""
    tree = read(text)
    if tree is None:
        return []
    return list(tree.parts) if isinstance(tree, Both) else [tree]


def joined(nodes: list[Node]) -> str:
    """The reverse of `parts`."""
    return str(Both(tuple(nodes))) if len(nodes) > 1 else str(nodes[0]) if nodes else ""


def quoted(word: str) -> str:
    """A value as the language wants it: bare where that is possible."""
    if _BARE.fullmatch(word) and word.lower() not in _RESERVED:
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bracketed(node: Node) -> str:
    return f"({node})" if isinstance(node, Both | Either) else str(node)


# Reading

_BARE = re.compile(r"[^\s()<>=!~,\"']+")
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<operator><=|>=|!=|==|<>|!~|=|<|>|~)|(?P<mark>[(),])"""
    r"""|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<word>[^\s()<>=!~,"']+)""",
    re.DOTALL,
)
_RESERVED = {"and", "or", "not", "in", "is", "empty"}
_SAME = {"==": "=", "<>": "!="}


class _Token(NamedTuple):
    kind: str
    """space, operator, mark, text, word or end."""
    text: str
    place: int

    def says(self, *words: str) -> bool:
        return self.kind in ("word", "mark") and self.text.lower() in words

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else f"“{self.text}”"


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise FilterError(place, f"The quotation mark {text[place]} is never closed" if text[place] in "\"'"
                              else f"“{text[place]}” means nothing here")  # fmt: skip
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match.group(), place)
        place = match.end()
    yield _Token("end", "", len(text))


class _Reader:
    """A recursive-descent reader of one filter."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise FilterError(LONGEST, f"A filter has at most {LONGEST:,} characters")
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._either()
        if self._next.kind != "end":
            raise self._unexpected("“and”, “or” or the end")
        return node

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _took(self, *words: str) -> bool:
        """Take the next token if it is one of these words."""
        found = self._next.says(*words)
        self._at += found
        return found

    def _unexpected(self, expected: str) -> FilterError:
        return FilterError(self._next.place, f"Expected {expected}, found {self._next}")

    def _either(self) -> Node:
        found = [self._both()]
        while self._took("or"):
            found.append(self._both())
        return Either(tuple(found)) if len(found) > 1 else found[0]

    def _both(self) -> Node:
        found = [self._plain()]
        while self._took("and"):
            found.append(self._plain())
        return Both(tuple(found)) if len(found) > 1 else found[0]

    def _plain(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise FilterError(self._next.place, f"Brackets and “not” go at most {DEEPEST} deep")
        node = self._bracket_or_comparison()
        self._depth -= 1
        return node

    def _bracket_or_comparison(self) -> Node:
        if self._took("not"):
            return Not(self._plain())
        if not self._took("("):
            return self._comparison()
        node = self._either()
        if not self._took(")"):
            raise self._unexpected("“)”")
        return node

    def _comparison(self) -> Comparison:
        token = self._take()
        if token.kind != "word" or token.text.lower() in _RESERVED:
            self._at -= token.kind != "end"
            raise self._unexpected("the name of a column")
        name, place = _column_name(token), token.place
        if self._took("is"):
            negated = self._took("not")
            if not self._took("empty"):
                raise self._unexpected("“empty”" if negated else "“empty” or “not empty”")
            return Comparison(name, "is not empty" if negated else "is empty", (), place)
        if self._next.kind == "operator":
            operator, place = self._take().text, self._next.place
            return Comparison(name, _SAME.get(operator, operator), (self._value(),), place)  # type: ignore[arg-type]
        negated = self._took("not")
        if not self._took("in"):
            raise self._unexpected("“in”" if negated else "a comparison such as =, <, ~ or “in”")
        return Comparison(name, "not in" if negated else "in", self._list(), place)

    def _list(self) -> tuple[str, ...]:
        if not self._took("("):
            raise self._unexpected("“(” and a list of values")
        found = [self._value()]
        while self._took(","):
            found.append(self._value())
        if len(found) > MOST_VALUES:
            raise FilterError(self._next.place, f"A list has at most {MOST_VALUES:,} values")
        if not self._took(")"):
            raise self._unexpected("“,” or “)”")
        return tuple(found)

    def _value(self) -> str:
        token = self._next
        if token.kind == "text":
            self._take()
            return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        if token.kind != "word" or token.text.lower() in ("and", "or", "not"):
            raise self._unexpected("a value")
        return self._take().text


def _column_name(token: _Token) -> str:
    if token.text.lower() in BESIDES:
        return BESIDES[token.text.lower()]
    column = columns.get(token.text)
    if column is None:
        raise FilterError(token.place, f"There is no column “{token.text}”{_did_you_mean(token.text)}")
    return column.key


def _did_you_mean(word: str) -> str:
    near = values.nearest(word, [*columns.COLUMNS, *columns.ALIASES, *BESIDES])
    return f"; did you mean {near}?" if near else ""


BESIDES = {"tag": "tag", "tags": "tag", "notes": "notes", "note": "notes", "archived": "archived"}
"""What can be asked for that is no column of the narrow table, or not offered as one."""
