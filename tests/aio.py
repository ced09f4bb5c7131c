"""An AsyncMdird behind the blocking interface, so that the contract suite can be run on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from mdirclient import End, Header, Mstore, Now, Patch, aio
from mdirclient.interfaces import AsyncChanges, AsyncMdird, AsyncSubscription

_Answer = TypeVar("_Answer")
_EMPTY = Header()


class Loop:
    """A loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Run it to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    def iterate(self, events: AsyncIterator[_Answer]) -> Iterator[_Answer]:
        """Each event as it comes."""

        async def following() -> tuple[_Answer, ...]:
            try:
                return (await anext(events),)
            except StopAsyncIteration:
                return ()

        while found := self.run(following()):
            yield found[0]

    def close(self) -> None:
        """End it."""
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Changes:
    def __init__(self, loop: Loop, changes: AsyncChanges) -> None:
        self._loop = loop
        self._changes = changes

    def put(self, folder: str, header: Header) -> int:
        return self._loop.run(self._changes.put(folder, header))

    def set(self, folder: str, header: Header, *, base: int) -> int:
        return self._loop.run(self._changes.set(folder, header, base=base))

    def classify(self, folder: str, header: Header) -> None:
        self._loop.run(self._changes.classify(folder, header))

    def remove(self, folder: str, pattern: Header) -> int:
        return self._loop.run(self._changes.remove(folder, pattern))


class Blocking(_Changes):
    """See `Mdird`."""

    def __init__(self, url: str) -> None:
        loop = Loop()
        try:
            self._mdird: AsyncMdird = loop.run(aio.connect(url))
        except BaseException:
            loop.close()
            raise
        super().__init__(loop, self._mdird)
        self.store: Mstore = self._mdird.store

    @contextmanager
    def batch(self) -> Iterator[Any]:
        context = self._mdird.batch()
        batch = _Changes(self._loop, self._loop.run(context.__aenter__()))
        try:
            yield batch
        except BaseException as error:
            self._loop.run(context.__aexit__(type(error), error, None))
            raise
        self._loop.run(context.__aexit__(None, None, None))

    def lookup(self, folder: str, pattern: Header = _EMPTY) -> Iterator[Header]:
        return self._loop.iterate(self._mdird.lookup(folder, pattern))

    def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> _Subscription:
        asked = self._mdird.subscribe(folder, version, epoch=epoch, timeout=timeout)
        return _Subscription(self._loop, self._loop.run(asked))

    def close(self) -> None:
        self._loop.run(self._mdird.close())
        if close := getattr(self.store, "close", None):
            close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Subscription:
    def __init__(self, loop: Loop, subscription: AsyncSubscription) -> None:
        self._loop = loop
        self._subscription = subscription
        self.version = subscription.version
        self.folder_id = subscription.folder_id
        self.epoch = subscription.epoch
        self.is_listing = subscription.is_listing

    def __iter__(self) -> Iterator[Patch | Now | End]:
        return self._loop.iterate(aiter(self._subscription))

    def close(self) -> None:
        self._loop.run(self._subscription.close())
