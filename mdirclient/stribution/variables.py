"""Strings of a script: what is fixed in them, and what a message fills in. Pure.

Sources: RFC 5229 (variables), RFC 5228 §2.4.2.4 (encoded characters).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from mdirclient.errors import ScriptError
from mdirclient.stribution.matching import lower_ascii, upper_ascii

#: Characters that a variable holds at most; RFC 5229 §6 asks for 4,000.
MAX_VALUE: Final = 4096
#: The highest number of a variable that `:matches` sets.
MAX_MATCH: Final = 32
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\{(?:([0-9]+)|([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*))\}")
_ENCODED = re.compile(
    r"\$\{hex:([ \t\r\n]*[0-9a-f]{1,2}(?:[ \t\r\n]+[0-9a-f]{1,2})*[ \t\r\n]*)\}"
    r"|\$\{unicode:([ \t\r\n]*[0-9a-f]+(?:[ \t\r\n]+[0-9a-f]+)*[ \t\r\n]*)\}",
    re.IGNORECASE,
)
_WILD = re.compile(r"([*?\\])")

#: Values by name; those of `:matches` by number.
Values = Mapping[str | int, str]


@attrs.frozen
class Text:
    """A string of a script.

    Attributes:
        pieces: its texts; a number or a name in a tuple stands for the variable.
        fixed: the string, if it has no variables; else None.
    """

    pieces: tuple[str | tuple[str | int], ...]
    fixed: str | None

    def expand(self, values: Values) -> str:
        """The string with the values of its variables. What is not set is empty."""
        if self.fixed is not None:
            return self.fixed
        return "".join(text for text, _ in self.expanded(values))

    def expanded(self, values: Values) -> list[tuple[str, bool]]:
        """The pieces, each with whether it comes from a variable."""
        return [
            (piece, False) if isinstance(piece, str) else (values.get(piece[0], ""), True)
            for piece in self.pieces
        ]


def text_of(string: str, line: int, *, has_variables: bool, has_encoded: bool) -> Text:
    """Read a string of a script.

    Raises:
        ScriptError: a variable that cannot be, or a character that is none.
    """
    if has_encoded and "${" in string:
        string = _ENCODED.sub(lambda match: _decoded(match, line), string)
    if not has_variables or "${" not in string:
        return Text((string,), string)
    pieces: list[str | tuple[str | int]] = []
    place = 0
    for match in _REFERENCE.finditer(string):
        pieces += [string[place : match.start()], (_variable(match, line),)]
        place = match.end()
    pieces.append(string[place:])
    if len(pieces) == 1:
        return Text((string,), string)
    return Text(tuple(piece for piece in pieces if piece != ""), None)


def _variable(match: re.Match[str], line: int) -> str | int:
    number, name = match[1], match[2]
    if number:
        if len(number) > 9 or int(number) > MAX_MATCH:
            raise ScriptError(f"{match[0][:40]}: there are matches 0 to {MAX_MATCH}", line)
        return int(number)
    return variable_name(name, line)


def variable_name(name: str, line: int) -> str:
    """The name of a variable, in lower case.

    Raises:
        ScriptError: it cannot be one.
    """
    if "." in name:
        # RFC 5229 §3: only extensions have namespaces.
        raise ScriptError(f"{name[:40]!a}: there is no such namespace of variables", line)
    if not NAME.fullmatch(name):
        raise ScriptError(f"{name[:40]!a} cannot name a variable", line)
    return name.lower()


def _decoded(match: re.Match[str], line: int) -> str:
    if match[1] is not None:
        try:
            return bytes(int(word, 16) for word in match[1].split()).decode()
        except UnicodeDecodeError:
            raise ScriptError(f"{match[0][:40]!a} is not UTF-8", line) from None
    chars = []
    for word in match[2].split():
        digits = word.lstrip("0")
        code = int(digits or "0", 16) if len(digits) < 7 else -1
        if not 0 < code < 0x110000 or 0xD800 <= code < 0xE000:
            raise ScriptError(f"{match[0][:40]!a}: there is no such character", line)
        chars.append(chr(code))
    return "".join(chars)


#: RFC 5229 §4.1: modifiers of `set`, with their precedence; of each only one.
MODIFIERS: Final[dict[str, tuple[int, Callable[[str], str]]]] = {
    "lower": (40, lower_ascii),
    "upper": (40, upper_ascii),
    "lowerfirst": (30, lambda text: lower_ascii(text[:1]) + text[1:]),
    "upperfirst": (30, lambda text: upper_ascii(text[:1]) + text[1:]),
    "quotewildcard": (20, lambda text: _WILD.sub(r"\\\1", text)),
    "length": (10, lambda text: str(len(text))),
}
