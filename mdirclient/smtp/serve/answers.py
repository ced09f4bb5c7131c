"""What the server answers, and what the engine cannot know. Pure.

Codes: RFC 5321 §4.2, RFC 3463, RFC 5248. None tells how the server works inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mdirclient.errors import EmptyMessageError, MdirError
from mdirclient.smtp.engine import reply as replies
from mdirclient.smtp.engine.reply import Reply


def _reply(code: int, enhanced: str, text: str) -> Reply:
    return Reply(code, enhanced, (text,))


#: The mdird is away, the list of accounts is old, the disk is full, the store failed.
TRY_AGAIN: Final = _reply(451, "4.3.0", "Cannot do this now; try again later")
STOPPING: Final = _reply(421, "4.3.2", "This server is stopping; try again")
TOO_MANY: Final = _reply(421, "4.7.0", "Too many connections; try again later")
TOO_SLOW: Final = _reply(421, "4.4.2", "Too slow")
TOO_EARLY: Final = _reply(554, "5.5.0", "Wait for the greeting; closing")
DEFECT: Final = _reply(421, "4.3.0", "Cannot go on; try again later")
NO_ACCOUNT: Final = _reply(550, "5.1.1", "There is no such account")
NOT_OURS: Final = _reply(550, "5.7.1", "This domain is not served here")
NO_RELAY: Final = _reply(550, "5.7.1", "This server does not relay")
NO_UTF8_RELAY: Final = _reply(550, "5.6.7", "This address cannot be relayed to")
NOT_YOURS: Final = _reply(550, "5.7.1", "This address is not yours")
UNSENDABLE: Final = _reply(553, "5.1.3", "This address cannot be relayed to")
BARE_CR: Final = _reply(554, "5.6.0", "A field has a bare CR")
NO_AUTHOR: Final = _reply(554, "5.6.0", "The field From cannot be used")
LOOPS: Final = _reply(554, "5.4.6", "Too many hops")
OVER_QUOTA: Final = _reply(450, "4.7.1", "Too many recipients in an hour; try again later")
GREYLISTED: Final = _reply(450, "4.2.0", "Greylisted; try again later")
BLOCKED: Final = _reply(450, "4.7.0", "Not now; try again later")
EMPTY: Final = _reply(554, "5.6.0", "The mail is empty")
BAD_CREDENTIALS: Final = _reply(535, "5.7.8", "The user or the password is wrong")
AUTH_BUSY: Final = _reply(454, "4.7.0", "Too many are trying; try again")


class RefusedError(MdirError):
    """A mail that is not taken for what it says."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def of_outcomes(outcomes: Sequence[Exception | None]) -> list[Reply]:
    """The reply for each outcome of a mail: never 5xx for what is our fault."""
    return [_of_outcome(one) for one in outcomes]


def _of_outcome(outcome: Exception | None) -> Reply:
    if outcome is None:
        return replies.TAKEN
    if isinstance(outcome, RefusedError):
        return outcome.reply
    return EMPTY if isinstance(outcome, EmptyMessageError) else TRY_AGAIN
