"""Who is there: users by token or password, and the peers of a Unix socket."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
from typing import Final

from mdirclient.mdird.rights import ADMINISTRATOR, Actor, Rights
from mdirclient.mdird.tables import Tables
from mdirclient.service.log import Log
from mdirclient.service.login import Login, kept

_UCRED: Final = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


class Users:
    """Tells who is there. Used in the loop only."""

    def __init__(self, tables: Tables, rights: Rights, log: Log) -> None:
        self._tables = tables
        self._rights = rights
        self._log = log
        self._login = Login()

    async def authenticate(self, name: str, secret: str, address: str) -> tuple[Actor, str] | None:
        """The user, and the hash of theirs that the token or password has.

        See `Login.check`: wrong ones are counted for the address.

        Raises:
            TemporaryReplyError: 503, too many are trying.
        """
        self._tables.look()
        user = self._rights.user(name)
        proof = await self._login.check(user, name, secret, address)
        if not proof:
            self._log("auth-failed", address=address, user=name[:255])
            return None
        return Actor(name), proof

    def is_still(self, actor: Actor, proof: str | None) -> bool:
        """Whether somebody is still a user, and may still come in with what they came."""
        user = self._rights.user(actor.name or "")
        return user is not None and (proof is None or proof in kept(user))

    def peer(self, connected: socket.socket | None) -> Actor | None:
        """Who is on the other side of a Unix socket; None if that does not tell.

        The user that runs the service, and root, are the administrator: they can read the
        database anyway. Another one is the user of the mdir with their login name.
        """
        uid = _uid(connected)
        if uid is None:
            return None
        if uid in (0, os.getuid()):
            return ADMINISTRATOR
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            return None
        self._tables.look()
        return Actor(name) if self._rights.user(name) else None

    def address(self, transport: asyncio.BaseTransport | None) -> str:
        """What wrong tokens are counted for: an IP address, or a login of this machine."""
        if transport is None:
            return "gone"
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            return str(peer[0])
        return f"uid {_uid(transport.get_extra_info('socket'))}"


def _uid(connected: socket.socket | None) -> int | None:
    if connected is None or connected.family != socket.AF_UNIX:
        return None
    if not hasattr(socket, "SO_PEERCRED"):
        return None  # macOS and BSD: the token counts
    _, uid, _ = _UCRED.unpack(
        connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return int(uid)
