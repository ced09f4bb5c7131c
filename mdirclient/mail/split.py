"""Take a mail apart as it comes: bytes in, events out. Sans-I/O, pure, linear.

Source: RFC 2046 §5.1, read as real mailers write it: delimiters may have trailing blanks,
the final one may be missing, an outer delimiter closes what is inside. Of two open
multiparts with the same boundary the inner one is meant. CR alone ends lines only in a mail
without any LF: elsewhere no MTA and no scanner would see a line there.

The data of `Between` and `PartContent` together is the mail, byte for byte. What is in memory is
bounded by the chunk, the depth, and the constants here and in `block`, not by the mail: some
2 MiB, and the fields that tell the structure of each multipart that is open.
"""

from __future__ import annotations

from typing import Final

import attrs

from mdirclient.mail.block import Block, BlockReader, Lines, lines_of
from mdirclient.mail.events import (
    Between,
    Event,
    Leaf,
    MailBegin,
    OverLimit,
    PartBegin,
    PartContent,
    PartEnd,
    PartVoid,
)
from mdirclient.mail.limits import DEFAULT, Limits
from mdirclient.mail.text import parse_encoding, parse_media_type

#: A mail without any LF, in which CR would end the lines, is held up to this size.
_MAX_WITHOUT_LF: Final = 1 << 20
#: What precedes the first delimiter of a multipart is held up to this size.
_MAX_HELD: Final = 1 << 16
#: A line of a header is held up to this size, then passed on in pieces.
_MAX_LINE: Final = 1 << 14
#: Blanks after a boundary, as many as a line may have (RFC 5322 §2.1.1).
_MAX_BLANKS: Final = 998
_BLANKS: Final = (b" ", b"\t")


# What the bytes are that come now: between parts, of a part, or of a multipart that may turn
# out to have no parts, either still held or already given as a part.
_BETWEEN, _PART, _HELD, _DOUBTFUL = range(4)
# Where the splitter is: before the first LF, in a header block, in a line of one that is too
# long to be held, in a body, or in what nothing can end.
_START, _HEADER, _LONG_LINE, _BODY, _REST = range(5)


class _OverLimitError(Exception):
    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


@attrs.define
class _Multipart:
    """An open multipart."""

    boundary: bytes
    leaf: Leaf  # what it is if it turns out to have no parts
    has_parts: bool = False
    children: int = 0


class Splitter:
    """Feed it a mail in chunks of any size; however it is cut, the parts are the same.

    Args:
        limits: see `Limits`.
    """

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._max_delimiter = len(b"----") + limits.boundary + _MAX_BLANKS
        self._lines: Lines = lines_of(b"\n")
        self._events: list[Event] = []
        self._buffer = b""
        self._given = 0  # what is before this was given out
        self._position = 0  # what is before this was looked at
        self._state = _START
        self._kind = _BETWEEN
        self._is_line_start = True  # of a body, where a delimiter needs no line end before it
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._reader = BlockReader(self._lines)
        self._default_type = "text/plain"
        self._section = "1"
        self._has_begun = False
        self._parts = 0
        self._stack: list[_Multipart] = []
        self._levels: dict[bytes, list[int]] = {}  # boundary → places in the stack

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of the mail."""
        if self._state == _START:
            self._held.append(data)
            self._held_bytes += len(data)
            if b"\n" not in data and self._held_bytes <= _MAX_WITHOUT_LF:
                return []
            self._start()
        elif self._given == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._given :] + data
        self._position -= self._given
        self._given = 0
        return self._advance(is_end=False)

    def close(self) -> list[Event]:
        """The mail has ended."""
        if self._state == _START:
            self._start()
        events = self._advance(is_end=True)
        self._give(len(self._buffer))
        self._close_above(-1)
        return events + self._taken()

    # -- moving on

    def _advance(self, *, is_end: bool) -> list[Event]:
        try:
            while self._step(is_end):
                pass
        except _OverLimitError as error:
            self._events.append(OverLimit(error.limit))
            self._stack.clear()
            self._levels.clear()
            self._state = _REST
            self._give(len(self._buffer))
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _step(self, is_end: bool) -> bool:
        """Go on by one state; False if more bytes are needed."""
        if self._state == _BODY:
            return self._body(is_end)
        if self._state == _HEADER:
            return self._header(is_end)
        if self._state == _LONG_LINE:
            return self._long_line(is_end)
        self._give(len(self._buffer))
        return False

    def _start(self) -> None:
        """Decide what ends lines, and skip the line of an mbox."""
        self._buffer = self._taken_held()
        newline = self._buffer.find(b"\n", 0, _MAX_WITHOUT_LF)
        if newline < 0 and len(self._buffer) <= _MAX_WITHOUT_LF:
            self._lines = lines_of(b"\r")
            self._reader = BlockReader(self._lines)
            newline = self._buffer.find(b"\r")
        if self._buffer.startswith(b"From "):
            self._position = newline + 1
        self._state = _HEADER

    # -- headers

    def _header(self, is_end: bool) -> bool:
        """Collect whole lines; what follows them tells whether the block has ended."""
        buffer, lines, line = self._buffer, self._lines, self._position
        newline = buffer.find(lines.newline, line)
        if newline < 0:
            return self._unended_line(is_end)
        if buffer[line : line + 1] not in _BLANKS or not self._reader.is_empty:
            line = lines.run.match(buffer, line).end()  # type: ignore[union-attr]
            if line > self._position:
                self._reader.add(buffer[self._position : line])
                self._position = line
                newline = buffer.find(lines.newline, line)
                if newline < 0:
                    return self._unended_line(is_end)
        if empty := lines.empty.match(buffer, line):
            self._position = empty.end()
        elif (
            buffer[line : line + 2] == b"--"
            and lines.name.match(buffer, line)
            and not self._delimiter(line, newline)
        ):
            self._reader.add(buffer[line : newline + 1])
            self._position = newline + 1
            return True
        return self._begin_body()

    def _unended_line(self, is_end: bool) -> bool:
        """The last line of the buffer, in a header block."""
        line = self._position
        text = self._buffer[line:]
        if not is_end and len(text) <= max(_MAX_LINE, self._max_delimiter):
            self._give(line)
            return False
        is_field = self._lines.name.match(text) or (
            text[:1] in _BLANKS and not self._reader.is_empty
        )
        if not text or not is_field or self._is_delimiter(line, len(self._buffer)):
            return self._begin_body()
        self._reader.add(text)
        self._position = len(self._buffer)
        self._give(self._position)
        self._state = _LONG_LINE
        return True

    def _long_line(self, is_end: bool) -> bool:
        newline = self._buffer.find(self._lines.newline, self._position)
        end = newline + 1 or len(self._buffer)
        self._reader.add(self._buffer[self._position : end])
        self._position = end
        self._give(end)
        if newline >= 0:
            self._state = _HEADER
            return True
        return is_end and self._begin_body()

    def _begin_body(self) -> bool:
        """The header block has ended: what follows it is a leaf, or a multipart."""
        self._give(self._position)
        block = self._reader.block()
        if not self._has_begun:
            self._has_begun = True
            self._events.append(MailBegin(block))
        media_type = parse_media_type(block.get(b"content-type"), self._default_type)
        encoding = parse_encoding(block.get(b"content-transfer-encoding"))
        outer = self._stack[-1].leaf if self._stack else None
        within = (*outer.within, outer.media_type) if outer else ()
        leaf = Leaf(block, self._section, within, media_type, encoding)
        self._state = _BODY
        self._is_line_start = True
        boundary = b""
        if media_type.startswith("multipart/"):
            # A multipart is not encoded, whatever it says (RFC 2045 §6.4).
            leaf = attrs.evolve(leaf, encoding="binary")
            boundary = self._boundary(block)
        if not boundary:
            self._begin_part(leaf)
            self._kind = _PART
            if not self._stack:
                self._state = _REST
            return True
        if len(self._stack) == self._limits.depth:
            limit = f"more than {self._limits.depth} multiparts within each other"
            raise _OverLimitError(limit)
        self._check_parts()
        self._levels.setdefault(boundary, []).append(len(self._stack))
        # Many can be open: of their fields only those that are needed are in memory.
        self._stack.append(_Multipart(boundary, attrs.evolve(leaf, block=block.structural())))
        self._kind = _HELD
        return True

    def _boundary(self, block: Block) -> bytes:
        """The boundary of a multipart; empty if it has none."""
        from mdirclient.mail.parameters import raw_boundary  # only multiparts have one

        boundary = raw_boundary(block.get(b"content-type") or b"")
        if len(boundary) > self._limits.boundary:
            raise _OverLimitError(f"a boundary of more than {self._limits.boundary} bytes")
        return boundary

    # -- bodies

    def _body(self, is_end: bool) -> bool:
        """Pass on what is in no delimiter line."""
        buffer, at = self._buffer, self._position
        if self._is_line_start:
            if not is_end and len(buffer) - at < 2 and buffer[at:] in (b"", b"-"):
                return False
            if buffer[at : at + 2] == b"--":
                end = self._line_end(at, is_end)
                if end is None:
                    return False
                if found := self._delimiter(at, end):
                    return self._delimit(at, end, *found)
            self._is_line_start = False
        # Most of what is large has no hyphen at all, and one byte is found fastest.
        has_mark = buffer.find(b"-", at) >= 0
        mark = self._lines.newline + b"--"
        while has_mark and (at := buffer.find(mark, at)) >= 0:
            end = self._line_end(at + 1, is_end)
            if end is None:
                self._position = at
                self._give(self._before(at))
                return False
            if found := self._delimiter(at + 1, end):
                return self._delimit(self._before(at), end, *found)
            at = end
        self._position = len(buffer) - _length_of_tail(buffer)
        self._give(self._position)
        return False

    def _line_end(self, line: int, is_end: bool) -> int | None:
        """Where the line at an offset ends; None if more bytes are needed to tell."""
        end = self._buffer.find(self._lines.newline, line)
        if end < 0:
            is_whole = is_end or len(self._buffer) - line > self._max_delimiter
            return len(self._buffer) if is_whole else None
        return end

    def _before(self, newline: int) -> int:
        """Where the content before a delimiter ends; the line end belongs to that."""
        has_cr = newline > self._given and self._buffer[newline - 1 : newline + 1] == b"\r\n"
        return newline - has_cr

    def _delimiter(self, line: int, end: int) -> tuple[int, bool] | None:
        """Which open multipart the line that begins with `--` delimits, and whether for good."""
        if end - line > self._max_delimiter:
            return None
        token = self._buffer[line + 2 : end].rstrip(b"\r").rstrip(b" \t")
        if levels := self._levels.get(token):
            return levels[-1], False
        if token.endswith(b"--") and (levels := self._levels.get(token[:-2])):
            return levels[-1], True
        return None

    def _is_delimiter(self, line: int, end: int) -> bool:
        return self._buffer[line : line + 2] == b"--" and self._delimiter(line, end) is not None

    def _delimit(self, before: int, end: int, level: int, is_final: bool) -> bool:
        """A delimiter line that ends at `end`; the content before it ends at `before`."""
        self._position = min(end + 1, len(self._buffer))
        self._is_line_start = True
        multipart = self._stack[level]
        if not multipart.has_parts and is_final:
            # A multipart without parts is kept whole, with this line.
            self._resolve(self._pop().leaf)
            self._state = _BODY if self._stack else _REST
            return True
        self._give(before)
        if multipart.has_parts:
            self._close_above(level)
        else:
            self._void()
            multipart.has_parts = True
        self._kind = _BETWEEN
        if is_final:
            self._pop()
            self._state = _BODY if self._stack else _REST
            return True
        multipart.children += 1
        self._section = str(multipart.children)
        if len(self._stack) > 1:
            self._section = f"{multipart.leaf.section}.{self._section}"
        is_digest = multipart.leaf.media_type == "multipart/digest"  # RFC 2046 §5.1.5
        self._default_type = "message/rfc822" if is_digest else "text/plain"
        self._reader = BlockReader(self._lines)
        self._state = _HEADER
        return True

    # -- giving out

    def _give(self, end: int) -> None:
        """Give out the bytes before `end` as what they are."""
        if end <= self._given:
            return
        data = self._buffer[self._given : end]
        self._given = end
        if self._kind == _BETWEEN:
            self._events.append(Between(data))
        elif self._kind != _HELD:
            self._events.append(PartContent(data))
        else:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes > _MAX_HELD:
                self._begin_held(self._stack[-1].leaf)
                self._kind = _DOUBTFUL

    def _begin_part(self, leaf: Leaf) -> None:
        self._check_parts()
        self._parts += 1
        self._events.append(PartBegin(leaf))

    def _check_parts(self) -> None:
        if self._parts == self._limits.parts:
            raise _OverLimitError(f"more than {self._limits.parts} parts")

    def _begin_held(self, leaf: Leaf) -> None:
        """A multipart is a part, so far."""
        self._begin_part(leaf)
        if held := self._taken_held():
            self._events.append(PartContent(held))

    def _taken_held(self) -> bytes:
        held, self._held, self._held_bytes = b"".join(self._held), [], 0
        return held

    def _void(self) -> None:
        """The innermost multipart has parts: what came was its preamble."""
        if self._kind == _DOUBTFUL:
            self._parts -= 1
            self._events.append(PartVoid())
        elif held := self._taken_held():
            self._events.append(Between(held))

    def _resolve(self, leaf: Leaf) -> None:
        """A multipart turned out to have no parts."""
        if self._kind == _HELD:
            self._begin_held(leaf)
        self._kind = _PART

    def _close_above(self, level: int) -> None:
        """End the current part, and the multiparts inside of the one at `level`."""
        if self._kind in (_HELD, _DOUBTFUL):
            self._resolve(self._stack[-1].leaf)
        if self._kind == _PART:
            self._events.append(PartEnd())
        self._kind = _BETWEEN
        while len(self._stack) > level + 1:
            self._pop()

    def _pop(self) -> _Multipart:
        multipart = self._stack.pop()
        levels = self._levels[multipart.boundary]
        levels.pop()
        if not levels:
            del self._levels[multipart.boundary]
        return multipart


def _length_of_tail(buffer: bytes) -> int:
    """How many of the last bytes may belong to a delimiter that is not there yet."""
    for tail in (b"\r\n-", b"\n-", b"\r\n", b"\n", b"\r"):
        if buffer.endswith(tail):
            return len(tail)
    return 0
