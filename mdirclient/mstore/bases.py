"""One store for all that a client may read: its own, and further bases that were configured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Final

from mdirclient.errors import TransportError, UnknownContentError
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from mdirclient.interfaces import URL, Content, Mstore, Receiver
    from mdirclient.mail.stored import StoredMessage

#: Seconds that a place which cannot be reached is not asked again.
_PAUSE: Final = 30.0


class BasesMstore:
    """A store that reads further bases from where they are.

    A url inside a header is a stranger's input: nothing is fetched from a base that is not
    among these. Where such a place cannot be reached, its contents are unknown for now: one
    entry must not stop a folder.

    Args:
        own: to which everything is added.
        others: base → store of it.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        own: Mstore,
        others: Mapping[str, Mstore],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = own
        self._others = dict(others)
        self._clock = clock
        self._paused: dict[str, float] = {}

    def add(self, message: bytes | IO[bytes]) -> StoredMessage:
        """See `Mstore.add`."""
        return self._own.add(message)

    def receive(self) -> AbstractContextManager[Receiver]:
        """See `Mstore.receive`."""
        return self._own.receive()

    def commit_all(self, receivers: Sequence[Receiver]) -> list[StoredMessage | Exception]:
        """See `Mstore.commit_all`."""
        return self._own.commit_all(receivers)

    def add_file(
        self,
        content: Content,
        *,
        media_type: str,
        suggested_name: str | None = None,
        message_id: str | None = None,
    ) -> StoredMessage:
        """See `Mstore.add_file`."""
        return self._own.add_file(
            content, media_type=media_type, suggested_name=suggested_name, message_id=message_id
        )

    def open(self, url: URL) -> IO[bytes]:
        """See `Mstore.open`."""
        base = PartURL.parse(url).base
        if base not in self._others:
            return self._own.open(url)
        if self._clock() < self._paused.get(base, 0.0):
            raise UnknownContentError(str(url), f"{base} could not be reached a moment ago")
        try:
            return self._others[base].open(url)
        except TransportError as error:
            self._paused[base] = self._clock() + _PAUSE
            raise UnknownContentError(str(url), str(error)) from error

    def __contains__(self, url: URL) -> bool:
        try:
            base = PartURL.parse(url).base
        except ValueError:
            return False
        return url in self._others.get(base, self._own)

    def close(self) -> None:
        """Close the connections of all that have some."""
        for store in (self._own, *self._others.values()):
            if close := getattr(store, "close", None):
                close()
