"""The mechanisms of AUTH: PLAIN (RFC 4616), LOGIN and EXTERNAL (RFC 4422 appendix A). Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import attrs

#: Octets of a line of AUTH (RFC 4954 §4.3).
MAX_AUTH_LINE: Final = 12_288
MECHANISMS: Final = ("PLAIN", "LOGIN", "EXTERNAL")
_PROMPTS: Final = ("VXNlcm5hbWU6", "UGFzc3dvcmQ6")  # `Username:` and `Password:`


class SASLError(Exception):
    """Not what the mechanism expects."""


@attrs.frozen
class Credentials:
    """What a client says who it is.

    Attributes:
        mechanism: `PLAIN`, `LOGIN` or `EXTERNAL`.
        user: name; empty with EXTERNAL where the certificate decides.
        password: empty with EXTERNAL.
    """

    mechanism: str
    user: str
    password: str = attrs.field(repr=False)


class Exchange:
    """One AUTH, from its command to the credentials.

    Args:
        mechanism: one of `MECHANISMS`.
    """

    __slots__ = ("_given", "_mechanism")

    def __init__(self, mechanism: str) -> None:
        self._mechanism = mechanism
        self._given: list[str] = []

    @property
    def challenge(self) -> str:
        """What to ask next, in base64."""
        return _PROMPTS[len(self._given)] if self._mechanism == "LOGIN" else ""

    def take(self, line: str) -> Credentials | None:
        """Take an answer (or what came with the command); None: ask the next.

        Raises:
            SASLError: it is not base64, or not what the mechanism expects.
        """
        self._given.append(_decoded(line))
        if self._mechanism == "LOGIN" and len(self._given) == 1:
            return None
        given = tuple(self._given)
        if self._mechanism == "PLAIN":
            return _plain(given[0])
        if self._mechanism == "EXTERNAL":
            return Credentials("EXTERNAL", given[0], "")
        return Credentials("LOGIN", *given)


def _plain(message: str) -> Credentials:
    words = message.split("\0")
    # To act for somebody else (the first word) is nobody's right here.
    if len(words) != 3 or not words[1] or words[0] not in ("", words[1]):
        raise SASLError
    return Credentials("PLAIN", words[1], words[2])


def _decoded(line: str) -> str:
    if line == "=":  # an empty one with the command (RFC 4954 §4)
        return ""
    try:
        return base64.b64decode(line, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise SASLError from error
