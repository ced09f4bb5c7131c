"""What is changing in a folder, as a hint: the only user of watchfiles (extra `watch`).

Watchers drop events, and this one cannot say when. So many changes at once, and a directory
that has changed without a word, become one request to look at everything. Reads only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import attrs

from mdirclient import _fs
from mdirclient.errors import FolderNotFoundError
from mdirclient.folder.entry import Layout

Action = Literal["added", "modified", "removed", "rescan"]

#: Milliseconds without a change after which changes are told, and that they wait at the most.
_STEP_MS: Final = 50
_DEBOUNCE_MS: Final = 400
#: How often the directories are looked at for changes that were not told.
_TICK_MS: Final = 1000
#: So many changes at once may have filled the kernel's queue (inotify: 16,384 events, several
#: for each file).
_MANY: Final = 1000


@attrs.frozen
class Change:
    """A hint that something has changed.

    Attributes:
        action: `rescan`: changes were lost; look at everything.
        path: in the folder: `report.pdf`, `.meta/report.pdf`, `.version`; empty with `rescan`.
    """

    action: Action
    path: str = ""


RESCAN: Final = Change("rescan")


def changes(layout: Layout, timeout: float | None) -> Iterator[Change]:
    """Changes of names, headers and counter, until there is none for `timeout` seconds."""
    try:
        import watchfiles
    except ImportError as error:
        raise ImportError(
            "watching a folder needs watchfiles: pip install 'mdirclient[watch]'"
        ) from error
    quiet_since = time.monotonic()
    seen = _stamps(layout)
    for batch in watchfiles.watch(
        layout.path,
        layout.meta,
        watch_filter=None,
        recursive=False,
        step=_STEP_MS,
        debounce=_DEBOUNCE_MS,
        rust_timeout=_TICK_MS if timeout is None else min(_TICK_MS, max(int(timeout * 1000), 1)),
        yield_on_timeout=True,
        raise_interrupt=True,
        force_polling=_fs.is_network_filesystem(layout.path) or None,
    ):
        before, seen = seen, _stamps(layout)
        told = list(_told(layout, ((change.name, path) for change, path in batch)))
        if len(batch) >= _MANY or (not batch and seen != before):
            told = [RESCAN]
        yield from told
        if told:
            quiet_since = time.monotonic()
        elif timeout is not None and time.monotonic() - quiet_since >= timeout:
            return


def _told(layout: Layout, batch: Iterable[tuple[str, str]]) -> Iterator[Change]:
    """What a batch says of names that are not for the library alone, one change each."""
    actions: dict[str, Action] = {}
    for action, path in sorted(batch):
        name = os.path.relpath(path, layout.path)
        if name == ".version" or not os.path.basename(name).startswith("."):
            # What was added and modified is new; what was removed at last is not there.
            is_there = os.path.lexists(path)
            was_added = action == "added" or actions.get(name) == "added"
            actions[name] = ("added" if was_added else "modified") if is_there else "removed"
    return (Change(action, name) for name, action in sorted(actions.items()))


def _stamps(layout: Layout) -> tuple[int, ...]:
    try:
        found = [os.stat(path) for path in (layout.path, layout.meta)]
    except FileNotFoundError:
        raise FolderNotFoundError(layout.path) from None
    return tuple(status.st_mtime_ns for status in found)
