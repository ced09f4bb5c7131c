"""Quoted-printable: undone for people, made again for the original. Pure, linear.

Source: RFC 2045 §6.7, read leniently: what is no escape is left as it is, and blanks may stand
before the end of a soft line break.
"""

from __future__ import annotations

import binascii
import functools
import re
from typing import Final

import attrs

from mdirclient.mail.segment import QuotedLines, Raw, Segment

#: So much of a body is looked at together, so that a record does not depend on the chunks.
_BLOCK: Final = 1 << 16
_MAX_BLANKS: Final = 998
_SOFT = rb"=[ \t]{0,%d}(?:\r\n|\n|\r)" % _MAX_BLANKS
_SOFT_BREAK = re.compile(_SOFT)
_NO_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]{0,%d}(?:\r\n|\n|\r)|\Z)" % _MAX_BLANKS)
#: What may go on after a cut within a line.
_UNFINISHED = re.compile(rb"=(?:[0-9A-Fa-f]?|[ \t]{0,%d}\r?)\Z" % _MAX_BLANKS)
_ESCAPE = re.compile(rb"=([0-9A-Fa-f]{2})")
_AT_END = rb"[ \t](?=\r?(?:\n|\Z))"
_BLANK_AT_END = re.compile(_AT_END)
#: Escaped by every mailer: controls but blanks and line ends, `=`, DEL and what is not ASCII.
_PLAIN: Final = bytes({*range(32, 127), *b"\t\n\r"} - {*b"="})
_ALWAYS: Final = frozenset(range(256)) - frozenset(_PLAIN)
_BLANK: Final = 32
#: More odd lines than this in a block, and it is kept as it is.
_FEW: Final = 16


class QuotedPrintableDecoder:
    """Undoes quoted-printable, and notes how its bytes are made again."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._segments: list[Segment] = []

    def feed(self, text: bytes) -> bytes:
        """Decode the next bytes, a block at a time."""
        self._pending.append(text)
        self._pending_bytes += len(text)
        if self._pending_bytes < _BLOCK:
            return b""
        buffer = b"".join(self._pending)
        content = []
        position = 0
        while len(buffer) - position >= _BLOCK:
            cut = buffer.rfind(b"\n", position, position + _BLOCK) + 1
            cut = cut or _cut_in_line(buffer, position)
            content.append(self._block(buffer[position:cut], buffer[cut : cut + 1]))
            position = cut
        self._pending, self._pending_bytes = [buffer[position:]], len(buffer) - position
        return b"".join(content)

    def close(self) -> bytes:
        """Decode what is left."""
        text = b"".join(self._pending)
        self._pending = []
        return self._block(text, b"") if text else b""

    def taken(self) -> list[Segment]:
        """How the bytes so far are made; each is given once."""
        segments, self._segments = self._segments, []
        return segments

    def _block(self, text: bytes, following: bytes) -> bytes:
        content = decode_quoted(text, following)
        style = _style_of(text)
        if lines := _lines_of(text, content, style):
            self._segments.append(lines)
        else:
            self._segments += _each_line(text, following, style) or [Raw(len(content), text)]
        return content


def _cut_in_line(buffer: bytes, position: int) -> int:
    """An offset that splits no escape and no soft line break."""
    cut = position + _BLOCK
    unfinished = _UNFINISHED.search(buffer, cut - _MAX_BLANKS - 3, cut)
    return unfinished.start() if unfinished else cut


def decode_quoted(text: bytes, following: bytes = b"") -> bytes:
    """Undo quoted-printable.

    Args:
        text: that is cut nowhere but between lines, or by `_cut_in_line`.
        following: the next byte, if there is more.
    """
    if following and text.endswith(b"="):
        text = text[:-1] + b"=3D"  # what follows makes it no escape
    # a2b_qp has rules of its own for these; without them it does what is written.
    return binascii.a2b_qp(_SOFT_BREAK.sub(b"", _NO_ESCAPE.sub(b"=3D", text)))


@attrs.frozen
class _Style:
    """How a mailer writes quoted-printable; see `QuotedLines`."""

    newline: bytes
    is_lower: bool
    extra: bytes
    bare: bytes


def _style_of(text: bytes) -> _Style:
    """The style of most of a text."""
    whole = _SOFT_BREAK.sub(b"", text)
    escapes = set(_ESCAPE.findall(whole))
    in_lower = sum(escape != escape.upper() for escape in escapes)
    is_lower = in_lower > sum(escape != escape.lower() for escape in escapes)
    escaped = {int(escape, 16): escape for escape in escapes}
    extra = [
        byte
        for byte, escape in escaped.items()
        if byte not in _ALWAYS and whole.count(b"=" + escape) > whole.count(bytes([byte]))
    ]
    bare = {*whole.translate(None, _PLAIN)} - {*escaped, *b"="}
    if 0x3D not in escaped and _NO_ESCAPE.search(text):
        bare.add(0x3D)
    if _BLANK_AT_END.search(whole):
        bare.add(_BLANK)
    newline = b"\r\n" if b"=\r\n" in text else b"\n"
    return _Style(newline, is_lower, bytes(sorted(extra)), bytes(sorted(bare)))


def _lines_of(text: bytes, content: bytes, style: _Style) -> QuotedLines | None:
    """How a text is made of its content; None if it cannot be."""
    breaks = tuple(map(len, text.split(b"=" + style.newline)))[:-1]
    lines = QuotedLines(
        len(content), style.newline, style.is_lower, style.extra, style.bare, breaks
    )
    try:
        is_same = encode_quoted(content, lines) == text
    except ValueError:
        is_same = False
    return lines if is_same else None


def _each_line(text: bytes, following: bytes, style: _Style) -> list[Segment]:
    """The same, but for lines that cannot be; nothing if they are too many.

    Linear: odd lines are found by halving, and only a few of them.
    """
    segments: list[Segment] = []
    odd = 0
    todo = [(text, following)]
    while todo:
        piece, after = todo.pop()
        content = decode_quoted(piece, after)
        lines = _lines_of(piece, content, style)
        middle = 0 if lines else _hard_line_end(piece, len(piece) // 2)
        if middle:
            todo += [(piece[middle:], after), (piece[:middle], piece[middle : middle + 1])]
            continue
        odd += not lines
        if odd > _FEW:
            return []
        segments.append(lines or Raw(len(content), piece))
    return segments


def _hard_line_end(text: bytes, middle: int) -> int:
    """Where a line ends that no soft line break ends, near the middle; 0 if there is one line."""
    for find, start in ((bytes.find, middle), (bytes.rfind, 0)):
        end = find(text, b"\n", start, len(text) - 1 if start else middle)
        while end >= 0:
            if not text[max(end - _MAX_BLANKS - 2, 0) : end].rstrip(b"\r \t").endswith(b"="):
                return end + 1
            end = text.find(b"\n", end + 1, -1) if start else text.rfind(b"\n", 0, end)
    return 0


def encode_quoted(content: bytes, lines: QuotedLines) -> bytes:
    """Encode content as it was; the inverse of `QuotedPrintableDecoder`.

    Raises:
        ValueError: there are more line breaks than text.
    """
    pattern = _escaped(lines.extra, lines.bare)
    if lines.is_lower:
        text = pattern.sub(lambda match: b"=" + match[0].hex("=").encode(), content)
    else:
        text = pattern.sub(lambda match: b"=" + match[0].hex("=").upper().encode(), content)
    if not lines.breaks:
        return text
    pieces, position = [], 0
    for length in lines.breaks:
        pieces.append(text[position : position + length])
        position += length
    if position > len(text):
        raise ValueError("a line break after the end of the text")
    pieces.append(text[position:])
    return (b"=" + lines.newline).join(pieces)


@functools.lru_cache(maxsize=64)
def _escaped(extra: bytes, bare: bytes) -> re.Pattern[bytes]:
    """What is escaped, in runs; and a blank at the end of a line."""
    members = sorted((_ALWAYS | {*extra}) - {*bare})
    pattern = b"[" + b"".join(b"\\x%02x" % byte for byte in members) + b"]+"
    if not members:
        pattern = b"(?!)"
    return re.compile(pattern if _BLANK in bare else pattern + b"|" + _AT_END)
