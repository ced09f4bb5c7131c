"""The server's side of a connection: bytes in, requests out. Sans-I/O, pure.

What a client may say when is a table. Everything that it sends is answered or skipped, and what is
in memory is bounded: a line, a header, a batch.
"""

from __future__ import annotations

from typing import Final

from mdirclient.errors import HeaderError, LocalProtocolError
from mdirclient.header import Header
from mdirclient.protocol.lines import TOO_LONG, LineBuffer
from mdirclient.protocol.messages import (
    KEYWORDS,
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_HEADER,
    MAX_LINE,
    Batch,
    Push,
    Refused,
    Reply,
    Request,
    RequestLine,
    parse_request_line,
    push_to_bytes,
)

#: What may be asked before `authenticated`, and after it.
BEFORE_AUTH: Final = frozenset(["AUTH", "QUIT"])
AFTER_AUTH: Final = frozenset(KEYWORDS) - {"AUTH"}

Event = Request | Batch | Refused


class ServerConnection:
    """One client's connection.

    Args:
        is_authenticated: whether the transport told who it is, such as a Unix socket.
    """

    def __init__(self, *, is_authenticated: bool = False) -> None:
        self._lines = LineBuffer()
        self._allowed = AFTER_AUTH if is_authenticated else BEFORE_AUTH
        self._is_closed = False
        self._line: RequestLine | None = None  # whose header is being read
        self._header: list[bytes] = []
        self._header_bytes = 0
        self._is_too_large = False
        self._batch: RequestLine | None = None
        self._batched: list[Request] = []
        self._missing = 0  # requests of the batch that have not come
        self._batch_bytes = 0
        self._fault: str | None = None  # the first thing that is wrong with the batch

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is read: after QUIT, or a request before AUTH."""
        return self._is_closed

    def authenticated(self) -> None:
        """The client is somebody: everything but AUTH may be asked."""
        self._allowed = AFTER_AUTH

    def receive(self, data: bytes) -> list[Event]:
        """Take what came; returns what is asked, in order."""
        if self._is_closed:
            return []
        self._lines.feed(data)
        events: list[Event] = []
        while not self._is_closed:
            line = self._lines.next_line(MAX_HEADER if self._line else MAX_LINE)
            if line is None:
                break
            one = self._header_line(line) if self._line else self._request_line(line)
            if event := one and self._collected(one):
                events.append(event)
        return events

    def reply(self, request: Request | Batch, status: int, text: str) -> bytes:
        """The answer to a request, on the wire."""
        keyword = "batch" if isinstance(request, Batch) else request.keyword.lower()
        return Reply(request.seq, keyword, status, text).to_bytes()

    def refuse(self, refused: Refused) -> bytes:
        """The answer to what cannot be done, on the wire."""
        return refused.reply.to_bytes()

    def push(self, push: Push) -> bytes:
        """A push on the wire.

        Raises:
            LocalProtocolError: to nobody whom we know.
        """
        if self._allowed is BEFORE_AUTH:
            raise LocalProtocolError("a push before AUTH")
        return push_to_bytes(push)

    # -- reading

    def _request_line(self, text: bytes) -> Request | Refused | None:
        if text == TOO_LONG:
            return self._refused(RequestLine(0, "?"), 413, f"a line has at most {MAX_LINE} bytes")
        if not text.strip():
            return None  # a person pressed Enter
        line = parse_request_line(text)
        if line.keyword not in self._allowed and self._allowed is BEFORE_AUTH:
            self._close()
            return Refused(Reply(line.seq, line.keyword.lower(), 401, "AUTH first"), is_last=True)
        if line.grammar.has_header:
            self._line = line
            self._header, self._header_bytes, self._is_too_large = [], 0, False
            return None
        return self._request(line, None)

    def _header_line(self, text: bytes) -> Request | Refused | None:
        """A line of a header; an empty one ends it."""
        assert self._line
        if text:
            self._header_bytes += len(text) + 1
            self._is_too_large |= text == TOO_LONG or self._header_bytes > MAX_HEADER
            if self._is_too_large:
                self._header.clear()
            else:
                self._header.append(text)
            return None
        line, self._line = self._line, None
        if self._is_too_large:
            return self._refused(line, 413, f"a header has at most {MAX_HEADER} bytes")
        data, self._header = b"\n".join(self._header), []
        try:
            header = Header.parse(data)
        except HeaderError as error:
            return self._refused(line, 400, str(error))
        return self._request(line, header)

    def _request(self, line: RequestLine, header: Header | None) -> Request | Refused | None:
        if line.reason or line.keyword not in self._allowed:
            return self._refused(line, 400, line.reason or "this connection is somebody's already")
        if line.keyword == "QUIT":
            self._close()
        if line.keyword == "BATCH" and not self._batch:
            return self._begin_batch(line)
        return Request(line.seq, line.keyword, line.arguments, header)

    def _refused(self, line: RequestLine, status: int, text: str) -> Refused:
        return Refused(Reply(line.seq, line.keyword.lower(), status, text))

    def _close(self) -> None:
        self._is_closed = True
        self._lines.clear()

    # -- batches

    def _begin_batch(self, line: RequestLine) -> Refused | None:
        count = int(line.arguments[0])
        if not 1 <= count <= MAX_BATCH:
            return self._refused(line, 413, f"a batch has 1 to {MAX_BATCH} requests")
        self._batch, self._missing = line, count
        self._batched, self._batch_bytes, self._fault = [], 0, None
        return None

    def _collected(self, event: Request | Refused) -> Event | None:
        """The event itself, or nothing while it is one of a batch, or the batch."""
        if not self._batch or self._is_closed:
            return event
        self._missing -= 1
        self._batch_bytes += self._header_bytes
        if isinstance(event, Refused):
            self._fault = self._fault or f"{event.reply.keyword}: {event.reply.text}"
        elif not KEYWORDS[event.keyword].is_change:
            self._fault = self._fault or "a batch holds changes only"
        elif self._batch_bytes > MAX_BATCH_BYTES:
            self._fault = self._fault or f"a batch has at most {MAX_BATCH_BYTES} bytes"
        else:
            self._batched.append(event)
        if self._fault:
            self._batched.clear()
        if self._missing:
            return None
        line, self._batch = self._batch, None
        if self._fault:
            return self._refused(line, 400, self._fault)
        batched, self._batched = tuple(self._batched), []
        return Batch(line.seq, batched)
