"""What a subscription yields: Patch, Now, End (docs: formats/patch). Pure."""

from __future__ import annotations

from typing import Literal

import attrs

from mdirclient.header import Header

Action = Literal["+", "-"]


@attrs.frozen
class Patch:
    """One versioned change of a folder.

    Attributes:
        folder: the name that was subscribed to.
        old_version: the version before, as the subscriber has it.
        new_version: the version after; greater, but not always by one.
        action: `+`: the header is an entry from now on (in the place of one with the same
            identity); `-`: no longer.
        header: the whole header, or with `-` its url or id and name only.
    """

    folder: str
    old_version: int
    new_version: int
    action: Action
    header: Header


@attrs.frozen
class Now:
    """Everything up to `version` was sent."""

    folder: str
    version: int


@attrs.frozen
class End:
    """The subscription is closed. `status` as in HTTP."""

    folder: str
    status: int
    text: str
