"""What a batch asks of a folder. Pure."""

from __future__ import annotations

import attrs

from mdirclient.header import Header
from mdirclient.url import PartURL


@attrs.frozen
class Add:
    """A staged entry."""

    header: Header
    staged: str


@attrs.frozen
class Replace:
    """A staged header, and content if `has_content`, for an entry that is there.

    Attributes:
        instead_of: the entry in whose place it comes, if it has another url.
        conflict: what a file that was changed by hand is called by; empty: it goes to
            `.lost+found`.
    """

    header: Header
    staged: str
    has_content: bool
    instead_of: PartURL | None = None
    conflict: str = ""


@attrs.frozen
class Claim:
    """A staged header for a file of the user's, in the place of none or of `instead_of`'s.

    Attributes:
        is_needed: without it the whole batch is nothing.
    """

    name: str
    staged: str
    instead_of: PartURL | None = None
    is_needed: bool = False


@attrs.frozen
class Remove:
    """An entry to remove.

    Attributes:
        keep_modified: a content that was changed by hand stays.
        keep_file: the content stays whatever it is.
    """

    keep_modified: bool
    keep_file: bool = False


@attrs.frozen
class Rename:
    """An entry to rename."""

    name: str


@attrs.frozen
class Pend:
    """A staged header whose content could not be had."""

    staged: str


Request = Add | Replace | Claim | Remove | Rename | Pend
