"""Whether a mail is back among the mails of its account. Reads the mdir only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from mdirclient.errors import PermanentReplyError
from mdirclient.header import Header

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird

#: Folders of an account that are looked through at most.
_MAX_FOLDERS: Final = 1_000


async def folders_of(mdird: AsyncMdird, folder: str, trash: Iterable[str]) -> list[str]:
    """An account's folder and those below it, each once; without trash, and what is in it.

    Args:
        mdird: where they are.
        folder: of the account.
        trash: names of folders into which users throw mails, folded.

    Raises:
        TemporaryReplyError, TransportError: they cannot be read now.
    """
    found, known = [folder], set[str]()
    for path in found:
        with contextlib.suppress(PermanentReplyError):  # it is gone, or is not for us to read
            async for header in mdird.lookup(path, Header([("type", "dir")])):
                name, identity = header.get("name") or "", header.get("id") or ""
                # A folder may have several names.
                if name.casefold() in trash or identity in known or len(found) >= _MAX_FOLDERS:
                    continue
                known.add(identity)
                found.append(f"{path}/{name}")
    return found


async def is_in(mdird: AsyncMdird, folders: Iterable[str], anchor: str) -> bool:
    """Whether one of the folders has the first part of a mail.

    Raises:
        TemporaryReplyError, TransportError: they cannot be read now.
    """
    for path in folders:
        with contextlib.suppress(PermanentReplyError):
            if [header async for header in mdird.lookup(path, Header([("url", anchor)]))]:
                return True
    return False
