"""Transfer encodings: which decoder undoes one. Pure.

Source: RFC 2045 §6. What is not base64 or quoted-printable (7bit, 8bit, binary, uuencode,
unknown) stays as it is.
"""

from __future__ import annotations

from typing import Protocol

from mdirclient.mail.segment import Same, Segment


class Decoder(Protocol):
    """Undoes the transfer encoding of one part, fed in pieces of any size."""

    def feed(self, text: bytes) -> bytes:
        """The content that the next bytes give; some may be given later."""
        ...

    def close(self) -> bytes:
        """The rest of the content: the part has ended."""
        ...

    def taken(self) -> list[Segment]:
        """How the bytes so far are made of the content so far; each is given once."""
        ...


class IdentityDecoder:
    """Leaves a part as it is."""

    def __init__(self) -> None:
        self._size = 0

    def feed(self, text: bytes) -> bytes:
        """The same bytes."""
        self._size += len(text)
        return text

    def close(self) -> bytes:
        """Nothing is left."""
        return b""

    def taken(self) -> list[Segment]:
        """As they are."""
        size, self._size = self._size, 0
        return [Same(size)] if size else []


def decoder_of(encoding: str) -> Decoder:
    """The decoder for a Content-Transfer-Encoding in lower case."""
    if encoding == "base64":
        from mdirclient.mail.base64 import Base64Decoder  # texts need it not

        return Base64Decoder()
    if encoding == "quoted-printable":
        from mdirclient.mail.quoted_printable import QuotedPrintableDecoder

        return QuotedPrintableDecoder()
    return IdentityDecoder()
