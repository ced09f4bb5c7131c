"""A store behind HTTP, as `mdird serve` has it. Needs the extra `http`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlencode

from mdirclient import _fs
from mdirclient.errors import EmptyMessageError, StoreError, UnknownContentError
from mdirclient.header import Header
from mdirclient.mail.stored import StoredMessage
from mdirclient.mstore.wire import from_json
from mdirclient.url import PartURL, check_file_id

if TYPE_CHECKING:
    from typing import Self

    from mdirclient.fetch import Fetcher
    from mdirclient.interfaces import URL, Content, Receiver

#: Mails that are sent at once.
_AT_ONCE: Final = 8


class RemoteMstore:
    """An mstore at a place. May be shared by threads.

    Args:
        fetcher: of that place.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._base: str | None = None

    @property
    def base(self) -> str:
        """Of its urls; asked for when it is first needed.

        Raises:
            StoreError: it is no store, or refuses.
            TransportError: it cannot be reached.
        """
        if self._base is None:
            head = Header.parse(self._fetcher.get(""))
            if "mstore" not in head or "base" not in head:
                raise StoreError("the server is no mstore")
            self._base = head["base"]
        return self._base

    def add(self, message: bytes | IO[bytes]) -> StoredMessage:
        """Send a mail. See `Mstore.add`."""
        with self.receive() as receiver:
            for chunk in _fs.chunks(message):
                receiver.write(chunk)
            return receiver.commit()

    def receive(self) -> RemoteReceiver:
        """The same, pushed in pieces. See `Mstore.receive`."""
        return RemoteReceiver(self._fetcher)

    def commit_all(self, receivers: Sequence[Receiver]) -> list[StoredMessage | Exception]:
        """Send several mails at once. See `Mstore.commit_all`."""
        with ThreadPoolExecutor(_AT_ONCE, "mstore") as threads:
            return list(threads.map(_committed, receivers))

    def add_file(
        self,
        content: Content,
        *,
        media_type: str,
        suggested_name: str | None = None,
        message_id: str | None = None,
    ) -> StoredMessage:
        """Send anything that is no mail. See `Mstore.add_file`."""
        chosen = None if message_id is None else check_file_id(message_id)
        given = {"name": suggested_name, "id": chosen}
        query = urlencode({name: text for name, text in given.items() if text is not None})
        with _fs.spool() as spooled:
            for chunk in _fs.chunks(content):
                spooled.write(chunk)
            size = spooled.tell()
            spooled.seek(0)
            return from_json(self._fetcher.send(f"file?{query}", spooled, size, media_type))

    def open(self, url: URL) -> IO[bytes]:
        """The content of a part. See `Mstore.open`.

        Raises:
            TransportError: the server cannot be reached.
        """
        part_url = self._checked(url)
        return self._fetcher.open(_path(part_url), url=str(part_url))

    def __contains__(self, url: URL) -> bool:
        try:
            part_url = self._checked(url)
        except (UnknownContentError, ValueError):
            return False
        return self._fetcher.has(_path(part_url), url=str(part_url))

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._fetcher.close()

    def _checked(self, url: URL) -> PartURL:
        part_url = PartURL.parse(url)
        if part_url.base != self.base:
            raise UnknownContentError(str(part_url), f"this store answers for {self.base} only")
        return part_url


class RemoteReceiver:
    """A mail on its way to a remote store: kept here until it is whole."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._spooled = _fs.spool()
        self._size = 0
        self._stored: StoredMessage | None = None

    def write(self, chunk: bytes) -> None:
        """Append to the message."""
        self._size += self._spooled.write(chunk)

    def prepare(self) -> None:
        """Send the message already: that takes long. See `commit` for the errors."""
        if self._stored is None:
            self._stored = self._sent()

    def commit(self) -> StoredMessage:
        """Send the message; durable on return.

        Raises:
            EmptyMessageError: nothing was written.
            StoreError: it was refused.
            TransportError: the server cannot be reached.
        """
        self.prepare()
        assert self._stored
        return self._stored

    def _sent(self) -> StoredMessage:
        if not self._size:
            raise EmptyMessageError
        self._spooled.seek(0)
        answer = self._fetcher.send("mail", self._spooled, self._size, "message/rfc822")
        return from_json(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._spooled.close()


def _committed(receiver: Receiver) -> StoredMessage | Exception:
    try:
        return receiver.commit()
    except Exception as error:  # noqa: BLE001 - it is the answer
        return error


def _path(url: PartURL) -> str:
    """The last two segments of a url, percent-encoded."""
    return str(url).removeprefix(url.base)
