"""Files a message by the rules of folders. Changes the mdir, inside of somebody's transaction.

Rules act with the rights of the owner of their folder, and never with more than those of who
installed them: who may change a folder could name another owner.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Protocol

import attrs

from mdirclient.errors import MdirError, ScriptError
from mdirclient.header import Header
from mdirclient.interfaces import Mstore
from mdirclient.mdird.rights import INSTALLED_BY, STRIBUTION, Actor, Rights
from mdirclient.mdird.schema import ROOT
from mdirclient.mdird.tables import Tables
from mdirclient.naming import MAX_DEPTH
from mdirclient.stribution import Item, Report, Script, Target, cascade, compile_script
from mdirclient.stribution.grammar import MAX_BYTES
from mdirclient.url import DEFAULT_BASE

#: The type of an entry that says what is wrong with the rules of its folder.
REPORT: Final = "report"
#: Bytes of scripts that are remembered compiled; each takes some eighty times that.
_MAX_COMPILED: Final = 1 << 20
#: Bytes of scripts that are compiled for one message.
_MAX_COMPILED_AT_ONCE: Final = 256 << 10
_MAX_REASON: Final = 1000


class Change(Protocol):
    """What filing does to the mdir."""

    def make(self, number: int, name: str) -> int:
        """The folder of this name in a folder, made if it is missing."""

    def put(self, number: int, header: Header) -> None:
        """Put an entry where it is not yet."""


@attrs.frozen
class _Place:
    """A folder that is there, and the names below it that are not."""

    number: int
    missing: tuple[str, ...] = ()


class Filing:
    """Files messages.

    Args:
        tables: of the mdird.
        rights: in it.
        store: where the scripts are.
        clock: seconds since 1970.
    """

    def __init__(
        self, tables: Tables, rights: Rights, store: Mstore, clock: Callable[[], float]
    ) -> None:
        self._tables = tables
        self._rights = rights
        self._store = store
        self._clock = clock
        # A content never changes.
        self._scripts: dict[str, Script | ScriptError] = {}
        self._size = 0

    def file(self, number: int, header: Header, change: Change) -> None:
        """Put an entry where the rules of a folder, and of those they lead to, want it.

        What is wrong with rules is noted beside them, once for each line of a script.
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        places = _Places(self, self._tables, self._rights)
        ruled = cascade(places, _Place(number), Item(header), now=now)
        for filed in ruled.filed:
            folder = filed.place.number
            for name in filed.place.missing:
                folder = change.make(folder, name)
            change.put(folder, header)
        for report in ruled.reports:
            change.put(report.place.number, self._noted(report, header))

    def script(self, url: str) -> tuple[Script, int]:
        """The rules with a url, and the bytes that had to be compiled for it.

        Raises:
            ScriptError: they cannot be used.
        """
        cost = 0
        if url not in self._scripts:
            content = self._content(url)
            cost = len(content)
            self._size += cost
            if self._size > _MAX_COMPILED:
                self._scripts.clear()
                self._size = cost
            try:
                self._scripts[url] = compile_script(content)
            except ScriptError as error:
                self._scripts[url] = error
        found = self._scripts[url]
        if isinstance(found, ScriptError):
            raise found.with_traceback(None)
        return found, cost

    def _content(self, url: str) -> bytes:
        try:
            with self._store.open(url) as file:
                return file.read(MAX_BYTES + 1)
        except (MdirError, OSError) as error:
            raise ScriptError(f"the rules cannot be read: {error}") from error

    def _noted(self, report: Report[_Place], header: Header) -> Header:
        """The entry that says what is wrong: one for each line of a script."""
        entry = self._tables.newest(report.place.number, STRIBUTION)
        script = entry["url"] if entry else ""
        what = sha256(f"{script} {report.line}".encode()).hexdigest()[:32]
        folder = self._tables.id_of(report.place.number)
        line = [("line", str(report.line))] if report.line else []
        return Header(
            [
                ("url", f"{DEFAULT_BASE}{what}@{folder}.invalid/1"),
                ("type", REPORT),
                ("script", script),
                *line,
                ("reason", report.reason[:_MAX_REASON]),
                ("message", header["url"]),
            ]
        )


class _Places:
    """The folders, as the rules of one message see them. What was looked up is remembered."""

    def __init__(self, filing: Filing, tables: Tables, rights: Rights) -> None:
        self._filing = filing
        self._tables = tables
        self._rights = rights
        self._compiled = 0
        self._actors: dict[int, tuple[Actor, ...]] = {}
        self._folders: dict[tuple[int, str], int] = {}

    def rules(self, place: _Place) -> Script | None:
        """See `Places.rules`."""
        entry = None if place.missing else self._tables.newest(place.number, STRIBUTION)
        if not entry:
            return None
        if self._compiled > _MAX_COMPILED_AT_ONCE:
            raise ScriptError("the rules on the way are too long together")
        script, cost = self._filing.script(entry["url"])
        self._compiled += cost
        return script

    def find(self, place: _Place, target: Target) -> _Place:
        """See `Places.find`."""
        found = self._walk(place, target)
        if found.missing and self._depth(found.number) + len(found.missing) > MAX_DEPTH:
            raise ScriptError(f"a folder would be more than {MAX_DEPTH} levels deep")
        for actor in self._actors_of(place.number):
            if "write" not in self._rights.of(actor, found.number):
                path = "/" * target.is_absolute + "/".join(target.names)
                raise ScriptError(f"{actor.name} may not file into {path[:200]!r}")
        return found

    def exists(self, place: _Place, target: Target) -> bool:
        """See `Places.exists`."""
        found = self._walk(place, target)
        return not found.missing and all(
            "read" in self._rights.of(actor, found.number)
            for actor in self._actors_of(place.number)
        )

    def _walk(self, place: _Place, target: Target) -> _Place:
        number = ROOT if target.is_absolute else place.number
        for depth, name in enumerate(target.names):
            key = (number, name)
            if key not in self._folders:
                row = self._tables.directory(number, name)
                self._folders[key] = row[1] if row else 0
            if not self._folders[key]:
                return _Place(number, target.names[depth:])
            number = self._folders[key]
        return _Place(number)

    def _depth(self, number: int) -> int:
        depth = 0
        above = self._tables.parent(number)
        while above is not None:
            depth += 1
            above = self._tables.parent(above)
        return depth

    def _actors_of(self, number: int) -> tuple[Actor, ...]:
        """Whose rights the rules of a folder need, all of them."""
        if number not in self._actors:
            entry = self._tables.newest(number, STRIBUTION)
            installed_by = entry.get(INSTALLED_BY) if entry else None
            names = {self._rights.owner(number), installed_by}
            self._actors[number] = tuple(Actor(name) for name in names if name is not None)
        return self._actors[number]
