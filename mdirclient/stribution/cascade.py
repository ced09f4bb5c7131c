"""Where a message ends, through the rules of one folder after another. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

import attrs

from mdirclient.errors import MdirError, ScriptError
from mdirclient.stribution.item import Item
from mdirclient.stribution.script import MAX_WORK, Action, Script, Target

#: Folders that one message comes through at most.
MAX_PLACES: Final = 100

#: What a defect of ours raises; it must not keep a message from being delivered.
_DEFECTS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)

Place = TypeVar("Place", bound=Hashable)


class Places(Protocol[Place]):
    """The folders, for one message. A place is anything that is equal for the same folder."""

    def rules(self, place: Place) -> Script | None:
        """The rules of a folder; None if it has none.

        Raises:
            ScriptError: they cannot be used.
        """

    def find(self, place: Place, target: Target) -> Place:
        """The place that the rules of a folder name; it may not exist yet.

        Raises:
            ScriptError: they may not file there.
        """

    def exists(self, place: Place, target: Target) -> bool:
        """Whether there is such a folder."""


@attrs.frozen
class Filed(Generic[Place]):
    """A place where the message is kept.

    Attributes:
        place: the folder.
        because: why, one line each: from the first rules to the last.
    """

    place: Place
    because: tuple[str, ...]


@attrs.frozen
class Report(Generic[Place]):
    """What went wrong with the rules of a folder.

    Attributes:
        place: the folder whose rules they are.
        line: in these; None: no certain one.
        reason: what and why.
    """

    place: Place
    line: int | None
    reason: str


@attrs.frozen
class Ruled(Generic[Place]):
    """Where a message goes.

    Attributes:
        filed: each place once; empty: it is dropped.
        reports: what went wrong.
    """

    filed: tuple[Filed[Place], ...]
    reports: tuple[Report[Place], ...]


def cascade(places: Places[Place], start: Place, item: Item, *, now: datetime) -> Ruled[Place]:
    """Follow the rules of a folder, and of those that they lead to.

    Each folder counts once. A way that leads back to where it came from ends: the message stays
    in the folder whose rules sent it back, and that is reported. Rules that cannot be used keep
    the message in their folder.

    Args:
        places: the folders.
        start: where the message comes in.
        item: the message.
        now: with a zone.
    """
    run = _Cascade(places, item, now)
    run.visit(start, (), ())
    return Ruled(tuple(run.filed.values()), tuple(run.reports))


class _Cascade(Generic[Place]):
    def __init__(self, places: Places[Place], item: Item, now: datetime) -> None:
        self._places = places
        self._item = item
        self._now = now
        self._work = MAX_WORK
        self._seen: set[Place] = set()
        self.filed: dict[Place, Filed[Place]] = {}
        self.reports: list[Report[Place]] = []

    def visit(self, place: Place, way: tuple[Place, ...], because: tuple[str, ...]) -> None:
        """Bring the message to a folder."""
        self._seen.add(place)
        try:
            script = self._places.rules(place)
            if not script:
                self._keep(place, because)
                return
            actions, self._work = script.evaluate(
                self._item,
                now=self._now,
                exists=lambda target: self._places.exists(place, target),
                work=self._work,
            )
        except ScriptError as error:
            self._fail(place, because, error.line, error.reason)
            return
        except _DEFECTS as error:
            if isinstance(error, MdirError):
                raise
            self._fail(place, because, None, f"a defect of ours: {error!r}")
            return
        for action in actions:
            self._act(place, action, way, because)

    def _fail(self, place: Place, because: tuple[str, ...], line: int | None, reason: str) -> None:
        self._report(place, line, reason)
        self._keep(place, (*because, "its rules have an error"))

    def _act(
        self, place: Place, action: Action, way: tuple[Place, ...], because: tuple[str, ...]
    ) -> None:
        because = (*because, *action.because)
        try:
            target = self._places.find(place, action.target) if action.target.names else place
        except ScriptError as error:
            self._report(place, action.line, error.reason)
            self._keep(place, (*because, error.reason))
            return
        self._follow(place, target, (*way, place), because)

    def _follow(
        self, place: Place, target: Place, way: tuple[Place, ...], because: tuple[str, ...]
    ) -> None:
        if target == place:
            self._keep(place, because)
        elif target in way:
            self._report(place, None, "it files back to where the message came from")
            self._keep(place, (*because, "which is where it came from"))
        elif target not in self._seen:
            if len(self._seen) >= MAX_PLACES:
                self._report(place, None, f"a message goes through more than {MAX_PLACES} folders")
                self._keep(place, (*because, "which would be too many folders"))
                return
            self.visit(target, way, because)

    def _keep(self, place: Place, because: tuple[str, ...]) -> None:
        self.filed.setdefault(place, Filed(place, because))

    def _report(self, place: Place, line: int | None, reason: str) -> None:
        self.reports.append(Report(place, line, reason))
