"""Wrong secrets cost time: the more from one source, the longer the next answer takes."""

from __future__ import annotations

import functools
import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

#: Wrong ones that a person may type before it takes longer.
_FREE: Final = 3
_FIRST_DELAY: Final = 0.5
_MAX_DELAY: Final = 15.0
#: Seconds after which an address is as good as new.
_FORGOTTEN_AFTER: Final = 900.0
_MAX_ADDRESSES: Final = 10_000


class Throttle:
    """Wrong ones of each source: an address, or a name. Bounded: the oldest are forgotten.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def attempt(self, address: str) -> float:
        """Note an attempt, which counts as wrong until `forgive`.

        So many at once are slowed down as well as one after the other.

        Returns:
            Seconds that its answer is to be held back.
        """
        source = network(address)
        count, at = self._failures.pop(source, (0, 0.0))
        if self._clock() - at > _FORGOTTEN_AFTER:
            count = 0
        self._failures[source] = count + 1, self._clock()
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        if count < _FREE:
            return 0.0
        return float(min(_MAX_DELAY, _FIRST_DELAY * 2 ** min(count - _FREE, 10)))

    def forgive(self, address: str) -> None:
        """The attempt was right."""
        source = network(address)
        count, at = self._failures.get(source, (0, 0.0))
        if count:
            self._failures[source] = count - 1, at


@functools.lru_cache(maxsize=4096)
def network(address: str) -> str:
    """What an address counts as: an IPv6 host has 2^64 of them (RFC 6177), which are one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)
