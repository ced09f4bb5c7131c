"""What a mail may have. Pure."""

from __future__ import annotations

import attrs


@attrs.frozen
class Limits:
    """Limits of taking a mail apart (docs: formats/mail).

    A mail over `parts`, `depth`, `boundary` or `header_bytes` is kept whole, as one part
    `message/rfc822`, and says so in `kept-whole`. What is over `field_bytes` or `fields_bytes` is
    cut, and named in `truncated`. Nothing is ever refused for being odd.

    Attributes:
        parts: leaf parts of a mail.
        depth: multiparts within each other.
        boundary: bytes of a boundary; RFC 2046 §5.1.1 allows 70, and mailers exceed it.
        header_bytes: the headers of all parts together, as they are written.
        field_bytes: one field copied from the mail, in UTF-8.
        fields_bytes: all of those together.
    """

    parts: int = 1000
    depth: int = 100
    boundary: int = 1000
    header_bytes: int = 64 << 20
    field_bytes: int = 8 << 10
    fields_bytes: int = 64 << 10


DEFAULT = Limits()
