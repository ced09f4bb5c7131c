"""The grammar of Sieve: bytes to commands, without knowing what they mean. Pure.

Source: RFC 5228 §8.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from mdirclient.errors import ScriptError

#: A script that is larger is not read.
MAX_BYTES: Final = 128 << 10
#: Blocks and tests within each other.
MAX_NESTED: Final = 32
_MAX_NUMBER: Final = (1 << 64) - 1
_QUANTIFIERS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SHOWN: Final = 120

_TOKEN = re.compile(
    r"""
    (?P<blank> [ \t\r\n]+ | \#[^\n]* | /\*(?s:.*?)\*/ )
  | (?P<multiline> (?i:text:) [ \t]* (?:\#[^\n]*)? \r?\n )
  | (?P<string> "(?:[^"\\]|\\(?s:.))*+" )
  | (?P<number> [0-9]+ (?P<quantifier> [KMGkmg]? ) (?![A-Za-z0-9_]) )
  | (?P<tag> :[A-Za-z_][A-Za-z0-9_]* )
  | (?P<identifier> [A-Za-z_][A-Za-z0-9_]* )
  | (?P<punctuation> [\[\](){},;] )
    """,
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LAST_LINE = re.compile(r"^\.\r?(?:\n|\Z)", re.MULTILINE)
_LINE_END = re.compile(r"\r?\n")
_STUFFED = re.compile(r"^\.\.", re.MULTILINE)


@attrs.frozen
class Tag:
    """A tagged argument, lower-case without its colon."""

    name: str


@attrs.frozen
class Strings:
    """One string, or a list of them."""

    values: tuple[str, ...]
    is_list: bool


Argument = Tag | Strings | int


@attrs.frozen
class Node:
    """A command or a test.

    Attributes:
        name: lower-case.
        arguments: in order.
        tests: that it takes.
        has_list: whether these stand in parentheses.
        block: its commands; None: it ends with `;`, or is a test.
        line: in the script, from 1.
        source: as it is written, on one line, shortened; without the block.
    """

    name: str
    arguments: tuple[Argument, ...]
    tests: tuple[Node, ...]
    has_list: bool
    block: tuple[Node, ...] | None
    line: int
    source: str


@attrs.frozen
class _Token:
    kind: str
    text: str
    start: int
    end: int
    line: int


def parse(script: bytes) -> tuple[Node, ...]:
    """The commands of a script.

    Raises:
        ScriptError: names the line.
    """
    if len(script) > MAX_BYTES:
        raise ScriptError(f"the script has {len(script)} bytes; at most {MAX_BYTES} are read")
    try:
        text = script.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = script.count(b"\n", 0, error.start) + 1
        raise ScriptError("the script is not UTF-8", line) from error
    if "\0" in text:
        raise ScriptError("the script has a NUL", text.count("\n", 0, text.index("\0")) + 1)
    return _Parser(text).script()


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match or not match.lastgroup:
            raise ScriptError(_unreadable(text, position), line)
        kind = match.lastgroup if match.lastgroup != "quantifier" else "number"
        value, end = match[0], match.end()
        if kind == "multiline":
            value, end = _multiline(text, end, line)
        elif kind == "string":
            value = _ESCAPED.sub(r"\1", value[1:-1])
        elif kind == "number":
            value = str(_number(value, line))
        if kind != "blank":
            kind = "string" if kind == "multiline" else kind
            tokens.append(_Token(kind, value, position, end, line))
        line += text.count("\n", position, end)
        position = end
    tokens.append(_Token("end", "", position, position, line))
    return tokens


def _unreadable(text: str, position: int) -> str:
    char = text[position]
    if char == '"':
        return "a string is not closed"
    if text.startswith("/*", position):
        return "a comment is not closed"
    return f"{char!a} is nothing that Sieve knows"


def _multiline(text: str, start: int, line: int) -> tuple[str, int]:
    last = _LAST_LINE.search(text, start)
    if not last:
        raise ScriptError("a text: is not closed by a line with one dot", line)
    lines = _STUFFED.sub(".", text[start : last.start()])
    # RFC 5228 §2.4.2: lines end with CRLF, whatever the editor writes.
    return _LINE_END.sub("\r\n", lines), last.end()


def _number(text: str, line: int) -> int:
    digits = text.rstrip("KMGkmg")
    # Twenty digits are enough; Python is slow with very many.
    value = int(digits) if len(digits) < 25 else _MAX_NUMBER + 1
    value *= _QUANTIFIERS[text[len(digits) :].lower()]
    if value > _MAX_NUMBER:
        raise ScriptError(f"{text[:40]} is too large a number", line)
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._place = 0
        self._depth = 0

    def script(self) -> tuple[Node, ...]:
        commands = []
        while self._next.kind != "end":
            commands.append(self._command())
        return tuple(commands)

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += 1
        return token

    def _takes(self, punctuation: str) -> bool:
        is_it = self._next.kind == "punctuation" and self._next.text == punctuation
        self._place += is_it
        return is_it

    def _fail(self, expected: str) -> ScriptError:
        token = self._next
        found = "the end of the script" if token.kind == "end" else ascii(token.text[:40])
        return ScriptError(f"expected {expected}, found {found}", token.line)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTED:
            raise ScriptError(
                f"blocks and tests are nested more than {MAX_NESTED} deep", self._next.line
            )

    def _command(self) -> Node:
        if self._next.kind != "identifier":
            raise self._fail("a command")
        self._enter()
        head = self._head()
        block = None
        if self._takes("{"):
            commands = []
            while not self._takes("}"):
                commands.append(self._command())
            block = tuple(commands)
        elif not self._takes(";"):
            raise self._fail("`;` or a block")
        self._depth -= 1
        return attrs.evolve(head, block=block)

    def _test(self) -> Node:
        if self._next.kind != "identifier":
            raise self._fail("a test")
        self._enter()
        head = self._head()
        self._depth -= 1
        return head

    def _head(self) -> Node:
        """A name, its arguments and its tests."""
        name = self._take()
        arguments: list[Argument] = []
        while (argument := self._argument()) is not None:
            arguments.append(argument)
        tests: list[Node] = []
        has_list = False
        if self._next.kind == "identifier":
            tests.append(self._test())
        elif self._takes("("):
            has_list = True
            tests.append(self._test())
            while self._takes(","):
                tests.append(self._test())
            if not self._takes(")"):
                raise self._fail("`,` or `)`")
        end = self._tokens[self._place - 1].end
        source = self._shown(name.start, end)
        given = tuple(arguments)
        return Node(name.text.lower(), given, tuple(tests), has_list, None, name.line, source)

    def _argument(self) -> Argument | None:
        kind = self._next.kind
        if kind == "string":
            return Strings((self._take().text,), is_list=False)
        if kind == "number":
            return int(self._take().text)
        if kind == "tag":
            return Tag(self._take().text[1:].lower())
        return self._list() if self._takes("[") else None

    def _list(self) -> Strings:
        values: list[str] = []
        while not values or self._takes(","):
            if self._next.kind != "string":
                raise self._fail("a string")
            values.append(self._take().text)
        if not self._takes("]"):
            raise self._fail("`,` or `]`")
        return Strings(tuple(values), is_list=True)

    def _shown(self, start: int, end: int) -> str:
        text = self._text[start : min(end, start + 2 * _SHOWN)]
        line = " ".join(text.split())
        return line if len(line) <= _SHOWN and end - start <= 2 * _SHOWN else f"{line[:_SHOWN]}…"
