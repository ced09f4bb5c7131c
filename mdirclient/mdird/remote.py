"""mdird on another machine, or in another process: the blocking client."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final

from mdirclient.errors import MdirError, TransportError
from mdirclient.header import EMPTY, Header
from mdirclient.mdird.exchange import Exchange, Push
from mdirclient.mdird.operation import Batch, Changes, Operation
from mdirclient.patch import End, Now, Patch
from mdirclient.protocol.address import Address

if TYPE_CHECKING:
    from typing import Self

    from mdirclient.interfaces import Mstore

_CHUNK: Final = 1 << 16
#: Connections that are kept for the next request.
_IDLE: Final = 8
#: Seconds without a word before the system asks whether the other side is there.
_KEEPALIVE: Final = 60


class Link:
    """One connection, used by one thread at a time.

    Args:
        address: of the mdird.
        timeout: seconds to wait for it, each time.

    Raises:
        TransportError: it cannot be reached, or is another one.
        PermanentReplyError: 401.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self.exchange = Exchange(str(address))
        self.name = str(address)
        self.timeout = timeout
        self._nothing: tuple[type[OSError], ...] = (BlockingIOError,)
        with self._transport():
            self._socket = _connected(address, timeout)
        if not (address.path or address.is_plain):
            import ssl  # a socket needs none

            self._nothing = (ssl.SSLWantReadError,)
        try:
            if address.user is not None:
                for _ in self.ask(self.exchange.authenticate(address.user, address.token)):
                    pass
        except BaseException:
            self._socket.close()
            raise

    def ask(self, data: bytes) -> Iterator[Push]:
        """Send a request; yields what is pushed before its reply.

        Raises:
            ReplyError: it was refused.
            TransportError: the connection broke: it is not known whether it was done.
        """
        with self._transport():
            self._socket.sendall(data)
        while not self.exchange.is_answered:
            with self._transport():
                self.exchange.receive(self._socket.recv(_CHUNK))
            yield from self.exchange.pushes()

    def follow(self, wake: socket.socket, timeout: float | None) -> list[Push] | None:
        """Wait for what is pushed next; None after `timeout` seconds or when woken."""
        is_waiting = not getattr(self._socket, "pending", int)()
        if is_waiting and self._socket not in _ready([self._socket, wake], timeout):
            return None
        with self._transport():
            # TLS has messages of its own: what is readable may be none of ours.
            self._socket.settimeout(0)
            with contextlib.suppress(*self._nothing):
                self.exchange.receive(self._socket.recv(_CHUNK))
        return list(self.exchange.followed())

    def is_usable(self) -> bool:
        """Whether the other side has not closed since it answered last."""
        return self._socket.fileno() >= 0 and not _ready([self._socket], 0)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    @contextlib.contextmanager
    def _transport(self) -> Iterator[None]:
        """What goes wrong with the connection, as our own error."""
        try:
            yield
        except MdirError:
            raise
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                reason = f"no answer within {self.timeout:g} s"
            raise TransportError(self.name, reason) from error


class RemoteMdird(Changes):
    """An mdird behind a socket. May be shared by threads.

    Each thread that asks has a connection for that long; each subscription has its own. A
    request is sent once: where the connection breaks before the reply it is not known
    whether it was done. PUT and CLASS can be repeated.

    Args:
        address: where it is.
        timeout: seconds to wait for it, each time.
        store: makes the store of the contents, when it is first needed.

    Raises:
        TransportError: it cannot be reached.
        PermanentReplyError: 401.
    """

    def __init__(
        self, address: Address, *, timeout: float = 30.0, store: Callable[[], Mstore]
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._make_store = store
        self._store: Mstore | None = None
        self._lock = threading.Lock()
        self._idle: list[Link] = [Link(address, timeout)]
        self._is_closed = False

    @property
    def store(self) -> Mstore:
        """The store of its contents, by HTTP at the same address."""
        with self._lock:
            if self._store is None:
                self._store = self._make_store()
            return self._store

    def batch(self) -> Batch:
        """See `Mdird.batch`. At most 100,000 changes and 64 MiB."""
        return Batch(self, self._run)

    def lookup(self, folder: str, pattern: Header = EMPTY) -> Iterator[Header]:
        """See `Mdird.lookup`."""
        with self._link() as link:
            for event in link.ask(link.exchange.lookup(folder, pattern)):
                if isinstance(event, Patch):
                    yield event.header

    def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> RemoteSubscription:
        """See `Mdird.subscribe`."""
        link = self._taken()
        try:
            early = list(link.ask(link.exchange.subscribe(folder, version, epoch)))
            return RemoteSubscription(link, early, timeout)
        except BaseException:
            link.close()
            raise

    def close(self) -> None:
        """Close the connections that nobody uses; those in use are closed after that."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            store, self._store = self._store, None
        for link in idle:
            link.close()
        if close := getattr(store, "close", None):
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, operations: list[Operation]) -> list[int]:
        with self._link() as link:
            for _ in link.ask(link.exchange.change(operations)):
                pass
            return link.exchange.answers(operations)

    @contextlib.contextmanager
    def _link(self) -> Iterator[Link]:
        """A connection of one's own; kept for the next one if it was answered."""
        link = self._taken()
        try:
            yield link
        finally:
            with self._lock:
                is_kept = (
                    link.exchange.is_answered and not self._is_closed and len(self._idle) < _IDLE
                )
                if is_kept:
                    self._idle.append(link)
            if not is_kept:
                link.close()

    def _taken(self) -> Link:
        while True:
            with self._lock:
                if self._is_closed:
                    raise TransportError(str(self.address), "this connection was closed")
                link = self._idle.pop() if self._idle else None
            if link is None:
                return Link(self.address, self._timeout)
            if link.is_usable():
                return link
            link.close()


class RemoteSubscription:
    """See `Subscription`. Has a connection of its own, which ends with it."""

    def __init__(self, link: Link, early: list[Push], timeout: float | None) -> None:
        begun = link.exchange.begun()
        self.version = begun.version
        self.folder_id = begun.folder_id
        self.epoch = begun.epoch
        self.is_listing = begun.is_listing
        self._link = link
        self._early = early
        self._timeout = timeout
        self._guard = threading.Lock()
        self._is_iterating = self._is_closed = False
        self._wake, self._woken = socket.socketpair()

    def __iter__(self) -> Iterator[Push]:
        """See `Subscription.__iter__`.

        Raises:
            TransportError: the connection broke; subscribe again from the last version.
        """
        with self._guard:
            if self._is_closed or self._is_iterating:
                return
            self._is_iterating = True
        try:
            yield from self._follow()
        finally:
            with self._guard:
                self._is_closed = True
                self._release()

    def close(self) -> None:
        """End the iteration, also one that another thread waits in."""
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
            if self._is_iterating:
                self._wake.send(b"x")
            else:
                self._release()

    def _follow(self) -> Iterator[Push]:
        # What came together with the reply is there already.
        events: list[Push] | None = [*self._early, *self._link.exchange.followed()]
        deadline: float | None = None
        is_complete = False
        while events is not None:
            for event in events:
                if self._is_closed:
                    return
                if isinstance(event, Now):
                    is_complete = True
                    if self._timeout is not None:
                        deadline = time.monotonic() + self._timeout
                yield event
                if isinstance(event, End):
                    return
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            events = self._link.follow(self._woken, left if is_complete else self._link.timeout)
        if not (is_complete or self._is_closed):
            raise TransportError(self._link.name, f"no answer within {self._link.timeout:g} s")

    def _release(self) -> None:
        self._link.close()
        self._wake.close()
        self._woken.close()


def _connected(address: Address, timeout: float) -> socket.socket:
    if address.path:
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plain.settimeout(timeout)
            plain.connect(address.path)
        except BaseException:
            plain.close()
            raise
        return plain
    plain = socket.create_connection((address.host, address.port), timeout)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
        if address.is_plain:
            return plain
        from mdirclient.mdird.tls import check_pin, client_context  # a socket needs none

        secured = client_context(address).wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise
    try:
        check_pin(address, secured.getpeercert(binary_form=True))
    except BaseException:
        secured.close()
        raise
    return secured


def _ready(sockets: list[socket.socket], timeout: float | None) -> list[socket.socket]:
    """Those that can be read; the first that is ready stands for itself only if the last is not.

    A socket to be woken by stands last: when it is ready, nothing else counts.
    """
    poll = select.poll()
    for one in sockets:
        poll.register(one, select.POLLIN)
    ready = {number for number, _ in poll.poll(None if timeout is None else timeout * 1000)}
    if len(sockets) > 1 and sockets[-1].fileno() in ready:
        return []
    return [one for one in sockets if one.fileno() in ready]
