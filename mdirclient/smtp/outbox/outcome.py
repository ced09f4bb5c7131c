"""How an attempt to send a mail ended, for the whole and for single recipients. Pure."""

from __future__ import annotations

import attrs


@attrs.frozen
class Refused:
    """A recipient that was not taken.

    Attributes:
        recipient: the forward path.
        status: enhanced status code: `4…` try again, `5…` never (RFC 3463).
        reason: what was said.
    """

    recipient: str
    status: str
    reason: str

    @property
    def is_permanent(self) -> bool:
        """Whether the same again will not help."""
        return self.status.startswith("5")


@attrs.frozen
class Outcome:
    """How an attempt ended.

    Attributes:
        status: enhanced status code: `2…` sent, `4…` try again, `5…` never.
        reason: what was said.
        refused: recipients of which something else was said than of the whole.
        relayed: recipients of which the sender wants to be told, and that were taken by a host
            which will not.
    """

    status: str
    reason: str = ""
    refused: tuple[Refused, ...] = ()
    relayed: tuple[str, ...] = ()

    @property
    def is_sent(self) -> bool:
        """Whether the mail is on its way, to all that were not refused."""
        return self.status.startswith("2")

    @property
    def is_permanent(self) -> bool:
        """Whether the same again will not help."""
        return self.status.startswith("5")
