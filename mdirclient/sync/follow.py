"""Syncs that stay: again whenever something changes on either side, and after breaks."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mdirclient.errors import MdirError, TemporaryReplyError, TransportError
from mdirclient.folder import Folder
from mdirclient.interfaces import Mdird, Subscription
from mdirclient.patch import End, Patch
from mdirclient.sync.tree import TreeReport

if TYPE_CHECKING:
    from typing import Self

#: Seconds between attempts to connect again: doubled each time, up to the last.
_FIRST_PAUSE: Final = 1.0
_LAST_PAUSE: Final = 60.0
#: Seconds without another change after which a sync begins, and after which it does anyway.
_GATHER: Final = 0.05
_LONGEST: Final = 2.0
#: How often a folder is looked at for what the user does, where watchfiles is not installed.
_LOOK: Final = 10.0

Sync = Callable[[Mdird], TreeReport]
Trouble = Callable[[MdirError, float], None]


def follow(
    connect: Callable[[], Mdird],
    sync: Sync,
    *,
    push: bool,
    trouble: Trouble,
    stop: threading.Event,
) -> Iterator[TreeReport]:
    """Sync, and again whenever something changes; ends when `stop` is set.

    Where the mdird cannot be reached it is tried again, with pauses that double from 1 s to a
    minute. Every other error ends it.

    Args:
        connect: opens the mdird.
        sync: does one sync, and says which folders it was about.
        push: also notice what the user does in the directories.
        trouble: told of each break, and how many seconds the pause is.
        stop: ends it.

    Raises:
        MdirError: see `sync_tree`.
    """
    pause = _FIRST_PAUSE
    while not stop.is_set():
        try:
            with connect() as mdird:
                for report in _connected(mdird, sync, push=push, stop=stop):
                    pause = _FIRST_PAUSE
                    yield report
        except (TransportError, TemporaryReplyError) as error:
            wait = pause * random.uniform(0.8, 1.2)  # noqa: S311 - all must not come at once
            trouble(error, wait)
            stop.wait(wait)
            pause = min(pause * 2, _LAST_PAUSE)


def _connected(
    mdird: Mdird, sync: Sync, *, push: bool, stop: threading.Event
) -> Iterator[TreeReport]:
    report = sync(mdird)
    yield report
    while not stop.is_set():
        with _Watch(mdird, report, push=push) as watch:
            # What came between the sync and the watch.
            again = sync(mdird)
            if _is_busy(again):
                yield again
            while _places(again) == _places(report) and not (watch.is_stale or stop.is_set()):
                if watch.wait():
                    again = sync(mdird)
                    if _is_busy(again):
                        yield again
        report = again


def _is_busy(report: TreeReport) -> bool:
    return bool(report.made or report.errors) or any(
        one.steps or one.skipped for _, _, one in report.folders
    )


def _places(report: TreeReport) -> list[tuple[Path, str]]:
    return [(path, name) for path, name, _ in report.folders]


class _Watch:
    """Notices changes of some folders: in the mdir, and in the directories if asked to."""

    def __init__(self, mdird: Mdird, report: TreeReport, *, push: bool) -> None:
        self._mdird = mdird
        self._report = report
        self._push = push
        self._hints: queue.Queue[MdirError | None] = queue.Queue()
        self._subscriptions: list[Subscription] = []
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._stale = threading.Event()

    @property
    def is_stale(self) -> bool:
        """Whether a subscription has ended, so that this does not notice everything any more."""
        return self._stale.is_set()

    def __enter__(self) -> Self:
        try:
            for path, name, _ in self._report.folders:
                with Folder(path) as folder:
                    version, origin = folder.version, folder.origin
                epoch = origin.epoch if origin else None
                subscription = self._mdird.subscribe(name, version, epoch=epoch)
                self._subscriptions.append(subscription)
                self._start(self._listen, subscription)
                if self._push:
                    self._start(self._look, path)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for subscription in self._subscriptions:
            subscription.close()
        for thread in self._threads:
            thread.join()

    def wait(self) -> bool:
        """Wait for a hint that something changed, at most for a moment; whether there was one.

        Raises:
            TransportError: the mdird is gone.
        """
        try:
            hint = self._hints.get(timeout=0.2)
        except queue.Empty:
            return False
        deadline = time.monotonic() + _LONGEST
        while hint is None and time.monotonic() < deadline:
            try:
                hint = self._hints.get(timeout=_GATHER)
            except queue.Empty:
                break
        if hint:
            raise hint
        return True

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, subscription: Subscription) -> None:
        """Hint at each change in the mdir."""
        try:
            for event in subscription:
                if isinstance(event, Patch):
                    self._hints.put(None)
                elif isinstance(event, End):
                    # Rights or the folder are gone, or it was too slow: the sync tells.
                    self._stale.set()
                    self._hints.put(None)
                    return
            if not self._ended.is_set():
                self._hints.put(TransportError("mdird", "the subscription ended"))
        except MdirError as error:
            self._hints.put(error)

    def _look(self, path: Path) -> None:
        """Hint at each change in a directory; where that cannot be watched, from time to time."""
        try:
            with Folder(path) as folder:
                while not self._ended.is_set():
                    try:
                        self._watch(folder)
                    except (ImportError, OSError):
                        # Not installed, or no more directories can be watched.
                        self._ended.wait(_LOOK)
                        self._hints.put(None)
        except MdirError as error:
            self._hints.put(error)

    def _watch(self, folder: Folder) -> None:
        for _ in folder.watch(timeout=0.5):
            if self._ended.is_set():
                return
            self._hints.put(None)
