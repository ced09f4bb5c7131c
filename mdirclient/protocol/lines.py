"""Lines as they come. Pure, linear."""

from __future__ import annotations

from typing import Final

#: In the place of a line that is longer than it may be; none of it is in memory.
TOO_LONG: Final = b"\n"


class LineBuffer:
    """Cuts what comes into lines."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._is_skipping = False

    @property
    def is_empty(self) -> bool:
        """Whether no line is in the middle."""
        return not (self._buffer or self._is_skipping)

    def feed(self, data: bytes) -> None:
        """Append what came."""
        self._buffer += data

    def next_line(self, limit: int) -> bytes | None:
        """The next line without its line end, or None if it is not whole yet.

        A line that is too long gives `TOO_LONG` as soon as that is known; the rest of it is
        skipped by the calls that follow.

        Args:
            limit: bytes that it may have, its line end left out.
        """
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if self._is_skipping:
                del self._buffer[: end + 1 or len(self._buffer)]
                self._searched = 0
                if end < 0:
                    return None
                self._is_skipping = False
                continue
            if end < 0 and len(self._buffer) <= limit + 1:
                self._searched = len(self._buffer)
                return None
            line = bytes(self._buffer[: end if end >= 0 else limit + 2])
            # CPython moves the beginning of a bytearray, not its bytes.
            del self._buffer[: end + 1 or len(self._buffer)]
            self._searched = 0
            self._is_skipping = end < 0
            line = line.removesuffix(b"\r") if end >= 0 else line
            return TOO_LONG if len(line) > limit else line

    def next_block(self, limit: int) -> bytes | None:
        """The lines up to an empty one, with their line ends, if they are all here already.

        None else, or if some are not plain: then `next_line` reads them one by one. To be
        asked once for each block: it looks at all that is here.

        Args:
            limit: bytes that they may have.
        """
        if self._is_skipping or self._searched:
            return None
        end = self._buffer.find(b"\n\n", 0, limit + 2)
        if end < 0 or self._buffer.startswith(b"\n") or self._buffer.find(b"\r", 0, end) >= 0:
            return None
        block = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 2]
        return block
