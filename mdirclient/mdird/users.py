"""Users: the entries of one folder, and what of them an administrator changes.

Writes to the mdir only, by any connection that has the right `admin` there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from mdirclient.errors import reply_error
from mdirclient.header import Header
from mdirclient.mdird.credentials import (
    PASSWORD_FIELD,
    TOKEN_FIELD,
    hash_password,
    hash_token,
    new_token,
)
from mdirclient.mdird.rights import RIGHTS, TYPE, check_user_name, parse_right, rights_url
from mdirclient.mdird.tree import folder_id, make_folder
from mdirclient.patch import Patch

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird


def list_users(mdird: Mdird, users: str) -> Iterator[Header]:
    """The entries of all users."""
    yield from mdird.lookup(users, Header([("type", "user")]))


def add_user(mdird: Mdird, users: str, name: str, *, rights: tuple[str, ...] = ()) -> str:
    """Make a user; returns the token, of which only a hash is kept.

    Args:
        mdird: where.
        users: the folder of users; made if it is missing.
        name: of the user.
        rights: in all folders that say nothing else: `read`, `write`, `admin`, `connector`.

    Raises:
        ConflictReplyError: there is such a user.
        PermanentReplyError: 400, the name or a right cannot be used.
    """
    check_user_name(name)
    for right in rights:
        if right not in RIGHTS:
            raise reply_error(400, f"there is no right {right!a}; there are {', '.join(RIGHTS)}")
    make_folder(mdird, users)
    _, found = find_user(mdird, users, name)
    if found and found.get_all(TOKEN_FIELD):
        raise reply_error(
            409, f"there is a user {name!r} with a token; `mdird user token` replaces it"
        )
    token = new_token()
    fields = [(TOKEN_FIELD, hash_token(token)), *(("right", right) for right in rights)]
    if found:
        # Made for an account, without a token yet.
        _change(mdird, users, name, fields)
    else:
        stored = mdird.store.add_file(b"", media_type="text/plain", suggested_name=name)
        own = [("type", "user"), ("name", name)]
        mdird.put(users, Header([*stored.headers()[0], *own, *fields]))
    return token


def renew_token(mdird: Mdird, users: str, name: str) -> str:
    """Give a user a new token; the old ones end.

    Raises:
        NotFoundReplyError: there is no such user.
    """
    token = new_token()
    _change(mdird, users, name, [(TOKEN_FIELD, hash_token(token))])
    return token


def set_password(mdird: Mdird, users: str, name: str, password: str) -> None:
    """Give a user another password.

    Raises:
        NotFoundReplyError: there is no such user.
    """
    _change(mdird, users, name, [(PASSWORD_FIELD, hash_password(password))])


def remove_user(mdird: Mdird, users: str, name: str) -> None:
    """Remove a user; their folders stay.

    Raises:
        NotFoundReplyError: there is no such user.
    """
    if not mdird.remove(users, Header([("type", "user"), ("name", name)])):
        raise reply_error(404, f"there is no user {name!r}")


def find_user(mdird: Mdird, users: str, name: str) -> tuple[int, Header | None]:
    """The entry of a user and its version; 0 and None if there is none."""
    return _find(mdird, users, Header([("type", "user"), ("name", name)]))


def read_rights(mdird: Mdird, folder: str) -> tuple[str | None, tuple[str, ...]]:
    """The owner of a folder, and the rights that it says itself.

    Raises:
        NotFoundReplyError: there is no such folder.
    """
    header = next(iter(mdird.lookup(folder, Header([("type", TYPE)]))), Header())
    return header.get("owner"), header.get_all("right")


def set_rights(
    mdird: Mdird, folder: str, *, owner: str | None = None, rights: tuple[str, ...] | None = None
) -> None:
    """Say who may do what in a folder; what is None stays.

    Args:
        mdird: where.
        folder: its path.
        owner: a user's name.
        rights: each like `read,write anna`; the first that fits decides; `*` is everybody.

    Raises:
        NotFoundReplyError: there is no such folder.
        PermanentReplyError: 400, a right cannot be used; 403.
    """
    for right in rights or ():
        parse_right(right)
    version, header = _find(mdird, folder, Header([("type", TYPE)]))
    if header is None:
        header = Header([("url", rights_url(folder_id(mdird, folder))), ("type", TYPE)])
    if owner is not None:
        header = header.replace("owner", owner)
    if rights is not None:
        header = header.replace("right", *rights)
    mdird.set(folder, header, base=version)


def _find(mdird: Mdird, folder: str, pattern: Header) -> tuple[int, Header | None]:
    """The live entry that matches, and its version: only a listing tells that."""
    with closing(mdird.subscribe(folder, timeout=0)) as subscription:
        for event in subscription:
            if isinstance(event, Patch) and event.action == "+" and event.header.matches(pattern):
                return event.new_version, event.header
    return 0, None


def _change(mdird: Mdird, users: str, name: str, fields: list[tuple[str, str]]) -> None:
    version, header = find_user(mdird, users, name)
    if header is None:
        raise reply_error(404, f"there is no user {name!r}")
    for field in dict.fromkeys(field for field, _ in fields):
        header = header.replace(field, *(value for given, value in fields if given == field))
    mdird.set(users, header, base=version)
