"""The `.meta/.journal` file: a change of a folder that is being applied. Pure.

It is a header for the whole change and one for each step, with empty lines between
(docs: formats/folder). It is written whole before the first name appears and removed when
the last step is durable, so it is there only while a change is under way or was cut.
"""

from __future__ import annotations

import re
from typing import Final, Literal, cast, get_args

import attrs

from mdirclient.errors import HeaderError, JournalError
from mdirclient.folder.origin import Origin
from mdirclient.header import Header

FORMAT: Final = "1"

Action = Literal["add", "replace", "claim", "remove", "rename", "pend", "unpend", "keep"]

#: What `keep` may move: files of the folder's own, in these places.
_KEPT = re.compile(r"\.version|\.meta/(?:\.pending/|\.stage/)?[^/\0]+")


@attrs.frozen
class Step:
    """One step; doing it again, or after half of it, has the same result.

    Attributes:
        action: what to do.
        name: of the entry (of the pending entry, with `pend` and `unpend`; with `keep`, the
            path in the folder of what goes to `.lost+found`).
        staged: with `add`, `replace`, `claim` and `pend`, the name in `.stage`: the header's has
            `.header` appended.
        has_content: with `replace`, whether the content is replaced too.
        new_name: with `rename`; with `keep`, the name in `.lost+found`; with `replace`, the name
            that a file gets which is the user's (empty: one in `.lost+found`).
        stamp: with `replace` and `remove`, what the physical file looked like
            (see `apply.stamp_of`); one that looks different is the user's and is kept.
            Empty: the content stays whatever it is.
        url: of the entry, with `remove` and `rename`.
    """

    action: Action
    name: str
    staged: str = ""
    has_content: bool = False
    new_name: str = ""
    stamp: str = ""
    url: str = ""

    def to_header(self) -> Header:
        """The step's fields; those at their default are left out."""
        return Header(
            [("action", self.action), ("name", self.name)]
            + [("staged", self.staged)] * bool(self.staged)
            + [("has-content", "yes")] * self.has_content
            + [("new-name", self.new_name)] * bool(self.new_name)
            + [("stamp", self.stamp)] * bool(self.stamp)
            + [("url", self.url)] * bool(self.url)
        )

    @classmethod
    def from_header(cls, header: Header) -> Step:
        """Read the fields.

        Raises:
            HeaderError: an unknown action, or a name that leads elsewhere.
        """
        action = header.get("action")
        if action not in get_args(Action):
            raise HeaderError(f"action {action!r} is unknown")
        step = cls(
            cast("Action", action),
            header.get("name") or "",
            header.get("staged") or "",
            "has-content" in header,
            header.get("new-name") or "",
            header.get("stamp") or "",
            header.get("url") or "",
        )
        # The folder may come from a stranger, with a journal that was never ours.
        is_plain = bool(_KEPT.fullmatch(step.name)) if action == "keep" else _is_plain(step.name)
        others = [name for name in (step.staged, step.new_name) if name]
        if not is_plain or not all(map(_is_plain, others)):
            raise HeaderError(f"the names of a step to {action} {step.name!a} lead elsewhere")
        return step


def _is_plain(name: str) -> bool:
    """Whether this names a file in one directory, and none of the folder's own."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name


@attrs.frozen
class Journal:
    """A whole change.

    Attributes:
        steps: in order.
        version: what `.version` becomes after the steps, or None.
        version_before: only if `.version` still holds this: else a person corrected it.
        origin: what `.origin` becomes, or None.
    """

    steps: tuple[Step, ...]
    version: int | None = None
    version_before: int = 0
    origin: Origin | None = None

    def to_bytes(self) -> bytes:
        """The file."""
        head = [("journal", FORMAT), ("steps", str(len(self.steps)))]
        if self.version is not None:
            head += [("version", str(self.version)), ("version-before", str(self.version_before))]
        if self.origin:
            head += list(self.origin.to_header())
        return b"\n".join(
            [Header(head).to_bytes(), *(step.to_header().to_bytes() for step in self.steps)]
        )

    @classmethod
    def parse(cls, data: bytes, *, path: str) -> Journal:
        """Read the file.

        Raises:
            JournalError: it is not one of ours, or damaged.
        """
        try:
            head, *steps = (Header.parse(block) for block in data.split(b"\n\n"))
            if head.get("journal") != FORMAT:
                raise JournalError(path, f"journal format {head.get('journal')!r}, not {FORMAT}")
            journal = cls(
                tuple(Step.from_header(header) for header in steps if header),
                int(head["version"]) if "version" in head else None,
                int(head.get("version-before") or 0),
                Origin.from_header(head, source=path) if "epoch" in head else None,
            )
            expected = int(head["steps"])
        except (HeaderError, KeyError, ValueError) as error:
            raise JournalError(path, f"it cannot be read: {error}") from error
        if len(journal.steps) != expected:
            raise JournalError(path, f"{len(journal.steps)} of {expected} steps")
        return journal
