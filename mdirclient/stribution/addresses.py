"""The addresses in a field, as rules see them. Pure.

Sources: RFC 5322 §3.4 and §4.4, as really sent; RFC 5233 (sub-addresses).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

_TOKEN = re.compile(
    r'(?P<quoted>"(?:[^"\\]|\\.)*+"?)|(?P<literal>\[[^\]]*\]?)|(?P<blank>[ \t\r\n]+)'
    r'|(?P<special>[(),:;<>])|(?P<word>(?:[^"\[ \t\r\n(),:;<>\\]|\\.?)+)',
    re.DOTALL,
)
_IN_COMMENT = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_DOT_ATOM = re.compile(r'[^\s()<>@,;:\\".\[\]]+(?:\.[^\s()<>@,;:\\".\[\]]+)*+')
_TO_QUOTE = re.compile(r'(["\\])')
_QUOTED: Final = r"\\\1"
#: What is between a local part and its detail (docs: reference/rules).
DELIMITER: Final = "+"


@attrs.frozen
class Address:
    """One address. Without `local` and `domain` it is the text of a field that names none.

    Attributes:
        text: as it is compared as a whole.
        local: before the `@`, unquoted.
        domain: after it.
    """

    text: str
    local: str | None = None
    domain: str | None = None

    def part(self, name: str) -> str | None:
        """`all`, `localpart`, `domain`, `user` or `detail`; None if it has none."""
        if name == "all":
            return self.text
        if name == "domain" or self.local is None:
            return self.domain
        user, delimiter, detail = self.local.partition(DELIMITER)
        if name == "detail":
            return detail if delimiter else None
        return user if name == "user" else self.local


def addresses_in(value: str) -> tuple[Address, ...]:
    """The addresses of a field; where it names none, its text as one."""
    found = tuple(filter(None, map(_address, _mailboxes(value))))
    text = value.strip()
    return found or ((Address(text),) if text else ())


def _mailboxes(value: str) -> Iterator[list[tuple[str, str]]]:
    """The tokens of each address: of what is in angle brackets, if there are any."""
    current: list[tuple[str, str]] = []
    for kind, text in _tokens(value):
        if kind == "blank":
            continue
        if text == "<":
            current = []  # before it is a display name
        elif text == ":" and kind == "special":
            current = []  # the name of a group, or a route
        elif kind == "special":  # `,` and `;` end an address, and so does `>`
            yield current
            current = []
        else:
            current.append((kind, text))
    yield current


def _tokens(value: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(value):
        match = _TOKEN.match(value, place)
        if not match:
            return  # cannot be: every character is in one of them
        place = match.end()
        if match[0] == "(":
            place = _after_comment(value, place)
        elif match[0] != ")":
            yield match.lastgroup or "", match[0]


def _after_comment(value: str, place: int) -> int:
    depth = 1
    for match in _IN_COMMENT.finditer(value, place):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    return len(value)


def _address(tokens: list[tuple[str, str]]) -> Address | None:
    """What the tokens of an address come to; None if they are none."""
    ats = [n for n, (kind, text) in enumerate(tokens) if kind == "word" and "@" in text]
    if len(ats) != 1 or tokens[ats[0]][1].count("@") != 1:
        return None
    before, _, after = tokens[ats[0]][1].partition("@")
    local = "".join(_unquoted(*token) for token in tokens[: ats[0]]) + before
    domain = after + "".join(text for _, text in tokens[ats[0] + 1 :])
    if not (local and domain):
        return None
    shown = local if _DOT_ATOM.fullmatch(local) else f'"{_TO_QUOTE.sub(_QUOTED, local)}"'
    return Address(f"{shown}@{domain}", local, domain)


def _unquoted(kind: str, text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:].removesuffix('"')) if kind == "quoted" else text
