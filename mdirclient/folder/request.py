"""What a batch asks of a folder. Pure."""

from __future__ import annotations

import attrs

from mdirclient.header import Header


@attrs.frozen
class Add:
    """A staged entry."""

    header: Header
    staged: str


@attrs.frozen
class Replace:
    """A staged header, and content if `has_content`, for an entry that is there."""

    header: Header
    staged: str
    has_content: bool


@attrs.frozen
class Remove:
    """An entry to remove; with `keep_modified` a content that was changed by hand stays."""

    keep_modified: bool


@attrs.frozen
class Rename:
    """An entry to rename."""

    name: str


@attrs.frozen
class Pend:
    """A staged header whose content could not be had."""

    staged: str


Request = Add | Replace | Remove | Rename | Pend
