"""Encoded words in header values. Pure.

Sources: RFC 2047 as really sent, RFC 2231 §5 (language in an encoded word).
"""

from __future__ import annotations

import binascii
import re

from mdirclient.mail.base64 import decode_base64
from mdirclient.mail.charset import decode_charset

_WORD = re.compile(r"=\?([!->@-~]{1,80})\?([bBqQ])\?([^?]*)\?=")
# In an address field a word holds nothing that delimits there, but for pairs of parentheses,
# which mailers forget to encode: what another program reads as addresses stays just that.
_TEXT = r'[^?<>@",;:()\\]*'
_ADDRESS_WORD = rf"(=\?[!->@-~]{{1,80}}\?[bBqQ]\?{_TEXT}(?:\({_TEXT}\){_TEXT})*\?=)"
# Linear: what is open matches to the end, so it is not tried again from inside.
_QUOTED = r'"(?:[^"\\]|\\.)*'
_OUTSIDE = re.compile(
    rf'{_ADDRESS_WORD}|\\.|{_QUOTED}(?P<closed>")?|<(?:{_QUOTED}"?|[^>"])*>?|\(', re.DOTALL
)
_IN_COMMENT = re.compile(rf"{_ADDRESS_WORD}|\\.|[()]", re.DOTALL)
_NO_NAME_BEFORE = re.compile(r"[ \t]*[@.]")
_DELIMITERS = ("", " ", "\t", "'", "(", ")", '"', "<", ">", ",", ";", ":")
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."\x00-\x1f\x7f]')
# A line end within a name would be one for whoever reads the addresses.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_TO_QUOTE = re.compile(r'(["\\])')
_TO_QUOTE_IN_COMMENT = re.compile(r"([()\\])")


def decode_words(text: str) -> str:
    """Replace encoded words. Blanks between two of them are not part of the text."""
    return "".join(piece for piece, _ in _pieces(text))


def decode_address_words(text: str) -> str:
    """Replace encoded words in an unfolded address field; see `decode_addresses`."""
    result: list[str] = []
    words: list[str] = []  # encoded words that belong together, and the blanks between them
    depth = position = 0
    before = ""  # the last character but blanks

    def flush() -> None:
        run = "".join(words)
        words.clear()
        if run:
            name = run.rstrip(" \t")
            result.extend((_quoted(decode_words(name), depth), run[len(name) :]))

    while match := (_IN_COMMENT if depth else _OUTSIDE).search(text, position):
        between = text[position : match.start()]
        if between.strip(" \t") or not words:
            flush()
            result.append(between)
        else:
            words.append(between)
        before = between.rstrip(" \t")[-1:] or before
        is_name = before != "@" and not _NO_NAME_BEFORE.match(text, match.end())
        if match[1] and is_name and _is_delimited(text, match, follows_word=bool(words)):
            words.append(match[0])
        else:
            flush()
            is_quoted_name = is_name and match[0][0] == '"' and match["closed"]
            result.append(_decode_quoted(match[0]) if is_quoted_name else match[0])
            depth += {"(": 1, ")": -1}.get(match[0], 0) if depth else match[0] == "("
        before = match[0][-1]
        position = match.end()
    flush()
    result.append(text[position:])
    return "".join(result)


def _is_delimited(text: str, match: re.Match[str], *, follows_word: bool) -> bool:
    """Whether what stands around a word makes it one. Source: RFC 2047 §5."""
    before = text[max(match.start() - 1, 0) : match.start()]
    after = text[match.end() : match.end() + 2]
    is_open = (follows_word and before == "=") or before in _DELIMITERS
    return is_open and (after[:1] in _DELIMITERS or after == "=?")


def _quoted(text: str, comment_depth: int) -> str:
    """A decoded display name or comment, so that it stays one."""
    text = _CONTROLS.sub(" ", text)
    if comment_depth:
        return _TO_QUOTE_IN_COMMENT.sub(r"\\\1", text)
    if _SPECIALS.search(text) or text != text.strip():
        return '"' + _TO_QUOTE.sub(r"\\\1", text) + '"'
    return text


def _decode_quoted(token: str) -> str:
    """Encoded words within a quoted string: forbidden by RFC 2047 §5, and common."""
    if "=?" not in token or "\\=?" in token:
        return token
    return "".join(
        _TO_QUOTE.sub(r"\\\1", _CONTROLS.sub(" ", piece)) if is_decoded else piece
        for piece, is_decoded in _pieces(token)
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
        return decode_base64(data)
    return binascii.a2b_qp(data.rstrip(b" "), header=True)
