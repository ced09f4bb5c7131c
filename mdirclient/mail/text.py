"""Header values as text: folding, media types. Pure.

Sources: RFC 5322 §2.2.3, RFC 6532, RFC 2045 §5.
"""

from __future__ import annotations

import re
from typing import Final

from mdirclient.mail.charset import decode_raw

# Within a field only folds end lines; another CR is a character like any.
# Linear: of a run of CRs only the first begins a match.
FOLDS = re.compile(rb"(?<!\r)\r*\n|\r(?=[ \t])")
_MAX_MEDIA_TYPE: Final = 255
_WORD_CHARS = r"[!#$&^_.+\-A-Za-z0-9%'*`{|}~]"
_FIRST_WORD = re.compile(rf"{_WORD_CHARS}+")
_MEDIA_TYPE = re.compile(rf"({_WORD_CHARS}+/{_WORD_CHARS}+)(?=[;(\s]|\Z)")


def unfold(raw: bytes) -> str:
    """A field's value on one line, without blanks around it. Source: RFC 5322 §2.2.3."""
    if b"\n" in raw or b"\r" in raw:
        raw = FOLDS.sub(b"", raw)
    return decode_raw(raw).strip(" \t\r")


def decode_text(raw: bytes) -> str:
    """The value of an unstructured field in Unicode."""
    text = unfold(raw)
    if "=?" not in text:
        return text
    from mdirclient.mail.words import decode_words  # most fields have none

    return decode_words(text)


def decode_addresses(raw: bytes) -> str:
    """The value of an address field in Unicode.

    A decoded display name is quoted again where it has to be, so that
    `=?utf-8?q?Doe=2C_J?= <j@x.org>` stays one address.
    """
    text = unfold(raw)
    if "=?" not in text:
        return text
    from mdirclient.mail.words import decode_address_words  # most fields have none

    return decode_address_words(text)


def parse_media_type(raw: bytes | None, default: str = "text/plain") -> str:
    """The media type of a Content-Type field, lower-case; `default` where it has none."""
    if raw is None:
        return default
    match = _MEDIA_TYPE.match(unfold(raw).lower())
    # RFC 2045 §5.2. A comment may follow (RFC 5322 §3.2.2).
    return match[1] if match and len(match[1]) <= _MAX_MEDIA_TYPE else "text/plain"


def parse_encoding(raw: bytes | None) -> str:
    """The word of a Content-Transfer-Encoding field, lower-case, as mailers really write it."""
    text = unfold(raw or b"").lower().strip(" \t\"'")
    if text.startswith("quoted printable"):
        return "quoted-printable"
    match = _FIRST_WORD.match(text)
    return match[0] if match else ""
