"""The header block of a mail or a part, as it comes: raw fields. Pure.

Source: RFC 5322 §2.2, read as real mailers write it: CRLF and LF end lines, blanks may
stand before the colon, and a line that is no field begins the body (the rule of the
stdlib parser: what follows is shown instead of hidden).
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

import attrs

#: Fields beyond this number, and bytes of one field beyond that, are in the original only.
MAX_FIELDS: Final = 5000
MAX_FIELD_BYTES: Final = 1 << 16
#: So much of a header block is in memory; beyond it only what tells the structure is kept.
MAX_BLOCK_BYTES: Final = 1 << 18
#: Blanks before a colon, and CRs before an LF, as many as a line may have characters.
_MAX_BLANKS: Final = 998

_STRUCTURAL: Final = frozenset(
    b"content-type content-transfer-encoding content-disposition content-id "
    b"content-description message-id".split()
)


class RawField(NamedTuple):
    """One field as sent.

    Attributes:
        sent_name: as it was written.
        blanks: between name and colon. MTAs that remove fields look for those without only.
        value: the bytes after the colon, folds included; one more than the limit if cut.
    """

    sent_name: bytes
    blanks: bytes
    value: bytes

    @property
    def name(self) -> str:
        """In lower case."""
        return self.sent_name.decode("ascii").lower()

    @property
    def is_cut(self) -> bool:
        """Whether there was more."""
        return len(self.value) > MAX_FIELD_BYTES


@attrs.frozen
class Block:
    """A header block.

    Attributes:
        fields: in order.
        first: the value of the first field of each name, in lower case.
        more: whether there were fields that are not kept.
    """

    fields: tuple[RawField, ...] = ()
    first: dict[bytes, bytes] = attrs.field(factory=dict, repr=False)
    more: bool = False

    def get(self, name: bytes) -> bytes | None:
        """The raw value of the first field with this lower-case name, or None."""
        return self.first.get(name)

    def structural(self) -> Block:
        """Only the fields that say what a part is."""
        fields = tuple(field for field in self.fields if field.sent_name.lower() in _STRUCTURAL)
        first = {name: value for name, value in self.first.items() if name in _STRUCTURAL}
        return Block(fields, first)


@attrs.frozen
class Lines:
    """What ends the lines of a mail, and what follows from it.

    Attributes:
        newline: LF, or CR in a mail that has no LF.
        name: a field's name and colon.
        run: whole lines that are fields, but for those that could be a delimiter.
        field: one field, with the lines folded into it.
        structural: the beginning of a line of a field that tells the structure.
        empty: a line without anything.
    """

    newline: bytes
    name: re.Pattern[bytes]
    run: re.Pattern[bytes]
    field: re.Pattern[bytes]
    structural: re.Pattern[bytes]
    empty: re.Pattern[bytes]


_NAME = rb"[!-9;-~]{1,998}"
_BLANKS = rb"[ \t]{0,%d}" % _MAX_BLANKS


@functools.cache
def lines_of(newline: bytes) -> Lines:
    """The patterns for one of the two line ends. Each takes linear time."""
    end = re.escape(newline)
    rest = rb"[^" + end + rb"]*"
    field = _NAME + _BLANKS + rb":" + rest
    folded = rb"[ \t]" + rest + end
    return Lines(
        newline,
        re.compile(_NAME + _BLANKS + rb":"),
        re.compile(rb"(?:(?!--)" + field + end + rb"|" + folded + rb")*"),
        re.compile(rb"(%s)(%s):(%s(?:%s[ \t]%s)*)%s" % (_NAME, _BLANKS, rest, end, rest, end)),
        re.compile(
            rb"(?:\A|(?<=%s))(?:%s)%s:" % (end, b"|".join(sorted(_STRUCTURAL)), _BLANKS),
            re.IGNORECASE,
        ),
        re.compile(rb"\r{0,%d}" % _MAX_BLANKS + end),
    )


class BlockReader:
    """Collects the text of a header block; memory is bounded.

    Args:
        lines: of the mail.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._pieces: list[bytes] = []
        self._size = 0
        self._known = 0  # of the pieces, what was looked at before
        self._kept: list[RawField] = []
        self._kept_bytes = 0
        self._more = False
        self._structural: set[bytes] = set()

    @property
    def is_empty(self) -> bool:
        """Whether no field has come."""
        return not (self._pieces or self._kept)

    def add(self, text: bytes) -> None:
        """Append text of fields; a line may come in pieces."""
        self._pieces.append(text)
        self._size += len(text)
        if self._size > MAX_BLOCK_BYTES:
            self._compact()

    def block(self) -> Block:
        """What was read; the last line need not have an end."""
        text = b"".join(self._pieces)
        if text and not text.endswith(self._lines.newline):
            text += self._lines.newline
        fields = self._kept
        if fields or len(text) > MAX_FIELD_BYTES or text.count(b":") > MAX_FIELDS:
            self._read(text, len(text))
        else:
            fields = list(map(RawField._make, self._lines.field.findall(text)))
        first = {field.sent_name.lower(): field.value for field in reversed(fields)}
        return Block(tuple(fields), first, self._more)

    def _compact(self) -> None:
        """Keep the fields that are whole; the last one may go on."""
        text = b"".join(self._pieces)
        last = self._last_field(text)
        self._read(text, last)
        rest = text[last:]
        if len(rest) > 2 * MAX_FIELD_BYTES:
            newline = self._lines.newline
            is_whole = rest.endswith(newline)
            rest = rest[: 2 * MAX_FIELD_BYTES].rstrip(newline) + newline * is_whole
        self._pieces = [rest]
        self._size = self._known = len(rest)

    def _last_field(self, text: bytes) -> int:
        """Where the last field begins; all before it is whole."""
        newline = self._lines.newline
        start = text.rfind(newline) + 1
        if text[start : start + 1] not in (b"", b" ", b"\t"):
            return start
        while start:
            start = text.rfind(newline, 0, start - 1) + 1
            if text[start : start + 1] not in (b" ", b"\t"):
                break
            if start <= self._known:
                return 0  # it was the last one before, and still goes on
        return start

    def _read(self, text: bytes, end: int) -> None:
        """Keep what there is room for of a text of whole fields."""
        position = 0
        while self._has_room and (match := self._lines.field.match(text, position, end)):
            self._keep(RawField._make(match.groups()))
            position = match.end()
        # Beyond that fields are not even counted.
        self._more |= position < end
        for found in self._lines.structural.finditer(text, position, end):
            if match := self._lines.field.match(text, found.start(), end):
                self._keep(RawField._make(match.groups()))

    @property
    def _has_room(self) -> bool:
        return len(self._kept) < MAX_FIELDS and self._kept_bytes < MAX_BLOCK_BYTES

    def _keep(self, field: RawField) -> None:
        name = field.sent_name.lower()
        if not self._has_room and name in self._structural:
            return
        self._structural.add(name)
        field = field._replace(value=field.value[: MAX_FIELD_BYTES + 1])
        self._kept_bytes += len(name) + len(field.value)
        self._kept.append(field)
