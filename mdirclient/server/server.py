"""The service: sockets, sessions, one writer, and what has to be done from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.errors import SettingsError
from mdirclient.mdird.embedded import EmbeddedMdird, Group
from mdirclient.mdird.history import DEFAULT_HISTORY, forget
from mdirclient.mdird.rights import Rights
from mdirclient.mdird.tables import Tables
from mdirclient.protocol.address import is_loopback
from mdirclient.server.content import Content
from mdirclient.server.feed import Feed
from mdirclient.server.session import Session
from mdirclient.server.users import Users
from mdirclient.server.writer import Answered, Writer
from mdirclient.service.listen import stop_listening
from mdirclient.service.log import Log

if TYPE_CHECKING:
    from mdirclient.mstore import DirectoryMstore

#: Seconds between two looks for what other processes committed.
_POLL: Final = 0.05
#: Seconds that a client has to say who it is, and a slow one to read something.
_PATIENCE: Final = 30.0
_HOUSEKEEPING: Final = 5.0
#: Connections that wait to be accepted: many clients come back at once.
_BACKLOG: Final = 1024
_COMPACTING: Final = 60.0


@attrs.frozen
class Limits:
    """What a server keeps.

    Attributes:
        history: removals of each folder that are remembered.
        patience: seconds for AUTH, and for a slow reader to read something.
    """

    history: int = DEFAULT_HISTORY
    patience: float = _PATIENCE


class Server:
    """mdird for many; to be used in one loop.

    Args:
        mdird: what is served; this server's own, with a store in a directory.
        log: of events.
        limits: of what it keeps.
    """

    def __init__(
        self, mdird: EmbeddedMdird, store: DirectoryMstore, log: Log, limits: Limits | None = None
    ) -> None:
        self.log = log
        self.sessions: set[Session] = set()
        self._mdird = mdird
        self._limits = limits or Limits()
        self._connection = mdird.open_connection()
        self.tables = Tables(self._connection)
        self.tables.look()
        self.rights = Rights(self.tables, mdird.users, store.base)
        self.feed = Feed(self._connection, self.tables, self.rights)
        self.users = Users(self.tables, self.rights, log)
        self._content = Content(mdird, store, self)
        self._writer: Writer
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._empty = asyncio.Event()
        self._checked = self.tables.generation  # when it was asked last who still is a user

    async def start(self, sockets: Iterable[socket.socket], context: ssl.SSLContext | None) -> None:
        """Serve on sockets that listen; those of TCP with TLS if there is a context.

        Raises:
            SettingsError: TCP without TLS on an address that others reach.
        """
        loop = asyncio.get_running_loop()
        self._writer = Writer(self._mdird, self.look)
        await self._content.start()
        for one in sockets:
            is_local = one.family == socket.AF_UNIX
            if not is_local and context is None:
                check_plain(one)
            secured = None if is_local else context
            self._servers.append(
                await loop.create_server(
                    lambda: Session(self),
                    sock=one,
                    ssl=secured,
                    backlog=_BACKLOG,
                    ssl_handshake_timeout=self._limits.patience if secured else None,
                )
            )
        self._tasks = [
            loop.create_task(self._poll()),
            loop.create_task(self._keep_house()),
            loop.create_task(self._compact()),
        ]

    async def stop(self, timeout: float = 10.0) -> None:
        """Answer what was asked, end the subscriptions, close. Takes `timeout` seconds at most."""
        await stop_listening(self._servers)
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for session in list(self.sessions):
                    session.stop()
                await self._writer.drained()
                self.feed.end_all(503, "mdird is stopping; try again")
                await self._content.stop()
                self._empty.clear()
                if self.sessions:
                    await self._empty.wait()
        for session in list(self.sessions):
            session.abort()
        await self._writer.close(timeout)
        self._connection.close()

    # -- what sessions need

    def submit(self, group: Group, answered: Answered) -> None:
        """Change something; see `Writer.submit`."""
        self._writer.submit(group, answered)

    def forget(self, session: Session) -> None:
        """A session is over."""
        self.sessions.discard(session)
        if not self.sessions:
            self._empty.set()

    def web_protocol(
        self, session: Session, transport: asyncio.Transport, *, is_peer: bool
    ) -> asyncio.Protocol:
        """A protocol that speaks HTTP; see `Content.protocol`."""
        return self._content.protocol(session, transport, is_peer=is_peer)

    def look(self) -> None:
        """Send what was committed to those who follow it."""
        behind = self.feed.look()
        # Whoever asks something notices changes too: what was checked last is what counts.
        if self.tables.generation != self._checked:
            self._checked = self.tables.generation
            for session in list(self.sessions):
                session.check()
        for subscriber in behind:
            reader = subscriber.reader
            assert isinstance(reader, Session)
            reader.pump()

    # -- from time to time

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL)
            with self._logged("poll"):
                if self.feed.has_changed():
                    self.look()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(min(_HOUSEKEEPING, self._limits.patience / 4))
            latest = time.monotonic() - self._limits.patience
            with self._logged("housekeeping"):
                for session in list(self.sessions):
                    if session.is_stuck(latest):
                        self.log("cut", reason="slow" if session.is_slow else "no AUTH")
                        session.abort()

    async def _compact(self) -> None:
        while True:
            with self._logged("compaction"):
                await asyncio.to_thread(self._forget)
            await asyncio.sleep(_COMPACTING)

    @contextlib.contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        """What goes wrong once must not end what is done from time to time."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self.log(f"{what}-failed", reason=repr(error))

    def _forget(self) -> None:
        with contextlib.closing(self._mdird.open_connection()) as connection:
            count = sum(forget(connection, self._limits.history))
        if count:
            self.log("compacted", removals=count)


def check_plain(one: socket.socket) -> None:
    """Without TLS only this machine may connect.

    Raises:
        SettingsError: others could.
    """
    host = str(one.getsockname()[0])
    if not is_loopback(host):
        raise SettingsError("MDIRD_LISTEN", host, "without TLS only loopback addresses can be used")


def certificates_needed(sockets: Sequence[socket.socket]) -> bool:
    """Whether some of the sockets are for TCP."""
    return any(one.family != socket.AF_UNIX for one in sockets)
