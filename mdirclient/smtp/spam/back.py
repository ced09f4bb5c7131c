"""Whether mails are back among those of their account. Reads the mdir only."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Final

from mdirclient.errors import PermanentReplyError
from mdirclient.header import Header
from mdirclient.naming import fold
from mdirclient.smtp.outbox.item import url_of

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird

#: Folders of an account that are looked through at most.
_MAX_FOLDERS: Final = 1_000
#: Mails for which a folder is asked one by one; it is read whole for more.
_FEW: Final = 20


class Search:
    """Looks for mails in an account's folder and those below it, one folder after the other.

    The work grows with the folders and what is in them, or for a few mails with the folders only.

    Args:
        mdird: where they are.
        folder: of the account.
        trash: names of folders into which users throw mails, folded: they are not looked into.
        anchors: of the mails.
    """

    def __init__(
        self, mdird: AsyncMdird, folder: str, trash: frozenset[str], anchors: Iterable[str]
    ) -> None:
        self.anchors = frozenset(anchors)
        #: Those of them that are there.
        self.found: set[str] = set()
        self._mdird = mdird
        self._trash = trash
        self._folders = [folder]
        self._known: set[str] = set()
        self._next = 0

    async def step(self) -> bool:
        """Look into the next folder; whether that was the last one.

        Raises:
            TemporaryReplyError, TransportError: it cannot be read now; it is the next one still.
        """
        path = self._folders[self._next]
        with contextlib.suppress(PermanentReplyError):  # it is gone, or is not for us to read
            async for anchor in self._in(path):
                self.found.add(anchor)
            await self._add_below(path)
        self._next += 1
        return self._next == len(self._folders) or self.found == self.anchors

    async def _in(self, path: str) -> AsyncIterator[str]:
        """The mails whose first part is in a folder."""
        rest = self.anchors - self.found
        if len(rest) > _FEW:
            async for header in self._mdird.lookup(path, Header([("part", "1")])):
                if (url := url_of(header)) in rest:
                    yield url
            return
        for anchor in rest:
            async for _ in self._mdird.lookup(path, Header([("url", anchor)])):
                yield anchor

    async def _add_below(self, path: str) -> None:
        async for header in self._mdird.lookup(path, Header([("type", "dir")])):
            name, identity = header.get("name") or "", header.get("id") or ""
            is_full = len(self._folders) >= _MAX_FOLDERS
            # A folder may have several names.
            if fold(name) not in self._trash and identity not in self._known and not is_full:
                self._known.add(identity)
                self._folders.append(f"{path}/{name}")
