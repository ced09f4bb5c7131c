"""What a report shows of addresses and networks: all, a part, or a name of our own. Pure."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from typing import Final

_PREFIXES: Final = {4: 16, 6: 32}
_DIGITS: Final = 10
#: Ways of showing them.
FULL, TRUNCATED, HASHED = "full", "truncated", "hashed"
WAYS: Final = (FULL, TRUNCATED, HASHED)


def hiding(way: str, secret: bytes) -> Callable[[str], str]:
    """What is shown of a name.

    Args:
        way: one of `WAYS`. `truncated`: the first letter of a local part, and the /16 or /32 of a
            network; `hashed`: the same ten digits for the same name, which nobody else can make.
        secret: of this server, for `hashed`.
    """
    if way == TRUNCATED:
        return _truncated
    if way == HASHED:
        return lambda name: hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:_DIGITS]
    return lambda name: name


def _truncated(name: str) -> str:
    local, at, domain = name.rpartition("@")
    if at:
        return f"{local[:1]}…@{domain}"
    try:
        found = ipaddress.ip_network(name, strict=False)
    except ValueError:
        return f"{name[:1]}…"
    length = min(found.prefixlen, _PREFIXES[found.version])
    return str(ipaddress.ip_network((str(found.network_address), length), strict=False))
