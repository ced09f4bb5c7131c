"""Who gets the mail to an address: a book made of the account folders and the users. Pure.

What the entries say (docs: howto/smtp-server)::

    type: dir                      type: user
    name: jo@machin.org            name: jo
    address: jo@machin.org         address: jo@machin.org
    user: jo                       alias: jojo@machin.org
                                   alias: @machin.net
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from mdirclient.header import OWN_FIELDS, Header

#: Always accepted at our domains (RFC 5321 §4.5.1, RFC 2142 §2).
POSTMASTERS: Final = frozenset(["postmaster", "abuse"])
_MAX_DOMAIN: Final = 255
#: Of a user's entry: SHA-256 of a certificate that is theirs, hexadecimal, also with colons.
FINGERPRINT_FIELD: Final = "certificate-fingerprint"
#: Fields that every entry has; they say nothing about its user.
_OF_ENTRIES: Final = (OWN_FIELDS | {"name"}) - {"alias", "right", FINGERPRINT_FIELD}
#: Secret field → what may be said of it.
_SECRET: Final = {"password-hash": "password", "token-hash": "token"}


@attrs.frozen
class Account:
    """A mail address that is served.

    Attributes:
        name: of its folder in the folder of accounts.
        address: as people write it.
        user: whom it belongs to, or None.
    """

    name: str
    address: str
    user: str | None


class Book:
    """The accounts of one moment. Never changes.

    Addresses compare without case (RFC 5321 §2.4 lets a host decide that), domains as IDNA 2008
    encodes them. An account wins over an alias, both over what follows a separator (sub-addressing,
    RFC 5233), that over postmaster and abuse, and an account or alias `@domain` takes the rest.

    Args:
        accounts: entries of the folder of accounts, the oldest first.
        users: entries of users.
        postmaster: address of the account that gets what is for postmaster and abuse; None, or
            one that is not there: the oldest account.
        separators: characters; what follows one in a local part is a detail (RFC 5233).
    """

    def __init__(
        self,
        accounts: Iterable[Header],
        users: Iterable[Header],
        *,
        postmaster: str | None = None,
        separators: str = "+",
    ) -> None:
        self._separators = separators
        #: Name → the user's entry.
        self.users = {user["name"]: user for user in users if "name" in user}
        #: The accounts, the oldest first.
        self.accounts = tuple(_accounts(accounts))
        self._found: dict[tuple[str, str], Account] = {}
        for account in self.accounts:
            self._found.setdefault(_key(account.address), account)
        self._own = own = dict(self._found)
        for user in self.users.values():
            self._add_aliases(user, own)
        self._certificates = {
            kept.lower().replace(":", "").removeprefix("sha256"): name
            for name, user in self.users.items()
            for kept in user.get_all(FINGERPRINT_FIELD)
        }
        self._named = {account.name: account for account in self.accounts}
        self._of_user: dict[str, list[Account]] = {}
        for account in self.accounts:
            if account.user is not None:
                self._of_user.setdefault(account.user, []).append(account)
        self._domains = {domain for _, domain in self._found}
        oldest = self.accounts[0] if self.accounts else None
        #: Who gets what is for postmaster and abuse.
        self.postmaster = own.get(_key(postmaster or "")) or oldest

    def find(self, local: str, domain: str) -> Account | None:
        """The account that gets the mail to an address, or None.

        Args:
            local: local part without quotes.
            domain: as it was written; empty: ours, for `<postmaster>`.
        """
        host, name = normal_domain(domain), _normal_local(local)
        found = self._found.get((name, host))
        if not found:
            bases = (self._found.get((base, host)) for base in self._without_details(name))
            found = next((one for one in bases if one), None)
        if not found and name in POSTMASTERS and (host in self._domains or not host):
            found = self.postmaster
        return found or (self._found.get(("", host)) if name else None)

    def _without_details(self, local: str) -> Iterator[str]:
        """A local part without its detail, the longest first."""
        for place in range(len(local) - 1, 0, -1):
            if local[place] in self._separators:
                yield local[:place]

    def siblings(self, name: str) -> list[str]:
        """Names of the further accounts of the user to whom an account belongs."""
        found = self._named.get(name)
        accounts = self._of_user.get(found.user or "", []) if found else []
        return [one.name for one in accounts if one.name != name]

    def received(self) -> Iterator[str]:
        """All addresses that are received, as tables of MTAs have them; domains in both forms."""
        for local, domain in self._found:
            if any(char.isspace() or char in '"#' for char in local):
                continue  # a table of Postfix cannot have it
            for form in dict.fromkeys((domain, shown_domain(domain))):
                yield f"{local}@{form}"
        for domain in sorted(self._domains):
            yield from (f"{name}@{domain}" for name in sorted(POSTMASTERS))

    def owner(self, address: str) -> str | None:
        """The user to whom an account of just this address belongs."""
        account = self._own.get(_key(address))
        return account.user if account else None

    def holder(self, fingerprint: str) -> str | None:
        """The user whose certificate it is: SHA-256, hexadecimal in lower case."""
        return self._certificates.get(fingerprint)

    def has_domain(self, domain: str) -> bool:
        """Whether a domain is ours: one of an account or an alias."""
        return normal_domain(domain) in self._domains

    def is_own(self, user: str, local: str, domain: str) -> bool:
        """Whether an address is a user's own, so that they may send in its name."""
        found = self.find(local, domain)
        return found is not None and found.user == user

    def sending(self, user: str, reverse_path: str) -> Account | None:
        """The account in whose outbox a mail of a user goes: that of the reverse path.

        Args:
            user: who sends.
            reverse_path: of the mail; `<>` is of nobody, and then it is the user's oldest.
        """
        local, _, domain = reverse_path.rpartition("@")
        found = self.find(local, domain) if domain else None
        if found is None or found.user != user or found.name.startswith("@"):
            return next((one for one in self.accounts if one.user == user), None)
        return found

    def described(self) -> Iterator[dict[str, Any]]:
        """Each account for people: its address and user, and all that the user's entry says.

        Of what is secret only that it is there.
        """
        for account in self.accounts:
            fields: dict[str, list[str]] = {}
            for name, value in self.users.get(account.user or "", ()):
                if name in _SECRET:
                    fields["login"] = [*fields.get("login", []), _SECRET[name]]
                elif name not in _OF_ENTRIES:
                    fields[name] = [*fields.get(name, []), value]
            fields.pop("address", None)
            yield {"address": account.address, "user": account.user, **fields}

    def _add_aliases(self, user: Header, own: dict[tuple[str, str], Account]) -> None:
        """Further addresses of a user lead to the first of theirs that has an account."""
        addresses = user.get_all("address")
        first = next((own[key] for key in map(_key, addresses) if key in own), None)
        first = first or next((one for one in self.accounts if one.user == user["name"]), None)
        if first:
            for address in (*addresses, *user.get_all("alias")):
                if _key(address)[1]:
                    self._found.setdefault(_key(address), first)


def normal_domain(domain: str) -> str:
    """A domain as it is compared: ASCII in lower case, without a dot at its end.

    Two that only look alike stay different. Source: RFC 5891 (IDNA 2008), mapped by UTS 46.
    """
    bare = domain.strip().removesuffix(".")
    if bare.isascii() or len(bare) > _MAX_DOMAIN:
        return bare.lower()
    try:
        import idna  # extra `smtp`; who delivers has no other domains as a rule

        return idna.encode(bare, uts46=True).decode("ascii").lower()
    except (ImportError, ValueError):
        return unicodedata.normalize("NFC", bare).casefold()


def shown_domain(domain: str) -> str:
    """A domain as people write it: in Unicode; unchanged where that is not known."""
    try:
        import idna

        return idna.decode(domain) if "xn--" in domain else domain
    except (ImportError, ValueError):
        return domain


def has_idna() -> bool:
    """Whether domains in Unicode can be compared with those in ASCII."""
    try:
        import idna  # noqa: F401
    except ImportError:
        return False
    return True


def _accounts(entries: Iterable[Header]) -> Iterable[Account]:
    for entry in entries:
        name = entry.get("name") or ""
        # Another folder than that of an account says nothing about an address.
        if "@" in name and entry.get("type") == "dir":
            yield Account(name, entry.get("address") or name, entry.get("user"))


def _normal_local(local: str) -> str:
    return unicodedata.normalize("NFC", local).casefold()


def _key(address: str) -> tuple[str, str]:
    local, _, domain = address.strip().removeprefix("<").removesuffix(">").rpartition("@")
    return _normal_local(local), normal_domain(domain)
