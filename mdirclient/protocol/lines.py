"""Lines as they come. Pure, linear."""

from __future__ import annotations

from typing import Final

#: In the place of a line that is longer than it may be; none of it is in memory.
TOO_LONG: Final = b"\n"


class LineBuffer:
    """Cuts what comes into lines; a line that is too long is skipped, not kept."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._is_skipping = False

    def feed(self, data: bytes) -> None:
        """Append what came."""
        self._buffer += data

    def clear(self) -> None:
        """Forget what was not read."""
        self._buffer.clear()
        self._searched = 0

    def next_line(self, limit: int) -> bytes | None:
        """The next line without its line end, `TOO_LONG` in its place, or None if it is not whole.

        Args:
            limit: bytes that it may have.
        """
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            if len(self._buffer) > limit + 1:
                self._is_skipping = True
            if self._is_skipping:
                self._buffer.clear()
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        # CPython moves the beginning of a bytearray, not its bytes.
        del self._buffer[: end + 1]
        self._searched = 0
        line = line.removesuffix(b"\r")
        if self._is_skipping or len(line) > limit:
            self._is_skipping = False
            return TOO_LONG
        return line
