"""The client's side of a connection: requests in bytes, replies and pushes out. Sans-I/O, pure."""

from __future__ import annotations

import re
from typing import Final, Literal, cast

from mdirclient.errors import HeaderError, RemoteProtocolError
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
)

_REPLY = re.compile(r"-([0-9]{1,18}) ([a-z?]{1,20}) ([0-9]{3}) (.*)", re.DOTALL)
_PATCH = re.compile(r"PATCH (\S+) ([0-9]{1,18}) ([0-9]{1,18}) ([+-])")
_NOW = re.compile(r"NOW (\S+) ([0-9]{1,18})")
_END = re.compile(r"END (\S+) ([0-9]{3}) (.*)", re.DOTALL)
#: A folder's name can be as long as the line in which it was asked for.
_MAX_LINE: Final = 2 * MAX_LINE

Event = Reply | Patch | Now | End


class ClientConnection:
    """A connection to an mdird. Whoever sends bytes that break the protocol is told apart."""

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._last = 0
        self._open: dict[int, str] = {}  # requests without a reply: seq → keyword
        self._patch: tuple[str, int, int, Literal["+", "-"]] | None = None
        self._header: list[bytes] = []
        self._header_bytes = 0

    def request(
        self, keyword: str, *arguments: str, header: Header | None = None
    ) -> tuple[int, bytes]:
        """A request's number and its bytes.

        Raises:
            LocalProtocolError: it breaks the grammar.
        """
        request = Request(self._last + 1, keyword, arguments, header)
        data = request.to_bytes()
        return self._numbered(keyword), data

    def batch(self, requests: tuple[Request, ...]) -> tuple[int, bytes]:
        """The number of a batch and its bytes.

        Raises:
            LocalProtocolError: it breaks the grammar.
        """
        data = Batch(self._last + 1, requests).to_bytes()
        return self._numbered("BATCH"), data

    def receive(self, data: bytes) -> list[Event]:
        """Take what came; returns replies and pushes, in order.

        Raises:
            RemoteProtocolError: it is no mdird, or one that breaks the protocol. Nothing that
                follows can be read.
        """
        self._lines.feed(data)
        events: list[Event] = []
        while (line := self._lines.next_line(MAX_HEADER if self._patch else _MAX_LINE)) is not None:
            if line == TOO_LONG:
                raise RemoteProtocolError("a line that is too long")
            event = self._header_line(line) if self._patch else self._line(line)
            if event:
                events.append(event)
        return events

    def ended(self) -> None:
        """The other side closed the connection.

        Raises:
            RemoteProtocolError: in the middle of something.
        """
        if self._patch or self._open:
            waiting = ", ".join(sorted({*self._open.values()})) or "a patch"
            raise RemoteProtocolError(f"the connection ended before the end of {waiting}")

    def _numbered(self, keyword: str) -> int:
        self._last += 1
        self._open[self._last] = keyword.lower()
        return self._last

    def _line(self, data: bytes) -> Event | None:
        try:
            line = data.decode()
            if match := _REPLY.fullmatch(line):
                return self._reply(int(match[1]), match[2], int(match[3]), match[4])
            if match := _PATCH.fullmatch(line):
                action = cast("Literal['+', '-']", match[4])
                self._patch = decode(match[1]), int(match[2]), int(match[3]), action
                self._header, self._header_bytes = [], 0
                return None
            if match := _NOW.fullmatch(line):
                return Now(decode(match[1]), int(match[2]))
            if match := _END.fullmatch(line):
                return End(decode(match[1]), int(match[2]), match[3])
        except ValueError as error:
            raise RemoteProtocolError(f"{data[:80]!a}: {error}") from error
        raise RemoteProtocolError(f"{data[:80]!a} is neither a reply nor a push")

    def _reply(self, seq: int, keyword: str, status: int, text: str) -> Reply:
        # 0 is what was not asked for by this connection: it is refused as a whole.
        if seq and self._open.pop(seq, None) != keyword:
            raise RemoteProtocolError(f"a reply to {keyword} {seq}, which was not asked")
        if status not in STATUSES:
            raise RemoteProtocolError(f"status {status}, which there is not")
        return Reply(seq, keyword, status, text)

    def _header_line(self, line: bytes) -> Patch | None:
        assert self._patch
        self._header_bytes += len(line) + 1
        if self._header_bytes > MAX_HEADER + 1:
            raise RemoteProtocolError("a header that is too large")
        if line:
            self._header.append(line)
            return None
        (folder, old, new, action), self._patch = self._patch, None
        try:
            return Patch(folder, old, new, action, Header.parse(b"\n".join(self._header)))
        except HeaderError as error:
            raise RemoteProtocolError(str(error)) from error
