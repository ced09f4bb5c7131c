"""Changes of the mdir, each inside of a transaction that somebody else began and ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mdirclient.errors import reply_error
from mdirclient.header import Header
from mdirclient.interfaces import Mstore
from mdirclient.mdird.operation import Operation, identity
from mdirclient.mdird.rights import (
    ADMIN_TYPES,
    ADMINISTRATOR,
    INSTALLED_BY,
    STRIBUTION,
    TYPE,
    Actor,
    Rights,
    check_user_name,
    parse_right,
    rights_url,
)
from mdirclient.mdird.tables import Tables, matches
from mdirclient.naming import check_name

if TYPE_CHECKING:
    from mdirclient.mdird.filing import Filing

#: How long a repeated CLASS is recognised, in seconds.
RECEIPTS_KEPT: Final = 30 * 24 * 3600
#: Entries of these types are removed only by a pattern that has a type.
_GUARDED_TYPES: Final = frozenset(["dir", *ADMIN_TYPES])
#: What is remembered of rights and users is wrong when one of these changes.
_TREE_TYPES: Final = frozenset([TYPE, "user"])


class Changer:
    """Does operations, with the rights of who asks.

    Args:
        tables: of the mdird.
        rights: in it.
        store: where the rules of folders are.
        clock: seconds since 1970, for receipts and rules.
    """

    def __init__(
        self, tables: Tables, rights: Rights, store: Mstore, clock: Callable[[], float]
    ) -> None:
        self._tables = tables
        self._rights = rights
        self._clock = clock
        self._store = store
        self._filing: Filing | None = None

    def apply(self, actor: Actor, operation: Operation) -> int:
        """Do one operation; its answer.

        Raises:
            ReplyError: it is refused, and nothing of it was done that a rollback does not undo.
        """
        number = self._rights.folder(actor, operation.folder)
        header = operation.header
        self._rights.check(actor, number, "write")
        if operation.keyword == "REM":
            return self._remove(actor, number, header)
        if header.get("type") in ADMIN_TYPES:
            self._rights.check(actor, number, "admin")
        if operation.keyword == "SET":
            return self._set(actor, number, header, operation.base)
        if operation.keyword == "CLASS":
            self._classify(actor, number, header)
            return 0
        return self._put(actor, number, header)

    def _classify(self, actor: Actor, number: int, header: Header) -> None:
        kind = header.get("type")
        self._check_blind(actor, number, _key(header), header)
        if not self._receive(number, header):
            return
        if kind == "dir" or kind in ADMIN_TYPES:
            self._put(actor, number, header)  # what makes folders and rules is not ruled
            return
        if not self._tables.live_version(number, _key(header)):
            self._check_new(actor, number, _key(header), header)
        if not self._tables.newest(number, STRIBUTION):
            self.put(number, header)
            return
        if not self._filing:
            from mdirclient.mdird.filing import Filing  # nearly every folder has no rules

            self._filing = Filing(self._tables, self._rights, self._store, self._clock)
        self._filing.file(number, header, self)

    # -- what filing does: its rights were checked, and those of who brought the message

    def make(self, number: int, name: str) -> int:
        """See `filing.Change`."""
        header = Header([("type", "dir"), ("name", name)])
        self._put_directory(ADMINISTRATOR, number, header)
        row = self._tables.directory(number, name)
        assert row
        return row[1]

    def put(self, number: int, header: Header) -> None:
        """See `filing.Change`."""
        key = _key(header)
        if not self._tables.live_version(number, key):
            self._tables.write(number, key, header)

    # -- putting

    def _put(self, actor: Actor, number: int, header: Header) -> int:
        if header.get("type") == "dir":
            return self._put_directory(actor, number, header)
        key = _key(header)
        self._check_blind(actor, number, key, header)
        live = self._tables.live_version(number, key)
        if live:
            return live
        self._check_new(actor, number, key, header)
        return self._write(actor, number, key, header, None)

    def _set(self, actor: Actor, number: int, header: Header, base: int) -> int:
        if header.get("type") == "dir":
            raise reply_error(400, "a folder is changed by PUT and REM")
        key = _key(header)
        self._check_blind(actor, number, key, header)
        live = self._tables.live_version(number, key)
        if live != base:
            raise reply_error(409, f"the entry is at version {live}, not {base}")
        before = self._tables.live_header(number, key) if live else None
        if before is None:
            self._check_new(actor, number, key, header)
        elif before.get("type") in ADMIN_TYPES:
            self._rights.check(actor, number, "admin")
        return self._write(actor, number, key, header, before)

    def _check_blind(self, actor: Actor, number: int, key: str, header: Header) -> None:
        """Who may not read must not learn what is there by what is refused."""
        if "read" not in self._rights.of(actor, number):
            self._check_new(actor, number, key, header)

    def _check_new(self, actor: Actor, number: int, key: str, header: Header) -> None:
        if header.get("type") != TYPE:
            self._rights.check_put(actor, number, key)

    def _write(
        self, actor: Actor, number: int, key: str, header: Header, before: Header | None
    ) -> int:
        kind = header.get("type")
        if kind == "user":
            check_user_name(header.get("name", "nobody") or "")
        if kind == TYPE:
            self._check_rights(actor, number, key, header)
        if kind == STRIBUTION:
            # Its rules act with no more than these rights.
            header = header.replace(INSTALLED_BY, *filter(None, [actor.name]))
        if kind in _TREE_TYPES or (before and before.get("type") in _TREE_TYPES):
            self._tables.changed_tree()
        return self._tables.write(number, key, header)

    def _check_rights(self, actor: Actor, number: int, key: str, header: Header) -> None:
        """Whether an entry can say the rights of a folder."""
        expected = rights_url(self._tables.id_of(number))
        if key != expected:
            raise reply_error(400, f"the rights of this folder have the url {expected}")
        if owner := header.get("owner"):
            check_user_name(owner)
        for value in header.get_all("right"):
            if "connector" in parse_right(value)[0]:
                # An owner who makes a connector could open every content that there is.
                self._rights.check(actor, number, "connector")

    def _receive(self, number: int, header: Header) -> bool:
        """Note a CLASS; False if it is a repeat."""
        key = _key(header)
        now = int(self._clock())
        execute = self._tables.connection.execute
        execute("DELETE FROM receipt WHERE at <= ?", (now - RECEIPTS_KEPT,))
        added = execute("INSERT OR IGNORE INTO receipt VALUES (?, ?, ?)", (number, key, now))
        return added.rowcount == 1

    # -- removing

    def _remove(self, actor: Actor, number: int, pattern: Header) -> int:
        if not pattern.fields:
            raise reply_error(400, "an empty pattern would remove everything")
        # How many were removed tells what their fields hold.
        self._rights.check(actor, number, "read")
        count = after = 0
        while rows := self._tables.page(number, pattern, after):
            after = rows[-1][0]
            for _, data in rows:
                header = Header.parse(data)
                is_guarded = header.get("type") in _GUARDED_TYPES and "type" not in pattern
                if not is_guarded and matches(header, pattern):
                    self._remove_one(actor, number, header)
                    count += 1
        return count

    def _remove_one(self, actor: Actor, number: int, header: Header) -> None:
        key = _key(header)
        kind = header.get("type")
        if kind == "dir":
            self._remove_directory(actor, number, key, header)
            return
        if kind in ADMIN_TYPES:
            self._rights.check(actor, number, "admin")
        if kind in _TREE_TYPES:
            self._tables.changed_tree()
        self._tables.write(number, key, Header([("url", header["url"])]), is_live=False)

    def _remove_directory(self, actor: Actor, number: int, key: str, header: Header) -> None:
        target = self._tables.known_id(header["id"])
        assert target
        if not self._tables.is_only_name(target):
            # Another name may become its home, and so decide about its rights.
            self._rights.check(actor, target, "admin")
        elif self._tables.has_entries(target):
            raise reply_error(409, f"the folder {header['name']!r} is not empty")
        shown = Header([("type", "dir"), ("id", header["id"]), ("name", header["name"])])
        self._tables.write(number, key, shown, is_live=False)
        self._tables.settle_home(target)
        self._tables.changed_tree()

    # -- folders

    def _put_directory(self, actor: Actor, number: int, header: Header) -> int:
        name = check_name(header.get("name", "") or "")
        given = header.get("id")
        if row := self._tables.directory(number, name):
            version, _, identifier = row
            if given in (None, identifier):
                return version
            raise reply_error(409, f"there is another folder {name!r}")
        identifier = given or os.urandom(16).hex()
        if not identifier.isascii() or not identifier.isalnum() or len(identifier) > 64:
            raise reply_error(400, "the id of a folder is 1 to 64 letters and digits")
        if known := self._tables.known_id(identifier):
            # A mount becomes its home when the first name is removed.
            self._rights.check(actor, known, "admin")
            # What others file below may come into it: who puts it there must know the place.
            self._rights.check(actor, number, "read")
        target = known or self._tables.make_id(identifier)
        if self._tables.is_inside(number, target):
            raise reply_error(409, f"a folder cannot be inside of itself: {name!r}")
        kept = header.replace("id", identifier).replace("name", name)
        version = self._tables.write(number, _key(kept), kept, target=target)
        self._tables.settle_home(target)
        self._tables.changed_tree()
        return version


def may_take_long(operation: Operation) -> bool:
    """Whether an operation has to look at every entry of a folder, or runs somebody's rules."""
    is_search = operation.keyword == "REM" and "url" not in operation.header
    return is_search or operation.keyword == "CLASS"


def is_checked_first(operation: Operation) -> bool:
    """Whether an operation is refused, if it is, before it changes anything."""
    kind = operation.header.get("type")
    return operation.keyword in ("PUT", "SET") and kind != "dir" and kind not in ADMIN_TYPES


def _key(header: Header) -> str:
    key = identity(header)
    if key is None:
        raise reply_error(400, "the header has no url")
    return key
