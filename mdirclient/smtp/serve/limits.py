"""What the SMTP server allows. Pure."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import Final

import attrs

from mdirclient.errors import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


@attrs.frozen
class Limits:
    """Of one server; each is an option of `mdir-smtp serve`.

    Attributes:
        size: bytes of a mail.
        recipients: of a mail.
        errors: commands of a connection that are refused before it is.
        connections: at once.
        per_address: of these from one address (of IPv6: from one /64).
        idle: seconds for a command, and for the next bytes of a mail.
        rate: bytes a second that a mail must come with, after `idle` seconds.
        early: seconds before the greeting in which a client must say nothing; 0: none.
        commit: seconds after the end of a mail within which it is answered.
        drain: seconds that mails on their way have when the server stops.
        per_hour: recipients of a user's mails in an hour.
        keep: days that what happened is remembered.
        block_for: seconds that a network is blocked at first which asks for many unknown
            recipients; 0: none is.
        grey_for: seconds after which a sender that greylisting told to come again is let in; 0:
            none is told.
        spam_kept: seconds that a mail stays in the spam box.
        allow: networks that `per_address`, `early`, `block_for` and `grey_for` do not apply to.
        trust: networks of LMTP clients that may say whose mail they bring (XFORWARD).
    """

    size: int = 50 << 20
    recipients: int = 100
    errors: int = 20
    connections: int = 1_000
    per_address: int = 50
    idle: float = 300.0
    rate: int = 256
    early: float = 1.0
    commit: float = 60.0
    drain: float = 30.0
    per_hour: int = 200
    keep: int = 90
    block_for: float = 3_600.0
    grey_for: float = 300.0
    spam_kept: float = 3_600.0
    allow: tuple[Network, ...] = tuple(ipaddress.ip_network(one) for one in LOOPBACK)
    trust: tuple[Network, ...] = tuple(ipaddress.ip_network(one) for one in LOOPBACK)

    def is_allowed(self, address: str) -> bool:
        """Whether an address is exempt; the peers of a Unix socket (no address) are."""
        return _is_in(address, self.allow)

    def is_trusted(self, address: str) -> bool:
        """Whether an LMTP client may say whose mail it brings; those of a Unix socket may."""
        return _is_in(address, self.trust)


@functools.lru_cache(maxsize=4096)
def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    if not address:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in networks)


def parse_networks(option: str, words: Iterable[str]) -> tuple[Network, ...]:
    """Read addresses and networks, such as `192.0.2.0/24`, that an option was given.

    Raises:
        SettingsError: one is none.
    """
    found = []
    for word in words:
        try:
            found.append(ipaddress.ip_network(word))
        except ValueError as error:
            raise SettingsError(option, word, str(error)) from None
    return tuple(found)
