"""The interfaces that everything above a store or an mdird talks to. Pure.

Each has a contract suite in `mdirclient.testing`, which every implementation passes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from os import PathLike
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self

from mdirclient.header import Header
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from mdirclient.mail.stored import StoredMessage
    from mdirclient.patch import End, Now, Patch

URL = str | PartURL
Content = bytes | PathLike[str] | IO[bytes]


class Receiver(Protocol):
    """A message on its way into a store; leaving its context without `commit` drops it."""

    def write(self, chunk: bytes) -> None:
        """Append to the message."""

    def prepare(self) -> None:
        """Do now, after the last `write`, what takes long in `commit`. May be left out.

        Raises:
            EmptyMessageError: nothing was written.
        """

    def commit(self) -> StoredMessage:
        """Store what was written; durable on return.

        Raises:
            EmptyMessageError: nothing was written.
        """


class Mstore(Protocol):
    """A store of contents, by message-id and part number; contents never change.

    May be shared by threads.
    """

    def add(self, message: bytes | IO[bytes]) -> StoredMessage:
        """Take a mail apart and store it; durable on return.

        The same mail again is the same url. A different one under a known message-id is
        kept beside it as a variant.

        Raises:
            EmptyMessageError: 0 bytes.
        """

    def receive(self) -> AbstractContextManager[Receiver]:
        """The same, pushed in pieces."""

    def commit_all(self, receivers: Sequence[Receiver]) -> list[StoredMessage | Exception]:
        """Commit several of this store's receivers together (group commit).

        Faster than one after the other; durable on return. Each is stored, or not, whatever
        becomes of the others.

        Returns:
            For each what `commit` returns, or the error that it raises.
        """

    def add_file(
        self,
        content: Content,
        *,
        media_type: str,
        suggested_name: str | None = None,
        message_id: str | None = None,
    ) -> StoredMessage:
        """Store anything that is no mail as one part with a random id; durable on return.

        Args:
            content: of the part.
            media_type: such as `text/plain`.
            suggested_name: of the file.
            message_id: 32 random hexadecimal digits and `@file.invalid`, chosen by who wants to
                try again without storing it twice: the same content under the same id is the
                same url, another content is a variant. None: one is made.

        Raises:
            ValueError: the message-id is none of those.
        """

    def open(self, url: URL) -> IO[bytes]:
        """The content of a part; part 0 is the original mail, checked before it is handed out.

        Raises:
            UnknownContentError: not in this store, or of another base.
            DamagedMessageError: the original cannot be made again.
        """

    def __contains__(self, url: URL) -> bool:
        """Whether the store has the content."""


class Subscription(Protocol):
    """What changes in a folder, from a version on.

    Attributes:
        version: of the folder when the subscription began.
        folder_id: id of the folder, whatever its names.
        epoch: of the mdird; another epoch means a restored server.
        is_listing: status 205: the live entries follow, ended by Now; an entry that is not
            among them is gone.
    """

    version: int
    folder_id: str
    epoch: str
    is_listing: bool

    def __iter__(self) -> Iterator[Patch | Now | End]:
        """What is missing, Now, and then each change as it comes.

        Iteration ends after End, after `close`, and after `timeout` seconds without a change.
        """

    def close(self) -> None:
        """End the iteration, also one that another thread waits in."""


class AsyncSubscription(Protocol):
    """A `Subscription` whose events come as an asynchronous iterator."""

    version: int
    folder_id: str
    epoch: str
    is_listing: bool

    def __aiter__(self) -> AsyncIterator[Patch | Now | End]:
        """See `Subscription.__iter__`."""

    async def close(self) -> None:
        """End the iteration, also one that another task waits in."""


class Mdird(Protocol):
    """The service that holds the mdir. A context manager; may be shared by threads.

    A folder is named by its path from the root, `SMTP/Accounts`; `/` or an empty text is
    the root. Every change is durable on return.

    Raises:
        NotFoundReplyError: there is no such folder.
        PermanentReplyError: 400, the header or the pattern cannot be used.
        TemporaryReplyError: 503, try again.
        TransportError: mdird cannot be reached.
    """

    @property
    def store(self) -> Mstore:
        """The store of its contents."""

    def put(self, folder: str, header: Header) -> int:
        """Add an entry; returns its version. A live url changes nothing and answers its version.

        A header with `type: dir` and `name` makes a folder, or with the `id` of an existing
        one another name of it. Inside a batch the answer is 0.
        """

    def set(self, folder: str, header: Header, *, base: int) -> int:
        """Replace the live entry if it is at version `base` (0: it must be absent).

        Raises:
            ConflictReplyError: it is at another version.
        """

    def classify(self, folder: str, header: Header) -> None:
        """File an entry by the rules of the folder. A repeat within 30 days has no effect."""

    def remove(self, folder: str, pattern: Header) -> int:
        """Remove every entry that has all fields of the pattern; returns how many.

        Entries of type `dir`, `user` and `stribution` match only if the pattern has `type`.
        Inside a batch the answer is 0.
        """

    def batch(self) -> AbstractContextManager[Mdird]:
        """Collect changes; they become one transaction when the context ends without error."""

    def lookup(self, folder: str, pattern: Header = ...) -> Iterator[Header]:
        """The live entries that have all fields of the pattern, oldest change first."""

    def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> Subscription:
        """Follow a folder from a version on.

        Args:
            folder: its path.
            version: what the caller has; 0 asks for a listing.
            epoch: the epoch that `version` was counted in, if known.
            timeout: seconds to wait for the next change; 0 ends after Now, None never.

        Raises:
            ConflictReplyError: 409, `version` is above the folder's own.
        """

    def close(self) -> None:
        """Release the connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class AsyncChanges(Protocol):
    """The changes of an `Mdird`, as coroutines; in a batch they are collected."""

    async def put(self, folder: str, header: Header) -> int:
        """See `Mdird.put`."""

    async def set(self, folder: str, header: Header, *, base: int) -> int:
        """See `Mdird.set`."""

    async def classify(self, folder: str, header: Header) -> None:
        """See `Mdird.classify`."""

    async def remove(self, folder: str, pattern: Header) -> int:
        """See `Mdird.remove`."""


class AsyncMdird(AsyncChanges, Protocol):
    """An `Mdird` for asyncio: the same names. An asynchronous context manager.

    Used in one loop. Its store blocks.
    """

    @property
    def store(self) -> Mstore:
        """The store of its contents."""

    def batch(self) -> AbstractAsyncContextManager[AsyncChanges]:
        """See `Mdird.batch`."""

    def lookup(self, folder: str, pattern: Header = ...) -> AsyncIterator[Header]:
        """See `Mdird.lookup`."""

    async def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> AsyncSubscription:
        """See `Mdird.subscribe`."""

    async def close(self) -> None:
        """Release the connection."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
