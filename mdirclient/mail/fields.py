"""The fields of a new mail: checked, written, and read again. Pure.

Sources: RFC 5322 §2.2.3 (folding), §3.4 (addresses), §3.6 (fields), RFC 2047, RFC 3490 (IDNA).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from email import header as encoded
from email import policy
from email.errors import ObsoleteHeaderDefect
from email.headerregistry import Address, Group
from email.utils import format_datetime, getaddresses, parsedate_to_datetime
from typing import Final

import attrs

from mdirclient.errors import ComposeError
from mdirclient.header import OWN_FIELDS, Header
from mdirclient.mail.block import RawField, lines_of
from mdirclient.mail.part import ADDRESS_FIELDS
from mdirclient.mail.text import decode_text, unfold

#: Not copied: whom nobody else shall see, what is made anew, what was said on the way, and
#: signatures of another mail.
_LEFT_OUT: Final = frozenset(
    "bcc mime-version date message-id return-path delivered-to x-original-to dkim-signature "
    "domainkey-signature".split()
)
_LEFT_OUT_FAMILIES: Final = ("content-", "resent-", "arc-")
#: RFC 5322 §3.6: these stand once. Of those that name people all are joined.
_ONCE: Final = frozenset("subject in-reply-to references sender".split())
_JOINED: Final = frozenset("from to cc reply-to".split())
_IDS: Final = frozenset("in-reply-to references message-id".split())
_MAX_LINE: Final = 78
#: RFC 5322 §2.1.1: 998, with the name and a blank.
_MAX_WORD: Final = 850
_ENCODED_WORD = re.compile(r"=\?[!->@-~]{1,80}\?[bBqQ]\?[^?]*\?=")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_WORD = re.compile(r" *[^ ]+")
_ATOM = r"[!#$%&'*+\-/=?^_`{|}~0-9A-Za-z]+"
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*"
#: A message-id or Content-ID without its angle brackets (RFC 5322 §3.6.4).
MESSAGE_ID = re.compile(rf"{_DOT_ATOM}@(?:{_DOT_ATOM}|\[[!-Z^-~]*\])")
# Those of other mails are taken as they are, also without their brackets.
_ID = re.compile(r"<([!-;=?-~]{1,900})>")
_BARE_ID = re.compile(r"[!-;=?-~]{1,450}@[!-;=?-~]{1,450}")
# What structures a list of addresses; an escaped character is none.
_MARK = re.compile(r'\\.|["\[\]<>(),:;]', re.DOTALL)
_CLOSING: Final = {'"': '"', "[": "]", "<": ">"}
_PHRASE = re.compile(rf"{_ATOM}(?: {_ATOM})*")
_DOMAIN = re.compile(r"(?!-)[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*|\[[!-Z^-~]+\]")
_TO_QUOTE = re.compile(r'(["\\])')
_CAPITALS: Final = {"id": "ID", "mime": "MIME"}
#: Bounds of what the stdlib reads, whose time and stack grow with them.
_MAX_ADDRESSES: Final = 1 << 18
#: Characters that the stdlib reads at once, and of one address in a longer list: its time grows
#: with the square.
_MAX_WHOLE: Final = 4_000
_MAX_ADDRESS: Final = 500
_MAX_NESTED: Final = 20


@attrs.frozen
class Field:
    """A field on its way into the mail.

    Attributes:
        name: lower-case.
        value: in Unicode on one line; of addresses and ids as it is written.
        pieces: between which it is folded, if it must not be encoded.
    """

    name: str
    value: str
    pieces: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The field, folded, with its line end."""
        name = "-".join(_CAPITALS.get(word) or word.capitalize() for word in self.name.split("-"))
        pieces = self.pieces or tuple(_WORD.findall(f" {self.value}"))
        if not self.pieces and _needs_encoding(self.value):
            text = encoded.Header(self.value, "utf-8", header_name=self.name).encode(linesep="\r\n")
            return f"{name}: {text}\r\n".encode("ascii")
        lines = [f"{name}:"]
        for piece in pieces:
            if len(lines[-1]) + len(piece) > _MAX_LINE and lines[-1][-1] != ":":
                lines.append("")
            lines[-1] += piece
        return "\r\n".join(lines).encode("ascii") + b"\r\n"


def _needs_encoding(value: str) -> bool:
    """Whether a value cannot stand as it is: some fields are no text, so most can."""
    is_long = len(value) > _MAX_WORD and max(map(len, value.split(" "))) > _MAX_WORD
    return is_long or not value.isascii() or bool(_ENCODED_WORD.search(value))


def one_line(value: str) -> str:
    """A value without line ends and other controls."""
    return _CONTROLS.sub(" ", value).strip()


def fields_of(header: Header, date: datetime, message_id: str) -> list[Field]:
    """The fields of a mail, from the header of its first part.

    Raises:
        ComposeError: names the field that is missing or cannot be written.
    """
    values: dict[str, list[str]] = {}
    for name, value in header:
        is_left_out = name in OWN_FIELDS or name in _LEFT_OUT
        if not is_left_out and not name.startswith(_LEFT_OUT_FAMILIES) and one_line(value):
            values.setdefault(name, []).append(one_line(value))
    fields = [field for name, found in values.items() for field in _fields(name, found)]
    _check_authors({field.name: field for field in fields})
    fields.append(Field("date", _date(header.get("date"), date)))
    given = one_line(header.get("message-id") or "").strip("<>")
    is_usable = len(given) <= _MAX_WORD and MESSAGE_ID.fullmatch(given)
    chosen = given if is_usable else message_id
    if len(chosen) > _MAX_WORD or not MESSAGE_ID.fullmatch(chosen):
        raise ComposeError(f"{chosen[:80]!a} is no message-id; it is `unique@domain`")
    fields.append(Field("message-id", f"<{chosen}>", (f" <{chosen}>",)))
    return fields


def _fields(name: str, values: list[str]) -> Iterator[Field]:
    """The fields of one name."""
    if name in ADDRESS_FIELDS:
        joined = [", ".join(values)] if name in _JOINED else values[: 1 if name in _ONCE else None]
        for value in joined:
            pieces = tuple(_address_pieces(name, value))
            yield Field(name, "".join(pieces).strip(), pieces)
    elif name in _IDS:
        if ids := _ID.findall(values[0]) or _BARE_ID.findall(values[0]):
            pieces = tuple(f" <{found}>" for found in ids)
            yield Field(name, "".join(pieces).strip(), pieces)
    else:
        for value in values[: 1 if name in _ONCE else None]:
            # A list's links are not for encoding; a value that is not ASCII has no other form.
            is_literal = name.startswith("list-") and value.isascii()
            yield Field(name, value, tuple(_WORD.findall(f" {value}")) if is_literal else ())


def _check_authors(fields: dict[str, Field]) -> None:
    """RFC 5322 §3.6.2."""
    authors = _addresses_in(fields["from"]) if "from" in fields else []
    if not authors:
        raise ComposeError("it has no field `from`; add the address of its author")
    sender = fields.get("sender")
    if sender and (len(_addresses_in(sender)) != 1 or sender.value.endswith(";")):
        raise ComposeError("field `sender` must be one address")
    if len(authors) > 1 and not sender:
        raise ComposeError("several authors need a field `sender`, the one who sends it")


def _date(given: str | None, date: datetime) -> str:
    try:
        return format_datetime(parsedate_to_datetime(given) if given else date)
    except (ValueError, OverflowError):
        return format_datetime(date)


# -- addresses


def _address_pieces(name: str, text: str) -> Iterator[str]:
    """The addresses of a field, as they are written, each with the blank before it."""
    groups = _parsed(name, text)
    last = len(groups) - 1
    for number, group in enumerate(groups):
        comma = "" if number == last else ","
        addresses = [_mailbox(name, address) for address in group.addresses]
        if group.display_name is None:
            yield f" {addresses[0]}{comma}"
        else:
            members = [f" {address}," for address in addresses[:-1]]
            members += [f" {address}" for address in addresses[-1:]]
            yield f" {_name(group.display_name)}:"
            yield from members[:-1]
            yield f"{''.join(members[-1:])};{comma}"


def _single(name: str, text: str) -> Iterator[str]:
    """The addresses of a long list, one by one, in linear time.

    Raises:
        ComposeError: one is too long, or there are groups.
    """
    start, depth, closing = 0, 0, ""
    for match in _MARK.finditer(text):
        mark, place = match[0], match.start()
        if closing:
            closing = "" if mark == closing else closing
        elif mark in _CLOSING:
            closing = _CLOSING[mark]
        elif mark in "()":
            depth = max(0, depth + (1 if mark == "(" else -1))
        elif mark in ":;" and not depth:
            raise ComposeError(f"field `{name}` has a group in more than {_MAX_WHOLE} characters")
        elif mark == "," and not depth:
            yield from _checked(name, text[start:place])
            start = place + 1
    yield from _checked(name, text[start:])


def _checked(name: str, text: str) -> Iterator[str]:
    if len(text) > _MAX_ADDRESS:
        raise ComposeError(f"field `{name}` has an address of more than {_MAX_ADDRESS} characters")
    if text.strip():
        yield text


def _depth(text: str) -> int:
    """How deep comments may be within each other; quoted text is not looked at."""
    depth = most = 0
    for char in text:
        depth = max(0, depth + {"(": 1, ")": -1}.get(char, 0))
        most = max(most, depth)
    return most


def _parsed(name: str, text: str) -> tuple[Group, ...]:
    """What a field says, or an error: nobody is left out because of a comma that is missing."""
    if len(text) > _MAX_ADDRESSES:
        raise ComposeError(f"field `{name}` is longer than {_MAX_ADDRESSES} characters")
    if len(text) > _MAX_WHOLE:
        return tuple(group for one in _single(name, text) for group in _parsed(name, one))
    if _depth(text) > _MAX_NESTED:
        raise ComposeError(f"field `{name}` has comments within each other")
    try:
        parsed = policy.SMTP.header_factory("to", text)
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ComposeError(f"field `{name}` cannot be read as addresses: {error}") from error
    # RFC 5322 §4: obsolete forms, such as `J. Doe <j@x.org>`, are still to be read.
    if reasons := [d for d in parsed.defects if not isinstance(d, ObsoleteHeaderDefect)]:
        reason = reasons[0]
        raise ComposeError(
            f"field `{name}` cannot be read as addresses without a doubt: {text[:80]!a}: {reason}"
        )
    groups: tuple[Group, ...] = parsed.groups
    return groups


def _mailbox(field: str, address: Address) -> str:
    """One address: `name <local@domain>`."""
    domain = address.domain
    if not domain.isascii():
        domain = _ascii_domain(field, domain)
    local = address.username
    if not local or not local.isascii() or not _DOMAIN.fullmatch(domain):
        raise ComposeError(f"field `{field}`: {str(address)[:80]!a} is no address for every server")
    if not re.fullmatch(_DOT_ATOM, local):
        local = _quoted(local)
    if not address.display_name:
        return f"{local}@{domain}"
    return f"{_name(address.display_name)} <{local}@{domain}>"


def mailboxes(name: str, text: str) -> tuple[str, ...]:
    """The addresses in the value of a field, `local@domain` in ASCII, those of groups too.

    Args:
        name: of the field, for errors.
        text: its value, on one line.

    Raises:
        ComposeError: it cannot be read without a doubt.
    """
    found = [address for group in _parsed(name, text) for address in group.addresses]
    return tuple(_mailbox(name, Address("", one.username, one.domain)) for one in found)


def _ascii_domain(field: str, domain: str) -> str:
    """A domain in ASCII, if there is no doubt which one it is."""
    try:
        found = domain.encode("idna").decode()
        is_same = found.encode().decode("idna") == domain.lower()
    except UnicodeError:
        is_same = False
    if not is_same:
        raise ComposeError(f"field `{field}`: write the domain {domain[:80]!a} in ASCII (xn--…)")
    return found


def _name(name: str) -> str:
    """A display name: as it is, quoted, or in encoded words."""
    name = one_line(name)
    if _needs_encoding(name) or len(name) > _MAX_WORD:
        return encoded.Header(name, "utf-8", maxlinelen=70).encode(linesep="\r\n")
    return name if _PHRASE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    return '"' + _TO_QUOTE.sub(r"\\\1", text) + '"'


def _addresses_in(field: Field) -> list[str]:
    return [address for _, address in getaddresses([unfold(field.value.encode())]) if address]


# -- reading again


def check_fields(head: bytes, fields: list[Field]) -> None:
    """Whether the header of a mail that was written has just these fields, and they say the same.

    Raises:
        ComposeError: it has others.
    """
    found = [
        (field.name, _said(field.name, field.value))
        for field in map(RawField._make, lines_of(b"\n").field.findall(head))
        if field.name != "mime-version" and not field.name.startswith("content-")
    ]
    expected = [
        (field.name, _said(field.name, field.value.encode()) if field.pieces else field.value)
        for field in fields
    ]
    if found != expected:
        names = {name for name, _ in {*found} ^ {*expected}}
        raise ComposeError(f"fields would come out as others: {' '.join(sorted(names))}")


def _said(name: str, raw: bytes) -> str:
    """The value of a field as it is read; ids, addresses and links are not decoded."""
    return unfold(raw) if name in ADDRESS_FIELDS or name in _IDS else decode_text(raw)
