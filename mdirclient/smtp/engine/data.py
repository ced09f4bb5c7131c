"""The bytes of a mail between DATA and its end. Pure; linear in what is fed.

Source: RFC 5321 §4.1.1.4 and §4.5.2. Only CRLF `.` CRLF ends a mail. A bare CR or LF is a byte
like any other: whoever lets LF `.` CRLF end a mail lets a stranger smuggle a second one.
"""

from __future__ import annotations

from typing import Final

_END: Final = b"\r\n.\r\n"
#: Bytes of a line. RFC 5321 §4.5.3.1.6 allows 1,000; real mail has longer ones.
MAX_DATA_LINE: Final = 1 << 20


class DataDecoder:
    """Finds the end, and takes away the dots that the client added.

    Args:
        is_exact: the line end before the last dot is not of the mail.
    """

    __slots__ = ("_first", "_held", "_last", "_line", "is_long", "size")

    def __init__(self, *, is_exact: bool = False) -> None:
        self._last = 0 if is_exact else 2  # bytes of the end that are of the mail
        self._held = b"\r\n"  # as if a line had just ended
        self._first = 2  # bytes at the front that nobody sent
        self._line = 0
        #: Whether a line was longer than `MAX_DATA_LINE`.
        self.is_long = False
        #: Bytes of the mail so far.
        self.size = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take what came.

        Returns:
            The mail's bytes in it, and what follows its end; None before that.
        """
        whole = self._held + data
        dot = whole.find(b"\r\n.")
        end = whole.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            return self._content(whole[: end + self._last], has_dots=True), whole[end + len(_END) :]
        kept = next((n for n in range(len(_END) - 1, 0, -1) if whole.endswith(_END[:n])), 0)
        self._held = whole[len(whole) - kept :]
        return self._content(whole[: len(whole) - kept], has_dots=dot >= 0), None

    def _content(self, lines: bytes, *, has_dots: bool) -> bytes:
        if not lines:
            return b""
        content = lines.replace(b"\r\n.", b"\r\n") if has_dots else lines
        if self._first:
            content, self._first = content[2:], 0
        first = content.find(b"\r\n")
        self._line += len(content) if first < 0 else first
        self.is_long |= self._line > MAX_DATA_LINE
        if first >= 0:
            self._line = len(content) - content.rfind(b"\r\n") - 2
            self.is_long |= self._line > MAX_DATA_LINE
        self.size += len(content)
        return content
