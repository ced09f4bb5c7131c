"""Bytes that are said to be in a charset, as text. Pure.

Sources: RFC 2045 §5, RFC 2231 §5, RFC 6532.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

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


def decode_strictly(data: bytes, charset: str) -> str | None:
    """Decode bytes that are valid in a charset; None if they are not or it is unknown."""
    try:
        return data.decode(_codec(charset))
    except (LookupError, ValueError):
        return None


def decode_charset(data: bytes, charset: str) -> str:
    """Decode bytes that are said to be in a charset; never fails, never a lone surrogate.

    A charset that is unknown gives way to `decode_raw`; so does one in which the bytes are
    not valid while they are valid UTF-8.
    """
    try:
        text = _decoded(data, _codec(charset))
    except (LookupError, ValueError):
        return decode_raw(data)
    return _SURROGATES.sub("\ufffd", text)


def _codec(charset: str) -> str:
    """The name of a charset's codec; LookupError if there is none, ValueError for odd names."""
    name = charset.lower().partition("*")[0].strip()
    # The codec's own name: Python knows each under many spellings.
    name = codecs.lookup(_CHARSETS.get(name, name).replace("cp-", "cp")).name
    if name.replace("_", "-") in _NO_CHARSETS:
        raise LookupError(name)
    return name


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
