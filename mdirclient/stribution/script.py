"""A script that was compiled, and what it does with a message. Pure.

Sources: RFC 5228, RFC 5229.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import attrs

from mdirclient.errors import ScriptError
from mdirclient.naming import MAX_DEPTH, MAX_NAME
from mdirclient.stribution.item import Item
from mdirclient.stribution.variables import Text

#: What one message may cost: about as many characters are compared at the most.
MAX_WORK: Final = 20_000_000
#: A string that variables make longer is cut.
_MAX_EXPANDED: Final = 1 << 16
#: Places that one script may want a message in.
_MAX_ACTIONS: Final = 32
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/]")


@attrs.frozen
class Target:
    """Where a rule files to.

    Attributes:
        names: of the folders on the way; empty: the folder of the rules itself.
        is_absolute: from the root, else from the folder of the rules.
    """

    names: tuple[str, ...] = ()
    is_absolute: bool = False


@attrs.frozen
class Action:
    """A place where a script wants a message, and why.

    Attributes:
        target: the place.
        because: the commands and tests that led there, with their lines; outermost first.
        line: of the command; None: there is none.
    """

    target: Target
    because: tuple[str, ...]
    line: int | None = None


HERE: Final = Target()


class Run:
    """One message on its way through one script.

    Args:
        item: the message.
        now: with a zone.
        exists: whether there is a folder.
        work: what it may cost, in characters that are compared.
    """

    def __init__(
        self, item: Item, now: datetime, exists: Callable[[Target], bool], work: int
    ) -> None:
        self.item = item
        self.now = now
        self.exists = exists
        self.values: dict[str | int, str] = {}
        self.actions: dict[Target, Action] = {}
        self.is_kept = True
        self.because: list[str] = []
        self.work = work

    def spend(self, work: int) -> None:
        """Count what was compared.

        Raises:
            ScriptError: it is too much.
        """
        self.work -= work
        if self.work < 0:
            raise ScriptError("the rules take too long for this message")

    def expand(self, text: Text) -> str:
        """A string of the script with its variables."""
        if text.fixed is not None:
            return text.fixed
        self.spend(len(text.pieces))
        return self._joined(text.expanded(self.values))

    def target(self, text: Text) -> Target:
        """The folder that a string names: a variable's value is within one name."""
        pieces = text.expanded(self.values)
        self.spend(len(pieces) + sum(len(piece) for piece, _ in pieces))
        is_absolute = not pieces[0][1] and pieces[0][0].startswith("/")
        # What a variable holds is joined to the name that it stands in.
        names = [""]
        variable = {0} if pieces[0][1] else set[int]()
        for piece, is_variable in pieces:
            if is_variable:
                variable.add(len(names) - 1)
                names[-1] += _UNUSABLE.sub("_", piece)
            else:
                first, *others = piece.split("/")
                names[-1] += first
                names += others
        found = [
            _usable(name) if n in variable else name
            for n, name in enumerate(names)
            if name or n in variable
        ]
        if len(found) > MAX_DEPTH:
            raise ScriptError(f"a folder is more than {MAX_DEPTH} levels deep")
        return Target(tuple(found), is_absolute)

    def act(self, target: Target, line: int, source: str, *, is_copy: bool = False) -> None:
        """Want the message somewhere; each place counts once."""
        if len(self.actions) >= _MAX_ACTIONS and target not in self.actions:
            raise ScriptError(f"a message goes to more than {_MAX_ACTIONS} folders", line)
        self.actions.setdefault(
            target, Action(target, (*self.because, f"line {line}: {source}"), line)
        )
        if not is_copy:
            self.is_kept = False

    def _joined(self, pieces: Iterable[tuple[str, bool]]) -> str:
        size = 0
        found = []
        for piece, _ in pieces:
            # Who writes the message must not be able to stop the rules with a long field.
            found.append(piece[: _MAX_EXPANDED - size])
            size += len(found[-1])
        self.spend(size)
        return "".join(found)


def _usable(name: str) -> str:
    """A name that a stranger's text made."""
    cut = name[:MAX_NAME].strip()
    return f"_{cut}" if cut in ("", ".", "..") else cut


#: Does a command; whether the script goes on.
Step = Callable[[Run], bool]


@attrs.frozen
class Script:
    """Rules that are ready to be used. Shared by threads.

    Attributes:
        steps: its commands.
    """

    steps: tuple[Step, ...]

    def evaluate(
        self,
        item: Item,
        *,
        now: datetime,
        exists: Callable[[Target], bool],
        work: int = MAX_WORK,
    ) -> tuple[tuple[Action, ...], int]:
        """Where a message goes, and what of `work` is left. No place: it is dropped.

        Args:
            item: the message.
            now: with a zone.
            exists: whether there is a folder, for `mailboxexists`.
            work: what it may cost, in characters that are compared.

        Raises:
            ScriptError: the script cannot be run; the message is to be kept.
        """
        run = Run(item, now, exists, work)
        for step in self.steps:
            if not step(run):
                break
        actions = tuple(run.actions.values())
        if run.is_kept and HERE not in run.actions:
            actions = (*actions, Action(HERE, ("no rule filed or discarded it",)))
        return actions, run.work
