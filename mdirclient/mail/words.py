"""Encoded words in header values. Pure.

Sources: RFC 2047 as really sent, RFC 2231 §5 (language in an encoded word).
"""

from __future__ import annotations

import binascii
import re

from mdirclient.mail.text import decode_charset
from mdirclient.mail.transfer import decode_base64

_WORD = re.compile(r"=\?([!->@-~]{1,80})\?([bBqQ])\?([^?]*)\?=")
# Linear: an open quoted string matches to the end, so it is not tried again from inside.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"?|[()]', re.DOTALL)
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."\x00-\x1f\x7f]')
_TO_QUOTE = re.compile(r'(["\\])')
_TO_QUOTE_IN_COMMENT = re.compile(r"([()\\])")


def decode_words(text: str) -> str:
    """Replace encoded words. Blanks between two of them are not part of the text."""
    return "".join(piece for piece, _ in _pieces(text))


def decode_address_words(text: str) -> str:
    """Replace encoded words in an unfolded address field; see `decode_addresses`."""
    result: list[str] = []
    position = depth = 0
    for match in _QUOTED.finditer(text):
        result.append(_decode_phrase(text[position : match.start()], depth))
        found = match[0]
        if found[0] == '"':
            result.append(_decode_quoted(found) if depth == 0 else found)
        else:
            depth = depth + 1 if found == "(" else max(depth - 1, 0)
            result.append(found)
        position = match.end()
    result.append(_decode_phrase(text[position:], depth))
    return "".join(result)


def _decode_phrase(text: str, comment_depth: int) -> str:
    result = []
    for piece, is_decoded in _pieces(text):
        if is_decoded and comment_depth:
            result.append(_TO_QUOTE_IN_COMMENT.sub(r"\\\1", piece))
        elif is_decoded and (_SPECIALS.search(piece) or piece != piece.strip()):
            result.append('"' + _TO_QUOTE.sub(r"\\\1", piece) + '"')
        else:
            result.append(piece)
    return "".join(result)


def _decode_quoted(token: str) -> str:
    """Encoded words within a quoted string: forbidden by RFC 2047 §5, and common."""
    return "".join(
        _TO_QUOTE.sub(r"\\\1", piece) if is_decoded else piece
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
        return b"".join(decode_base64([data]))
    return binascii.a2b_qp(data.rstrip(b" "), header=True)
