"""Commands: their order, their arguments, and the replies to those that are wrong. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Final

import attrs

from mdirclient.smtp.engine import reply as replies
from mdirclient.smtp.engine.events import Forwarded, Profile, RcptTo, Transaction
from mdirclient.smtp.engine.path import PathError, parse_path
from mdirclient.smtp.engine.reply import Reply
from mdirclient.smtp.wishes import MAIL_PARAMETERS, RCPT_PARAMETERS, XTEXT, words_of

#: Octets of a command line. RFC 5321 §4.5.3.1.4 allows 512, and extensions more.
MAX_LINE: Final = 4_096
_MAX_HELO: Final = 255


class State(Enum):
    """How far a mail is."""

    START = "nobody said EHLO"
    READY = "no mail on its way"
    MAIL = "a sender"
    RCPT = "a sender and recipients"


#: Verb → the reply in each state in which it may not be said (RFC 5321 §4.1.4).
_ANYWHERE: Final[Mapping[State, Reply]] = {}
_BETWEEN_MAILS: Final = {
    State.START: replies.NEEDS_HELLO,
    State.MAIL: replies.IN_TRANSACTION,
    State.RCPT: replies.IN_TRANSACTION,
}
ORDER: Final[Mapping[str, Mapping[State, Reply]]] = {
    "HELO": _ANYWHERE,
    "EHLO": _ANYWHERE,
    "LHLO": _ANYWHERE,
    "NOOP": _ANYWHERE,
    "RSET": _ANYWHERE,
    "QUIT": _ANYWHERE,
    "HELP": _ANYWHERE,
    "VRFY": _ANYWHERE,
    "MAIL": _BETWEEN_MAILS,
    "RCPT": {State.START: replies.NEEDS_HELLO, State.READY: replies.NEEDS_MAIL},
    "DATA": {
        State.START: replies.NEEDS_HELLO,
        State.READY: replies.NEEDS_MAIL,
        State.MAIL: replies.NEEDS_RECIPIENT,
    },
    "STARTTLS": _BETWEEN_MAILS,
    "AUTH": _BETWEEN_MAILS,
    "XFORWARD": _BETWEEN_MAILS,
}
#: Commands without arguments.
_BARE: Final = frozenset(["DATA", "RSET", "STARTTLS", "QUIT"])
_KNOWN: Final = frozenset(["EXPN", "BDAT", "TURN", "ETRN", "SEND", "SOML", "SAML"])
#: A browser or a proxy that was led here: whatever follows is not meant for us.
_FOREIGN: Final = frozenset(["GET", "POST", "PUT", "CONNECT", "OPTIONS", "HEAD"])
_COMMAND = re.compile(r"([A-Za-z]+)(?: +(.*))?", re.DOTALL)
_SIZE = re.compile(r"[0-9]{1,20}")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_XTEXT = re.compile(XTEXT)


def _holds(check: Callable[[str], bool], value: str | None) -> bool:
    return value is not None and check(value)


_Parameters = Mapping[str, Callable[[str | None], bool]]
#: Parameters of MAIL, and whether a value is one of theirs.
_MAIL_PARAMETERS: Final[_Parameters] = {
    "SIZE": lambda value: value is not None and bool(_SIZE.fullmatch(value)),
    "BODY": lambda value: (value or "").upper() in ("7BIT", "8BITMIME"),
    "SMTPUTF8": lambda value: value is None,
    "AUTH": lambda value: value is not None and bool(_XTEXT.fullmatch(value)),
    "XEXACT": lambda value: value is None,
}
#: The same of those that users may say (RFC 3461), and of RCPT.
_OF_USERS: Final[_Parameters] = {
    **_MAIL_PARAMETERS,
    **{name: partial(_holds, check) for name, check in MAIL_PARAMETERS.items()},
}
_RCPT_OF_USERS: Final[_Parameters] = {
    name: partial(_holds, check) for name, check in RCPT_PARAMETERS.items()
}
_NONE: Final[_Parameters] = {}
#: Attributes of XFORWARD → field of `Forwarded`, or None for what is not kept.
FORWARDED: Final[Mapping[str, str | None]] = {
    "NAME": "name",
    "ADDR": "address",
    "PORT": None,
    "PROTO": None,
    "HELO": "helo",
    "IDENT": None,
    "SOURCE": None,
}
_NOT_KNOWN: Final = frozenset(["[UNAVAILABLE]", "[TEMPUNAVAIL]"])
_MAX_FORWARDED: Final = 255


def parse_command(line: str) -> tuple[str, str] | Reply:
    """The verb, in upper case, and what follows it; or why it is refused."""
    match = _COMMAND.fullmatch(line)
    verb = match[1].upper() if match else ""
    if verb in _FOREIGN:
        return replies.NOT_SMTP
    if verb in _KNOWN:
        return replies.NOT_IMPLEMENTED
    if not match or verb not in ORDER:
        return replies.UNKNOWN_COMMAND
    argument = (match[2] or "").strip(" ")
    return replies.BAD_SYNTAX if argument and verb in _BARE else (verb, argument)


def parse_hello(argument: str) -> str | Reply:
    """What a client calls itself, as it can be kept and shown."""
    if not argument or len(argument) > _MAX_HELO:
        return replies.BAD_SYNTAX
    return _shown(argument)


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() and char != " " else "?" for char in text)


def parse_forward(argument: str, known: Forwarded) -> Forwarded | Reply:
    """What follows XFORWARD: attributes in xtext, added to those that are known."""
    found: dict[str, str | None] = {}
    for word in argument.split():
        name, _, raw = word.partition("=")
        if name.upper() not in FORWARDED or not _XTEXT.fullmatch(raw):
            return replies.BAD_SYNTAX
        text = _HEX.sub(lambda match: chr(int(match[1], 16)), raw)
        value = None if text in _NOT_KNOWN else text.encode("latin-1").decode("utf-8", "replace")
        if field := FORWARDED[name.upper()]:
            found[field] = value and _shown(value[:_MAX_FORWARDED])
    if address := found.get("address"):
        bare = address[5:] if address[:5].upper() == "IPV6:" else address
        try:
            found["address"] = str(ipaddress.ip_address(bare))
        except ValueError:
            return replies.BAD_SYNTAX
    return attrs.evolve(known, **found) if argument else replies.BAD_SYNTAX


def parse_mail(argument: str, profile: Profile, *, is_trusted: bool) -> Transaction | Reply:
    """What follows MAIL: the sender and the parameters."""
    if argument[:5].upper() != "FROM:":
        return replies.BAD_SYNTAX
    try:
        path, words = parse_path(argument[5:], is_reverse=True)
    except PathError:
        return replies.BAD_SENDER
    given = _parameters(words, _OF_USERS if profile.is_submission else _MAIL_PARAMETERS)
    is_refused = {"AUTH": not profile.is_submission, "XEXACT": not is_trusted}
    if given is None or any(is_refused.get(name) for name in given):
        return replies.BAD_PARAMETER
    is_utf8, size = "SMTPUTF8" in given, int(given.get("SIZE") or 0)
    if not path.is_ascii and not is_utf8:
        return replies.NEEDS_SMTPUTF8
    if size > profile.max_size:
        return replies.TOO_LARGE
    options = words_of(given, MAIL_PARAMETERS)
    return Transaction(path, (), is_utf8, size, "XEXACT" in given, options)


def parse_rcpt(argument: str, transaction: Transaction, profile: Profile) -> RcptTo | Reply:
    """What follows RCPT: a recipient, unless the mail has enough of them."""
    if argument[:3].upper() != "TO:":
        return replies.BAD_SYNTAX
    try:
        path, words = parse_path(argument[3:], is_reverse=False)
    except PathError:
        return replies.BAD_RECIPIENT
    given = _parameters(words, _RCPT_OF_USERS if profile.is_submission else _NONE)
    if given is None:
        return replies.BAD_PARAMETER
    if not path.is_ascii and not transaction.is_utf8:
        return replies.NEEDS_SMTPUTF8
    if len(transaction.forward_paths) >= profile.max_recipients:
        return replies.TOO_MANY_RECIPIENTS
    return RcptTo(path, words_of(given, RCPT_PARAMETERS))


def _parameters(words: str, known: _Parameters) -> dict[str, str | None] | None:
    """`NAME=value` or `NAME`, by spaces; None if one is unknown, wrong, or comes twice."""
    given: dict[str, str | None] = {}
    for word in words.split():
        name, equals, value = word.partition("=")
        is_known = known.get(name.upper())
        if not is_known or not is_known(value if equals else None) or name.upper() in given:
            return None
        given[name.upper()] = value if equals else None
    return given
