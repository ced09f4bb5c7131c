"""Header values as text: charsets, folding, media types. Pure.

Sources: RFC 5322 §2.2.3, RFC 6532, RFC 2045 §5.
"""

from __future__ import annotations

import re
from typing import Final

_LINE_ENDS = re.compile(rb"[\r\n]+")
_MAX_MEDIA_TYPE: Final = 255
_MEDIA_TYPE = re.compile(r"[!#$&^_.+\-A-Za-z0-9%'*`{|}~]+/[!#$&^_.+\-A-Za-z0-9%'*`{|}~]+")
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
    ["punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"]
)


def decode_charset(data: bytes, charset: str) -> str:
    """Decode bytes that are said to be in a charset; never fails, never a lone surrogate.

    A charset that is unknown gives way to `decode_raw`; so does one in which the bytes are
    not valid while they are valid UTF-8.
    """
    name = charset.lower().partition("*")[0].strip()
    name = _CHARSETS.get(name, name)
    if name.replace("-", "_") in _NO_CHARSETS:
        return decode_raw(data)
    try:
        text = data.decode(name)
    except UnicodeError:
        text = _undecodable(data, name)
    except (LookupError, ValueError):
        return decode_raw(data)
    return _SURROGATES.sub("\ufffd", text)


def _undecodable(data: bytes, name: str) -> str:
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
    return decode_raw(_LINE_ENDS.sub(b"", raw)).strip(" \t")


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
    value = unfold(raw).partition(";")[0].strip().lower()
    if len(value) > _MAX_MEDIA_TYPE or not _MEDIA_TYPE.fullmatch(value):
        return "text/plain"  # RFC 2045 §5.2
    return value
