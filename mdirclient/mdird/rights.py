"""Who may do what (docs: explanation/rights). Reads the database of an mdird only.

An entry `type: rights` in a folder says its owner and its rights::

    url: mdir:rights@<id of the folder>.invalid/1
    type: rights
    owner: jojo
    right: read,write anna
    right: none bob
    right: read *

The first match decides; where none does, the folder above is asked (that in which it was made),
and so on up to the root. There the fields `right` of the user's own entry count. Who is not named
has no right. `*` is everybody but the owners of the folder and of those above.
"""

from __future__ import annotations

from typing import Final

import attrs

from mdirclient.errors import PermanentReplyError, reply_error
from mdirclient.header import Header
from mdirclient.mdird.schema import ROOT
from mdirclient.mdird.tables import Tables
from mdirclient.url import DEFAULT_BASE, PartURL

#: What each right includes. The owner of a folder has `admin` in it. `connector` is for
#: programs that bring in contents of others: only it may name every url.
RIGHTS: Final = {
    "none": frozenset[str](),
    "read": frozenset(["read"]),
    "write": frozenset(["write"]),
    "admin": frozenset(["read", "write", "admin"]),
    "connector": frozenset(["read", "write", "connector"]),
}
EVERYBODY: Final = "*"
#: Fields of a user's entry that are for admins and connectors only.
SECRET_FIELDS: Final = ("password-hash", "token-hash")
#: The type of the entry that says the rights in its folder.
TYPE: Final = "rights"
#: The type of the entry whose content is the rules of its folder.
STRIBUTION: Final = "stribution"
#: In such an entry: the user who put it there, written by mdird.
INSTALLED_BY: Final = "installed-by"
#: Entries that give rights, or act with those of others: rules run with the owner's.
ADMIN_TYPES: Final = frozenset([TYPE, STRIBUTION, "user"])
_NONE: Final = RIGHTS["none"]
_ALL: Final = RIGHTS["admin"] | RIGHTS["connector"]
_MAX_REMEMBERED: Final = 100_000


@attrs.frozen
class Actor:
    """Who asks.

    Attributes:
        name: of a user; None: the administrator, who could open the database itself.
    """

    name: str | None = None


ADMINISTRATOR: Final = Actor()


def check_user_name(name: str) -> str:
    """The name of a user: 1 to 255 printable characters, no colon, no blanks at its ends.

    Raises:
        PermanentReplyError: 400.
    """
    is_usable = 0 < len(name) < 256 and name.isprintable() and name == name.strip()
    if not is_usable or ":" in name or name == EVERYBODY:
        raise reply_error(
            400, f"{name[:80]!a} cannot name a user: 1 to 255 printable characters without a colon"
        )
    return name


def parse_right(value: str) -> tuple[frozenset[str], str]:
    """What a field `right` gives, and whom.

    Raises:
        PermanentReplyError: 400.
    """
    words, _, who = value.partition(" ")
    given = words.split(",")
    if not who.strip() or not all(word in RIGHTS for word in given):
        raise reply_error(
            400,
            f"right: {value[:80]!a} must be like `read,write anna`; there are {', '.join(RIGHTS)}",
        )
    return frozenset[str]().union(*(RIGHTS[word] for word in given)), who.strip()


def rights_url(folder_id: str) -> str:
    """The url of the entry that says the rights in a folder; it has no content."""
    return f"{DEFAULT_BASE}rights@{folder_id}.invalid/1"


class Rights:
    """The rights in one mdird.

    Args:
        tables: its tables.
        users: path of the folder with an entry for each user.
        base: of the urls of its own store.
    """

    def __init__(self, tables: Tables, users: str, base: str) -> None:
        self._tables = tables
        self._users = users
        self._base = base
        self._generation = -1
        self._remembered: dict[tuple[str, int], frozenset[str]] = {}

    def of(self, actor: Actor, number: int) -> frozenset[str]:
        """What somebody may do in a folder."""
        if actor.name is None:
            return _ALL
        if self._generation != self._tables.generation or len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
            self._generation = self._tables.generation
        key = (actor.name, number)
        if key not in self._remembered:
            self._remembered[key] = self._found(actor.name, number)
        return self._remembered[key]

    def check(self, actor: Actor, number: int, *wanted: str) -> None:
        """Raises PermanentReplyError, 403, where a right is missing."""
        if not self.of(actor, number).issuperset(wanted):
            # One text for all: which right is missing tells what is there.
            raise reply_error(403, f"{actor.name} has no right to do this here")

    def folder(self, actor: Actor, path: str) -> int:
        """The number of a folder.

        Raises:
            NotFoundReplyError: there is none, and who asks may know that.
            PermanentReplyError: 403, there is none, and that is not their business.
        """
        try:
            return self._tables.folder(path)
        except PermanentReplyError:
            for number in self._tables.walk(path)[-2:-1]:
                self.check(actor, number, "read")
            raise

    def owner(self, number: int) -> str | None:
        """Who owns a folder: it says so, or the next one above that does; None: nobody."""
        folder: int | None = number
        while folder is not None:
            header = self._tables.newest(folder, TYPE)
            if header and (owner := header.get("owner")):
                return owner
            folder = self._tables.parent(folder)
        return None

    def user(self, name: str) -> Header | None:
        """The entry of a user."""
        try:
            number = self._tables.folder(self._users)
        except PermanentReplyError:
            return None  # there is no folder of users: there are none
        rows = self._tables.page(number, Header([("type", "user"), ("name", name)]))
        return Header.parse(rows[-1][1]) if rows else None

    # -- urls

    def check_put(self, actor: Actor, number: int, key: str) -> None:
        """A header must not open a stranger's content: urls can be guessed.

        Args:
            actor: who makes an entry.
            number: the folder.
            key: the canonical url.

        Raises:
            PermanentReplyError: 403.
        """
        if "connector" in self.of(actor, number):
            return
        url = PartURL.parse(key)
        if url.base != self._base:
            return
        if not self.may_open(actor, url):
            raise reply_error(
                403, f"{actor.name} may not read {url}, so no entry can be made of it"
            )

    def may_open(self, actor: Actor, url: PartURL, parts: int | None = None) -> bool:
        """Whether somebody may read a content: an entry with its url, or they uploaded it.

        Args:
            actor: who asks.
            url: of the content.
            parts: how many the message has; with it the right to every part opens part 0.
        """
        if actor.name is None or self._has_uploaded(actor, url) or self._may_read(actor, url):
            return True
        if url.part or not parts:
            return False
        numbers = range(1, parts + 1)
        return all(self._may_read(actor, attrs.evolve(url, part=part)) for part in numbers)

    def _may_read(self, actor: Actor, url: PartURL) -> bool:
        rows = self._tables.connection.execute(
            "SELECT folder FROM entry WHERE identity = ? AND is_live", (str(url),)
        )
        return any("read" in self.of(actor, number) for (number,) in rows.fetchall())

    def _has_uploaded(self, actor: Actor, url: PartURL) -> bool:
        row = self._tables.connection.execute(
            "SELECT 1 FROM upload WHERE anchor = ? AND user = ?", (str(url.anchor), actor.name)
        ).fetchone()
        return row is not None

    # -- what is shown

    def shown(self, actor: Actor, number: int, header: Header) -> Header:
        """A header as somebody may see it: without the secrets of users."""
        if header.get("type") != "user" or self.of(actor, number) & {"admin", "connector"}:
            return header
        fields = [field for field in header if field[0] not in SECRET_FIELDS]
        return Header(fields)

    def _found(self, name: str, number: int) -> frozenset[str]:
        user = self.user(name)
        if not user:
            return _NONE
        everybody: frozenset[str] | None = None  # what `*` gives, unless they own a folder above
        while True:
            header = self._tables.newest(number, TYPE)
            if header:
                if header.get("owner") == name:
                    return RIGHTS["admin"]
                rules = [parse_right(value) for value in header.get_all("right")]
                matched = next((rule for rule in rules if rule[1] in (name, EVERYBODY)), None)
                if matched and everybody is None:
                    if matched[1] != EVERYBODY:
                        return matched[0]
                    everybody = matched[0]
            if number == ROOT:
                break
            parent = self._tables.parent(number)
            if parent is None:
                return _NONE  # it has no name any more
            number = parent
        if everybody is not None:
            return everybody
        given = (RIGHTS.get(word, _NONE) for v in user.get_all("right") for word in v.split(","))
        return _NONE.union(*given)
