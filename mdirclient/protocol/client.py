"""The client's side of a connection: requests in bytes, replies and pushes out. Sans-I/O, pure."""

from __future__ import annotations

import re
from typing import Final, Literal, cast

from mdirclient.errors import HeaderError, LocalProtocolError, RemoteProtocolError
from mdirclient.header import Header
from mdirclient.patch import End, Now, Patch
from mdirclient.protocol.lines import TOO_LONG, LineBuffer
from mdirclient.protocol.messages import (
    MAX_HEADER,
    MAX_LINE,
    STATUSES,
    Batch,
    Reply,
    Request,
    decode,
    one_line,
)

_REPLY = re.compile(r"-([0-9]{1,18}) ([a-z?]{1,20}) ([0-9]{3})(?: (.*))?", re.DOTALL)
_PATCH = re.compile(r"PATCH (\S+) ([0-9]{1,18}) ([0-9]{1,18}) ([+-]) *")
_NOW = re.compile(r"NOW (\S+) ([0-9]{1,18}) *")
_END = re.compile(r"END (\S+) ([0-9]{3})(?: (.*))?", re.DOTALL)
#: A folder's name can be as long as the line in which it was asked for.
_MAX_LINE: Final = 2 * MAX_LINE

Event = Reply | Patch | Now | End


class ClientConnection:
    """A connection to an mdird."""

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._last = 0
        self._open: dict[int, str] = {}  # requests without a reply: seq → keyword
        self._patch: tuple[str, int, int, Literal["+", "-"]] | None = None
        self._header = bytearray()
        self._error: RemoteProtocolError | None = None

    def request(
        self, keyword: str, *arguments: str, header: Header | None = None
    ) -> tuple[int, bytes]:
        """A request's number and its bytes.

        Raises:
            LocalProtocolError: it breaks the grammar.
        """
        if keyword == "BATCH":
            raise LocalProtocolError("a batch and its requests are one: use `batch`")
        return self._numbered(Request(self._last + 1, keyword, arguments, header))

    def batch(self, requests: tuple[Request, ...]) -> tuple[int, bytes]:
        """The number of a batch and its bytes.

        Raises:
            LocalProtocolError: it breaks the grammar, or is too large.
        """
        return self._numbered(Batch(self._last + 1, requests))

    def receive(self, data: bytes) -> None:
        """Take what came; `next_event` tells what it is."""
        self._lines.feed(data)

    def next_event(self) -> Event | None:
        """The next reply or push; None if more bytes are needed.

        A reply with seq 0 answers no request: the connection as a whole is refused.

        Raises:
            RemoteProtocolError: it is no mdird, or one that breaks the protocol. Nothing that
                follows can be read: each call raises this from now on.
        """
        if self._error:
            raise self._error
        try:
            while (line := self._lines.next_line(self._limit)) is not None:
                if event := self._header_line(line) if self._patch else self._line(line):
                    return event
        except RemoteProtocolError as error:
            self._error = error
            raise
        return None

    def ended(self) -> None:
        """The other side closed the connection.

        Raises:
            RemoteProtocolError: in the middle of something, or before it answered.
        """
        if self._patch or self._open or not self._lines.is_empty:
            waiting = ", ".join(sorted({*self._open.values()})) or "a push"
            raise RemoteProtocolError(f"the connection ended before the end of {waiting}")

    @property
    def _limit(self) -> int:
        return MAX_HEADER if self._patch else _MAX_LINE

    def _numbered(self, asked: Request | Batch) -> tuple[int, bytes]:
        data = asked.to_bytes()
        self._last = asked.seq
        self._open[asked.seq] = "batch" if isinstance(asked, Batch) else asked.keyword.lower()
        return asked.seq, data

    def _line(self, data: bytes) -> Event | None:
        if data == TOO_LONG:
            raise RemoteProtocolError("a line that is too long")
        try:
            line = data.decode()
            if match := _REPLY.fullmatch(line):
                return self._reply(int(match[1]), match[2], int(match[3]), match[4] or "")
            if match := _PATCH.fullmatch(line):
                action = cast("Literal['+', '-']", match[4])
                self._patch = decode(match[1]), int(match[2]), int(match[3]), action
                self._header = bytearray()
                # Nearly always all of the header has come.
                block = self._lines.next_block(MAX_HEADER - 1)
                return None if block is None else self._whole_header(block)
            if match := _NOW.fullmatch(line):
                return Now(decode(match[1]), int(match[2]))
            if match := _END.fullmatch(line):
                text = one_line(match[3] or "")
                return End(decode(match[1]), _status(int(match[2])), text)
        except ValueError as error:
            raise RemoteProtocolError(f"{data[:80]!a}: {error}") from error
        raise RemoteProtocolError(f"{data[:80]!a} is neither a reply nor a push")

    def _reply(self, seq: int, keyword: str, status: int, text: str) -> Reply:
        if seq and self._open.pop(seq, None) != keyword:
            raise RemoteProtocolError(f"a reply to {keyword} {seq}, which was not asked")
        # A stranger's text goes to a terminal.
        return Reply(seq, keyword, _status(status), one_line(text))

    def _header_line(self, line: bytes) -> Patch | None:
        assert self._patch
        if line == TOO_LONG or len(self._header) + len(line) >= MAX_HEADER:
            raise RemoteProtocolError("a header that is too large")
        if line:
            self._header += line + b"\n"
            return None
        return self._whole_header(bytes(self._header))

    def _whole_header(self, data: bytes) -> Patch:
        assert self._patch
        (folder, old, new, action), self._patch = self._patch, None
        try:
            return Patch(folder, old, new, action, Header.parse(data))
        except HeaderError as error:
            raise RemoteProtocolError(str(error)) from error


def _status(status: int) -> int:
    if status not in STATUSES:
        raise RemoteProtocolError(f"status {status}, which there is not")
    return status
