"""mdird in a file: SQLite, for any number of processes of one machine.

Reads and writes `<path>/mdird.sqlite3`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from mdirclient import _fs, _sqlite
from mdirclient.errors import FormatError, ReplyError, TransportError, reply_error
from mdirclient.header import EMPTY, Header
from mdirclient.mdird.changer import Changer, is_checked_first
from mdirclient.mdird.operation import Batch, Changes, Operation
from mdirclient.mdird.replies import BusyError, replies
from mdirclient.mdird.rights import ADMINISTRATOR, Actor, Rights
from mdirclient.mdird.schema import MIGRATIONS
from mdirclient.mdird.tables import Tables, matches
from mdirclient.mstore.directory import DEFAULT_RESERVE
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from typing import Self

    from mdirclient.interfaces import Mstore
    from mdirclient.mdird.pulse import Pulse
    from mdirclient.mdird.subscription import EmbeddedSubscription

DATABASE: Final = "mdird.sqlite3"

_Answer = TypeVar("_Answer")
#: Operations that are done together or not at all, and who asks for them.
Group = tuple[Actor, Sequence[Operation]]


class EmbeddedMdird(Changes):
    """An mdird in a directory. May be shared by threads.

    Args:
        path: the directory.
        store: where the contents of its entries are.
        create: make it if it is missing.
        timeout: seconds to wait for other processes.
        clock: seconds since 1970, for receipts.
        users: the folder with an entry for each user; it matters to `run_groups` only.
        reserve: bytes of the disk that are left free; below, nothing is added (503).

    Raises:
        TransportError: it is missing, on a network file system, or not an mdird.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        store: Mstore,
        *,
        create: bool = True,
        timeout: float = 30.0,
        clock: Callable[[], float] = time.time,
        users: str = "Users",
        reserve: int = DEFAULT_RESERVE,
    ) -> None:
        self.path = os.path.abspath(path)
        self.store = store
        self.users = users
        self._database = os.path.join(self.path, DATABASE)
        self._timeout = timeout
        self._reserve = reserve
        self._lock = threading.RLock()
        self._pulse: Pulse | None = None
        self._clock = clock
        self._waits = True
        if _fs.is_network_filesystem(self.path):
            raise TransportError(
                self.path,
                "it is on a network file system, where SQLite loses data; run `mdird serve` "
                "on the machine that has the disk",
            )
        if create:
            _fs.make_directories(self.path, mode=0o700)
        elif not os.path.isfile(self._database):
            raise TransportError(self.path, f"there is no mdird: {DATABASE} is missing")
        self._connection = self.open_connection(create=create)
        self._tables = Tables(self._connection)
        rights = Rights(self._tables, users, getattr(store, "base", ""))
        self._changer = Changer(self._tables, rights, store, clock)

    def open_connection(self, *, create: bool = False) -> sqlite3.Connection:
        """Another connection to the database; the caller closes it.

        Raises:
            TransportError: it cannot be opened.
        """
        try:
            return _sqlite.connect(self._database, MIGRATIONS, timeout=self._timeout, create=create)
        except sqlite3.Error as error:
            raise TransportError(self._database, str(error)) from error

    def batch(self) -> Batch:
        """See `Mdird.batch`."""
        return Batch(self, self._run)

    def lookup(self, folder: str, pattern: Header = EMPTY) -> Iterator[Header]:
        """See `Mdird.lookup`."""
        number = self._reading(lambda: self._tables.folder(folder))
        after = 0
        while rows := self._reading(partial(self._tables.page, number, pattern, after)):
            after = rows[-1][0]
            for _, data in rows:
                header = Header.parse(data)
                if matches(header, pattern):
                    yield header

    def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> EmbeddedSubscription:
        """See `Mdird.subscribe`."""
        from mdirclient.mdird.subscription import EmbeddedSubscription  # who delivers needs none

        number = self._reading(lambda: self._tables.folder(folder))
        return EmbeddedSubscription(
            self.open_connection(),
            self._found_pulse(),
            folder,
            number,
            version,
            epoch=epoch,
            timeout=timeout,
        )

    def _found_pulse(self) -> Pulse:
        """The one of all subscriptions, made for the first."""
        from mdirclient.mdird.pulse import Pulse

        with self._lock:
            if self._pulse is None:
                self._pulse = Pulse(self.open_connection)
            return self._pulse

    def run_groups(
        self, groups: Sequence[Group], *, may_wait: bool = True
    ) -> list[list[int] | ReplyError] | None:
        """Do groups of operations in one durable transaction (group commit).

        Each group is done as a whole, with the rights of who asks, or refused as a whole
        without touching the others.

        Args:
            groups: what is to be done.
            may_wait: wait for another process that is writing.

        Returns:
            For each group an answer for each operation, or why it was refused; None if it
            may not wait and would have to.

        Raises:
            TemporaryReplyError: nothing was done.
        """
        with self._lock:
            if may_wait != self._waits:
                timeout = self._timeout if may_wait else 0
                self._connection.execute(f"PRAGMA busy_timeout={timeout * 1000:.0f}")
                self._waits = may_wait
            try:
                return self._committed(groups)
            except BusyError:
                if may_wait:
                    raise
                return None

    def _committed(self, groups: Sequence[Group]) -> list[list[int] | ReplyError]:
        with replies(), _sqlite.transaction(self._connection):
            self._tables.look()
            is_full = _fs.free_bytes(self.path) < self._reserve
            return [self._run_group(*group, is_full=is_full) for group in groups]

    def note_upload(self, actor: Actor, anchor: PartURL) -> None:
        """Remember who uploaded a message: they may make entries of it. Durable on return."""
        row = (str(anchor), actor.name, int(self._clock()))
        # A connection of its own: nobody who changes something waits for it, and it may wait.
        with (
            contextlib.closing(self.open_connection()) as connection,
            replies(),
            _sqlite.transaction(connection),
        ):
            connection.execute("INSERT OR REPLACE INTO upload VALUES (?, ?, ?)", row)

    def close(self) -> None:
        """Close the database."""
        if self._pulse:
            self._pulse.close()
        with self._lock:
            self._connection.close()

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
        (answers,) = self.run_groups([(ADMINISTRATOR, operations)]) or ([],)
        if isinstance(answers, ReplyError):
            raise answers
        return answers

    def _run_group(
        self, actor: Actor, operations: Sequence[Operation], *, is_full: bool
    ) -> list[int] | ReplyError:
        if is_full and any(operation.keyword != "REM" for operation in operations):
            return reply_error(503, "the disk of the mdird is nearly full")
        execute = self._connection.execute
        answers: list[int] | ReplyError
        if len(operations) == 1 and is_checked_first(operations[0]):
            # Refused before it changes anything: a savepoint would cost a tenth of it.
            try:
                return [self._changer.apply(actor, operations[0])]
            except (ReplyError, FormatError) as error:
                return _refusal(error)
        execute("SAVEPOINT apart")
        try:
            answers = [self._changer.apply(actor, operation) for operation in operations]
        except (ReplyError, FormatError) as error:
            execute("ROLLBACK TO apart")
            self._tables.forget()
            answers = _refusal(error)
        execute("RELEASE apart")
        return answers

    def _reading(self, read: Callable[[], _Answer]) -> _Answer:
        with self._lock, replies():
            self._tables.look()
            return read()


def _refusal(error: ReplyError | FormatError) -> ReplyError:
    return error if isinstance(error, ReplyError) else reply_error(400, str(error))
