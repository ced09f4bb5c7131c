"""Transfer encodings: undone for people, made again for the original. Pure.

Sources: RFC 2045 §6.7 (quoted-printable), §6.8 (base64).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import attrs

from mdirclient.mail.block import Buffer

CHUNK: Final = 1 << 20

_NOT_BASE64 = bytes(
    byte
    for byte in range(256)
    if byte not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
)
_PADDING = re.compile(rb"=+")
_SOFT_BREAK = re.compile(rb"=[ \t]*(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
#: Lines that are longer are kept as they are.
_MAX_LINE: Final = 1 << 16

Eol = Literal["crlf", "lf", "cr"]
_EOLS: Final[dict[Eol, bytes]] = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r"}
_EOL_NAMES: Final = {newline: name for name, newline in _EOLS.items()}


@attrs.frozen
class Base64Layout:
    """How a mailer laid out base64, so that encoding gives its very bytes.

    Attributes:
        line_length: characters a line, a multiple of 4; 0 if all is one line.
        eol: what ends the lines.
        tail: how many line ends follow the last character.
    """

    line_length: int
    eol: Eol
    tail: int


def slices(data: Buffer, start: int, end: int, size: int = CHUNK) -> Iterator[bytes]:
    """The bytes between two offsets, in pieces."""
    for position in range(start, end, size):
        yield data[position : min(position + size, end)]


def decode(encoding: str, data: Buffer, start: int, end: int) -> Iterator[bytes]:
    """Undo a transfer encoding of the bytes between two offsets.

    Args:
        encoding: as in Content-Transfer-Encoding, lower-case. What is not base64 or
            quoted-printable (7bit, 8bit, binary, uuencode, unknown) stays as it is.
    """
    if encoding == "base64":
        return decode_base64(slices(data, start, end))
    if encoding == "quoted-printable":
        return _decode_quoted_printable(data, start, end)
    return slices(data, start, end)


def decode_base64(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decode base64 leniently: junk is skipped, padding may stand anywhere or be missing."""
    rest = b""
    for chunk in chunks:
        *closed, rest = _PADDING.split(rest + chunk.translate(None, _NOT_BASE64))
        whole = len(rest) - len(rest) % 4
        # Together: padding after each letter must not make a piece of each byte.
        yield b"".join(map(_decode_quanta, [*closed, rest[:whole]]))
        rest = rest[whole:]
    yield _decode_quanta(rest)


def _decode_quanta(data: bytes) -> bytes:
    if len(data) % 4 == 1:
        data = data[:-1]  # six bits are no byte
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))


def _decode_quoted_printable(data: Buffer, start: int, end: int) -> Iterator[bytes]:
    position = start
    while position < end:
        cut = min(position + CHUNK, end)
        if cut < end:
            cut = _cut_between_escapes(data, position, cut)
        # a2b_qp skips from `=` CR to the next LF, and keeps `=` before blanks.
        yield binascii.a2b_qp(_SOFT_BREAK.sub(b"", data[position:cut]))
        position = cut


def _cut_between_escapes(data: Buffer, start: int, cut: int) -> int:
    """An offset at or before `cut` that splits no `=XX` and no soft line break."""
    newline = data.rfind(b"\n", start, cut)
    if newline >= 0:
        return newline + 1
    escape = data.rfind(b"=", max(start, cut - 3), cut)
    return escape if escape > start else cut


def find_base64_layout(data: Buffer, start: int, end: int) -> Base64Layout | None:
    """How the base64 between two offsets is laid out; None if encoding cannot give it again."""
    first = _LINE_END.search(data, start, end)
    eol: Eol = _EOL_NAMES[first[0]] if first else "crlf"
    newline = _EOLS[eol]
    last = end
    while last - len(newline) >= start and data[last - len(newline) : last] == newline:
        last -= len(newline)
    tail = (end - last) // len(newline)
    line_length = first.start() - start if first and first.start() < last else 0
    padding = data.find(b"=", start, last)
    if line_length % 4 or line_length > _MAX_LINE or 0 <= padding < last - 2:
        return None
    layout = Base64Layout(line_length, eol, tail)
    position = start
    for piece in encode_base64(decode_base64(slices(data, start, end)), layout):
        if data[position : position + len(piece)] != piece:
            return None
        position += len(piece)
    return layout if position == end else None


def encode_base64(content: Iterable[bytes], layout: Base64Layout) -> Iterator[bytes]:
    """Encode content in a layout; the exact inverse where `find_base64_layout` found one."""
    newline = _EOLS[layout.eol]
    size = layout.line_length // 4 * 3 or 3
    per_piece = max(CHUNK // size, 1) * size
    rest = b""
    is_first = True
    for chunk in content:
        rest += chunk
        while len(rest) > per_piece:
            piece, rest = rest[:per_piece], rest[per_piece:]
            yield _encoded_lines(piece, layout.line_length, newline, is_first)
            is_first = False
    if rest:
        yield _encoded_lines(rest, layout.line_length, newline, is_first)
    yield newline * layout.tail


def _encoded_lines(data: bytes, line_length: int, newline: bytes, is_first: bool) -> bytes:
    encoded = binascii.b2a_base64(data, newline=False)
    if not line_length:
        return encoded
    lines = [encoded[at : at + line_length] for at in range(0, len(encoded), line_length)]
    return (b"" if is_first else newline) + newline.join(lines)
