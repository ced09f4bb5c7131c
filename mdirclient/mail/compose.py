"""Compose a new mail of parts, as an outbox has them. Pure: the clock is an argument.

The stdlib's `email` writes it. Its values are checked before, and what it wrote after: the mail
has the fields and the parts that were asked for, and no others.

Sources: RFC 5322 §3.6 (fields), RFC 2046 §5 (structure), RFC 2047, RFC 2231, RFC 5321 §4.5.3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from email import policy
from email.headerregistry import Address, Group
from email.message import EmailMessage, MIMEPart
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final

import attrs

from mdirclient.errors import ComposeError
from mdirclient.header import OWN_FIELDS, Header
from mdirclient.mail.charset import decode_strictly
from mdirclient.mail.limits import Limits
from mdirclient.mail.parameters import parse_parameters
from mdirclient.mail.part import ADDRESS_FIELDS
from mdirclient.mail.split import MailBegin, PartBegin, Splitter
from mdirclient.mail.text import parse_media_type
from mdirclient.url import is_usable_message_id

#: Header fields in encoded words, everything else in 7 bits: any server can pass it on.
_POLICY: Final = policy.SMTP.clone(cte_type="7bit", raise_on_defect=False)
#: Not copied: whom nobody else shall see, what is made anew, and what was said on the way.
_LEFT_OUT: Final = frozenset(
    "bcc resent-bcc mime-version date message-id return-path delivered-to x-original-to".split()
)
#: RFC 5322 §3.6: these stand once.
_ONCE: Final = frozenset("from sender reply-to to cc subject in-reply-to references".split())
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ENCODED_WORD = re.compile(r"=(?=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=)")
_LONG_LINE = re.compile(rb"[^\n]{999}")
_SENDABLE = re.compile(
    rb"(?:[\x01-\x09\x0b\x0c\x0e-\x7f]{0,998}\r\n)*[\x01-\x09\x0b\x0c\x0e-\x7f]{0,998}"
)
_TOKEN = re.compile(r"[!#$&+\-.0-9A-Z^_`a-z{|}~]{1,60}")
_CAPITALS: Final = {"id": "ID", "mime": "MIME", "dkim": "DKIM", "list": "List"}
_RFC822: Final = "message/rfc822"


@attrs.frozen
class _Piece:
    """A part on its way into the mail."""

    media_type: str
    parameters: dict[str, str]
    disposition: str
    name: str | None
    content_id: str | None
    content: bytes

    @property
    def is_text(self) -> bool:
        return self.media_type in ("text/plain", "text/html") and not self.is_attached

    def is_shown_in(self, html: _Piece) -> bool:
        """Whether a text refers to this part (RFC 2392)."""
        return bool(self.content_id) and f"cid:{self.content_id}".encode() in html.content

    def text(self) -> str | None:
        """What a text says, if its charset can be made UTF-8 without a loss."""
        if not self.is_text:
            return None
        return decode_strictly(self.content, self.parameters.get("charset", "utf-8"))

    @property
    def is_attached(self) -> bool:
        return self.disposition == "attachment" or (
            self.name is not None and self.disposition != "inline"
        )


def compose(parts: Iterable[tuple[Header, bytes]], *, date: datetime, message_id: str) -> bytes:
    """Compose a mail.

    A text and the HTML that follows it are alternatives; what the HTML shows by its Content-ID
    goes with it; everything else is attached under its suggested name. Bcc is left out: whom a
    mail goes to is told by its envelope.

    Args:
        parts: header and content of each, the content with its own line ends. The header of the
            first gives the fields of the mail (`from`, `to`, `subject`, …); of each count
            `content-type`, `content-disposition`, `content-id` and `suggested-name`.
        date: with a time zone, for a mail without a usable `date`.
        message_id: without angle brackets, for a mail without a usable `message-id`.

    Returns:
        The mail: CRLF, 7 bits, lines of at most 998 bytes; 8 bits only if a forwarded mail that
        is attached has them.

    Raises:
        ComposeError: no part, no `from`, or an address that cannot be written.
    """
    pairs = list(parts)
    if not pairs:
        raise ComposeError("it has no part")
    fields = _fields(pairs[0][0], date, message_id)
    pieces = [_piece(header, content) for header, content in pairs]
    message = EmailMessage(_POLICY)
    try:
        for name, value in fields:
            message[_spelt(name)] = value
        _fill(message, _structure(pieces), _Boundaries(pieces))
        data = message.as_bytes()
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ComposeError(f"it cannot be written: {error}") from error
    _check(data, [name for name, _ in fields], len(pieces))
    return data


# -- fields


def _fields(
    header: Header, date: datetime, message_id: str
) -> list[tuple[str, str | Sequence[Address | Group]]]:
    fields: list[tuple[str, str | Sequence[Address | Group]]] = []
    seen: set[str] = set()
    for name, value in header:
        if name in OWN_FIELDS or name in _LEFT_OUT or name.startswith("content-"):
            continue
        if name in seen & _ONCE:
            continue
        text = _one_line(value)
        if not text:
            continue
        seen.add(name)
        fields.append((name, _addresses(name, text) if name in ADDRESS_FIELDS else text))
    if "from" not in seen:
        raise ComposeError("it has no field `from`; add the address of its author")
    given = _one_line(header.get("message-id") or "").strip("<>")
    fields.append(("date", _date(header.get("date"), date)))
    fields.append(("message-id", f"<{given if is_usable_message_id(given) else message_id}>"))
    return fields


def _one_line(value: str) -> str:
    """A value without line ends and other controls, and nothing that is read as encoded."""
    return _ENCODED_WORD.sub("= ", _CONTROLS.sub(" ", value)).strip()


def _addresses(name: str, text: str) -> tuple[Address | Group, ...]:
    """The addresses of a field, domains in ASCII (RFC 5890)."""
    try:
        parsed = _POLICY.header_factory(name, text)
        groups = [
            Group(group.display_name, tuple(map(_sendable, group.addresses)))
            for group in parsed.groups
        ]
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ComposeError(f"field `{name}`: {error}") from error
    if not any(group.addresses for group in groups):
        raise ComposeError(f"field `{name}` has no address: {text[:80]!a}")
    return tuple(group.addresses[0] if group.display_name is None else group for group in groups)


def _sendable(address: Address) -> Address:
    if not address.domain or not address.username.isascii():
        raise ComposeError(f"{str(address)[:80]!a} is no address that any server takes")
    domain = address.domain
    if not domain.isascii():
        domain = domain.encode("idna").decode()
    return Address(address.display_name, address.username, domain)


def _date(given: str | None, date: datetime) -> str:
    try:
        return format_datetime(parsedate_to_datetime(given) if given else date)
    except ValueError:
        return format_datetime(date)


def _spelt(name: str) -> str:
    """The usual capitals of a field's name."""
    return "-".join(_CAPITALS.get(word) or word.capitalize() for word in name.split("-"))


# -- parts


def _piece(header: Header, content: bytes) -> _Piece:
    """What a header says of its part."""
    raw, raw_disposition, suggested, content_id = (
        header.get(name) or ""
        for name in ("content-type", "content-disposition", "suggested-name", "content-id")
    )
    media_type = parse_media_type(raw.encode())
    parameters = parse_parameters(raw.encode()).parameters
    disposition = parse_parameters(raw_disposition.encode()).value
    name = _one_line(suggested)
    if media_type.startswith(("multipart/", "message/")):
        canonical = re.sub(rb"\r?\n", b"\r\n", content)
        if media_type == _RFC822 and _SENDABLE.fullmatch(canonical):
            content = canonical
        else:
            # RFC 2046 §5.2.1: it must not be encoded; so it travels as a file.
            media_type, parameters, disposition = "application/octet-stream", {}, "attachment"
    content_id = _one_line(content_id).strip("<>")
    parameters = {
        key: _one_line(value)
        for key, value in parameters.items()
        if key not in ("name", "boundary") and _TOKEN.fullmatch(key)
    }
    return _Piece(media_type, parameters, disposition, name or None, content_id or None, content)


Node = _Piece | tuple[str, list["Node"]]


def _structure(pieces: list[_Piece]) -> Node:
    """How the parts are arranged: a part, or the kind of a multipart and what is in it."""
    rest = list(pieces)
    bodies: list[Node] = []
    if rest[0].is_text and rest[0].media_type == "text/plain":
        bodies.append(rest.pop(0))
    if rest and rest[0].is_text and rest[0].media_type == "text/html":
        html = rest.pop(0)
        shown = [piece for piece in rest if piece.is_shown_in(html)]
        rest = [piece for piece in rest if piece not in shown]
        bodies.append(("related", [html, *shown]) if shown else html)
    body: list[Node] = [("alternative", bodies)] if len(bodies) > 1 else bodies
    nodes = [*body, *rest]
    return nodes[0] if len(nodes) == 1 else ("mixed", nodes)


def _fill(message: MIMEPart, node: Node, boundaries: _Boundaries) -> None:
    """Make a message out of a part or of several."""
    if isinstance(node, _Piece):
        _fill_leaf(message, node)
        return
    kind, nodes = node
    message["Content-Type"] = f'multipart/{kind}; boundary="{boundaries.next()}"'
    if isinstance(message, EmailMessage):
        message["MIME-Version"] = "1.0"
    for child in nodes:
        part = MIMEPart(_POLICY)
        _fill(part, child, boundaries)
        message.attach(part)


def _fill_leaf(message: MIMEPart, piece: _Piece) -> None:
    disposition = "attachment" if piece.is_attached else piece.disposition or None
    options: dict[str, Any] = {
        "disposition": disposition or ("inline" if piece.name else None),
        "filename": piece.name,
        "cid": f"<{piece.content_id}>" if piece.content_id else None,
    }
    if piece.media_type == _RFC822:
        message["Content-Type"] = _RFC822
        message["Content-Disposition"] = disposition or "attachment"
        if piece.name:
            message.set_param("filename", piece.name, header="Content-Disposition")
        message.set_payload(piece.content.decode("ascii"))
        if isinstance(message, EmailMessage):
            message["MIME-Version"] = "1.0"
        return
    main, _, kind = piece.media_type.partition("/")
    text = piece.text()
    if text is not None:
        message.set_content(text, subtype=kind, charset="utf-8", **options)
    else:
        message.set_content(
            piece.content, maintype=main, subtype=kind, params=piece.parameters, **options
        )


class _Boundaries:
    """Boundaries that are in no part: they are made of a digest of all contents."""

    def __init__(self, pieces: Iterable[_Piece]) -> None:
        self._digest = hashlib.sha256()
        for piece in pieces:
            self._digest.update(piece.content)

    def next(self) -> str:
        """Another one. Quoted-printable and base64 have no line that begins with it."""
        self._digest.update(b".")
        return f"=_{self._digest.hexdigest()[:32]}"


def _check(data: bytes, names: list[str], parts: int) -> None:
    """Whether a mail has the fields and the number of parts that it should."""
    splitter = Splitter(Limits(parts=parts + 1))
    events = splitter.feed(data) + splitter.close()
    found = [
        field.name
        for event in events
        if isinstance(event, MailBegin)
        for field in event.block.fields
    ]
    fields = [name for name in found if name != "mime-version" and not name.startswith("content-")]
    if fields != names or parts != sum(isinstance(event, PartBegin) for event in events):
        raise ComposeError("its fields or parts would come out as others")
    if _LONG_LINE.search(data):
        raise ComposeError("a line of more than 998 bytes; write shorter words")
