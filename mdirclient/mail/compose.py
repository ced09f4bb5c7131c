"""Compose a new mail of parts, as an outbox has them. Pure: clock and id are arguments.

The stdlib's `email` encodes the parts. The fields of the mail and the multiparts around the parts
are written here, because the stdlib folds a long quoted name without its quotes and a long
message-id into encoded words (docs: decisions/0010). What was written is read again before it is
given out.

Sources: RFC 5322 §3.6 (fields), RFC 2045 and 2046 (parts), RFC 2047, RFC 2231, RFC 2387.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from email import policy
from email.message import MIMEPart
from typing import Any, Final
from urllib.parse import unquote

import attrs

from mdirclient.errors import ComposeError
from mdirclient.header import Header
from mdirclient.mail.charset import decode_strictly
from mdirclient.mail.events import PartBegin
from mdirclient.mail.fields import MESSAGE_ID, Field, check_fields, fields_of, one_line
from mdirclient.mail.limits import Limits
from mdirclient.mail.parameters import parse_parameters
from mdirclient.mail.split import Splitter
from mdirclient.mail.text import parse_media_type

_POLICY: Final = policy.SMTP.clone(cte_type="7bit")
_RFC822: Final = "message/rfc822"
#: What is shown as one body if it stands at the beginning; the last is the richest.
_ALTERNATIVES: Final = ("text/plain", "text/html", "text/calendar")
_CANONICAL = re.compile(rb"\r?\n")
# RFC 5322 §2.1.1. A NUL or a CR alone would not come through (RFC 5321 §4.5.2).
_UNSENDABLE = re.compile(rb"[^\r\n]{999}|\x00|\r(?!\n)")
_TOKEN = re.compile(r"[!#$&+\-.0-9A-Z^_`a-z{|}~]{1,60}")
_CID = re.compile(r"""cid:([^"'\s<>)]+)""", re.IGNORECASE)


def compose(parts: Iterable[tuple[Header, bytes]], *, date: datetime, message_id: str) -> bytes:
    """Compose a mail.

    A text, its HTML and an invitation at the beginning are alternatives; what the HTML shows by
    its Content-ID goes with it; everything else is attached under its suggested name. Bcc, trace
    and signatures are left out: whom a mail goes to is told by its envelope.

    Args:
        parts: header and content of each, the content with its own line ends. The header of the
            first gives the fields of the mail (`from`, `to`, `subject`, …); of each count
            `content-type`, `content-disposition`, `content-id`, `content-description` and
            `suggested-name`.
        date: with a time zone, for a mail without a usable `date`.
        message_id: without angle brackets, for a mail without a usable `message-id`.

    Returns:
        The mail: CRLF, lines of at most 998 bytes, 7 bits; 8 bits only if a forwarded mail that
        is attached has them.

    Raises:
        ComposeError: no part, no `from`, or a field that cannot be written; it names the field.
    """
    pairs = list(parts)
    if not pairs:
        raise ComposeError("it has no part")
    fields = fields_of(pairs[0][0], date, message_id)
    pieces = [_piece(header, content) for header, content in pairs]
    body = _written(_structure(pieces), _Boundaries(pieces))
    head = b"".join(field.to_bytes() for field in fields)
    data = head + b"MIME-Version: 1.0\r\n" + body
    _check(data, fields, len(pieces))
    return data


@attrs.frozen
class _Piece:
    """A part on its way into the mail."""

    media_type: str
    parameters: dict[str, str]
    disposition: str
    name: str | None
    content_id: str | None
    description: str
    content: bytes

    @property
    def is_attached(self) -> bool:
        """Whether it is shown as a file."""
        is_named = self.name is not None and self.disposition != "inline"
        return self.disposition not in ("", "inline") or is_named

    @property
    def is_8bit(self) -> bool:
        """Whether it cannot travel in 7 bits."""
        return self.media_type == _RFC822 and not self.content.isascii()

    def text(self) -> str | None:
        """What a text says, if it can be sent as UTF-8."""
        charset = self.parameters.get("charset", "utf-8").lower()
        is_text = self.media_type in _ALTERNATIVES and not self.is_attached
        # HTML says its charset inside too.
        is_utf8 = charset in ("utf-8", "us-ascii")
        if not is_text or (self.media_type != "text/plain" and not is_utf8):
            return None
        return decode_strictly(self.content, charset)

    def shows(self) -> set[str]:
        """The Content-IDs to which HTML refers (RFC 2392)."""
        text = decode_strictly(self.content, self.parameters.get("charset", "utf-8")) or ""
        return {unquote(found) for found in _CID.findall(text)}


def _piece(header: Header, content: bytes) -> _Piece:
    """What a header says of its part."""
    raw, raw_disposition, suggested, content_id, description = (
        header.get(f"{name}") or ""
        for name in (
            "content-type",
            "content-disposition",
            "suggested-name",
            "content-id",
            "content-description",
        )
    )
    media_type = parse_media_type(raw.encode())
    parameters = parse_parameters(raw.encode()).parameters
    disposition = parse_parameters(raw_disposition.encode())
    named = suggested or disposition.parameters.get("filename") or parameters.get("name") or ""
    name = one_line(named) or None
    if media_type.startswith(("multipart/", "message/")):
        canonical = _CANONICAL.sub(b"\r\n", content)
        if media_type == _RFC822 and not _UNSENDABLE.search(canonical):
            content = canonical
        else:
            # RFC 2046 §5.2.1: it must not be encoded; so it travels as a file.
            name = name or ("forwarded.eml" if media_type == _RFC822 else None)
            media_type, parameters = "application/octet-stream", {}
    content_id = content_id.strip().strip("<>")
    return _Piece(
        media_type,
        {
            key: one_line(value)
            for key, value in parameters.items()
            if key not in ("name", "boundary") and _TOKEN.fullmatch(key)
        },
        # RFC 2183 §2.8: what is unknown is an attachment.
        disposition.value if disposition.value in ("", "inline") else "attachment",
        name,
        content_id if MESSAGE_ID.fullmatch(content_id) else None,
        one_line(description),
        content,
    )


Node = _Piece | tuple[str, list["Node"]]


def _structure(pieces: list[_Piece]) -> Node:
    """How the parts are arranged: a part, or the kind of a multipart and what is in it."""
    bodies: dict[str, Node] = {}
    rest = list(pieces)
    while (
        rest
        and rest[0].media_type in _ALTERNATIVES
        and rest[0].media_type not in bodies
        and not rest[0].is_attached
    ):
        body = rest.pop(0)
        bodies[body.media_type] = body
    html = bodies.get("text/html")
    if isinstance(html, _Piece) and (shown := html.shows()):
        pictures = [p for p in rest if p.content_id in shown and p.disposition != "attachment"]
        rest = [piece for piece in rest if piece not in pictures]
        if pictures:
            bodies["text/html"] = ("related", [html, *pictures])
    ordered = [bodies[media_type] for media_type in _ALTERNATIVES if media_type in bodies]
    nodes = [*([("alternative", ordered)] if len(ordered) > 1 else ordered), *rest]
    return nodes[0] if len(nodes) == 1 else ("mixed", nodes)


def _written(node: Node, boundaries: _Boundaries) -> bytes:
    """A part or a multipart, from its header on."""
    if isinstance(node, _Piece):
        try:
            return _leaf(node)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            # What the stdlib raises is no contract.
            raise ComposeError(f"a part of {node.media_type} cannot be written: {error}") from error
    kind, nodes = node
    boundary = boundaries.next()
    # RFC 2387 §3.1
    root = '; type="text/html"' if kind == "related" else ""
    head = f'Content-Type: multipart/{kind}{root};\r\n boundary="{boundary}"\r\n'
    if _is_8bit(node):
        head += "Content-Transfer-Encoding: 8bit\r\n"
    delimiter = f"--{boundary}\r\n".encode()
    inner = b"\r\n".join(delimiter + _written(child, boundaries) for child in nodes)
    return head.encode() + b"\r\n" + inner + f"\r\n--{boundary}--\r\n".encode()


def _is_8bit(node: Node) -> bool:
    return node.is_8bit if isinstance(node, _Piece) else any(map(_is_8bit, node[1]))


def _leaf(piece: _Piece) -> bytes:
    part = MIMEPart(_POLICY)
    disposition = "attachment" if piece.is_attached else piece.disposition or None
    options: dict[str, Any] = {
        "disposition": disposition or ("inline" if piece.name else None),
        "filename": piece.name,
    }
    main, _, kind = piece.media_type.partition("/")
    text = piece.text()
    others = {key: value for key, value in piece.parameters.items() if key != "charset"}
    described = b""
    if piece.content_id:
        described = f"Content-ID: <{piece.content_id}>\r\n".encode()
    if piece.description:
        described += Field("content-description", piece.description).to_bytes()
    if piece.media_type == _RFC822:
        options["disposition"] = disposition or "attachment"
        part.set_content(b"", maintype="application", subtype="x", cte="8bit", **options)
        part.replace_header("Content-Type", _RFC822)
        part.replace_header("Content-Transfer-Encoding", "8bit" if piece.is_8bit else "7bit")
        return described + part.as_bytes() + piece.content
    if text is not None:
        # RFC 2045 §2.7: no NUL but in base64.
        encoding = "base64" if "\0" in text else None
        part.set_content(
            text, subtype=kind, charset="utf-8", cte=encoding, params=others, **options
        )
    else:
        part.set_content(
            piece.content, maintype=main, subtype=kind, params=piece.parameters, **options
        )
    return described + part.as_bytes()


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


def _check(data: bytes, fields: list[Field], parts: int) -> None:
    """Whether a mail has just the fields and the number of parts that it should."""
    check_fields(data[: data.find(b"\r\n\r\n") + 2], fields)
    splitter = Splitter(Limits(parts=parts + 1))
    events = splitter.feed(data) + splitter.close()
    if parts != sum(isinstance(event, PartBegin) for event in events):
        raise ComposeError("its parts would come out as others")
    if found := _UNSENDABLE.search(data):
        raise ComposeError(f"a line cannot be sent: {found[0][:60]!a}; write shorter words")
