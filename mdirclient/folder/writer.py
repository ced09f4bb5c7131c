"""Changes a folder: one change at a time, under its lock, after what a crash has left.

Writes the folder. What it does not do by itself are steps of a journal (`apply`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from mdirclient import _fs
from mdirclient.errors import CounterMovedError, JournalError
from mdirclient.folder.apply import Applier
from mdirclient.folder.batch import Batch
from mdirclient.folder.entry import Layout
from mdirclient.folder.index import Index, Ready
from mdirclient.folder.journal import Journal
from mdirclient.folder.names import Names
from mdirclient.folder.own import read_journal, read_origin, read_version
from mdirclient.folder.plan import Planner
from mdirclient.folder.scan import Row
from mdirclient.folder.status import Guard

#: What a crash left in `.stage` is removed after this many seconds.
_SWEEP_AFTER: Final = 24 * 3600.0
#: In nanoseconds: what was staged for a journal may look a little newer than it.
_GRACE: Final = 2_000_000_000


class Writer:
    """The changes of one folder. May be shared by threads.

    Args:
        layout: of the folder.
        index: of the folder.
        guard: keeps other threads from the index.
        durable: whether to flush.
        lock_timeout: seconds to wait for other processes.
    """

    def __init__(
        self, layout: Layout, index: Index, guard: Guard, *, durable: bool, lock_timeout: float
    ) -> None:
        self._layout = layout
        self._index = index
        self._guard = guard
        self._durable = durable
        self._lock_timeout = lock_timeout
        self._names = Names(index)
        self._is_swept = False

    def make(self) -> None:
        """Make the directory and its `.meta` where they are missing; durable on return."""
        # The lock's file is made last.
        if not (os.path.exists(self._layout.lock) and os.path.isdir(self._layout.stage)):
            _fs.make_directories(self._layout.stage)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Ready]:
        """Hold the lock of a folder that has no change under way, with a fresh index.

        Gives what `Index.settle` wants to know.
        """
        self.make()
        # The file before the guard: threads that only read do not wait for other processes.
        with _fs.lock(self._layout.lock, timeout=self._lock_timeout), self._guard():
            journal = read_journal(self._layout)
            if journal:
                self._finish(journal)
            ready = self._index.refresh()
            self._names = Names(self._index)
            yield ready
            # Afterwards, when what this change had staged is gone: it may be much.
            if not self._is_swept:
                self._is_swept = True
                _fs.sweep(self._layout.stage, older_than=time.time() - _SWEEP_AFTER)

    def commit(self, journal: Journal, ready: Ready, batch: Batch | None = None) -> None:
        """Record a journal, run it and tell the index."""
        applier = self.applier()
        try:
            applier.record(journal)
        except BaseException:
            # Crash: it may be there without being durable; what it stages goes only when it is
            # certain that it does not come back.
            self._forget_record()
            if batch:
                batch.discard()
            raise
        done = applier.run(journal)
        if batch:
            # The last links to what was staged go before the index notes the stamps.
            batch.discard()
        self._index.settle(self._rows(done, batch), ready)
        if applier.refused:
            raise applier.refused

    def plan(self, batch: Batch) -> Journal | None:
        """The steps of a batch; None if there is nothing to do.

        Raises:
            CounterMovedError: the batch counts, and somebody else has counted meanwhile.
        """
        counted = batch.counted
        if counted and (read_version(self._layout), read_origin(self._layout)) != (
            counted.version_before,
            counted.origin_before,
        ):
            raise CounterMovedError(self._layout.path)
        steps = Planner(self._layout, self._index, self._names).plan(batch.requests)
        if not counted:
            return Journal(steps) if steps else None
        if not steps and not counted.origin and counted.version == counted.version_before:
            return None
        return Journal(steps, counted.version, counted.version_before, counted.origin)

    def keep_journal(self, *, is_readable: bool = False) -> None:
        """Give up a journal that cannot be read: it and what it may have staged are kept.

        Args:
            is_readable: also one that can be read, but never finished.
        """
        with _fs.lock(self._layout.lock, timeout=self._lock_timeout), self._guard():
            try:
                if read_journal(self._layout) is None or not is_readable:
                    return
            except JournalError:
                pass
            written = os.lstat(self._layout.journal).st_mtime_ns
            # Crash: while the journal is there, this is done again. What others have begun to
            # stage since is theirs.
            staged = [
                f".meta/.stage/{name}"
                for name in os.listdir(self._layout.stage)
                if os.lstat(os.path.join(self._layout.stage, name)).st_mtime_ns <= written + _GRACE
            ]
            self.applier().keep([*staged, ".meta/.journal"])

    def _finish(self, journal: Journal) -> None:
        # Crash: the last change was cut; finish it before anything else. Its name may not be
        # durable yet, and then nothing that it says may happen.
        if self._durable:
            _fs.sync_directory(self._layout.meta)
        ready = self._index.refresh()
        self._names = Names(self._index)
        applier = self.applier(is_recovery=True)
        journal = applier.run(journal)
        applier.clean(journal)
        self._index.settle(self._rows(journal), ready)

    def _forget_record(self) -> None:
        """Take back a journal."""
        _fs.remove(self._layout.journal)
        if self._durable:
            _fs.sync_directory(self._layout.meta)

    def _rows(self, journal: Journal, batch: Batch | None = None) -> Iterator[Row]:
        """What the index has to know of a change that was made."""
        for step in journal.steps:
            if step.action in ("add", "replace", "claim"):
                yield self._index.row(step.name, batch.written(step.staged) if batch else None)
            elif step.action in ("remove", "rename"):
                yield self._index.row(step.name)
            elif step.action == "keep" and step.name.startswith(".meta/"):
                name = step.name.removeprefix(".meta/")
                if not name.startswith("."):
                    yield self._index.row(name)
            if step.action in ("rename", "replace") and step.new_name not in ("", step.name):
                yield self._index.row(step.new_name)

    def applier(self, *, is_recovery: bool = False) -> Applier:
        """What does the steps of a journal; of a caller who holds the lock."""
        return Applier(
            self._layout,
            self._names.choose,
            durable=self._durable,
            is_recovery=is_recovery,
        )
