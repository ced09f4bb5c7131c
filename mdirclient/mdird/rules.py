"""The rules of a folder, for who is connected to an mdird: read, installed, tried."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import attrs

from mdirclient.errors import MdirError, NotFoundReplyError, PermanentReplyError, ScriptError
from mdirclient.header import Header
from mdirclient.interfaces import Mdird
from mdirclient.mdird.filing import REPORT
from mdirclient.mdird.rights import STRIBUTION
from mdirclient.mdird.tree import folder_id
from mdirclient.naming import MAX_DEPTH, split_path
from mdirclient.stribution import Item, Ruled, Script, Target, cascade, compile_script
from mdirclient.stribution.grammar import MAX_BYTES

#: RFC 5228 §6.
MEDIA_TYPE: Final = "application/sieve"
_NAME: Final = "rules.sieve"


@attrs.frozen
class Destination:
    """A folder in which a message would end.

    Attributes:
        folder: its path from the root.
        because: the rules that lead there, one line each.
    """

    folder: str
    because: tuple[str, ...]


@attrs.frozen
class Trial:
    """What the rules would do with a message.

    Attributes:
        destinations: each folder once; empty: it would be dropped.
        problems: what is wrong with rules on the way.
    """

    destinations: tuple[Destination, ...]
    problems: tuple[str, ...]


def read_rules(mdird: Mdird, folder: str) -> bytes | None:
    """The rules of a folder, as they were installed; None if it has none.

    Raises:
        NotFoundReplyError: there is no such folder.
        StoreError: they cannot be read.
    """
    entries = list(mdird.lookup(folder, Header([("type", STRIBUTION)])))
    if not entries:
        return None
    with mdird.store.open(entries[-1]["url"]) as file:
        return file.read(MAX_BYTES + 1)


def read_reports(mdird: Mdird, folder: str) -> tuple[Header, ...]:
    """What went wrong with the rules of a folder: `reason`, `message`, and perhaps `line`."""
    return tuple(mdird.lookup(folder, Header([("type", REPORT)])))


def install_rules(mdird: Mdird, folder: str, script: bytes) -> None:
    """Give a folder these rules and no others; durable on return. Reports of others go.

    Raises:
        ScriptError: they do not compile; nothing was changed.
        NotFoundReplyError: there is no such folder.
        PermanentReplyError: 403, that is for those who have the right `admin` in it.
    """
    compile_script(script)
    split_path(folder)
    folder_id(mdird, folder)  # before anything is stored
    stored = mdird.store.add_file(script, media_type=MEDIA_TYPE, suggested_name=_NAME)
    (header,) = stored.headers()
    with mdird.batch() as batch:
        _remove(batch, folder)
        batch.put(folder, Header([*header, ("type", STRIBUTION)]))


def remove_rules(mdird: Mdird, folder: str) -> None:
    """Take the rules of a folder away: what comes stays there. Durable on return.

    Raises:
        NotFoundReplyError: there is no such folder.
        PermanentReplyError: 403, that is for those who have the right `admin` in it.
    """
    with mdird.batch() as batch:
        _remove(batch, folder)


def _remove(mdird: Mdird, folder: str) -> None:
    for kind in (STRIBUTION, REPORT):
        mdird.remove(folder, Header([("type", kind)]))


def try_rules(
    mdird: Mdird, folder: str, header: Header, *, now: datetime, script: bytes | None = None
) -> Trial:
    """Where the rules of a folder would file a message, and why. Changes nothing.

    Folders that may not be read here are taken to have no rules, and rights are not looked at: a
    place where the owner of the rules may not file keeps the message in their folder instead.

    Args:
        mdird: where the folders are.
        folder: where the message comes in.
        header: of the message.
        now: with a zone.
        script: rules to try in the place of those of the folder.

    Raises:
        ScriptError: `script` does not compile.
        NotFoundReplyError: there is no such folder.
    """
    start = _Place(split_path(folder), folder_id(mdird, folder))
    places = _Places(mdird, {start: compile_script(script)} if script is not None else {})
    ruled: Ruled[_Place] = cascade(places, start, Item(header), now=now)
    return Trial(
        tuple(Destination("/".join(filed.place.path), filed.because) for filed in ruled.filed),
        tuple(
            f"rules of {'/'.join(report.place.path) or '/'}"
            f"{f', line {report.line}' if report.line else ''}: {report.reason}"
            for report in ruled.reports
        ),
    )


@attrs.frozen
class _Place:
    """A folder by its path; the same one is known by what identifies it."""

    path: tuple[str, ...] = attrs.field(eq=False)
    identity: str


class _Places:
    """The folders of an mdird, as far as they may be read."""

    def __init__(self, mdird: Mdird, scripts: dict[_Place, Script]) -> None:
        self._mdird = mdird
        self._scripts: dict[_Place, Script | None] = dict(scripts)
        self._found: dict[tuple[str, ...], _Place] = {}

    def rules(self, place: _Place) -> Script | None:
        """See `Places.rules`."""
        if place not in self._scripts:
            self._scripts[place] = self._read(place)
        return self._scripts[place]

    def find(self, place: _Place, target: Target) -> _Place:
        """See `Places.find`."""
        path = target.names if target.is_absolute else (*place.path, *target.names)
        if len(path) > MAX_DEPTH:
            raise ScriptError(f"a folder would be more than {MAX_DEPTH} levels deep")
        return self._place(path)

    def exists(self, place: _Place, target: Target) -> bool:
        """See `Places.exists`."""
        return " " not in self.find(place, target).identity

    def _place(self, path: tuple[str, ...]) -> _Place:
        """The folder of a path; one that is missing is known by the one above and its name."""
        if path not in self._found:
            name = "/".join(path)
            try:
                identity = folder_id(self._mdird, name)
            except NotFoundReplyError:
                identity = f"{self._place(path[:-1]).identity} / {path[-1]}"
            except PermanentReplyError:
                identity = f"hidden {name}"
            self._found[path] = _Place(path, identity)
        return self._found[path]

    def _read(self, place: _Place) -> Script | None:
        if " " in place.identity:
            return None
        try:
            script = read_rules(self._mdird, "/".join(place.path))
        except PermanentReplyError:
            return None
        except (MdirError, OSError) as error:
            raise ScriptError(f"the rules cannot be read: {error}") from error
        return None if script is None else compile_script(script)
