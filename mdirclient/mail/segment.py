"""How bytes of the original are made of the content of a part (docs: formats/mstore). Pure.

A recipe is made of these; each is a line of words, some followed by bytes::

    same N                        the next N bytes of the content as they are
    base64 N LENGTH EOL END       the next N bytes in base64, in lines of LENGTH characters
    quoted N EOL CASE + - M       the next N bytes in quoted-printable, M bytes tell the breaks
    raw N M                       M bytes, in place of the next N bytes of the content
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Same:
    """Content as it is.

    Attributes:
        size: bytes of content.
    """

    size: int

    def to_bytes(self) -> bytes:
        """The record."""
        return b"same %d\n" % self.size


@attrs.frozen
class Raw:
    """Bytes of the original that encoding would not give, or that are in no part.

    Attributes:
        size: bytes of content in whose place they are.
        data: as in the original.
    """

    size: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The record."""
        return b"raw %d %d\n%s\n" % (self.size, len(self.data), self.data)


@attrs.frozen
class Base64Lines:
    """Content in base64 (RFC 2045 §6.8).

    Attributes:
        size: bytes of content.
        length: characters of each line but the last, a multiple of 4; 0: all is one line.
        newline: between the lines.
        is_ended: whether one follows the last line too.
    """

    size: int
    length: int
    newline: bytes
    is_ended: bool

    def to_bytes(self) -> bytes:
        """The record."""
        end = b"ended" if self.is_ended else b"open"
        return b"base64 %d %d %s %s\n" % (self.size, self.length, EOL_NAMES[self.newline], end)


@attrs.frozen
class QuotedLines:
    """Content in quoted-printable (RFC 2045 §6.7).

    Attributes:
        size: bytes of content.
        newline: of soft line breaks.
        is_lower: whether hexadecimal digits are in lower case.
        extra: characters that are escaped and need not be.
        bare: those that are not escaped and should be; a blank: at the end of lines.
        breaks: bytes of encoded text before each soft line break, from the last.
    """

    size: int
    newline: bytes
    is_lower: bool
    extra: bytes
    bare: bytes
    breaks: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """The record."""
        case = b"lower" if self.is_lower else b"upper"
        breaks = pack(self.breaks)
        return b"quoted %d %s %s +%s -%s %d\n%s\n" % (
            self.size,
            EOL_NAMES[self.newline],
            case,
            self.extra.hex().encode(),
            self.bare.hex().encode(),
            len(breaks),
            breaks,
        )


Segment = Same | Raw | Base64Lines | QuotedLines

EOL_NAMES = {b"\r\n": b"crlf", b"\n": b"lf"}
_MAX_BITS = 35
EOLS = {name: newline for newline, name in EOL_NAMES.items()}


def pack(numbers: tuple[int, ...]) -> bytes:
    """Numbers from 0, 7 bits a byte, the lowest first (LEB128)."""
    packed = bytearray()
    for number in numbers:
        while number > 0x7F:
            packed.append(number & 0x7F | 0x80)
            number >>= 7  # noqa: PLW2901
        packed.append(number)
    return bytes(packed)


def unpack(packed: bytes) -> tuple[int, ...]:
    """The inverse of `pack`.

    Raises:
        ValueError: a number is cut off, or takes more than five bytes.
    """
    numbers, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
        elif shift >= _MAX_BITS:
            raise ValueError("a number is too large")
    if shift:
        raise ValueError("a number is cut off")
    return tuple(numbers)
