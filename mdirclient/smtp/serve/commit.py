"""Group commit: what waits while others are stored is stored together.

One thread writes and publishes all small mails that have ended by then (one flush for all); large
ones were written by others. Then all that are published by then are filed (one BATCH), answered,
and their records kept. More threads for the small ones were slower: they wait for each other.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from mdirclient.errors import MdirError, PermanentReplyError, TransportError
from mdirclient.header import Header
from mdirclient.mail.stored import StoredMessage
from mdirclient.smtp.serve.intake import Intake
from mdirclient.smtp.serve.note import Note

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird, Mstore
    from mdirclient.service.log import Log

#: Mails that are published together: each has some open files, and 64 KiB of memory at most.
_MAX_MAILS: Final = 64
#: Bytes of headers that are filed together, counted roughly and not too low.
_MAX_TOGETHER: Final = 4 << 20
#: Of these, that a mail may have without being filed apart, where it keeps nobody waiting.
_MAX_QUICK: Final = 2 << 20
#: Of these, with which it is still one transaction for all its recipients.
_MAX_WHOLE: Final = 16 << 20
#: Bytes and operations of one BATCH that mdird surely takes (64 MiB and 100,000).
_MAX_BYTES: Final = 48 << 20
_MAX_OPERATIONS: Final = 50_000
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
    trace: Mapping[str, str | Sequence[str]]


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
        options: what its sender wants to be told (RFC 3461).
    """

    intake: Intake
    recipients: Sequence[Recipient]
    trace: Mapping[str, str | None]
    each_alone: bool
    note: Note
    done: Callable[[Mail], None]
    options: tuple[str, ...] = ()
    #: The message, or why it could not be stored.
    stored: StoredMessage | Exception | None = None
    #: For each transaction of it None, or why it was not taken.
    outcomes: list[Exception | None] = attrs.field(factory=list)

    def all_outcomes(self) -> list[Exception | None]:
        """One for each reply that the client waits for."""
        if self.each_alone and len(self.outcomes) != len(self.recipients):
            return self.outcomes[:1] * len(self.recipients)
        return self.outcomes

    def weight(self) -> int:
        """Bytes of its headers for all recipients, roughly."""
        assert isinstance(self.stored, StoredMessage)
        fields = sum(len(name) + len(value) for name, value in self.stored.mail.fields)
        return len(self.recipients) * len(self.stored.parts) * (fields + 1_000)

    def units(self, authserv_ids: Sequence[str]) -> Iterator[list[Filed]]:
        """What goes into the mdir, in one transaction each."""
        assert isinstance(self.stored, StoredMessage)
        whole: list[Filed] = []
        for one in self.recipients:
            trace = {**self.trace, **one.trace}
            headers = self.stored.headers(authserv_ids=authserv_ids, **trace)
            filed = [(one.folder, header) for header in headers]
            if self.each_alone:
                yield filed
            else:
                whole += filed
        if not self.each_alone:
            yield whole


class Committer:
    """Takes mails in, in groups. Used in one loop.

    Args:
        mdird: where the headers go.
        store: where the contents go.
        check: why a mail that is stored is not taken after all, if so.
        authserv_ids: whose `authentication-results` in a mail are believed.
        log: of what goes wrong.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        store: Mstore,
        *,
        check: Callable[[Mail], Exception | None],
        authserv_ids: Sequence[str],
        log: Log,
    ) -> None:
        self._check = check
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
        # One at a time: of a small mail there can be some 60 MiB of headers.
        self._large = asyncio.Semaphore(1)
        self._is_closed = False
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

    def drop(self, intake: Intake) -> None:
        """What was written of a mail goes."""
        if self._is_closed:
            intake.drop()
        else:
            self._writers.submit(intake.drop)

    async def close(self) -> None:
        """End the threads, after what they do."""
        self._is_closed = True
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
        try:
            while self._written:
                count = min(len(self._written), _MAX_MAILS)
                group = [self._written.popleft() for _ in range(count)]
                try:
                    await self._loop.run_in_executor(self._publisher, self._publish_group, group)
                except Exception as error:  # noqa: BLE001 - every mail has an answer
                    for mail in group:
                        mail.stored = error
                self._published.extend(group)
                if not self._is_filing:
                    self._is_filing = True
                    self._start(self._file_all())
        finally:
            self._is_publishing = False

    def _publish_group(self, group: list[Mail]) -> None:
        """Give contents their names. In a thread."""
        with ExitStack() as stack:
            written, receivers = [], []
            for mail in group:
                stack.callback(mail.intake.drop)
                try:
                    if mail.stored is None:
                        receivers.append(mail.intake.receiver())
                        written.append(mail)
                except Exception as error:  # noqa: BLE001 - the others have nothing to do with it
                    mail.stored = error
            for mail, outcome in zip(written, self._store.commit_all(receivers), strict=True):
                mail.stored = outcome

    # -- headers

    async def _file_all(self) -> None:
        try:
            while self._published:
                group = list(self._published)
                self._published.clear()
                quick = []
                for mail in group:
                    if not isinstance(mail.stored, StoredMessage):
                        self._end(mail, [mail.stored])
                    elif refused := self._refused(mail):
                        self._end(mail, [refused])
                    elif mail.weight() > _MAX_QUICK:
                        self._start(self._file_large(mail))
                    else:
                        quick.append(mail)
                await self._file_quick(quick)
        finally:
            self._is_filing = False

    def _refused(self, mail: Mail) -> Exception | None:
        try:
            return self._check(mail)
        except Exception as error:  # noqa: BLE001 - every mail has an answer
            self._log("defect", what="what a mail says", error=repr(error))
            return error

    async def _file_quick(self, mails: list[Mail]) -> None:
        """File mails, as many together as one BATCH is to hold."""
        waiting = deque(mails)
        while waiting:
            group = [waiting.popleft()]
            weight = group[0].weight()
            while waiting and (weight := weight + waiting[0].weight()) <= _MAX_TOGETHER:
                group.append(waiting.popleft())
            await self._file_group(group)

    async def _file_group(self, mails: list[Mail]) -> None:
        units = []
        for mail in mails:
            try:
                units += [(mail, unit) for unit in mail.units(self._authserv_ids)]
            except Exception as error:  # noqa: BLE001 - the others have nothing to do with it
                self._log("defect", what="the headers of a mail", error=repr(error))
                mail.outcomes = [error]
        refused = await self.file([filed for _, unit in units for filed in unit])
        # Where one of them cannot be taken, the others have nothing to do with it.
        is_alone = len(units) > 1 and isinstance(refused, PermanentReplyError)
        for mail, unit in units:
            if is_alone and not isinstance(refused, TransportError):
                refused = await self.file(unit)
            mail.outcomes.append(refused)
        for mail in mails:
            self._end(mail, mail.outcomes)

    async def _file_large(self, mail: Mail) -> None:
        """File a mail that takes long, apart: nobody else waits for it.

        One that is more than a BATCH should hold may be seen by some before others have it. What
        was filed is not filed twice: mdird remembers each CLASS.
        """
        async with self._large:
            await self._file_shares(mail)

    async def _file_shares(self, mail: Mail) -> None:
        outcomes: list[Exception | None] = []
        shares = [mail]
        if mail.weight() > _MAX_WHOLE or mail.each_alone:
            shares = [attrs.evolve(mail, recipients=[one]) for one in mail.recipients]
        try:
            for share in shares:
                (filed,) = await asyncio.to_thread(list, share.units(self._authserv_ids))
                outcomes.append(await self.file(filed))
        except Exception as error:  # noqa: BLE001 - every mail has an answer
            self._log("defect", what="filing", error=repr(error))
            outcomes = [error]
        failed = next((one for one in outcomes if one), None)
        self._end(mail, outcomes if mail.each_alone else [failed])

    async def file(self, filed: Sequence[Filed]) -> Exception | None:
        """Put headers into the mdir, in one transaction if they fit into one; what went wrong."""
        try:
            for part in _parts(filed):
                async with self._mdird.batch() as batch:
                    for folder, header in part:
                        await batch.classify(folder, header)
        except (MdirError, OSError) as error:
            return error
        except Exception as error:  # noqa: BLE001 - every mail has an answer
            self._log("defect", what="filing", error=repr(error))
            return error
        return None

    def _end(self, mail: Mail, outcomes: Sequence[Exception | None]) -> None:
        """The outcome is known."""
        self.count -= 1
        mail.outcomes = list(outcomes) or [MdirError()]
        try:
            mail.done(mail)
        except Exception as error:  # noqa: BLE001 - the others have nothing to do with it
            self._log("defect", what="an answer", error=repr(error))

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _parts(filed: Sequence[Filed]) -> Iterator[list[Filed]]:
    """All of it, unless that is more than one BATCH can hold: then in pieces."""
    part: list[Filed] = []
    size = 0
    for folder, header in filed:
        # Each character has four bytes at most, as it is or escaped.
        length = len(folder) + sum(len(name) + 4 * len(value) for name, value in header)
        if size + length > _MAX_BYTES:
            length = len(folder) + len(header.to_bytes())
        if part and (size + length > _MAX_BYTES or len(part) >= _MAX_OPERATIONS):
            yield part
            part, size = [], 0
        part.append((folder, header))
        size += length
    if part:
        yield part
