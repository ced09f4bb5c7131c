"""Changes of the mdir as values, and a batch that collects them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import attrs

from mdirclient.header import EMPTY, Header
from mdirclient.url import canonical_url

if TYPE_CHECKING:
    from typing import Self

    from mdirclient.interfaces import Mdird, Subscription


@attrs.frozen
class Operation:
    """One change. `base` is of SET only."""

    keyword: Literal["PUT", "SET", "CLASS", "REM"]
    folder: str
    header: Header
    base: int = 0


def identity(header: Header) -> str | None:
    """What makes two headers of a folder the same entry.

    The canonical `url` of an item, `dir`, `id` and `name` of a `dir` entry; None if the
    header has neither.

    Raises:
        PartURLError: the `url` is not the url of a part.
    """
    if header.get("type") == "dir":
        return (
            f"dir {header['id']} {header['name']}" if "id" in header and "name" in header else None
        )
    url = header.get("url")
    return None if url is None else canonical_url(url)


Run = Callable[[list[Operation]], list[int]]


class Changes(ABC):
    """The changing half of an Mdird, in terms of `_run`, which does a list of operations."""

    @abstractmethod
    def _run(self, operations: list[Operation]) -> list[int]:
        """Do the operations in one durable transaction; an answer for each."""

    def put(self, folder: str, header: Header) -> int:
        """See `Mdird.put`."""
        return self._run([Operation("PUT", folder, header)])[0]

    def set(self, folder: str, header: Header, *, base: int) -> int:
        """See `Mdird.set`."""
        return self._run([Operation("SET", folder, header, base)])[0]

    def classify(self, folder: str, header: Header) -> None:
        """See `Mdird.classify`."""
        self._run([Operation("CLASS", folder, header)])

    def remove(self, folder: str, pattern: Header) -> int:
        """See `Mdird.remove`."""
        return self._run([Operation("REM", folder, pattern)])[0]


class Batch(Changes):
    """Operations that become one transaction when the context ends without an error.

    Reading goes to the mdird itself, which does not know of them yet.
    """

    def __init__(self, mdird: Mdird, run: Run) -> None:
        self.store = mdird.store
        self._mdird = mdird
        self._run_together = run
        self._operations: list[Operation] = []

    def _run(self, operations: list[Operation]) -> list[int]:
        self._operations += operations
        return [0] * len(operations)

    def batch(self) -> Batch:
        """A batch in a batch is a batch of its own."""
        return Batch(self._mdird, self._run_together)

    def lookup(self, folder: str, pattern: Header = EMPTY) -> Iterator[Header]:
        """See `Mdird.lookup`."""
        return self._mdird.lookup(folder, pattern)

    def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> Subscription:
        """See `Mdird.subscribe`."""
        return self._mdird.subscribe(folder, version, epoch=epoch, timeout=timeout)

    def close(self) -> None:
        """Forget what was collected."""
        self._operations = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        operations, self._operations = self._operations, []
        if kind is None and operations:
            self._run_together(operations)
