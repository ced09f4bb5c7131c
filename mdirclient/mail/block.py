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
MAX_BLOCK_BYTES: Final = 1 << 20

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


@attrs.frozen
class Lines:
    """What ends the lines of a mail, and what follows from it.

    Attributes:
        newline: LF, or CR in a mail that has no LF.
        name: a field's name and colon.
        run: whole lines that are fields, but for those that could be a delimiter.
        field: one field, with the lines folded into it.
        empty: a line without anything.
    """

    newline: bytes
    name: re.Pattern[bytes]
    run: re.Pattern[bytes]
    field: re.Pattern[bytes]
    empty: re.Pattern[bytes]


_NAME = rb"[!-9;-~]{1,998}"


@functools.cache
def lines_of(newline: bytes) -> Lines:
    """The patterns for one of the two line ends. Each takes linear time."""
    end = re.escape(newline)
    rest = rb"[^" + end + rb"]*"
    return Lines(
        newline,
        re.compile(_NAME + rb"[ \t]*:"),
        re.compile(
            rb"(?:(?!--)" + _NAME + rb"[ \t]*:" + rest + end + rb"|[ \t]" + rest + end + rb")*"
        ),
        re.compile(
            rb"("
            + _NAME
            + rb")([ \t]*):("
            + rest
            + rb"(?:"
            + end
            + rb"[ \t]"
            + rest
            + rb")*)"
            + end
        ),
        re.compile(rb"\r*" + end),
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
        fields = list(map(RawField._make, self._lines.field.findall(text)))
        if self._kept or self._size > MAX_FIELD_BYTES or len(fields) > MAX_FIELDS:
            for field in fields:
                self._keep(field)
            fields = self._kept
        first = {field.sent_name.lower(): field.value for field in reversed(fields)}
        return Block(tuple(fields), first, self._more)

    def _compact(self) -> None:
        """Keep the fields that are whole; the last one may go on."""
        text = b"".join(self._pieces)
        # Linear: of whole lines each begins or continues a field, so that nothing is tried twice.
        whole = text.rfind(self._lines.newline) + 1
        matches = list(self._lines.field.finditer(text, 0, whole))
        for match in matches[:-1]:
            self._keep(RawField._make(match.groups()))
        rest = text[matches[-1].start() if matches else 0 :]
        if len(rest) > 2 * MAX_FIELD_BYTES:
            newline = self._lines.newline
            is_whole = rest.endswith(newline)
            rest = rest[: 2 * MAX_FIELD_BYTES].rstrip(b"\r\n") + newline * is_whole
        self._pieces, self._size = [rest], len(rest)

    def _keep(self, field: RawField) -> None:
        name = field.sent_name.lower()
        is_needed = name in _STRUCTURAL and name not in self._structural
        is_room = len(self._kept) < MAX_FIELDS and self._kept_bytes < MAX_BLOCK_BYTES
        if not (is_needed or is_room):
            self._more = True
            return
        self._structural.add(name)
        self._kept_bytes += len(name) + len(field.value)
        self._kept.append(field._replace(value=field.value[: MAX_FIELD_BYTES + 1]))
