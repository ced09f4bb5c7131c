"""Who comes for the first time is told to come again: senders of spam mostly do not.

Docs: explanation/greylisting. Source: RFC 6647.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.errors import StoreError
from mdirclient.smtp.antispam.greys import DAY, MEMORY, Grey, Greys, Key
from mdirclient.smtp.antispam.remembered import Remembered
from mdirclient.smtp.antispam.spf import VOUCHED
from mdirclient.smtp.engine import NULL_PATH

if TYPE_CHECKING:
    from mdirclient.service.log import Log
    from mdirclient.smtp.antispam.spf import SPF
    from mdirclient.smtp.serve.limits import Limits
    from mdirclient.smtp.serve.note import Note

#: Seconds within which who was told to come again has to come.
_WINDOW: Final = DAY
#: Keys of a network that came back, after which all of it is let in.
_KNOWN_GOOD: Final = 3
_MAX_ROWS: Final = 10**6
#: Keys beyond which the oldest are forgotten at once, and not within the hour.
_MAX_NEW: Final = 50_000
#: Seconds in which changes are collected, and how many may wait for a database that fails.
_COLLECTING: Final = 0.1
_MAX_CHANGED: Final = 100_000
#: Seconds in which who was let in is not looked up again.
_MINUTE: Final = 60.0
_MAX_REMEMBERED: Final = 10_000
_PREFIXES: Final = {4: 24, 6: 64}


class Verdict(Enum):
    """What is to be done with a sender."""

    LET_IN = "let in"
    DELAY = "told to come again"
    ASK = "its domain is to be asked first"


@attrs.frozen
class Delay:
    """A sender that was told to come again, for the first time.

    Attributes:
        key: of it.
        sender: the reverse path as it was said.
        client: address.
        helo: what the client called itself.
        at: seconds since 1970.
    """

    key: Key
    sender: str
    client: str
    helo: str
    at: float


class Greylisting:
    """Decides who is told to come again. Used in one loop, but for `forget`.

    Args:
        greys: what is known.
        limits: who is exempt, and after how many seconds who comes again is let in.
        spf: asks for whom a domain vouches; None: nobody is asked.
        log: of what goes wrong.
        now: seconds since 1970.
        most: rows that are kept of each kind.
    """

    def __init__(
        self,
        greys: Greys,
        limits: Limits,
        spf: SPF | None,
        log: Log,
        *,
        now: Callable[[], float],
        most: int = _MAX_ROWS,
    ) -> None:
        self.greys = greys
        #: Called when a sender is delayed, when one comes again, and when one is let in that may
        #: have been delayed.
        self.on_delay: Callable[[Delay], None] = lambda _: None
        self.on_let_in: Callable[[Key], None] = lambda _: None
        self.on_return: Callable[[Key], None] = lambda _: None
        self._limits = limits
        self._spf = spf
        self._log = log
        self._now = now
        self._most = most
        self._let = Remembered[str | Key, bool](_MINUTE, _MAX_REMEMBERED)
        self._changed: dict[Key, Grey] = {}
        self._passes: dict[str, tuple[int, float]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._new = 0

    def judge(self, note: Note, account: str) -> Verdict:
        """What is to be done with the sender of a mail to an account. Quick.

        A database that fails lets everybody in. After `ASK` comes `ask`, then the same again.
        """
        if not self._is_watched(note):
            return Verdict.LET_IN
        try:
            return self._judge(note, account)
        except StoreError as error:
            self._log("state-failed", error=error)
            return Verdict.LET_IN

    async def ask(self, note: Note) -> None:
        """Learn whether the sender's domain vouches for the client. Takes some seconds at most."""
        assert self._spf
        found = await self._spf.check(note.address, note.helo, note.reverse_path)
        note.vouched = found.domain if found.result == VOUCHED else ""

    async def close(self) -> None:
        """Keep what is not kept yet, and close the database."""
        if self._writing:
            await asyncio.wait([self._writing])
        if self._spf:
            await self._spf.close()
        self.greys.close()

    def forget(self) -> None:
        """Remove what is old or too much. May wait for the disk.

        Raises:
            StoreError: it cannot be removed now.
        """
        self.greys.forget(self._now(), self._most)

    def _is_watched(self, note: Note) -> bool:
        is_watched = self._limits.grey_for > 0 and note.listener.kind == "smtp"
        return is_watched and note.engine.user is None and not self._limits.is_allowed(note.address)

    def _judge(self, note: Note, account: str) -> Verdict:
        now, network = self._now(), subnet(note.address)
        key = Key(network, note.reverse_path.lower(), account)
        if self._let.get(key, now):
            return Verdict.LET_IN
        grey = self._find(key)
        if self._is_known_good(network, now):
            if grey and _is_expected(grey, now):  # it came again all the same
                self._let_in(key, grey, now)
            return Verdict.LET_IN
        if grey and self._is_due(grey, now):
            return self._let_in(key, grey, now)
        if note.vouched is None and self._spf:
            return Verdict.ASK
        if note.vouched and (known := self._of_domain(key, note.vouched, now)):
            self.on_let_in(key)  # it may have come before from another network
            return self._let_in(key, known, now)
        if _is_new(grey, now):
            self._change(key, Grey(now, now, False, note.vouched or "", True))
            self._new += 1
            self.on_delay(Delay(key, note.reverse_path, note.address, note.helo, now))
        return Verdict.DELAY

    def _is_known_good(self, network: str, now: float) -> bool:
        """Whether so many senders of a network came back that all of it is let in."""
        if self._let.get(network, now):
            return True
        passes, at = self.greys.passes(network)
        if passes < _KNOWN_GOOD or at <= now - MEMORY:
            return False
        if at < now - DAY:
            self._count(network, 0, now)
        return self._let.put(network, True, now)

    def _of_domain(self, key: Key, domain: str, now: float) -> Grey | None:
        """What is known of a domain that vouches for a client, if that lets it in."""
        if self._corresponds(key.recipient, key.sender):
            return Grey(now, now, True, domain, False)
        of_domain = Key(f"@{domain}", "", key.recipient)
        known = self._find(of_domain)
        if known and self._is_due(known, now):
            self._let_in(of_domain, known, now)
            return attrs.evolve(known, domain=domain)
        if _is_new(known, now):
            self._change(of_domain, Grey(now, now, False, domain, True))
        return None

    def _is_due(self, grey: Grey, now: float) -> bool:
        """Whether who comes now is let in; one who passed long ago is new again."""
        if grey.is_passed:
            return now - grey.last <= MEMORY
        return self._limits.grey_for <= now - grey.first <= _WINDOW

    def _let_in(self, key: Key, known: Grey, now: float) -> Verdict:
        """Let a sender in for what is known of it, or of its domain."""
        own = self._find(key)
        is_back = known.is_awaited or (own is not None and _is_expected(own, now))
        if is_back or own is None or now - known.last > DAY:
            passed = attrs.evolve(known, last=now, is_passed=True, is_awaited=False)
            self._change(key, passed)
        if key.sender and is_back:
            if not known.is_passed:
                self._count(key.source, 1, now)
            self.on_return(key)
            self.on_let_in(key)
        self._let.put(key, True, now)
        return Verdict.LET_IN

    def _corresponds(self, account: str, sender: str) -> bool:
        return sender != str(NULL_PATH) and self.greys.wrote_at(account, sender) > 0

    # -- what is to be written

    def _find(self, key: Key) -> Grey | None:
        return self._changed.get(key) or self.greys.find(key)

    def _change(self, key: Key, grey: Grey) -> None:
        if len(self._changed) < _MAX_CHANGED:
            self._changed[key] = grey
        self._write_soon()

    def _count(self, network: str, passes: int, now: float) -> None:
        self._passes[network] = self._passes.get(network, (0, 0.0))[0] + passes, now
        self._write_soon()

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._changed or self._passes:
                await asyncio.sleep(_COLLECTING)
                greys, passes = dict(self._changed), self._passes
                self._passes = {}
                await asyncio.to_thread(self.greys.put, greys, passes)
                for key, grey in greys.items():
                    if self._changed.get(key) is grey:
                        del self._changed[key]
                if self._new > _MAX_NEW:
                    self._new = 0
                    await asyncio.to_thread(self.forget)
        except StoreError as error:
            # What is known stays in memory, and is written with the next.
            self._log("state-failed", error=error)
        finally:
            self._writing = None


def _is_expected(grey: Grey, now: float) -> bool:
    """Whether it was told to come again, within a day, or let in by somebody, and comes now."""
    return grey.is_awaited and (grey.is_passed or not _is_new(grey, now))


def _is_new(grey: Grey | None, now: float) -> bool:
    """Whether it begins anew: also what a clock that was wrong says will be."""
    return grey is None or not 0 <= now - grey.first <= _WINDOW


@functools.lru_cache(maxsize=4096)
def subnet(address: str) -> str:
    """The network that an address counts as: /24 of IPv4, /64 of IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    found = getattr(found, "ipv4_mapped", None) or found
    return str(ipaddress.ip_network((str(found), _PREFIXES[found.version]), strict=False))
