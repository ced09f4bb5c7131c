"""Wrong tokens cost time: the more from one address, the longer the next answer takes."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

#: Wrong ones that a person may type before it takes longer.
_FREE: Final = 3
_FIRST_DELAY: Final = 0.5
_MAX_DELAY: Final = 30.0
#: Seconds after which an address is as good as new.
_FORGOTTEN_AFTER: Final = 900.0
_MAX_ADDRESSES: Final = 10_000


class Throttle:
    """Wrong tokens of each address. Bounded: of too many addresses the oldest are forgotten.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def delay(self, address: str) -> float:
        """Seconds that the next answer to an address is held back, right or wrong."""
        count, at = self._failures.get(_network(address), (0, 0.0))
        if count <= _FREE or self._clock() - at > _FORGOTTEN_AFTER:
            return 0.0
        return float(min(_MAX_DELAY, _FIRST_DELAY * 2 ** min(count - _FREE - 1, 10)))

    def failed(self, address: str) -> None:
        """Note a wrong token."""
        network = _network(address)
        count, at = self._failures.pop(network, (0, 0.0))
        if self._clock() - at > _FORGOTTEN_AFTER:
            count = 0
        self._failures[network] = count + 1, self._clock()
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)


def _network(address: str) -> str:
    """An IPv6 host has 2^64 addresses (RFC 6177): they count as one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and not found.ipv4_mapped:
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)
