"""Header values as text: charsets, folding, media types. Pure.

Sources: RFC 5322 §2.2.3, RFC 6532, RFC 2045 §5.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

# Within a field only folds end lines; another CR is a character like any.
_FOLDS = re.compile(rb"\r*\n|\r(?=[ \t])")
_MAX_MEDIA_TYPE: Final = 255
_WORD_CHARS = r"[!#$&^_.+\-A-Za-z0-9%'*`{|}~]"
_FIRST_WORD = re.compile(rf"{_WORD_CHARS}+")
_MEDIA_TYPE = re.compile(rf"({_WORD_CHARS}+/{_WORD_CHARS}+)(?=[;(\s]|\Z)")
_SURROGATES = re.compile(r"[\ud800-\udfff]")

#: Names that mailers use for charsets that Python knows under another name, or as a subset.
_CHARSETS: Final = {
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "iso-8859-1": "cp1252",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-8859-8-i": "iso-8859-8",
    "x-mac-roman": "mac-roman",
}
#: Codecs of Python that are no charsets of mail, or take more than linear time.
_NO_CHARSETS: Final = frozenset(
    "punycode idna unicode-escape raw-unicode-escape undefined mbcs oem".split()
)


def decode_charset(data: bytes, charset: str) -> str:
    """Decode bytes that are said to be in a charset; never fails, never a lone surrogate.

    A charset that is unknown gives way to `decode_raw`; so does one in which the bytes are
    not valid while they are valid UTF-8.
    """
    name = charset.lower().partition("*")[0].strip()
    try:
        # The codec's own name: Python knows each under many spellings.
        name = codecs.lookup(_CHARSETS.get(name, name)).name
        if name.replace("_", "-") in _NO_CHARSETS:
            return decode_raw(data)
        text = _decoded(data, name)
    except (LookupError, ValueError):
        return decode_raw(data)
    return _SURROGATES.sub("\ufffd", text)


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        pass
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(name, errors="replace")


def decode_raw(data: bytes) -> str:
    """Decode bytes without a charset: UTF-8 (RFC 6532), else Windows-1252, else Latin-1."""
    for charset in ("utf-8", "cp1252"):
        try:
            return data.decode(charset)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def unfold(raw: bytes) -> str:
    """A field's value on one line, without blanks around it. Source: RFC 5322 §2.2.3."""
    return decode_raw(_FOLDS.sub(b"", raw)).strip(" \t\r")


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
