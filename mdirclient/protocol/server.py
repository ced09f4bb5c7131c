"""The server's side of a connection: bytes in, requests out. Sans-I/O, pure.

What a client may say when is a table. Everything that it sends is answered, and what is in memory
is bounded: a line, a header, a batch. Where it cannot be told what follows (a line that is too
long or has no keyword, a batch of which the number is wrong), the connection ends, so that nothing
is taken for a request that was none.
"""

from __future__ import annotations

from typing import Final

from mdirclient.errors import HeaderError, LocalProtocolError, RemoteProtocolError
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
    weight,
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
        self._is_paused = False  # until it is known whether an AUTH was right
        self._line: RequestLine | None = None  # whose header is being read
        self._header = bytearray()
        self._is_too_large = False
        self._batch: RequestLine | None = None
        self._batched: list[Request] = []
        self._missing = 0  # requests of the batch that have not come
        self._batch_bytes = 0
        self._fault: Reply | None = None  # the first thing that is wrong with the batch

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is read: after QUIT, or what ended the connection."""
        return self._is_closed

    def authenticated(self) -> None:
        """The AUTH that was asked last is right: everything but AUTH may be asked from now on."""
        self._allowed = AFTER_AUTH
        self._is_paused = False

    def rejected(self) -> None:
        """The AUTH that was asked last is wrong; another one may follow."""
        self._is_paused = False

    def receive(self, data: bytes) -> None:
        """Take what came; `next_event` tells what is asked."""
        if not self._is_closed:
            self._lines.feed(data)

    def next_event(self) -> Event | None:
        """What is asked next; None if more bytes are needed, or after AUTH until it is answered."""
        while not (self._is_closed or self._is_paused):
            line = self._lines.next_line(MAX_HEADER if self._line else MAX_LINE)
            if line is None:
                return None
            one = self._header_line(line) if self._line else self._request_line(line)
            if event := one and self._collected(one):
                return event
        return None

    def ended(self) -> None:
        """The client closed its side.

        Raises:
            RemoteProtocolError: in the middle of a line, a header or a batch: it is not done.
        """
        if not self._is_closed and (self._line or self._batch or not self._lines.is_empty):
            raise RemoteProtocolError("the connection ended in the middle of a request")
        self._is_closed = True

    def reply(self, request: Request | Batch, status: int, text: str) -> bytes:
        """The answer to a request, on the wire.

        Raises:
            LocalProtocolError: a status that there is not.
        """
        keyword = "batch" if isinstance(request, Batch) else request.keyword.lower()
        return Reply(request.seq, keyword, status, text).to_bytes()

    def push(self, push: Push) -> bytes:
        """A push on the wire.

        Raises:
            LocalProtocolError: to nobody whom we know, or it cannot be written.
        """
        if self._allowed is BEFORE_AUTH:
            raise LocalProtocolError("a push before AUTH")
        return push_to_bytes(push)

    # -- reading

    def _request_line(self, text: bytes) -> Request | Refused | None:
        if text == TOO_LONG:
            reason = f"a line has at most {MAX_LINE} bytes"
            return self._last(RequestLine(0, "?"), 413, reason)
        if not text.strip():
            return None  # a person pressed Enter
        line = parse_request_line(text)
        if line.keyword not in self._allowed and self._allowed is BEFORE_AUTH:
            return self._last(line, 401, "AUTH first")
        if not line.is_readable:
            return self._last(line, 400, line.reason or "")
        if line.grammar.has_header:
            self._line = line
            self._header, self._is_too_large = bytearray(), False
            # Nearly always all of it has come.
            block = self._lines.next_block(MAX_HEADER - 1)
            return None if block is None else self._whole_header(block)
        return self._request(line, None)

    def _header_line(self, text: bytes) -> Request | Refused | None:
        """A line of a header; an empty one ends it."""
        assert self._line
        if text:
            self._is_too_large |= text == TOO_LONG or len(self._header) + len(text) >= MAX_HEADER
            if self._is_too_large:
                self._header.clear()
            else:
                self._header += text + b"\n"
            return None
        data, self._header = bytes(self._header), bytearray()
        return self._whole_header(data)

    def _whole_header(self, data: bytes) -> Request | Refused | None:
        assert self._line
        line, self._line = self._line, None
        if self._is_too_large:
            return _refused(line, 413, f"a header has at most {MAX_HEADER} bytes")
        try:
            header = Header.parse(data)
        except HeaderError as error:
            return _refused(line, 400, str(error))
        return self._request(line, header)

    def _request(self, line: RequestLine, header: Header | None) -> Request | Refused | None:
        if line.keyword == "BATCH":
            return self._begin_batch(line)
        if line.reason or line.keyword not in self._allowed:
            return _refused(line, 400, line.reason or "this connection is somebody's already")
        if line.keyword == "QUIT":
            self._is_closed = True
        self._is_paused = line.keyword == "AUTH"
        return Request(line.seq, line.keyword, line.arguments, header)

    def _last(self, line: RequestLine, status: int, text: str) -> Refused:
        """It cannot be told what follows, or must not be answered."""
        self._is_closed = True
        self._lines = LineBuffer()
        return Refused(_refused(line, status, text).reply, is_last=True)

    # -- batches

    def _begin_batch(self, line: RequestLine) -> Refused | None:
        if line.reason or self._batch:
            return self._last(line, 400, line.reason or "a batch within a batch")
        count = int(line.arguments[0])
        if not 1 <= count <= MAX_BATCH:
            return self._last(line, 413, f"a batch has 1 to {MAX_BATCH} requests")
        self._batch, self._missing = line, count
        self._batched, self._batch_bytes, self._fault = [], 0, None
        return None

    def _collected(self, event: Request | Refused) -> Event | None:
        """The event itself, or nothing while it is one of a batch, or the batch."""
        if not self._batch or self._is_closed:
            return event
        line = self._batch
        self._missing -= 1
        if isinstance(event, Refused):
            self._fault = self._fault or event.reply
        elif not KEYWORDS[event.keyword].is_change:
            self._fault = self._fault or _refused(line, 400, "a batch holds changes only").reply
        else:
            self._batch_bytes += weight(event)
            self._batched.append(event)
            if self._batch_bytes > MAX_BATCH_BYTES and not self._fault:
                reason = f"a batch has at most {MAX_BATCH_BYTES} bytes"
                self._fault = _refused(line, 413, reason).reply
        if self._fault:
            self._batched.clear()
        if self._missing:
            return None
        self._batch = None
        if self._fault:
            keyword = "" if self._fault.keyword == "batch" else f"{self._fault.keyword}: "
            return _refused(line, self._fault.status, keyword + self._fault.text)
        batched, self._batched = tuple(self._batched), []
        return Batch(line.seq, batched)


def _refused(line: RequestLine, status: int, text: str) -> Refused:
    return Refused(Reply(line.seq, line.keyword.lower(), status, text))
