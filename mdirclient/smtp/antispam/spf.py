"""Whether the domain of a sender vouches for a client: SPF, asked beside the loop.

Asks DNS only. Source: RFC 7208.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import attrs
import dns.exception
import dns.name
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
_THREADS: Final = 32
_MAX_WAITING: Final = 200
#: Seconds in which a domain that vouched is not asked again, and such answers that are kept.
_REMEMBERED: Final = 300.0
_MAX_REMEMBERED: Final = 10_000
#: Bytes of a record (RFC 7208 §3.4 asks for 450), and of one of its terms. pyspf's expressions take
#: the square of a term's length, and no thread does anything meanwhile: 20 seconds for 16,000.
_MAX_RECORD: Final = 8_192
_MAX_TERM: Final = 255


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
        self._is_closed = False
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
        if self._is_closed or self._waiting >= _MAX_WAITING:
            return Outcome(TEMPERROR, domain)
        result = await self._asked(address, helo, local or "postmaster", domain)
        if result == VOUCHED:
            self._vouched.put(key, True, now)
        return Outcome(result, domain)

    async def close(self) -> None:
        """Ask nobody any more: what waits is `temperror`."""
        self._is_closed = True
        # Race: futures that are cancelled here would cancel who waits for them.
        await asyncio.to_thread(self._threads.shutdown)

    async def _asked(self, address: str, helo: str, local: str, domain: str) -> str:
        self._waiting += 1
        until = time.monotonic() + self._seconds
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(
                    self._threads, self._ask, address, helo, local, domain, until
                )
        except TimeoutError:
            return TEMPERROR
        finally:
            self._waiting -= 1

    def _ask(self, address: str, helo: str, local: str, domain: str, until: float) -> str:
        """One check. In a thread."""
        left = until - time.monotonic()
        if self._is_closed or left <= 0:
            return TEMPERROR
        try:
            ipaddress.ip_address(address)  # pyspf takes `list` for one
            _asking.resolver = self._resolver()
            _asking.until = until
            sender = f"{local}@{domain}"
            asked = spf.query(i=address, s=sender, h=helo, receiver=self._host, querytime=left)
            # Deviation: pyspf ends the local part at the first @, though one may be quoted.
            asked.l, asked.o, asked.d = local, domain, domain
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
        # Not parsed as text: a backslash of a local part (`%{l}`) is no escape.
        labels = [label.encode("ascii") for label in name.split(".")]
        asked = dns.name.Name([*labels, b""])
    except (UnicodeError, dns.exception.DNSException):
        return []  # there is no such name; non-ASCII: RFC 8616 §4
    try:
        answer = _asking.resolver.resolve(asked, kind, lifetime=left)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.DNSException as error:
        raise spf.TempError(f"DNS: {error}") from error
    data = [_DATA[kind](found) for found in answer]
    return [((name, kind), found) for found in (_records(data) if kind == "TXT" else data)]


def _records(texts: Sequence[Sequence[bytes]]) -> list[tuple[bytes]]:
    """Those that are SPF records; what else there is, explanations too, is not read."""
    found = [b"".join(text) for text in texts]
    found = [text for text in found if text[:7].lower().rstrip(b" ") == b"v=spf1"]
    for text in found:
        if len(text) > _MAX_RECORD or max(map(len, text.split(b" "))) > _MAX_TERM:
            raise spf.PermError("the record is too long")
    return [(text,) for text in found]


_DATA: Final[Mapping[str, Callable[[Any], Any]]] = {
    "A": lambda found: found.address,
    "AAAA": lambda found: found.address,
    "MX": lambda found: (found.preference, found.exchange.to_text(omit_final_dot=True)),
    "PTR": lambda found: found.target.to_text(omit_final_dot=True),
    "TXT": lambda found: found.strings,
}

# Deviation: pyspf's own look-up knows the system's servers only, and has no common deadline.
spf.DNSLookup = _look_up
