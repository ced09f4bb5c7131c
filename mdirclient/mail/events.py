"""What a splitter tells of a mail, in the order of its bytes. Pure."""

from __future__ import annotations

import attrs

from mdirclient.mail.block import Block


@attrs.frozen
class Leaf:
    """A part without parts.

    Attributes:
        block: its header block (of the mail itself if that is not a multipart).
        section: IMAP part specifier (RFC 3501 §6.4.5).
        within: media types of the enclosing multiparts, outermost first.
        media_type: lower-case.
        encoding: Content-Transfer-Encoding, lower-case.
    """

    block: Block
    section: str
    within: tuple[str, ...]
    media_type: str
    encoding: str


@attrs.frozen
class MailBegin:
    """The mail's own header block was read. Comes once, before any part."""

    block: Block


@attrs.frozen
class Between:
    """Bytes that are in no part: header blocks, delimiters, preambles, epilogues."""

    data: bytes


@attrs.frozen
class PartBegin:
    """A leaf part begins."""

    leaf: Leaf


@attrs.frozen
class PartContent:
    """Bytes of the part that began last, before its transfer encoding is undone."""

    data: bytes


@attrs.frozen
class PartEnd:
    """The part is whole."""


@attrs.frozen
class PartVoid:
    """What began as a part was a long preamble: it is none, its bytes are between parts."""


@attrs.frozen
class OverLimit:
    """The mail is to be kept whole: what was found counts no more, and only `Between` follows.

    Attributes:
        limit: which one, in words.
    """

    limit: str


Event = MailBegin | Between | PartBegin | PartContent | PartEnd | PartVoid | OverLimit
