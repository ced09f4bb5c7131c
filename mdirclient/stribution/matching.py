"""How values are compared with keys: comparators and match types. Pure.

Linear in value and key, whatever stands in them.

Sources: RFC 5228 §2.7, RFC 4790 §9 (comparators), RFC 5231 (relational).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final

import attrs

from mdirclient.errors import ScriptError

_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UPPER: Final = {lower: upper for upper, lower in _LOWER.items()}
#: More stars in a row than there are numbered variables (RFC 5229 §3.2).
_MAX_RUN: Final = 40
_DIGITS = re.compile(r"[0-9]+")
#: What is no number is more than every number (RFC 4790 §9.1).
_INFINITE: Final = (1 << 62, "")

#: A piece of a key with a `?` has so many characters at the most.
MAX_WILD: Final = 4096
Relation = Callable[[Any, Any], bool]
#: RFC 5231 §4.
RELATIONS: Final[dict[str, Relation]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
}


def lower_ascii(text: str) -> str:
    """The letters A to Z in lower case, and no others."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def upper_ascii(text: str) -> str:
    """The letters a to z in upper case, and no others; RFC 4790 §9.2 compares so."""
    return text.upper() if text.isascii() else text.translate(_UPPER)


def _as_it_is(text: str) -> str:
    return text


def _number(text: str) -> tuple[int, str]:
    """What numbers are compared by: of any length, in linear time."""
    match = _DIGITS.match(text)
    if not match:
        return _INFINITE
    digits = match[0].lstrip("0")
    return len(digits), digits


#: For each comparator what texts become to be compared.
COMPARATORS: Final[dict[str, Callable[[str], object]]] = {
    "i;ascii-casemap": upper_ascii,
    "i;octet": _as_it_is,
    "i;ascii-numeric": _number,
}
#: Those that can look for parts of a text, and how they read it.
PARTIAL: Final[dict[str, Callable[[str], str]]] = {
    "i;ascii-casemap": upper_ascii,
    "i;octet": _as_it_is,
}


@attrs.frozen
class Wild:
    """A text with `?` in it.

    Attributes:
        chars: its characters; None stands for `?`.
        masks: for each character the places where it stands, one bit each, and every `?`.
        anything: the places of `?`.
    """

    chars: tuple[str | None, ...]
    masks: dict[str, int]
    anything: int

    def __len__(self) -> int:
        return len(self.chars)


Piece = str | Wild


@attrs.frozen
class Pattern:
    """A key of `:matches`, taken apart.

    Attributes:
        pieces: what stands between the `*`.
    """

    pieces: tuple[Piece, ...]

    @classmethod
    def parse(cls, key: str) -> Pattern:
        """Read a key: `*` any text, `?` one character, a backslash before what is meant as such.

        Raises:
            ScriptError: too much stands between two `*` around a `?`.
        """
        pieces: list[Piece] = []
        piece: list[str | None] = []
        empty = 0
        chars = iter(key)
        for char in chars:
            if char == "*":
                # Of a run of stars all but the last stand for nothing; a million are as few.
                empty = empty + 1 if not piece else 0
                if empty <= _MAX_RUN:
                    pieces.append(_piece(piece))
                piece = []
            else:
                # RFC 5228 §2.7.1: `\\*` is a star; a backslash at the end is one.
                piece.append(None if char == "?" else next(chars, char) if char == "\\" else char)
        return cls((*pieces, _piece(piece)))

    def cost(self, length: int) -> int:
        """About what a match with so long a text costs, in characters."""
        wild = max((len(piece) for piece in self.pieces if isinstance(piece, Wild)), default=0)
        return length * (1 + wild // 64) + len(self.pieces) + wild

    def match(self, text: str) -> list[tuple[int, int]] | None:
        """What each `*` and `?` stands for, in order, as places in the text; None: no match.

        A `*` is as short as possible (RFC 5229 §3.2).
        """
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            fits = len(first) == len(text) and _fits(first, text, 0)
            return _spans(first, 0) if fits else None
        end = len(text) - len(last)
        if len(first) > end or not _fits(first, text, 0) or not _fits(last, text, end):
            return None
        spans = _spans(first, 0)
        place = len(first)
        for piece in self.pieces[1:-1]:
            found_at = _search(piece, text, place, end)
            if found_at < 0:
                return None
            spans.append((place, found_at))
            spans += _spans(piece, found_at)
            place = found_at + len(piece)
        return [*spans, (place, end), *_spans(last, end)]


def _piece(chars: list[str | None]) -> Piece:
    if None not in chars:
        return "".join(filter(None, chars))
    if len(chars) > MAX_WILD:
        raise ScriptError(f"a key has more than {MAX_WILD} characters between two `*` around a `?`")
    anything = sum(1 << place for place, char in enumerate(chars) if char is None)
    masks: dict[str, int] = {}
    for place, char in enumerate(chars):
        if char is not None:
            masks[char] = masks.get(char, anything) | 1 << place
    return Wild(tuple(chars), masks, anything)


def _spans(piece: Piece, place: int) -> list[tuple[int, int]]:
    if isinstance(piece, str):
        return []
    return [(place + n, place + n + 1) for n, char in enumerate(piece.chars) if char is None]


def _fits(piece: Piece, text: str, place: int) -> bool:
    if isinstance(piece, str):
        return text.startswith(piece, place)
    return all(char in (None, text[place + n]) for n, char in enumerate(piece.chars))


def _search(piece: Piece, text: str, start: int, end: int) -> int:
    """The first place of a piece, or -1."""
    if isinstance(piece, str):
        return text.find(piece, start, end)
    if len(piece) > end - start:
        return -1
    # Shift-And: one bit for each character of the piece that fits so far, so that a piece
    # with many `?` costs little more than to read the text once.
    state, whole = 0, 1 << (len(piece) - 1)
    for place in range(start, end):
        state = (state << 1 | 1) & piece.masks.get(text[place], piece.anything)
        if state & whole:
            return place - len(piece) + 1
    return -1
