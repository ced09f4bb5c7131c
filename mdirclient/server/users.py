"""Who is there: users by token or password, and the peers of a Unix socket."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import socket
import struct
import time
from typing import Final

from mdirclient.header import Header
from mdirclient.mdird.credentials import PASSWORD_FIELD, TOKEN_FIELD, is_right
from mdirclient.mdird.rights import ADMINISTRATOR, Actor, Rights
from mdirclient.mdird.tables import Tables
from mdirclient.server.throttle import Throttle

#: Seconds that a right password is not computed again; a changed one counts at once.
_REMEMBERED: Final = 300.0
_MAX_REMEMBERED: Final = 1_000
#: Tokens that are checked at once: a password takes 50 ms and 16 MiB.
_MAX_AT_ONCE: Final = 2
_UCRED: Final = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


class Users:
    """Tells who is there. Used in the loop only."""

    def __init__(self, tables: Tables, rights: Rights) -> None:
        self._tables = tables
        self._rights = rights
        self._throttle = Throttle(time.monotonic)
        self._busy = asyncio.Semaphore(_MAX_AT_ONCE)
        self._right: dict[tuple[str, bytes], tuple[tuple[str, ...], float]] = {}

    async def authenticate(self, name: str, secret: str, address: str) -> Actor | None:
        """The user, if the token or password is theirs; the more wrong ones, the later."""
        await asyncio.sleep(self._throttle.delay(address))
        self._tables.look()
        user = self._rights.user(name)
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        kept = _kept(user)
        known, until = self._right.get((name, digest), ((), 0.0))
        if user and known == kept and time.monotonic() < until:
            return Actor(name)
        async with self._busy:
            is_theirs = await asyncio.to_thread(is_right, user, secret)
        if not user or not is_theirs:
            self._throttle.failed(address)
            return None
        if len(self._right) >= _MAX_REMEMBERED:
            self._right.clear()
        self._right[name, digest] = kept, time.monotonic() + _REMEMBERED
        return Actor(name)

    def peer(self, connected: socket.socket | None) -> Actor | None:
        """Who is on the other side of a Unix socket; None if that does not tell.

        The user that runs the service, and root, are the administrator: they can read the
        database anyway. Another one is the user of the mdir with their login name.
        """
        if connected is None or connected.family != socket.AF_UNIX:
            return None
        if not hasattr(socket, "SO_PEERCRED"):
            return None  # macOS and BSD: the token counts
        _, uid, _ = _UCRED.unpack(
            connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        if uid in (0, os.getuid()):
            return ADMINISTRATOR
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            return None
        self._tables.look()
        return Actor(name) if self._rights.user(name) else None


def _kept(user: Header | None) -> tuple[str, ...]:
    """What a secret was compared with."""
    if not user:
        return ()
    return (*user.get_all(TOKEN_FIELD), *user.get_all(PASSWORD_FIELD))
