"""Header values in Unicode: encoded words, raw 8-bit, addresses. Pure.

Sources: RFC 2047 as really sent, RFC 6532, RFC 2231 §5 (language in an encoded word).
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from mdirclient.mail.transfer import decode_base64

_LINE_ENDS = re.compile(rb"[\r\n]+")
_WORD = re.compile(r"=\?([!->@-~]{1,80})\?([bBqQ])\?([^?]*)\?=")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
# Linear: an open quoted string matches to the end, so it is not tried again from inside.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"?|[()]', re.DOTALL)
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."\x00-\x1f\x7f]')
_TO_QUOTE = re.compile(r'(["\\])')
_TO_QUOTE_IN_COMMENT = re.compile(r"([()\\])")

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
    "punycode idna unicode_escape raw_unicode_escape undefined mbcs oem".split()
)

ADDRESS_FIELDS: Final = frozenset(
    "from sender reply-to to cc bcc resent-from resent-sender resent-to resent-cc resent-bcc "
    "disposition-notification-to return-path errors-to".split()
)


def decode_charset(data: bytes, charset: str) -> str:
    """Decode bytes that are said to be in a charset; never fails, never a lone surrogate.

    A charset that is unknown, or wrong at every byte above 127, gives way to `decode_raw`.
    """
    name = charset.lower().partition("*")[0].strip()
    name = _CHARSETS.get(name, name)
    if name.replace("-", "_") in _NO_CHARSETS:
        return decode_raw(data)
    try:
        text = data.decode(name)
    except UnicodeError:
        return _undecodable(data, name)
    except (LookupError, ValueError):
        return decode_raw(data)
    return _SURROGATES.sub("\ufffd", text)


def _undecodable(data: bytes, name: str) -> str:
    try:
        data.decode()
    except UnicodeDecodeError:
        return _SURROGATES.sub("\ufffd", data.decode(name, errors="replace"))
    # Said to be something else and valid UTF-8: that is what it is.
    return decode_raw(data)


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


def decode_words(text: str) -> str:
    """Replace encoded words. Blanks between two of them are not part of the text."""
    return "".join(piece for piece, _ in _pieces(text))


def decode_text(raw: bytes) -> str:
    """The value of an unstructured field in Unicode."""
    return decode_words(unfold(raw))


def decode_addresses(raw: bytes) -> str:
    """The value of an address field in Unicode.

    A decoded display name is quoted again where it has to be, so that
    `=?utf-8?q?Doe=2C_J?= <j@x.org>` stays one address.
    """
    text = unfold(raw)
    if "=?" not in text:
        return text
    result: list[str] = []
    position = depth = 0
    for match in _QUOTED.finditer(text):
        result.append(_decode_phrase(text[position : match.start()], depth))
        token = match[0]
        if token[0] == '"':
            result.append(_decode_quoted(token) if depth == 0 else token)
        else:
            depth = depth + 1 if token == "(" else max(depth - 1, 0)
            result.append(token)
        position = match.end()
    result.append(_decode_phrase(text[position:], depth))
    return "".join(result)


def _decode_phrase(text: str, comment_depth: int) -> str:
    result = []
    for piece, is_decoded in _pieces(text):
        if is_decoded and comment_depth:
            piece = _TO_QUOTE_IN_COMMENT.sub(r"\\\1", piece)
        elif is_decoded and (_SPECIALS.search(piece) or piece != piece.strip()):
            piece = '"' + _TO_QUOTE.sub(r"\\\1", piece) + '"'
        result.append(piece)
    return "".join(result)


def _decode_quoted(token: str) -> str:
    """Encoded words within a quoted string: forbidden by RFC 2047 §5, and common."""
    return "".join(
        _TO_QUOTE.sub(r"\\\1", piece) if is_decoded else piece for piece, is_decoded in _pieces(token)
    )


def _pieces(text: str) -> list[tuple[str, bool]]:
    """Split into (text, whether it was encoded); neighbouring encoded words are one piece."""
    result: list[tuple[str, bool]] = []
    run: list[tuple[str, bytes]] = []
    position = 0
    for match in _WORD.finditer(text):
        between = text[position : match.start()]
        if run and between.strip(" \t"):
            result.append((_decode_run(run), True))
            run = []
        if between and not run:
            result.append((between, False))
        run.append((match[1].lower(), _word_bytes(match[2], match[3])))
        position = match.end()
    if run:
        result.append((_decode_run(run), True))
    if position < len(text):
        result.append((text[position:], False))
    return result


def _decode_run(run: list[tuple[str, bytes]]) -> str:
    """Decode neighbouring words; those of one charset together: some split characters."""
    result: list[str] = []
    charset, pending = run[0][0], [run[0][1]]
    for next_charset, data in run[1:]:
        if next_charset != charset:
            result.append(decode_charset(b"".join(pending), charset))
            charset, pending = next_charset, []
        pending.append(data)
    result.append(decode_charset(b"".join(pending), charset))
    return "".join(result)


def _word_bytes(encoding: str, text: str) -> bytes:
    data = text.encode()
    if encoding in "bB":
        return b"".join(decode_base64([data]))
    return binascii.a2b_qp(data.rstrip(b" "), header=True)
