"""The header block of a mail or a part: raw fields and where the body begins. Pure.

Source: RFC 5322 §2.2, read as real mailers write it: CRLF and LF end lines, blanks may
stand before the colon, and a line that is no field begins the body (the rule of the
stdlib parser: what follows is shown instead of hidden). CR alone ends lines only in a mail
that has no LF at all: elsewhere no MTA or scanner would see a line there.
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

_FIELD = re.compile(rb"([!-9;-~]{1,998})([ \t]*):")


@attrs.frozen
class RawField:
    """One field as sent.

    Attributes:
        name: lower-case.
        value: the bytes after the colon, folds included.
        is_cut: whether there were more.
        is_strict: whether the colon follows the name at once. MTAs that remove fields look
            for those only.
    """

    name: str
    value: bytes
    is_cut: bool = False
    is_strict: bool = True


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


@attrs.frozen
class Lines:
    """The lines of a mail: those between CRs if it has no LF, else between LFs."""

    data: Buffer
    newline: bytes

    @classmethod
    def of(cls, data: Buffer) -> Lines:
        """Decided once for a whole mail."""
        return cls(data, b"\n" if data.find(b"\n", 0) >= 0 else b"\r")

    def end(self, start: int) -> tuple[int, int]:
        """Where the line that begins at `start` ends, CRs left out, and where the next begins."""
        position = self.data.find(self.newline, start)
        if position < 0:
            return len(self.data), len(self.data)
        end = position
        while end > start and self.data[end - 1 : end] == b"\r":
            end -= 1
        return end, position + 1

    def before(self, line: int) -> int:
        """Where the content before the line that begins at `line` ends."""
        return line - 2 if self.data[line - 2 : line] == b"\r\n" else line - 1


def parse_block(lines: Lines, start: int, is_delimiter: Callable[[int, int], bool]) -> Block:
    """Read the header block that begins at `start`.

    Args:
        lines: the mail.
        start: offset of the first line.
        is_delimiter: whether the line between two offsets is a boundary that ends the part.
    """
    data = lines.data
    spans: list[tuple[str, int, int, bool]] = []
    count = 0
    position = start
    while position < len(data):
        end, following = lines.end(position)
        if end == position:
            position = following
            break
        if data[position : position + 1] in (b" ", b"\t") and count:
            if count <= MAX_FIELDS:
                spans[-1] = (spans[-1][0], spans[-1][1], end, spans[-1][3])
        else:
            field = _FIELD.match(data, position, end)
            if not field or is_delimiter(position, end):
                break
            count += 1
            if count <= MAX_FIELDS:
                name = field[1].decode("ascii").lower()
                spans.append((name, field.end(), end, not field[2]))
        position = following
    fields = tuple(
        RawField(
            name,
            data[first : min(last, first + MAX_FIELD_BYTES)],
            last - first > MAX_FIELD_BYTES,
            is_strict,
        )
        for name, first, last, is_strict in spans
    )
    return Block(fields, position, count > MAX_FIELDS)
