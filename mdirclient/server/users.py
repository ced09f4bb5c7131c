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

from mdirclient.errors import reply_error
from mdirclient.header import Header
from mdirclient.mdird.credentials import PASSWORD_FIELD, TOKEN_FIELD, find_password, find_token
from mdirclient.mdird.rights import ADMINISTRATOR, Actor, Rights
from mdirclient.mdird.tables import Tables
from mdirclient.server.throttle import Throttle
from mdirclient.service.log import Log

#: Seconds that a right password is not computed again; a changed one counts at once.
_REMEMBERED: Final = 300.0
_MAX_REMEMBERED: Final = 1_000
#: Passwords that are computed at once (each takes 50 ms and 16 MiB), and that may wait for it.
_MAX_AT_ONCE: Final = 2
_MAX_WAITING: Final = 100
_UCRED: Final = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


class Users:
    """Tells who is there. Used in the loop only."""

    def __init__(self, tables: Tables, rights: Rights, log: Log) -> None:
        self._tables = tables
        self._rights = rights
        self._log = log
        self._throttle = Throttle(time.monotonic)
        self._busy = asyncio.Semaphore(_MAX_AT_ONCE)
        self._waiting = 0
        self._right: dict[tuple[str, bytes], tuple[str, float]] = {}

    async def authenticate(self, name: str, secret: str, address: str) -> tuple[Actor, str] | None:
        """The user, and the hash of theirs that the token or password has.

        A token is 256 bits and is compared at once. Whatever else is given is slowed down: the
        more wrong ones come from an address, the later the next answer, right or wrong.

        Raises:
            TemporaryReplyError: 503, too many are trying.
        """
        self._tables.look()
        user = self._rights.user(name)
        if proof := self._known(user, name, secret):
            return Actor(name), proof
        if self._waiting >= _MAX_WAITING:
            raise reply_error(503, "too many are trying to get in; try again")
        delay = self._throttle.attempt(address)
        self._waiting += 1
        try:
            await asyncio.sleep(delay)
            async with self._busy:
                proof = await asyncio.to_thread(find_password, user, secret)
        finally:
            self._waiting -= 1
        if not user or not proof:
            self._log("auth-failed", address=address, user=name[:255])
            return None
        self._throttle.forgive(address)
        if len(self._right) >= _MAX_REMEMBERED:
            self._right.clear()
        self._right[name, _digest(secret)] = proof, time.monotonic() + _REMEMBERED
        return Actor(name), proof

    def is_still(self, actor: Actor, proof: str | None) -> bool:
        """Whether somebody is still a user, and may still come in with what they came."""
        user = self._rights.user(actor.name or "")
        return user is not None and (proof is None or proof in _kept(user))

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

    def _known(self, user: Header | None, name: str, secret: str) -> str | None:
        """The hash of what needs no computing: a token, or a password that was right before."""
        if not user:
            return None
        if token := find_token(user, secret):
            return token
        proof, until = self._right.get((name, _digest(secret)), ("", 0.0))
        return proof if proof in _kept(user) and time.monotonic() < until else None


def _kept(user: Header) -> tuple[str, ...]:
    return (*user.get_all(TOKEN_FIELD), *user.get_all(PASSWORD_FIELD))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _uid(connected: socket.socket | None) -> int | None:
    if connected is None or connected.family != socket.AF_UNIX:
        return None
    if not hasattr(socket, "SO_PEERCRED"):
        return None  # macOS and BSD: the token counts
    _, uid, _ = _UCRED.unpack(
        connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return int(uid)
