"""mdird for asyncio: a remote one on streams, and any other in threads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from mdirclient.errors import MdirError, TransportError
from mdirclient.header import EMPTY, Header
from mdirclient.mdird.exchange import Exchange, Push
from mdirclient.mdird.operation import Operation
from mdirclient.patch import End, Now, Patch
from mdirclient.protocol.address import Address

if TYPE_CHECKING:
    import ssl
    from typing import Self

    from mdirclient.interfaces import Mdird, Mstore, Subscription

_CHUNK: Final = 1 << 16
_IDLE: Final = 8
#: Entries that are looked up in a thread at once.
_PAGE: Final = 500

_Answer = TypeVar("_Answer")


class AsyncChanges(ABC):
    """The changing half of an AsyncMdird, in terms of `_run`."""

    @abstractmethod
    async def _run(self, operations: list[Operation]) -> list[int]:
        """Do the operations in one durable transaction; an answer for each."""

    async def put(self, folder: str, header: Header) -> int:
        """See `Mdird.put`."""
        return (await self._run([Operation("PUT", folder, header)]))[0]

    async def set(self, folder: str, header: Header, *, base: int) -> int:
        """See `Mdird.set`."""
        return (await self._run([Operation("SET", folder, header, base)]))[0]

    async def classify(self, folder: str, header: Header) -> None:
        """See `Mdird.classify`."""
        await self._run([Operation("CLASS", folder, header)])

    async def remove(self, folder: str, pattern: Header) -> int:
        """See `Mdird.remove`."""
        return (await self._run([Operation("REM", folder, pattern)]))[0]


class AsyncBatch(AsyncChanges):
    """Operations that become one transaction when the context ends without an error."""

    def __init__(self, run: Callable[[list[Operation]], object]) -> None:
        self._run_together = run
        self._operations: list[Operation] = []

    async def _run(self, operations: list[Operation]) -> list[int]:
        self._operations += operations
        return [0] * len(operations)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        operations, self._operations = self._operations, []
        if kind is None and operations:
            await self._run_together(operations)  # type: ignore[misc]


class _Closing(AsyncChanges):
    """What both kinds share."""

    async def close(self) -> None:
        """Release the connection."""

    def batch(self) -> AsyncBatch:
        """See `Mdird.batch`."""
        return AsyncBatch(self._run)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


# -- a remote one


class AsyncLink:
    """One connection, used by one task at a time. See `Link`."""

    def __init__(
        self,
        address: Address,
        timeout: float,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.exchange = Exchange(str(address))
        self.timeout = timeout
        self.name = str(address)
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: Address, timeout: float) -> AsyncLink:
        """Connect, and say who asks.

        Raises:
            TransportError: it cannot be reached, or is another one.
            PermanentReplyError: 401.
        """
        with _transport(str(address), timeout):
            async with asyncio.timeout(timeout):
                link = cls(address, timeout, *await _connected(address))
        try:
            if address.user is not None:
                async for _ in link.ask(link.exchange.authenticate(address.user, address.token)):
                    pass
        except BaseException:
            await link.close()
            raise
        return link

    async def ask(self, data: bytes) -> AsyncIterator[Push]:
        """Send a request; yields what is pushed before its reply. See `Link.ask`."""
        with _transport(self.name, self.timeout):
            async with asyncio.timeout(self.timeout):
                self._writer.write(data)
                await self._writer.drain()
        while not self.exchange.is_answered:
            with _transport(self.name, self.timeout):
                async with asyncio.timeout(self.timeout):
                    self.exchange.receive(await self._reader.read(_CHUNK))
            for push in self.exchange.pushes():
                yield push

    async def follow(self, timeout: float | None) -> list[Push] | None:
        """Wait for what is pushed next; None after `timeout` seconds."""
        with _transport(self.name, self.timeout):
            try:
                data = await asyncio.wait_for(self._reader.read(_CHUNK), timeout)
            except TimeoutError:
                return None
            self.exchange.receive(data)
        return list(self.exchange.followed())

    def is_usable(self) -> bool:
        """Whether the other side has not closed since it answered last."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        # Whether the other side says goodbye too is its own matter.
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class AsyncRemoteMdird(_Closing):
    """An mdird behind a socket, for asyncio. See `RemoteMdird`."""

    def __init__(self, link: AsyncLink, address: Address, timeout: float, store: Mstore) -> None:
        self.address = address
        self.store = store
        self._timeout = timeout
        self._idle = [link]
        self._is_closed = False

    @classmethod
    async def open(
        cls, address: Address, *, timeout: float = 30.0, store: Callable[[], Mstore]
    ) -> AsyncRemoteMdird:
        """Connect; see `RemoteMdird`."""
        return cls(await AsyncLink.open(address, timeout), address, timeout, store())

    async def lookup(self, folder: str, pattern: Header = EMPTY) -> AsyncIterator[Header]:
        """See `Mdird.lookup`."""
        async with self._link() as link:
            async for event in link.ask(link.exchange.lookup(folder, pattern)):
                if isinstance(event, Patch):
                    yield event.header

    async def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> AsyncRemoteSubscription:
        """See `Mdird.subscribe`."""
        link = await self._taken()
        try:
            asked = link.exchange.subscribe(folder, version, epoch)
            early = [event async for event in link.ask(asked)]
            return AsyncRemoteSubscription(link, early, timeout)
        except BaseException:
            await link.close()
            raise

    async def close(self) -> None:
        """Close the connections that nobody uses; those in use are closed after that."""
        self._is_closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _run(self, operations: list[Operation]) -> list[int]:
        async with self._link() as link:
            async for _ in link.ask(link.exchange.change(operations)):
                pass
            return link.exchange.answers(operations)

    @contextlib.asynccontextmanager
    async def _link(self) -> AsyncIterator[AsyncLink]:
        link = await self._taken()
        try:
            yield link
        finally:
            if link.exchange.is_answered and not self._is_closed and len(self._idle) < _IDLE:
                self._idle.append(link)
            else:
                await link.close()

    async def _taken(self) -> AsyncLink:
        if self._is_closed:
            raise TransportError(str(self.address), "this connection was closed")
        while self._idle:
            link = self._idle.pop()
            if link.is_usable():
                return link
            await link.close()
        return await AsyncLink.open(self.address, self._timeout)


class AsyncRemoteSubscription:
    """See `Subscription`. Has a connection of its own, which ends with it."""

    def __init__(self, link: AsyncLink, early: list[Push], timeout: float | None) -> None:
        begun = link.exchange.begun()
        self.version = begun.version
        self.folder_id = begun.folder_id
        self.epoch = begun.epoch
        self.is_listing = begun.is_listing
        self._link = link
        self._early = early
        self._timeout = timeout
        self._waiting: asyncio.Task[list[Push] | None] | None = None
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[Push]:
        """See `Subscription.__iter__`.

        Raises:
            TransportError: the connection broke; subscribe again from the last version.
        """
        try:
            async for event in self._follow():
                yield event
        finally:
            self._is_closed = True
            await self._link.close()

    async def close(self) -> None:
        """End the iteration, also one that another task waits in."""
        self._is_closed = True
        if self._waiting:
            self._waiting.cancel()
        await self._link.close()

    async def _follow(self) -> AsyncIterator[Push]:
        events: list[Push] | None = [*self._early, *self._link.exchange.followed()]
        is_complete = False
        while events is not None:
            for event in events:
                if self._has_ended():
                    return
                is_complete |= isinstance(event, Now)
                yield event
                if isinstance(event, End):
                    return
            if self._has_ended():
                return
            events = await self._next(self._timeout if is_complete else self._link.timeout)
        if not (is_complete or self._has_ended()):
            raise TransportError(self._link.name, f"no answer within {self._link.timeout:g} s")

    def _has_ended(self) -> bool:
        """Another task may have closed it meanwhile."""
        return self._is_closed

    async def _next(self, timeout: float | None) -> list[Push] | None:
        self._waiting = asyncio.ensure_future(self._link.follow(timeout))
        try:
            return await self._waiting
        except asyncio.CancelledError:
            if self._is_closed:
                return None
            raise
        finally:
            self._waiting = None


# -- any other one


class ThreadedMdird(_Closing):
    """A blocking mdird, such as the embedded one, for asyncio: each call in a thread."""

    def __init__(self, mdird: Mdird) -> None:
        self.store = mdird.store
        self._mdird = mdird

    async def lookup(self, folder: str, pattern: Header = EMPTY) -> AsyncIterator[Header]:
        """See `Mdird.lookup`."""
        found = iter(self._mdird.lookup(folder, pattern))
        while page := await asyncio.to_thread(_some, found):
            for header in page:
                yield header

    async def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> ThreadedSubscription:
        """See `Mdird.subscribe`."""

        def subscribe() -> Subscription:
            return self._mdird.subscribe(folder, version, epoch=epoch, timeout=timeout)

        return ThreadedSubscription(await asyncio.to_thread(subscribe))

    async def close(self) -> None:
        """Close it."""
        await asyncio.to_thread(self._mdird.close)

    async def _run(self, operations: list[Operation]) -> list[int]:
        return await asyncio.to_thread(_run, self._mdird, operations)


class ThreadedSubscription:
    """See `Subscription`. Waits in a thread of its own."""

    def __init__(self, subscription: Subscription) -> None:
        self.version = subscription.version
        self.folder_id = subscription.folder_id
        self.epoch = subscription.epoch
        self.is_listing = subscription.is_listing
        self._subscription = subscription

    async def __aiter__(self) -> AsyncIterator[Push]:
        """See `Subscription.__iter__`."""
        loop = asyncio.get_running_loop()
        events = iter(self._subscription)
        with ThreadPoolExecutor(1, "mdird-subscription") as executor:
            try:
                while event := await loop.run_in_executor(executor, next, events, None):
                    yield event
            finally:
                # Whoever waits in the thread is woken, so that it ends.
                self._subscription.close()

    async def close(self) -> None:
        """End the iteration, also one that another task waits in."""
        self._subscription.close()


def _run(mdird: Mdird, operations: Sequence[Operation]) -> list[int]:
    if len(operations) == 1:
        return [_do(mdird, operations[0])]
    with mdird.batch() as batch:
        return [_do(batch, operation) for operation in operations]


def _do(mdird: Mdird, operation: Operation) -> int:
    match operation.keyword:
        case "PUT":
            return mdird.put(operation.folder, operation.header)
        case "SET":
            return mdird.set(operation.folder, operation.header, base=operation.base)
        case "REM":
            return mdird.remove(operation.folder, operation.header)
        case "CLASS":
            mdird.classify(operation.folder, operation.header)
    return 0


def _some(found: Iterator[_Answer]) -> list[_Answer]:
    return list(islice(found, _PAGE))


@contextlib.contextmanager
def _transport(name: str, timeout: float) -> Iterator[None]:
    """What goes wrong with a connection, as our own error."""
    try:
        yield
    except MdirError:
        raise
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            reason = f"no answer within {timeout:g} s"
        raise TransportError(name, reason) from error


async def _connected(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    if address.is_plain:
        return _kept_alive(*await asyncio.open_connection(address.host, address.port))
    from mdirclient.mdird.tls import check_pin, client_context  # a socket needs none

    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=client_context(address), server_hostname=address.host
    )
    try:
        secured: ssl.SSLObject = writer.get_extra_info("ssl_object")
        check_pin(address, secured.getpeercert(binary_form=True))
    except BaseException:
        writer.close()
        raise
    return _kept_alive(reader, writer)


def _kept_alive(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Who waits for pushes notices when the other side has vanished."""
    connected: socket.socket = writer.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return reader, writer
