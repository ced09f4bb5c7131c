"""One connection to the service: lines of mdird, or HTTP if it begins so."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from mdirclient.errors import FormatError, ReplyError, reply_error
from mdirclient.header import EMPTY, Header
from mdirclient.mdird.embedded import Group
from mdirclient.mdird.operation import Operation
from mdirclient.mdird.replies import replies
from mdirclient.mdird.rights import Actor, Rights
from mdirclient.mdird.tables import Tables, matches
from mdirclient.protocol import Batch, Refused, Request, ServerConnection
from mdirclient.protocol.messages import KEYWORDS, MAX_LINE, PEER, patch_to_bytes, weight
from mdirclient.server.feed import Feed, Subscriber
from mdirclient.server.users import Users

if TYPE_CHECKING:
    from mdirclient.server.writer import Answered

#: Bytes that wait to be sent to one client before it counts as slow.
_HIGH_WATER: Final = 256 << 10
#: Changes of one connection that wait for a transaction before no more are read.
_MAX_OUTSTANDING: Final = 512
_MAX_BYTES: Final = 16 << 20
_MAX_SUBSCRIPTIONS: Final = 1_000
_PAGE: Final = 200
#: What HTTP begins with, whatever the method (RFC 9112 §3); no request of mdird looks like it.
#: What a web server forwards must never be taken for lines of mdird: it has that server's login.
_HTTP = re.compile(rb"(PEER\n)?[^\n]*HTTP/[0-9][^\n]*\n")


class Service(Protocol):
    """What a session needs of the server."""

    tables: Tables
    rights: Rights
    feed: Feed
    users: Users
    sessions: set[Session]

    def forget(self, session: Session) -> None:
        """It is over."""

    def submit(self, group: Group, answered: Answered) -> None:
        """Change something."""

    def web_protocol(
        self, session: Session, transport: asyncio.Transport, *, is_peer: bool
    ) -> asyncio.Protocol:
        """A protocol that speaks HTTP."""

    def log(self, event: str, **fields: object) -> None:
        """One line of the log."""


class _Lookup:
    """A GET that is being answered."""

    def __init__(self, request: Request, folder: str, number: int, pattern: Header) -> None:
        self.request = request
        self.folder = folder
        self.number = number
        self.pattern = pattern
        self.after = 0


class Session(asyncio.Protocol):
    """One client.

    Attributes:
        actor: who it is, once that is known.
        is_slow: so much waits to be sent that more would pile up.
        since: when it connected, or became slow; seconds, monotonic.
    """

    actor: Actor
    is_slow = False

    def __init__(self, service: Service) -> None:
        self._service = service
        self._transport: asyncio.Transport
        self._protocol: ServerConnection | None = None  # until it is known not to be HTTP
        self._web: asyncio.Protocol | None = None
        self._first = bytearray()
        self._outstanding = 0
        self._outstanding_bytes = 0
        self._proof: str | None = None  # the hash of what let them in
        self._unsent = 0  # bytes, when it was looked last
        self._held: Request | Refused | None = None  # waits until all before it is answered
        self._lookup: _Lookup | None = None
        self._subscribers: dict[str, Subscriber] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_reading = True
        self._is_pumping = False
        self.is_known = False
        self.since = time.monotonic()

    # -- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        connected = transport.get_extra_info("socket")
        if connected.family != socket.AF_UNIX:
            # Who has vanished without a word is noticed.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer = self._service.users.peer(transport.get_extra_info("socket"))
        if peer:
            self.actor, self.is_known = peer, True
        self._service.sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._service.forget(self)
        if self._web:
            self._web.connection_lost(exc)
        for subscriber in self._subscribers.values():
            self._service.feed.remove(subscriber)
        self._subscribers.clear()
        self._lookup = None
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._web:
            self._web.data_received(data)
            return
        if self._protocol is None:
            self._first += data
            lines = 2 if self._first.startswith(PEER) else 1
            if self._first.count(b"\n") < lines and len(self._first) <= MAX_LINE:
                return
            if found := _HTTP.match(self._first):
                self._become_web(is_peer=found[1] is not None)
                return
            data = self._begin()
        assert self._protocol
        self._protocol.receive(data)
        self._work()

    def eof_received(self) -> bool:
        """See asyncio: the other direction stays open, so that netcat gets its answers."""
        self._is_reading = False
        if self._web:
            return bool(self._web.eof_received())
        if self._protocol is None:
            self._transport.close()
        else:
            self._finish()
        return not self._transport.is_closing() and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """See asyncio."""
        self.is_slow = True
        self.since = time.monotonic()
        if self._web:
            self._web.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio."""
        self.is_slow = False
        if self._web:
            self._web.resume_writing()
        else:
            self.pump()

    def _begin(self) -> bytes:
        """It is mdird; what came already."""
        self._protocol = ServerConnection(is_authenticated=self.is_known)
        first, self._first = bytes(self._first), bytearray()
        return first

    def _become_web(self, *, is_peer: bool) -> None:
        self.is_known = False  # until a request says who asks
        self._web = self._service.web_protocol(self, self._transport, is_peer=is_peer)
        self._web.connection_made(self._transport)
        first, self._first = bytes(self._first).removeprefix(PEER), bytearray()
        self._web.data_received(first)

    # -- what the feed needs

    def write(self, data: bytes) -> None:
        """Send, if somebody is there still."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def ended(self, folder: str) -> None:
        """A subscription is over."""
        self._subscribers.pop(folder, None)
        self._finish()

    # -- requests

    def _work(self) -> None:
        """Handle what was asked, until something has to be waited for."""
        assert self._protocol
        while not self._is_blocked() and not self._transport.is_closing():
            event = self._protocol.next_event()
            if event is None:
                break
            self._handle(event)
        self._pace()
        self._finish()

    def _is_blocked(self) -> bool:
        is_waiting = self._held or self._lookup or self._task or self.is_slow
        is_much = self._outstanding >= _MAX_OUTSTANDING or self._outstanding_bytes >= _MAX_BYTES
        return bool(is_waiting or is_much)

    def _pace(self) -> None:
        """Read no more while that much waits to be done or sent."""
        if not self._is_reading or self._transport.is_closing():
            return
        if self._is_blocked():
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _finish(self) -> None:
        """Close when nothing more is asked and everything was answered."""
        if self._protocol is None:
            return
        is_over = self._protocol.is_closed or not self._is_reading
        is_busy = self._outstanding or self._is_blocked()
        if is_over and not is_busy and (self._protocol.is_closed or not self._subscribers):
            self._transport.close()

    def _handle(self, event: Request | Batch | Refused) -> None:
        if isinstance(event, Batch):
            self._change(event, [_operation(request) for request in event.requests])
        elif isinstance(event, Request) and KEYWORDS[event.keyword].is_change:
            self._change(event, [_operation(event)])
        elif self._outstanding:
            self._held = event  # it must see what was changed before it
        elif isinstance(event, Refused):
            self.write(event.reply.to_bytes())
        else:
            self._ask(event)

    def _change(self, event: Request | Batch, operations: list[Operation]) -> None:
        requests = event.requests if isinstance(event, Batch) else (event,)
        size = sum(map(weight, requests))
        self._outstanding += 1
        self._outstanding_bytes += size

        def answered(answers: list[int] | ReplyError) -> None:
            self._outstanding -= 1
            self._outstanding_bytes -= size
            if isinstance(answers, ReplyError):
                self._reply(event, answers.status, answers.text)
            else:
                is_counted = isinstance(event, Request) and event.keyword != "CLASS"
                self._reply(event, 200, str(answers[0]) if is_counted else "done")
            if self._held and not self._outstanding:
                held, self._held = self._held, None
                self._handle(held)
            self._work()

        self._service.submit((self.actor, operations), answered)

    def _ask(self, request: Request) -> None:
        asked: dict[str, Callable[[Request], None]] = {
            "AUTH": self._authenticate,
            "GET": self._look_up,
            "SUB": self._subscribe,
            "UNSUB": self._unsubscribe,
            "QUIT": self._quit,
        }
        try:
            with replies():
                self._service.tables.look()
                asked[request.keyword](request)
        except (ReplyError, FormatError) as error:
            refused = error if isinstance(error, ReplyError) else reply_error(400, str(error))
            self._reply(request, refused.status, refused.text)

    def _reply(self, event: Request | Batch, status: int, text: str) -> None:
        assert self._protocol
        self.write(self._protocol.reply(event, status, text))

    def _quit(self, request: Request) -> None:
        self._reply(request, 200, "goodbye")

    def _authenticate(self, request: Request) -> None:
        self._task = asyncio.get_running_loop().create_task(self._authenticating(request))

    async def _authenticating(self, request: Request) -> None:
        assert self._protocol
        user, token = request.arguments
        try:
            address = self._service.users.address(self._transport)
            found = await self._service.users.authenticate(user, token, address)
        except ReplyError as error:
            self._protocol.rejected()
            self._reply(request, error.status, error.text)
        else:
            if found:
                self.actor, self._proof = found
                self.is_known = True
                self._protocol.authenticated()
                self._reply(request, 200, "welcome")
            else:
                self._protocol.rejected()
                self._reply(request, 401, "no such user, or another token")
        finally:
            self._task = None
        self._work()

    # -- GET

    def _look_up(self, request: Request) -> None:
        folder, pattern = request.arguments[0], request.header or EMPTY
        number = self._service.rights.folder(self.actor, folder)
        self._service.rights.check(self.actor, number, "read")
        self._lookup = _Lookup(request, folder, number, pattern)
        self.pump()

    def _look_further(self, lookup: _Lookup) -> None:
        """Send the next page; forgets the lookup when it is answered."""
        rights = self._service.rights
        try:
            with replies():
                self._service.tables.look()
                rights.check(self.actor, lookup.number, "read")
                rows = self._service.tables.page(
                    lookup.number, lookup.pattern, lookup.after, limit=_PAGE
                )
                found: list[bytes] = []
                for version, data in rows:
                    header = rights.shown(self.actor, lookup.number, Header.parse(data))
                    if matches(header, lookup.pattern):
                        found.append(
                            patch_to_bytes(lookup.folder, 0, version, "+", header.to_bytes())
                        )
        except ReplyError as error:
            self._lookup = None
            self._reply(lookup.request, error.status, error.text)
            return
        self.write(b"".join(found))
        if rows:
            lookup.after = rows[-1][0]
        else:
            self._lookup = None
            self._reply(lookup.request, 200, "done")

    # -- subscriptions

    def _subscribe(self, request: Request) -> None:
        folder, version, *epoch = request.arguments
        if folder in self._subscribers:
            raise reply_error(400, "this folder is subscribed already")
        if len(self._subscribers) >= _MAX_SUBSCRIPTIONS:
            raise reply_error(413, f"a connection has at most {_MAX_SUBSCRIPTIONS} subscriptions")
        subscriber, cursor = self._service.feed.subscribe(
            self, folder, int(version), epoch[0] if epoch else None
        )
        self._subscribers[folder] = subscriber
        status = 205 if cursor.is_listing else 200
        self._reply(request, status, f"{cursor.version} {cursor.folder_id} {cursor.epoch}")
        self.pump()

    def _unsubscribe(self, request: Request) -> None:
        subscriber = self._subscribers.pop(request.arguments[0], None)
        if not subscriber:
            raise reply_error(404, "this folder is not subscribed")
        self._service.feed.remove(subscriber)
        self._reply(request, 200, "done")

    def pump(self) -> None:
        """Send more to who is behind, a page at a time, so that others have their turn."""
        if not self._is_pumping:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pumping = False
        if self._transport.is_closing() or self.is_slow:
            return
        has_more = False
        if self._lookup:
            self._look_further(self._lookup)
            has_more = self._lookup is not None
        for subscriber in list(self._subscribers.values()):
            has_more |= self._service.feed.go_on(subscriber)
        if has_more and not self.is_slow:
            self.pump()
        if not self._lookup:
            self._work()

    # -- housekeeping

    def stop(self) -> None:
        """The service stops: what was asked is answered, nothing more is read."""
        if self._web:
            return  # see `Content.stop`
        self._is_reading = False
        if not self._transport.is_closing():
            self._transport.pause_reading()
        if self._protocol is None:
            self._transport.close()
        self._finish()

    def check(self) -> None:
        """Cut who is no user any more, or whose token or password was replaced."""
        if self._web or not self.is_known or self.actor.name is None:
            return
        if not self._service.users.is_still(self.actor, self._proof):
            self._service.log("cut", reason="no longer a user", user=self.actor.name)
            self.abort()

    def is_stuck(self, latest: float) -> bool:
        """Whether it has not said who it is, or read anything, since some time."""
        if self.is_slow:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent:
                self.since = time.monotonic()
            self._unsent = unsent
        is_silent = not self.is_known and not self._task
        return (self.is_slow or is_silent) and self.since < latest

    def abort(self) -> None:
        """Cut the connection at once."""
        self._transport.abort()


def _operation(request: Request) -> Operation:
    folder, *base = request.arguments
    assert request.header is not None
    return Operation(
        request.keyword,  # type: ignore[arg-type]
        folder,
        request.header,
        int(base[0]) if base else 0,
    )
