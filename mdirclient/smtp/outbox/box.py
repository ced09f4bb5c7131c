"""The folder of one address in the outbox: its mails, and which of them changed. Pure."""

from __future__ import annotations

from itertools import islice

import attrs

from mdirclient.smtp.followed import Followed
from mdirclient.smtp.outbox import item as items
from mdirclient.smtp.outbox.item import Item
from mdirclient.smtp.outbox.prepare import MAX_PARTS


class Box:
    """See the module. Used in one loop.

    Args:
        followed: the folder; the caller runs it.
    """

    def __init__(self, followed: Followed) -> None:
        self._followed = followed
        self._touched = followed.touched = set[str]()
        self._anchors: dict[str, str] = {}  # of each entry
        self._urls: dict[str, dict[str, None]] = {}  # of each anchor
        self._heads: dict[str, str] = {}  # of each anchor that is there
        self._changed: set[str] = set()

    def changed(self) -> set[str]:
        """The anchors of what changed since the last call."""
        self._catch_up()
        found, self._changed = self._changed, set()
        return found

    def _catch_up(self) -> None:
        """The entries change by themselves, between any two calls."""
        while self._touched:
            url = self._touched.pop()
            before = self._anchors.pop(url, None)
            if before is not None:
                self._changed.add(before)
                self._urls[before].pop(url, None)
                if self._heads.get(before) == url:
                    del self._heads[before]
                if not self._urls[before]:
                    del self._urls[before]
            live = self._followed.entries.get(url)
            anchor = items.anchor_of(live.header) if live else None
            if anchor is not None:
                self._anchors[url] = anchor
                self._urls.setdefault(anchor, {})[url] = None
                if live and items.url_of(live.header) == anchor:
                    self._heads[anchor] = url
                self._changed.add(anchor)

    def item(self, address: str, anchor: str, *, is_whole: bool) -> Item | None:
        """The mail with an anchor; unless it is whole only with that entry, in constant time."""
        self._catch_up()
        urls = self._urls.get(anchor)
        if not urls:
            return None
        head = self._heads.get(anchor, next(iter(urls)))
        wanted = islice(urls, MAX_PARTS + 1) if is_whole else ()
        lives = [self._followed.entries[url] for url in {head: None, **dict.fromkeys(wanted)}]
        return attrs.evolve(items.make_item(address, anchor, lives), count=len(urls))
