"""Base64: undone for people, made again for the original. Pure, linear.

Source: RFC 2045 §6.8, read leniently: what is not in the alphabet is skipped, padding may
stand anywhere or be missing.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

from mdirclient.mail.segment import Base64Lines, Raw, Segment

_NOT_BASE64 = bytes(
    byte
    for byte in range(256)
    if byte not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
)
_PADDING = re.compile(rb"=+")
#: A line that is longer is decoded in pieces.
_MAX_LINE: Final = 1 << 16
#: Lines are looked at together up to this size, so that one odd line is not looked for long.
_MAX_TOGETHER: Final = 1 << 16
_CR: Final = 13
#: How a line may end that encoding makes again.
ENDINGS: Final = (b"\r\n", b"\n", b"")
#: After so many odd lines the next are kept as they are, many at once.
_MAX_ODD: Final = 1000
#: A line that is shorter is kept as it is if those before are others.
_MIN_LINE: Final = 32


class LenientDecoder:
    """Decodes any text as base64."""

    def __init__(self) -> None:
        self.rest = b""  # up to three characters

    def feed(self, text: bytes) -> bytes:
        """What the characters so far say."""
        *closed, rest = _PADDING.split(self.rest + text.translate(None, _NOT_BASE64))
        whole = len(rest) - len(rest) % 4
        self.rest = rest[whole:]
        # Together: padding after each letter must not make a piece of each byte.
        return b"".join(map(_decode_quanta, [*closed, rest[:whole]]))

    def close(self) -> bytes:
        """What is left."""
        rest, self.rest = self.rest, b""
        return _decode_quanta(rest)


def _decode_quanta(text: bytes) -> bytes:
    if len(text) % 4 == 1:
        text = text[:-1]  # six bits are no byte
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def decode_base64(text: bytes) -> bytes:
    """Decode a text as a whole."""
    decoder = LenientDecoder()
    return decoder.feed(text) + decoder.close()


class Base64Decoder:
    """Undoes base64, and notes how its bytes are made again.

    Most bodies are lines of one length. Of those nothing but length and line end is noted, and
    nothing is encoded again to know it: encoding gives the very same characters if the line ends
    are at the right places and no character between them was skipped.
    """

    def __init__(self) -> None:
        self._pending: list[bytes] = []  # of a line whose end has not come
        self._pending_bytes = 0
        self._lenient = LenientDecoder()
        self._segments: list[Segment] = []
        self._run: Base64Lines | None = None
        self._span = _MAX_TOGETHER  # lines that are tried at once
        self._odd = 0  # lines decoded one by one, without as many regular ones after them

    def feed(self, text: bytes) -> bytes:
        """Decode the next bytes as far as their lines are whole."""
        self._pending.append(text)
        self._pending_bytes += len(text)
        if self._pending_bytes <= _MAX_LINE and b"\n" not in text:
            return b""
        buffer = b"".join(self._pending)
        content: list[bytes] = []
        position = self._decode(buffer, content)
        self._pending_bytes = len(buffer) - position
        self._pending = [buffer[position:]] if self._pending_bytes else []
        return b"".join(content)

    def close(self) -> bytes:
        """Decode what is left."""
        content = self._line(b"".join(self._pending))
        self._pending = []
        if rest := self._lenient.close():
            self._note_raw(len(rest), b"")
        self._end_run()
        return content + rest

    def taken(self) -> list[Segment]:
        """How the bytes so far are made; each is given once."""
        segments, self._segments = self._segments, []
        return segments

    def _decode(self, buffer: bytes, content: list[bytes]) -> int:
        """Decode all whole lines; returns where the incomplete one begins."""
        position = 0
        while (newline := buffer.find(b"\n", position)) >= 0:
            if self._odd > _MAX_ODD:
                end = buffer.rfind(b"\n", newline, newline + _MAX_TOGETHER) + 1
                content.append(self._lines(buffer[position:end]))
            else:
                decoded, end = self._regular_lines(buffer, position, newline)
                content.append(decoded or self._line(buffer[position:end]))
            position = end
        if len(buffer) - position > _MAX_LINE:
            end = len(buffer) - (len(buffer) - position) % 4
            content.append(self._line(buffer[position:end]))
            position = end
        return position

    def _regular_lines(self, buffer: bytes, position: int, newline: int) -> tuple[bytes, int]:
        """Decode the lines that end where the first does, and note how they are made.

        Returns:
            Their content, and where they end; without content if the first line is odd.
        """
        has_cr = newline > position and buffer[newline - 1] == _CR
        length = newline - has_cr - position
        ending = buffer[newline - has_cr : newline + 1]
        if length and length % 4 == 0 and length <= _MAX_LINE and not self._lenient.rest:
            content, count = _decode_regular(buffer, position, length, ending, self._span)
            # Linear: what is tried in vain is no longer than what went well before.
            self._span = min(max(2 * count, 1), _MAX_TOGETHER)
            if count:
                end = position + count * (length + len(ending))
                self._odd = max(self._odd - count, 0)
                if not self._extend(len(content), length, ending, count):
                    self._note_lines(len(content), length, ending, buffer[position:end])
                return content, end
        return b"", newline + 1

    def _lines(self, lines: bytes) -> bytes:
        """Decode many odd lines at once."""
        self._odd -= 1
        content = self._lenient.feed(lines)
        self._note_raw(len(content), lines)
        return content

    def _line(self, line: bytes) -> bytes:
        """Decode one line, or a piece of one, and note how it is made."""
        if not line:
            return b""
        self._odd += 1
        text = line.rstrip(b"\r\n")
        was_whole = not self._lenient.rest
        content = self._lenient.feed(line)
        is_canonical = (
            was_whole
            and content
            and not self._lenient.rest
            and binascii.b2a_base64(content, newline=False) == text
        )
        if not is_canonical or not self._note_line(len(content), len(text), line[len(text) :]):
            self._note_raw(len(content), line)
        return content

    # -- noting

    def _note_raw(self, size: int, data: bytes) -> None:
        self._end_run()
        self._segments.append(Raw(size, data))

    def _note_lines(self, size: int, length: int, newline: bytes, data: bytes) -> None:
        """Whole lines of one length, all ended, that begin something new."""
        if len(data) < _MIN_LINE:
            self._odd += 1
            self._note_raw(size, data)
        else:
            self._end_run()
            self._run = Base64Lines(size, length, newline, is_ended=True)

    def _note_line(self, size: int, length: int, ending: bytes) -> bool:
        """One line, or a piece of a long one; False if it is not worth a record."""
        if ending not in ENDINGS:
            return False
        if self._extend(size, length, ending, 1):
            return True
        if length < _MIN_LINE:
            return False
        self._end_run()
        in_one_line = length > _MAX_LINE or not ending
        self._run = Base64Lines(size, 0 if in_one_line else length, ending or b"\n", bool(ending))
        return True

    def _extend(self, size: int, length: int, ending: bytes, lines: int) -> bool:
        """Add lines of one length to the run, if they are made in the same way."""
        run = self._run
        if run is None:
            return False
        if run.length:
            is_same = (
                run.is_ended
                # A line that is shorter can only be the last.
                and (length == run.length or (length < run.length and lines == 1))
                and ending in (run.newline, b"")
                and run.size % (run.length // 4 * 3) == 0
            )
        else:
            is_same = not run.is_ended and run.size % 3 == 0 and lines == 1
        if is_same:
            self._run = Base64Lines(
                run.size + size, run.length, ending or run.newline, bool(ending)
            )
        return is_same

    def _end_run(self) -> None:
        if self._run:
            self._segments.append(self._run)
            self._run = None


def _decode_regular(
    buffer: bytes, position: int, length: int, newline: bytes, span: int
) -> tuple[bytes, int]:
    """Decode the lines from an offset on that end where the first does, at most `span`.

    Returns:
        Their content and their number; 0 if a character in the first is none of base64.
    """
    step = length + len(newline)
    count = min(min(len(buffer) - position, max(_MAX_TOGETHER, step)) // step, span)
    if count > 1 and buffer[position + step + length : position + 2 * step] != newline:
        count = 1
    block = buffer[position : position + count * step]
    for offset, byte in enumerate(newline, length):
        ends = block[offset::step]
        count = min(count, len(ends) - len(ends.lstrip(bytes([byte]))))
    if (padding := block.find(b"=")) >= 0:
        count = min(count, padding // step)
    while count and not (content := _decode_strictly(block[: count * step], count * length)):
        count //= 2
    return (content, count) if count else (b"", 0)


def _decode_strictly(block: bytes, characters: int) -> bytes:
    """The content of a block in which there are so many characters, and line ends; or nothing."""
    try:
        content = binascii.a2b_base64(block)
    except binascii.Error:
        return b""
    return content if len(content) * 4 == characters * 3 else b""


def encode_base64(content: Iterator[bytes], lines: Base64Lines) -> Iterator[bytes]:
    """Encode content as it was; the inverse of `Base64Decoder`.

    Args:
        content: in pieces, `lines.size` bytes together.
        lines: how.
    """
    per_line = lines.length // 4 * 3 or 3
    per_piece = max(_MAX_TOGETHER // per_line, 1) * per_line
    rest = b""
    is_first = True
    for chunk in content:
        rest += chunk
        cut = len(rest) - len(rest) % per_piece
        for at in range(0, cut, per_piece):
            yield _encoded(rest[at : at + per_piece], lines, is_first)
            is_first = False
        rest = rest[cut:]
    if rest:
        yield _encoded(rest, lines, is_first)
    if lines.is_ended:
        yield lines.newline


def _encoded(content: bytes, lines: Base64Lines, is_first: bool) -> bytes:
    text = binascii.b2a_base64(content, newline=False)
    if not lines.length:
        return text
    rows = [text[at : at + lines.length] for at in range(0, len(text), lines.length)]
    return (b"" if is_first else lines.newline) + lines.newline.join(rows)
