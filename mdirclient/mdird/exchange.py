"""What is asked of a remote mdird, and what comes of its answers. Pure.

The blocking and the asyncio client move the bytes; all else that they do is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from mdirclient.errors import RemoteProtocolError, TransportError, reply_error
from mdirclient.header import Header
from mdirclient.mdird.operation import Operation
from mdirclient.patch import End, Now, Patch
from mdirclient.protocol import ClientConnection, Reply, Request

Push = Patch | Now | End


@attrs.frozen
class Begun:
    """What SUB was answered; see `Subscription`."""

    version: int
    folder_id: str
    epoch: str
    is_listing: bool


class Exchange:
    """One connection to an mdird, of which one thing is asked at a time.

    Args:
        address: for errors.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection = ClientConnection()
        self._reply: Reply | None = None

    # -- asking: what to send

    def authenticate(self, user: str, token: str) -> bytes:
        """AUTH."""
        return self._asked("AUTH", user, token)

    def change(self, operations: Sequence[Operation]) -> bytes:
        """One operation, or a batch of them."""
        requests = tuple(_request(operation) for operation in operations)
        if len(requests) > 1:
            self._reply = None
            return self._connection.batch(requests)[1]
        return self._asked(requests[0].keyword, *requests[0].arguments, header=requests[0].header)

    def lookup(self, folder: str, pattern: Header) -> bytes:
        """GET."""
        return self._asked("GET", folder, header=pattern)

    def subscribe(self, folder: str, version: int, epoch: str | None) -> bytes:
        """SUB."""
        return self._asked("SUB", folder, str(version), *([epoch] if epoch else []))

    def _asked(self, keyword: str, *arguments: str, header: Header | None = None) -> bytes:
        self._reply = None
        return self._connection.request(keyword, *arguments, header=header)[1]

    # -- answers

    def receive(self, data: bytes) -> None:
        """Take what came; nothing: the other side closed.

        Raises:
            TransportError: it closed.
        """
        if not data:
            raise TransportError(self._address, "the connection was closed; try again")
        self._connection.receive(data)

    def pushes(self) -> Iterator[Push]:
        """What was pushed, up to the reply if one came: then `is_answered`.

        Raises:
            ReplyError: it said no.
            RemoteProtocolError: it is no mdird.
        """
        while not self._reply and (event := self._connection.next_event()):
            if not isinstance(event, Reply):
                yield event
                continue
            self._reply = event
            if event.status >= 400 or not event.seq:
                raise reply_error(event.status, event.text)

    def followed(self) -> Iterator[Push]:
        """What was pushed to a subscription.

        Raises:
            RemoteProtocolError: it is no mdird.
        """
        while event := self._connection.next_event():
            if isinstance(event, Reply):
                raise RemoteProtocolError("a reply to nothing that was asked")
            yield event

    @property
    def is_answered(self) -> bool:
        """Whether the reply came."""
        return self._reply is not None

    def answers(self, operations: Sequence[Operation]) -> list[int]:
        """What `change` was answered; of a batch nothing."""
        assert self._reply
        if len(operations) != 1 or operations[0].keyword == "CLASS":
            return [0] * len(operations)
        try:
            return [int(self._reply.text)]
        except ValueError as error:
            raise RemoteProtocolError(f"expected a number: {self._reply.text!a}") from error

    def begun(self) -> Begun:
        """What `subscribe` was answered."""
        assert self._reply
        words = self._reply.text.split(" ")
        if len(words) != 3 or not words[0].isdecimal() or len(words[0]) > 18:
            raise RemoteProtocolError(f"expected version, id and epoch: {self._reply.text!a}")
        return Begun(int(words[0]), words[1], words[2], self._reply.status == 205)


def _request(operation: Operation) -> Request:
    base = (str(operation.base),) if operation.keyword == "SET" else ()
    return Request(0, operation.keyword, (operation.folder, *base), operation.header)
