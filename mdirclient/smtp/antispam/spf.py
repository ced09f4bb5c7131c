"""Whether the domain of a sender vouches for a client: SPF, asked beside the loop.

Asks DNS only. Source: RFC 7208.
"""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import attrs
import dns.exception
import dns.nameserver
import dns.resolver

from mdirclient.smtp.antispam.remembered import Remembered
from mdirclient.smtp.book import normal_domain

with warnings.catch_warnings():
    # The first time it is compiled Python warns of escapes in its documentation.
    warnings.simplefilter("ignore")
    import spf

VOUCHED: Final = "pass"
#: Nothing is known: DNS does not answer, or too many are asked.
TEMPERROR: Final = "temperror"
#: Checks at once, and those that may wait for one of these.
_THREADS: Final = 8
_MAX_WAITING: Final = 200
#: Seconds in which a domain that vouched is not asked again, and such answers that are kept.
_REMEMBERED: Final = 300.0
_MAX_REMEMBERED: Final = 10_000


@attrs.frozen
class Outcome:
    """What a domain says of a client.

    Attributes:
        result: `pass`, `fail`, `softfail`, `neutral`, `none`, `permerror`, or `temperror`: nothing
            is known.
        domain: that was asked, in ASCII and lower case.
    """

    result: str
    domain: str


class SPF:
    """Asks domains. Used in one loop.

    Args:
        host: name of this one, for the macro `%{r}`.
        nameservers: address and port of DNS servers; none: the system's.
        seconds: for one check, with all its look-ups.
    """

    def __init__(
        self,
        *,
        host: str,
        nameservers: Sequence[tuple[str, int]] = (),
        seconds: float = 5.0,
    ) -> None:
        self._host = host
        self._nameservers = tuple(nameservers)
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(_THREADS, "spf")
        self._waiting = 0
        self._vouched = Remembered[tuple[str, str], bool](_REMEMBERED, _MAX_REMEMBERED)

    async def check(self, address: str, helo: str, reverse_path: str) -> Outcome:
        """Ask the domain of the reverse path, or that of HELO if it is null (§2.4).

        Whatever goes wrong is `temperror`, and so is what takes too long.

        Args:
            address: of the client.
            helo: what it called itself.
            reverse_path: `local@domain`, or `<>`.
        """
        local, _, written = reverse_path.strip("<>").rpartition("@")
        domain = normal_domain(written or helo)
        if not domain.isascii():
            return Outcome("none", "")
        key = address, domain
        now = time.monotonic()
        if self._vouched.get(key, now):
            return Outcome(VOUCHED, domain)
        if self._waiting >= _MAX_WAITING:
            return Outcome(TEMPERROR, domain)
        sender = f"{local or 'postmaster'}@{domain}"
        result = await self._asked(address, helo, sender)
        if result == VOUCHED:
            self._vouched.put(key, True, now)
        return Outcome(result, domain)

    async def close(self) -> None:
        """Ask nobody any more."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def _asked(self, address: str, helo: str, sender: str) -> str:
        self._waiting += 1
        until = time.monotonic() + self._seconds
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(
                    self._threads, self._ask, address, helo, sender, until
                )
        except TimeoutError:
            return TEMPERROR
        finally:
            self._waiting -= 1

    def _ask(self, address: str, helo: str, sender: str, until: float) -> str:
        """One check. In a thread."""
        left = until - time.monotonic()
        if left <= 0:
            return TEMPERROR
        try:
            _asking.resolver = self._resolver()
            _asking.until = until
            asked = spf.query(i=address, s=sender, h=helo, receiver=self._host, querytime=left)
            return str(asked.check()[0])
        except Exception:  # noqa: BLE001 - a record is a stranger's text, and pyspf raises anything
            return TEMPERROR

    def _resolver(self) -> dns.resolver.Resolver:
        if not self._nameservers:
            return dns.resolver.get_default_resolver()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(address, port) for address, port in self._nameservers
        ]
        return resolver


#: What a thread asks by, and until when.
_asking: Final = threading.local()


def _look_up(name: str, kind: str, _strict: object, seconds: float) -> list[tuple[Any, Any]]:
    """One look-up, as pyspf wants to have it answered: no records if there are none."""
    left = min(seconds, _asking.until - time.monotonic())
    if left <= 0:
        raise spf.TempError("DNS takes too long")
    try:
        answer = _asking.resolver.resolve(name, kind, lifetime=left, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.DNSException as error:
        raise spf.TempError(f"DNS: {error}") from error
    return [((name, kind), _DATA[kind](found)) for found in answer]


_DATA: Final[Mapping[str, Callable[[Any], Any]]] = {
    "A": lambda found: found.address,
    "AAAA": lambda found: found.address,
    "MX": lambda found: (found.preference, found.exchange.to_text(omit_final_dot=True)),
    "PTR": lambda found: found.target.to_text(omit_final_dot=True),
    "TXT": lambda found: found.strings,
    "SPF": lambda found: found.strings,
}

# Deviation: pyspf's own look-up knows the system's servers only, and has no common deadline.
spf.DNSLookup = _look_up
