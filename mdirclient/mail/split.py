"""Take a mail apart: where its leaf parts are and what they are. Pure, one pass, linear.

Source: RFC 2046 §5.1, read as real mailers write it: delimiters may have trailing blanks,
the final one may be missing, an outer delimiter closes what is inside. Of two open
multiparts with the same boundary the inner one is meant.
"""

from __future__ import annotations

from typing import Final

import attrs

from mdirclient.mail.block import Block, Buffer, Lines, parse_block
from mdirclient.mail.text import parse_encoding, parse_media_type

#: RFC 2046 allows 70; mailers exceed it.
MAX_BOUNDARY: Final = 1000


@attrs.frozen
class Limits:
    """Beyond these a mail is kept whole. Nothing is refused for being odd."""

    parts: int = 1000
    depth: int = 100


@attrs.frozen
class Leaf:
    """A part without parts.

    Attributes:
        block: its header block (of the mail itself if that is not a multipart).
        start: offset of the first byte of its body, before decoding.
        end: offset after the last one; the line end before a delimiter belongs to that.
        section: IMAP part specifier (RFC 3501 §6.4.5).
        within: media types of the enclosing multiparts, outermost first.
        media_type: lower-case.
        encoding: Content-Transfer-Encoding, lower-case.
    """

    block: Block
    start: int
    end: int
    section: str
    within: tuple[str, ...]
    media_type: str
    encoding: str


@attrs.frozen
class Structure:
    """A mail taken apart.

    Attributes:
        block: the mail's own header block.
        leaves: at least one, in the order of the mail.
        kept_whole: which limit the mail is over, so that its one leaf is all of it, or None.
    """

    block: Block
    leaves: tuple[Leaf, ...]
    kept_whole: str | None = None


def split(data: Buffer, limits: Limits | None = None) -> Structure:
    """Find the leaf parts of a mail; any bytes whatsoever give at least one."""
    splitter = _Splitter(data, limits or Limits())
    try:
        leaves = splitter.run()
    except _OverLimitError as error:
        return keep_whole(data, splitter.top, error.limit)
    return Structure(splitter.top, tuple(leaves))


def keep_whole(data: Buffer, top: Block, limit: str) -> Structure:
    """A mail that is over a limit: one part that is all of it."""
    leaf = Leaf(Block((), 0), 0, len(data), "1", (), "message/rfc822", "binary")
    return Structure(top, (leaf,), limit)


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


class _Splitter:
    def __init__(self, data: Buffer, limits: Limits) -> None:
        self.data = data
        self.lines = Lines.of(data)
        self.limits = limits
        self.top = Block((), 0)
        self.leaves: list[Leaf] = []
        self.stack: list[_Multipart] = []
        self.levels: dict[bytes, list[int]] = {}  # boundary → places in the stack
        self.current: Leaf | None = None

    def run(self) -> list[Leaf]:
        data = self.data
        start = self.lines.end(0)[1] if data[:5] == b"From " else 0  # mbox
        self.top, position = self._open(start, "1", "text/plain")
        body = position
        while self.stack:
            found = self._next_delimiter(position, body)
            if not found:
                break
            line, level, is_final = found
            before = self._before(line, body)
            self._close_above(level, before)
            _, following = self.lines.end(line)
            position = body = following
            if is_final:
                self._finish()
            else:
                multipart = self.stack[level]
                multipart.has_parts = True
                multipart.children += 1
                default = (
                    "message/rfc822"
                    if multipart.leaf.media_type == "multipart/digest"
                    else "text/plain"
                )
                section = str(multipart.children)
                if len(self.stack) > 1:
                    section = f"{multipart.leaf.section}.{section}"
                _, position = self._open(following, section, default)
                body = position
        self._close_above(-1, len(data))
        return self.leaves

    def _open(self, start: int, section: str, default_type: str) -> tuple[Block, int]:
        """Begin an entity; returns its header block and where its body begins."""
        block = parse_block(self.lines, start, self._is_delimiter)
        media_type = parse_media_type(block.get("content-type"), default_type)
        encoding = parse_encoding(block.get("content-transfer-encoding"))
        within = tuple(multipart.leaf.media_type for multipart in self.stack)
        leaf = Leaf(block, block.end, block.end, section, within, media_type, encoding)
        boundary = _boundary(block) if media_type.startswith("multipart/") else b""
        if not boundary:
            self.current = leaf
            return block, block.end
        if len(self.stack) == self.limits.depth:
            raise _OverLimitError(f"more than {self.limits.depth} multiparts within each other")
        self.current = None
        self.levels.setdefault(boundary, []).append(len(self.stack))
        self.stack.append(_Multipart(boundary, attrs.evolve(leaf, encoding="binary")))
        return block, block.end

    def _next_delimiter(self, position: int, body: int) -> tuple[int, int, bool] | None:
        """(offset of the line, place in the stack, whether it is the final one)."""
        data = self.data
        if position == body and data[position : position + 2] == b"--":
            found = self._delimiter(position, self.lines.end(position)[0])
            if found:
                return position, *found
        mark = self.lines.newline + b"--"
        while (newline := data.find(mark, position)) >= 0:
            line = newline + 1
            end, position = self.lines.end(line)
            found = self._delimiter(line, end)
            if found:
                return line, *found
            position -= 1  # the line's end may begin the next mark
        return None

    def _delimiter(self, line: int, end: int) -> tuple[int, bool] | None:
        """Which open multipart the line that begins with `--` delimits, and how."""
        token = self.data[line + 2 : min(end, line + 2 + MAX_BOUNDARY + 2)].rstrip(b" \t")
        if end > line + 4 + MAX_BOUNDARY and self.data[line + 4 + MAX_BOUNDARY : end].strip(b" \t"):
            return None
        if levels := self.levels.get(token):
            return levels[-1], False
        if token.endswith(b"--") and (levels := self.levels.get(token[:-2])):
            return levels[-1], True
        return None

    def _is_delimiter(self, line: int, end: int) -> bool:
        return self.data[line : line + 2] == b"--" and self._delimiter(line, end) is not None

    def _before(self, line: int, body: int) -> int:
        """Where the body before a delimiter line ends."""
        return max(self.lines.before(line), body) if line > body else body

    def _close_above(self, level: int, end: int) -> None:
        """End the current leaf and the multiparts inside of the one at `level`."""
        if self.current:
            self._add(attrs.evolve(self.current, end=end))
            self.current = None
        while len(self.stack) > level + 1:
            multipart = self._pop()
            if not multipart.has_parts:
                self._add(attrs.evolve(multipart.leaf, end=max(end, multipart.leaf.start)))

    def _finish(self) -> None:
        """The final delimiter of the innermost multipart."""
        multipart = self._pop()
        if not multipart.has_parts:
            self.current = multipart.leaf  # a multipart without parts is kept whole

    def _pop(self) -> _Multipart:
        multipart = self.stack.pop()
        levels = self.levels[multipart.boundary]
        levels.pop()
        if not levels:
            del self.levels[multipart.boundary]
        return multipart

    def _add(self, leaf: Leaf) -> None:
        if len(self.leaves) == self.limits.parts:
            raise _OverLimitError(f"more than {self.limits.parts} parts")
        self.leaves.append(leaf)


def _boundary(block: Block) -> bytes:
    """The boundary of a multipart; empty if it has none that can delimit."""
    from mdirclient.mail.parameters import raw_boundary  # only multiparts have one

    boundary = raw_boundary(block.get("content-type") or b"")
    return boundary if len(boundary) <= MAX_BOUNDARY else b""
