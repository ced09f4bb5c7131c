"""Passwords of users: computed beside the loop, few at once, and wrong ones take longer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mdirclient.errors import reply_error
from mdirclient.header import Header
from mdirclient.mdird.credentials import PASSWORD_FIELD, TOKEN_FIELD, find_password, find_token
from mdirclient.service.throttle import Throttle, network

#: Seconds that a right password is not computed again; a changed one counts at once.
_REMEMBERED: Final = 300.0
_MAX_REMEMBERED: Final = 1_000
#: Passwords that are computed at once (each takes 50 ms and 16 MiB), and that may wait for it.
_MAX_AT_ONCE: Final = 2
_MAX_WAITING: Final = 100
#: Of one address, that are held back at once.
_MAX_DELAYED: Final = 30


class Login:
    """Tells whether a secret is a user's. Used in one loop only."""

    def __init__(self) -> None:
        self._throttle = Throttle(time.monotonic)
        # Of its own: who goes away while a password is computed does not make room for another.
        self._threads = ThreadPoolExecutor(_MAX_AT_ONCE, "login")
        self._waiting = 0  # for the computing
        self._delayed: Counter[str] = Counter()  # by address
        self._right: dict[tuple[str, bytes], tuple[str, float]] = {}

    async def check(
        self, user: Header | None, name: str, secret: str, address: str, *, tokens: bool = True
    ) -> str | None:
        """The hash of a user's that a token or password has; None if none has.

        A token is 256 bits and is compared at once. Whatever else is given is slowed down: the
        more wrong ones came from an address, or for a user, the later the next answer, right or
        wrong. It takes as long where there is no such user.

        Args:
            user: the entry, or None: there is no such user.
            name: that was given.
            secret: that was given.
            address: from where.
            tokens: whether a token will do, or a password only.

        Raises:
            TemporaryReplyError: 503, too many are trying, from this address or in all.
        """
        if proof := self._known(user, name, secret, tokens=tokens):
            return proof
        sources = [network(address), *([f"user {user['name']}"] if user else [])]
        if self._delayed[sources[0]] >= _MAX_DELAYED or self._waiting >= _MAX_WAITING:
            raise reply_error(503, "too many are trying to get in; try again")
        delay = max(self._throttle.attempt(source) for source in sources)
        await self._wait(sources[0], delay)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            proof = await loop.run_in_executor(self._threads, find_password, user, secret)
        finally:
            self._waiting -= 1
        if not user or not proof:
            return None
        for source in sources:
            self._throttle.forgive(source)
        if len(self._right) >= _MAX_REMEMBERED:
            self._right.clear()
        self._right[name, _digest(secret)] = proof, time.monotonic() + _REMEMBERED
        return proof

    async def _wait(self, source: str, delay: float) -> None:
        """Whoever is held back must not keep others out: so many of one address at once."""
        self._delayed[source] += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._delayed[source] -= 1
            if not self._delayed[source]:
                del self._delayed[source]

    def _known(self, user: Header | None, name: str, secret: str, *, tokens: bool) -> str | None:
        """The hash of what needs no computing: a token, or a password that was right before."""
        if not user:
            return None
        if tokens and (token := find_token(user, secret)):
            return token
        proof, until = self._right.get((name, _digest(secret)), ("", 0.0))
        return proof if proof in kept(user) and time.monotonic() < until else None


def kept(user: Header) -> tuple[str, ...]:
    """The hashes in a user's entry."""
    return (*user.get_all(TOKEN_FIELD), *user.get_all(PASSWORD_FIELD))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
