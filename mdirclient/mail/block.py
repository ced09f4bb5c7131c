"""The header block of a mail or a part: raw fields and where the body begins. Pure.

Source: RFC 5322 §2.2, read as real mailers write it: CRLF, LF and CR end lines, blanks may
stand before the colon, and a line that is no field begins the body (the rule of the
stdlib parser: what follows is shown instead of hidden).
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable
from typing import Final

import attrs

#: What a mail is read from.
Buffer = bytes | mmap.mmap

#: Fields beyond this number, and bytes of one field beyond that, are in the original only.
MAX_FIELDS: Final = 5000
MAX_FIELD_BYTES: Final = 1 << 16

_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELD = re.compile(rb"([!-9;-~]{1,998})[ \t]*:")


@attrs.frozen
class RawField:
    """One field as sent: lower-case name, and the bytes after the colon, folds included."""

    name: str
    value: bytes
    is_cut: bool = False


@attrs.frozen
class Block:
    """A header block.

    Attributes:
        fields: in order.
        end: offset of the body: after the empty line, or of the first line that is no field.
        more: whether there were fields beyond the limit.
    """

    fields: tuple[RawField, ...]
    end: int
    more: bool = False

    def get(self, name: str) -> bytes | None:
        """The raw value of the first field with this lower-case name, or None."""
        for field in self.fields:
            if field.name == name:
                return field.value
        return None


def line_end(data: Buffer, start: int) -> tuple[int, int]:
    """Where the line that begins at `start` ends, and where the next begins."""
    match = _LINE_END.search(data, start)
    return match.span() if match else (len(data), len(data))


def parse_block(data: Buffer, start: int, is_delimiter: Callable[[int, int], bool]) -> Block:
    """Read the header block that begins at `start`.

    Args:
        data: the mail.
        start: offset of the first line.
        is_delimiter: whether the line between two offsets is a boundary that ends the part.
    """
    spans: list[tuple[str, int, int]] = []
    count = 0
    position = start
    while position < len(data):
        end, following = line_end(data, position)
        if end == position:
            position = following
            break
        if data[position : position + 1] in (b" ", b"\t") and count:
            if count <= MAX_FIELDS:
                spans[-1] = (spans[-1][0], spans[-1][1], end)
        else:
            field = _FIELD.match(data, position, end)
            if not field or is_delimiter(position, end):
                break
            count += 1
            if count <= MAX_FIELDS:
                spans.append((field[1].decode("ascii").lower(), field.end(), end))
        position = following
    fields = tuple(
        RawField(
            name, data[first : min(last, first + MAX_FIELD_BYTES)], last - first > MAX_FIELD_BYTES
        )
        for name, first, last in spans
    )
    return Block(fields, position, count > MAX_FIELDS)
