"""Of what a sender wants to be told: the parameters of RFC 3461, as words and as fields. Pure.

They are asked for at submission, wait with the mail in the outbox, and go on to the smarthost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mdirclient.header import Header

FAILURE: Final = "FAILURE"
SUCCESS: Final = "SUCCESS"
#: Fields of a mail in the outbox; of each recipient there is one.
OF_MAIL: Final = "envelope-options"
OF_RECIPIENT: Final = "recipient-options"
XTEXT: Final = r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*"
_HEX = re.compile(r"\+([0-9A-F]{2})")
_ENVID = re.compile(XTEXT)
_ORCPT = re.compile(rf"[A-Za-z0-9-]{{1,40}};{XTEXT}")
_TIMES: Final = ("SUCCESS", "FAILURE", "DELAY")


def _is_notify(value: str) -> bool:
    words = value.upper().split(",")
    if not value.isascii():  # there are letters whose capitals are ASCII
        return False
    return words == ["NEVER"] or (set(words) <= {*_TIMES} and len(set(words)) == len(words))


#: Parameters of MAIL and of RCPT, and whether a value is one of theirs (RFC 3461 §4).
MAIL_PARAMETERS: Final[Mapping[str, Callable[[str], bool]]] = {
    "RET": lambda value: value.isascii() and value.upper() in ("FULL", "HDRS"),
    "ENVID": lambda value: 0 < len(value) <= 100 and bool(_ENVID.fullmatch(value)),
}
RCPT_PARAMETERS: Final[Mapping[str, Callable[[str], bool]]] = {
    "NOTIFY": _is_notify,
    "ORCPT": lambda value: len(value) <= 500 and bool(_ORCPT.fullmatch(value)),
}

Words = tuple[str, ...]


def words_of(given: Mapping[str, str | None], known: Iterable[str]) -> Words:
    """The parameters of RFC 3461 among others, as words `NAME=value`."""
    return tuple(f"{name}={given[name]}" for name in known if name in given)


def value_of(words: Iterable[str], name: str) -> str | None:
    """The value of a parameter among words, or None."""
    found = (word.partition("=") for word in words)
    return next((value for key, _, value in found if key == name), None)


def is_wanted(words: Iterable[str], when: str) -> bool:
    """Whether a sender wants to be told of a recipient's failure or success (§4.1)."""
    notify = value_of(words, "NOTIFY")
    return when == FAILURE if notify is None else when in notify.upper().split(",")


def decode_xtext(text: str) -> str:
    """What xtext says (§4), on one line."""
    decoded = _HEX.sub(lambda match: chr(int(match[1], 16)), text)
    return "".join(char if char.isprintable() else "?" for char in decoded)


def read_mail(header: Header) -> Words:
    """The words of a mail in the outbox; what is none of them is not read."""
    return _checked((header.get(OF_MAIL) or "").split(), MAIL_PARAMETERS)


def read_recipients(header: Header) -> dict[str, Words]:
    """Recipient → its words, of a mail in the outbox."""
    found: dict[str, Words] = {}
    for value in header.get_all(OF_RECIPIENT):
        recipient, _, words = value.rpartition("> ")
        if recipient.startswith("<"):
            found[recipient[1:]] = _checked(words.split(), RCPT_PARAMETERS)
    return found


def write_recipient(recipient: str, words: Words) -> str:
    """The field of a recipient."""
    return f"<{recipient}> {' '.join(words)}"


def _checked(words: Iterable[str], known: Mapping[str, Callable[[str], bool]]) -> Words:
    """A user may write these fields by hand: they become words of our SMTP."""
    pairs = [word.partition("=") for word in words]
    found = {name: value for name, _, value in pairs if name in known and known[name](value)}
    return tuple(f"{name}={value}" for name, value in found.items())
