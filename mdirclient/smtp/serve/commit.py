"""Group commit: what waits while others are stored is stored together.

One thread writes and publishes all small mails that have ended by then (one flush for all); large
ones were written by others. Then all that are published by then are filed (one BATCH), answered,
and their records kept. More threads for the small ones were slower: they wait for each other.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from mdirclient.errors import MdirError, PermanentReplyError
from mdirclient.header import Header
from mdirclient.mail.stored import StoredMessage
from mdirclient.smtp.serve.intake import Intake
from mdirclient.smtp.serve.note import Note

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird, Mstore
    from mdirclient.service.log import Log

#: Mails that are stored together: each has some open files, and 64 KiB of memory at most.
_MAX_MAILS: Final = 64
#: Headers of one BATCH, where nobody needs it to be larger.
_MAX_HEADERS: Final = 900
#: Bytes of one BATCH that are surely taken (64 MiB are).
_MAX_BYTES: Final = 48 << 20
_MAX_OPERATIONS: Final = 100_000

#: Threads that write mails.
_WRITERS: Final = max(2, min(8, os.cpu_count() or 2))

_Answer = TypeVar("_Answer")
Filed = tuple[str, Header]


@attrs.frozen
class Recipient:
    """Somebody who gets a mail.

    Attributes:
        folder: of their account.
        trace: fields that are theirs only, such as `envelope_to`.
    """

    folder: str
    trace: dict[str, str]


@attrs.define(eq=False)
class Mail:
    """A mail that has ended.

    Attributes:
        intake: with its bytes.
        recipients: each account once, unless `each_alone`.
        trace: fields for everybody, such as `envelope_from`.
        each_alone: one transaction and one outcome for each recipient (LMTP).
        note: what happened to it so far.
        done: called in the loop once, with an outcome for each recipient, or one for all.
    """

    intake: Intake
    recipients: Sequence[Recipient]
    trace: dict[str, str | None]
    each_alone: bool
    note: Note
    done: Callable[[Mail], None]
    #: The message, or why it could not be stored.
    stored: StoredMessage | Exception | None = None
    #: What of it goes into the mdir, in one transaction each.
    units: list[list[Filed]] = attrs.field(factory=list)
    #: For each unit None, or why it was not taken.
    outcomes: list[Exception | None] = attrs.field(factory=list)


class Committer:
    """Takes mails in, in groups. Used in one loop.

    Args:
        mdird: where the headers go.
        store: where the contents go.
        authserv_ids: whose `authentication-results` in a mail are believed.
        log: of what goes wrong.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        store: Mstore,
        *,
        authserv_ids: Sequence[str],
        log: Log,
    ) -> None:
        self._mdird = mdird
        self._store = store
        self._authserv_ids = authserv_ids
        self._log = log
        self._writers = ThreadPoolExecutor(_WRITERS, "smtp-write")
        self._publisher = ThreadPoolExecutor(1, "smtp-publish")
        self._loop = asyncio.get_running_loop()
        self._written: deque[Mail] = deque()
        self._published: deque[Mail] = deque()
        self._is_publishing = self._is_filing = False
        #: Mails that have no outcome yet.
        self.count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def in_thread(self, work: Callable[[], _Answer]) -> asyncio.Future[_Answer]:
        """Do something that writes."""
        return self._loop.run_in_executor(self._writers, work)

    def submit(self, mail: Mail, *, is_prepared: bool) -> None:
        """Take a mail in; its `done` is called when the outcome is known."""
        self.count += 1
        if mail.intake.is_large and not is_prepared:
            writing = self.in_thread(mail.intake.prepare)
            writing.add_done_callback(partial(self._was_written, mail))
        else:
            self._publish(mail)

    async def close(self) -> None:
        """End the threads, after what they do."""
        for threads in (self._writers, self._publisher):
            await asyncio.to_thread(threads.shutdown)

    # -- contents

    def _was_written(self, mail: Mail, writing: asyncio.Future[None]) -> None:
        error = writing.exception()
        mail.stored = error if isinstance(error, Exception) else None
        self._publish(mail)

    def _publish(self, mail: Mail) -> None:
        self._written.append(mail)
        if not self._is_publishing:
            self._is_publishing = True
            self._start(self._publish_all())

    async def _publish_all(self) -> None:
        while self._written:
            count = min(len(self._written), _MAX_MAILS)
            group = [self._written.popleft() for _ in range(count)]
            try:
                await self._loop.run_in_executor(self._publisher, self._publish_group, group)
            except Exception as error:  # noqa: BLE001 - every mail has an answer
                for mail in group:
                    mail.stored = mail.stored or error
            self._published.extend(group)
            if not self._is_filing:
                self._is_filing = True
                self._start(self._file_all())
        self._is_publishing = False

    def _publish_group(self, group: list[Mail]) -> None:
        """Give contents their names, and make the headers. In a thread."""
        with ExitStack() as stack:
            written, receivers = [], []
            for mail in group:
                try:
                    if mail.stored is None:
                        receivers.append(mail.intake.receiver(stack))
                        written.append(mail)
                except Exception as error:  # noqa: BLE001 - the others have nothing to do with it
                    mail.stored = error
                    mail.intake.drop()
            for mail, outcome in zip(written, self._store.commit_all(receivers), strict=True):
                mail.stored = outcome
                if isinstance(outcome, StoredMessage):
                    mail.units = list(self._units(mail, outcome))

    def _units(self, mail: Mail, message: StoredMessage) -> Iterator[list[Filed]]:
        whole: list[Filed] = []
        for one in mail.recipients:
            headers = message.headers(
                authserv_ids=self._authserv_ids, **{**mail.trace, **one.trace}
            )
            filed = [(one.folder, header) for header in headers]
            if mail.each_alone:
                yield filed
            else:
                whole += filed
        if not mail.each_alone:
            yield whole

    # -- headers

    async def _file_all(self) -> None:
        while self._published:
            group = list(self._published)
            self._published.clear()
            try:
                await self._file_group(group)
            except Exception as error:  # noqa: BLE001 - every mail has an answer
                self._log("defect", what="filing", error=repr(error))
                for mail in group:
                    mail.outcomes = [error]
            for mail in group:
                self.count -= 1
                mail.done(mail)
        self._is_filing = False

    async def _file_group(self, group: list[Mail]) -> None:
        units: list[tuple[Mail, list[Filed]]] = []
        for mail in group:
            if isinstance(mail.stored, Exception) or mail.stored is None:
                mail.outcomes = [mail.stored]
            else:
                units += [(mail, unit) for unit in mail.units]
        for together in _together(units):
            error = await self._file([filed for _, unit in together for filed in unit])
            if len(together) == 1 or not isinstance(error, PermanentReplyError):
                for mail, _ in together:
                    mail.outcomes.append(error)
                continue
            # One of them cannot be taken: the others have nothing to do with it.
            for mail, unit in together:
                mail.outcomes.append(await self._file(unit))

    async def _file(self, filed: list[Filed]) -> MdirError | OSError | None:
        """Put headers into the mdir in one transaction; what went wrong."""
        try:
            for part in _parts(filed):
                async with self._mdird.batch() as batch:
                    for folder, header in part:
                        await batch.classify(folder, header)
        except (MdirError, OSError) as error:
            return error
        return None

    def _start(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _together(
    units: Sequence[tuple[Mail, list[Filed]]],
) -> Iterator[list[tuple[Mail, list[Filed]]]]:
    """Units in groups that are not too large."""
    group: list[tuple[Mail, list[Filed]]] = []
    size = 0
    for one in units:
        if group and size + len(one[1]) > _MAX_HEADERS:
            yield group
            group, size = [], 0
        group.append(one)
        size += len(one[1])
    if group:
        yield group


def _parts(filed: list[Filed]) -> Iterator[list[Filed]]:
    """All of it, unless it is more than one BATCH can hold: then in pieces.

    A mail of so many parts and recipients may be seen by some before others have it. What was
    filed is not filed twice: mdird remembers each CLASS.
    """
    if len(filed) <= _MAX_HEADERS:
        yield filed
        return
    part: list[Filed] = []
    size = 0
    for folder, header in filed:
        length = len(header.to_bytes()) + len(folder)
        if part and (size + length > _MAX_BYTES or len(part) >= _MAX_OPERATIONS):
            yield part
            part, size = [], 0
        part.append((folder, header))
        size += length
    yield part
