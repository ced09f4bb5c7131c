"""Parameters of Content-Type and Content-Disposition. Pure, linear.

Sources: RFC 2045 §5.1, RFC 2231 §3 and §4 (continuations, charsets), RFC 6266 §4.3
(`filename*` goes before `filename`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

from mdirclient.mail.charset import decode_charset
from mdirclient.mail.text import FOLDS, unfold
from mdirclient.mail.words import decode_words

_MAX_PARAMETERS: Final = 200

# Each is matched at one place and none can fail after a long run: linear.
_BETWEEN = re.compile(r"[;\s]*")
_NAME = re.compile(r'([^=;"\s]*)\s*')
_VALUE = re.compile(r'=\s*(?:"((?:[^"\\]|\\.)*)"?|([^;]*))', re.DOTALL)
_TYPE = re.compile(r"\s*[^;(\s]*")
_TO_NEXT = re.compile(r"[^;]*")
_QUOTED_PAIR = re.compile(r'\\(["\\])')
_SECTIONED = re.compile(r"([^*]+)(?:\*([0-9]{1,3}))?(\*)?")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


@attrs.frozen
class Parametered:
    """A value with parameters: `attachment; filename=x`.

    Attributes:
        value: before the first `;`, lower-case.
        parameters: lower-case names to decoded text; the first of a name counts.
    """

    value: str
    parameters: dict[str, str]


def parse_parameters(raw: bytes) -> Parametered:
    """Read a field with parameters; what cannot be read is left out, nothing fails."""
    text = unfold(raw)
    value, _, rest = text.partition(";")
    plain, sections = _collected(rest)
    extended = {name: text for name, parts in sections.items() if (text := _joined(parts))}
    words = {name: decode_words(content) for name, content in plain.items()}
    return Parametered(value.strip().lower(), words | extended)


def raw_boundary(raw: bytes) -> bytes:
    """The boundary of a multipart as it stands in the mail; empty if there is none.

    Nothing is decoded: the delimiters are not encoded either.
    """
    text = FOLDS.sub(b"", raw).decode("latin-1")
    plain, sections = _collected(_TYPE.sub("", text, count=1))
    boundary = plain.get("boundary") or _joined(sections.get("boundary", {}))
    return boundary.rstrip(" \t").encode("latin-1", "replace")


def _collected(text: str) -> tuple[dict[str, str], dict[str, dict[int, tuple[str, bool]]]]:
    """Plain parameters, and the sections of others; the first of a name counts."""
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, content in _parameters(text):
        sectioned = _SECTIONED.fullmatch(name)
        if sectioned and (sectioned[2] or sectioned[3]):
            numbered = sections.setdefault(sectioned[1], {})
            numbered.setdefault(int(sectioned[2] or 0), (content, bool(sectioned[3])))
        elif not plain.get(name):
            plain[name] = content
    return plain, sections


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    """Yield (lower-case name, value unquoted)."""
    position = 0
    for _ in range(_MAX_PARAMETERS):
        position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
        if position == len(text):
            break
        name = _NAME.match(text, position)
        value = _VALUE.match(text, name.end()) if name else None
        if name and value:
            quoted = value[1]
            content = value[2].strip() if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
            yield name[1].lower(), content
            position = value.end()
        position = _TO_NEXT.match(text, position).end()  # type: ignore[union-attr]


def _joined(parts: dict[int, tuple[str, bool]]) -> str:
    """Join the sections of one parameter, from 0 to the first that is missing."""
    charset, pieces = "", []
    for number in range(len(parts)):
        if number not in parts:
            break
        text, is_encoded = parts[number]
        if is_encoded and number == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        data = text.encode()
        pieces.append(_PERCENT.sub(_percent_byte, data) if is_encoded else data)
    return decode_charset(b"".join(pieces), charset or "utf-8")


def _percent_byte(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)])
