"""Accounts: a folder for each mail address served, and the user it belongs to.

Writes to the mdir only.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.errors import (
    FolderPathError,
    MdirError,
    NotFoundReplyError,
    PermanentReplyError,
    SettingsError,
)
from mdirclient.header import Header
from mdirclient.mdird.tree import folder_id, make_folder
from mdirclient.naming import check_name, fold
from mdirclient.settings import Settings
from mdirclient.smtp.book import Book, has_idna

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird

#: Settings of the folders that are agreed on.
_FOLDERS: Final = {
    "users": "MDIR_USERS",
    "accounts": "MDIR_SMTP_ACCOUNTS",
    "outbox": "MDIR_SMTP_OUTBOX",
    "spam": "MDIR_SMTP_SPAM",
    "delayed": "MDIR_SMTP_DELAYED",
    "statistics": "MDIR_SMTP_STATISTICS",
}
#: Those with a folder for each address.
_OF_ADDRESSES: Final = frozenset(["accounts", "outbox", "spam", "delayed"])


@attrs.frozen
class Places:
    """The folders agreed on.

    Attributes:
        users: path of the folder with an entry for each user.
        accounts, outbox, spam, delayed: paths of folders that hold one for each address.
        statistics: path of the folder where reports are published.
        trash: names of folders into which users throw mails, folded.
        postmaster: the address that gets what is for postmaster and abuse.
        separators: characters that end the name of an account in an address.
    """

    users: str
    accounts: str
    outbox: str
    spam: str
    delayed: str
    statistics: str
    trash: frozenset[str]
    postmaster: str | None = None
    separators: str = "+"

    @classmethod
    def from_settings(cls, settings: Settings) -> Places:
        """As the settings say.

        Raises:
            SettingsError: no folder can have a path, two that hold one for each address are one, or
                what is in the outbox or the spam box of an address would be something else.
        """
        folders = {field: settings.folder(name) for field, name in _FOLDERS.items()}
        fields = {path: field for field, path in folders.items() if field in _OF_ADDRESSES}
        for field, path in folders.items():
            if field in _OF_ADDRESSES and (other := fields[path]) != field:
                reason = f"it is also {_FOLDERS[other]}; each needs a folder of its own"
                raise SettingsError(_FOLDERS[field], path, reason)
            for other in ("spam", "outbox"):
                below = path.removeprefix(folders[other] + "/")
                if below != path and "@" in below.partition("/")[0]:
                    reason = f"it is in a folder of {_FOLDERS[other]}, which is emptied"
                    raise SettingsError(_FOLDERS[field], path, reason)
        trash = settings.get("MDIR_SMTP_TRASH")
        return cls(
            **folders,
            trash=frozenset(fold(name.strip()) for name in trash.split(",")),
            postmaster=settings.find("MDIR_SMTP_POSTMASTER"),
            separators=settings.get("MDIR_SMTP_SEPARATOR"),
        )


@attrs.define(eq=False, slots=False)
class NoAccountsError(MdirError):
    """The folder of accounts is missing or empty: nothing can be said about an address."""

    folder: str

    def message(self) -> str:
        return (
            f"there are no accounts in {self.folder!r}; "
            f"make one with `mdir-smtp account add ADDRESS`"
        )


@attrs.define(eq=False, slots=False)
class NoAddressError(MdirError, ValueError):
    """A recipient that is no address: nothing can be said about an account."""

    given: tuple[str, ...]

    def message(self) -> str:
        shown = ", ".join(ascii(address) for address in self.given) or "nothing"
        return f"the recipient must be local@domain, not {shown}; look at the MTA's settings"


@attrs.define(eq=False, slots=False)
class NoIDNAError(MdirError):
    """Domains in Unicode cannot be compared: nothing can be said about an account."""

    address: str

    def message(self) -> str:
        return (
            f"whether there is an account for {self.address!a} takes the package idna; "
            f"install it with: pip install 'mdirclient[smtp]'"
        )


@attrs.define(eq=False, slots=False)
class UnknownRecipientError(MdirError, LookupError):
    """The folder of accounts was read, holds at least one, and none for these addresses."""

    addresses: tuple[str, ...]

    def message(self) -> str:
        return f"no account for {', '.join(ascii(address) for address in self.addresses)}"


def normal_address(address: str, *, is_rest: bool = False) -> str:
    """An address as accounts are named: local part and domain in lower case.

    Args:
        address: local@domain.
        is_rest: whether it may be `@domain`, the account for the rest of a domain.

    Raises:
        FolderPathError: not `local@domain`, or a folder cannot have this name.
    """
    local, domain = _halves(address)
    if not (domain and (local or (is_rest and "@" in address))) or " " in address:
        raise FolderPathError(address, "an account is named local@domain")
    return check_name(f"{local}@{domain}".lower())


def _halves(address: str) -> tuple[str, str]:
    """Local part and domain, without the dot that ends an absolute name; empty if missing."""
    local, _, domain = address.strip().removeprefix("<").removesuffix(">").rpartition("@")
    return local, domain.removesuffix(".")


def find_account(mdird: Mdird, places: Places, candidates: tuple[str, ...]) -> str | None:
    """The account folder for the first address that has one, or None.

    See `Book` for how addresses compare. An account of exactly this name is found without
    reading all accounts and users.

    Args:
        mdird: where the folders are.
        places: the folders agreed on.
        candidates: spellings of one recipient, the preferred one first.

    Raises:
        NoAccountsError: there is no account at all.
        NoAddressError: none of the candidates is an address.
        NoIDNAError: a domain in Unicode, and no package that compares them.
    """
    if not any(all(_halves(address)) for address in candidates):
        raise NoAddressError(candidates)
    for name in _names(candidates):
        if _is_there(mdird, places.accounts, Header([("type", "dir"), ("name", name)])):
            return f"{places.accounts}/{name}"
    # Before somebody is told that there is no such account, every address is looked at.
    book = read_book(mdird, places)
    if not book.accounts:
        raise NoAccountsError(places.accounts)
    found = (book.find(*_halves(address)) for address in candidates)
    account = next((one for one in found if one), None)
    if account is None and not has_idna():
        domains = [_halves(address)[1] for address in candidates]
        domains += [_halves(one.address)[1] for one in book.accounts]
        if any(not domain.isascii() or "xn--" in domain.lower() for domain in domains):
            raise NoIDNAError(candidates[0])
    return f"{places.accounts}/{account.name}" if account else None


def read_book(mdird: Mdird, places: Places) -> Book:
    """All accounts and users, as they are now.

    Raises:
        NoAccountsError: there is no folder of accounts.
    """
    try:
        accounts = list(mdird.lookup(places.accounts, Header([("type", "dir")])))
    except NotFoundReplyError:
        raise NoAccountsError(places.accounts) from None
    users: list[Header] = []
    # Who delivers may have no right to read them; then there are no aliases for it.
    with contextlib.suppress(PermanentReplyError):
        users = list(mdird.lookup(places.users, Header([("type", "user")])))
    return Book(accounts, users, postmaster=places.postmaster, separators=places.separators)


def add_account(
    mdird: Mdird, places: Places, address: str, *, user: str | None = None, mount: str | None = None
) -> str:
    """Make what an address needs where it is missing: user, account folder, and those beside it.

    Args:
        mdird: where to make it.
        places: the folders agreed on.
        address: local@domain; `@domain` for all that no other account of the domain gets.
        user: name of the user it belongs to; None: the address.
        mount: a second name for the account's folder, such as `Home/JojoLapin/Emails`.

    Returns:
        The path of the account's folder.

    Raises:
        FolderPathError: the address or a name cannot be used.
        ConflictReplyError: the name of the mount is taken by another folder.
    """
    name = normal_address(address, is_rest=True)
    owner = check_name(user or name)
    make_folder(mdird, places.users)
    make_folder(mdird, places.accounts)
    from mdirclient.mdird.rights import rights_url  # who delivers needs none

    _add_user(mdird, places.users, owner, name)
    fields = [("type", "dir"), ("name", name), ("address", name), ("user", owner)]
    mdird.put(places.accounts, Header(fields))
    for place in (places.accounts, places.outbox, places.spam, places.delayed):
        folder = f"{place}/{name}"
        make_folder(mdird, folder)
        # Of a folder that has an owner already nothing changes.
        url = rights_url(folder_id(mdird, folder))
        mdird.put(folder, Header([("url", url), ("type", "rights"), ("owner", owner)]))
    account = f"{places.accounts}/{name}"
    if mount:
        parent, _, last = mount.strip("/").rpartition("/")
        make_folder(mdird, parent)
        fields = [("type", "dir"), ("name", check_name(last)), ("id", folder_id(mdird, account))]
        mdird.put(parent, Header(fields))
    return account


def _names(candidates: tuple[str, ...]) -> list[str]:
    names = []
    for address in candidates:
        with contextlib.suppress(FolderPathError):
            names.append(normal_address(address))
    return names


def _is_there(mdird: Mdird, folder: str, pattern: Header) -> bool:
    try:
        return next(iter(mdird.lookup(folder, pattern)), None) is not None
    except NotFoundReplyError:
        raise NoAccountsError(folder) from None


def _add_user(mdird: Mdird, users: str, name: str, address: str) -> None:
    """The user's one entry, with this address among its addresses."""
    from mdirclient.mdird.users import find_user  # who delivers needs none

    version, entry = find_user(mdird, users, name)
    if entry is None:
        stored = mdird.store.add_file(b"", media_type="text/plain", suggested_name=name)
        fields = [("type", "user"), ("name", name), ("address", address)]
        mdird.put(users, Header([*stored.headers()[0], *fields]))
    elif address not in entry.get_all("address"):
        changed = entry.replace("address", *entry.get_all("address"), address)
        mdird.set(users, changed, base=version)
