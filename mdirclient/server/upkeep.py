"""What has to be done from time to time: history that is too old, contents that nobody names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from mdirclient import _fs
from mdirclient.mdird.embedded import EmbeddedMdird
from mdirclient.mdird.history import DEFAULT_HISTORY, forget
from mdirclient.mdird.replies import replies
from mdirclient.mdird.survey import forget_upload, is_named
from mdirclient.mstore import DirectoryMstore
from mdirclient.mstore.gc import KEPT, Garbage, collect
from mdirclient.server.backup import LOCK


def collect_garbage(
    mdird: EmbeddedMdird,
    store: DirectoryMstore,
    *,
    now: float,
    history: int = DEFAULT_HISTORY,
    kept: float = KEPT,
    dry_run: bool = False,
    timeout: float = 30.0,
) -> Iterator[Garbage]:
    """Forget the history beyond some length, then remove contents that nobody names.

    Yields each message that went. Deliveries, readers and `mdird serve` can go on.

    Args:
        mdird: what names contents; no other mdird may use this store.
        store: the contents.
        now: seconds since 1970.
        history: removals of each folder that are remembered.
        kept: younger contents stay, in seconds.
        dry_run: change nothing.
        timeout: seconds to wait for another collection, or a backup.
    """
    with (
        contextlib.closing(mdird.open_connection()) as connection,
        replies(),
        _fs.lock(os.path.join(mdird.path, LOCK), timeout=timeout),
    ):
        if not dry_run:
            for _ in forget(connection, history):
                pass
        for found in collect(
            store, lambda anchor: is_named(connection, anchor), now=now, dry_run=dry_run, kept=kept
        ):
            if not dry_run:
                forget_upload(connection, found.anchor)
            yield found
