"""A message as rules see it. Pure."""

from __future__ import annotations

from itertools import chain
from typing import Final

from mdirclient.header import OWN_FIELDS, Header
from mdirclient.stribution.addresses import Address, addresses_in

#: What the receiver says: a stranger's field of the same name is never meant.
_TRUSTED: Final = frozenset(
    "envelope-from envelope-to client-address client-name helo authentication-results "
    "status queued attempts next-attempt reason sending send-after".split()
)
_SIZES: Final = ("message-size", "size")


class Item:
    """The header of an item, asked by rules.

    A field that a mail had under one of mdir's own names is `mail-<name>`, and is meant where
    it is there (docs: reference/rules).
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self._values: dict[str, list[str]] = {}
        self._addresses: dict[str, tuple[Address, ...]] = {}
        for name, value in header:
            self._values.setdefault(name, []).append(
                # A folded line may begin with a tab; who reads it sees a blank.
                value.strip(" \t\r\n").replace("\t", " ")
            )

    def values(self, name: str) -> list[str]:
        """All values of a field, given in lower case."""
        if (
            name in OWN_FIELDS
            and name not in _TRUSTED
            and (copied := self._values.get(f"mail-{name}"))
        ):
            return copied
        return self._values.get(name, [])

    def addresses(self, name: str) -> tuple[Address, ...]:
        """All addresses in the fields of a name."""
        if name not in self._addresses:
            found = (addresses_in(value) for value in self.values(name))
            self._addresses[name] = tuple(chain.from_iterable(found))
        return self._addresses[name]

    @property
    def size(self) -> int:
        """Bytes of the whole message."""
        for name in _SIZES:
            value = self.header.get(name) or ""
            if value.isdecimal() and len(value) < 20:
                return int(value)
        return 0
