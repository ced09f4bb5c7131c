"""Requests, replies and pushes, as values and as lines (docs: formats/protocol). Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import attrs

from mdirclient.errors import LocalProtocolError
from mdirclient.header import MAX_BYTES, Header
from mdirclient.patch import End, Now, Patch

#: Bytes of a request line, its line end left out.
MAX_LINE: Final = 8 << 10
#: Of a header on the wire: its text, and line ends that a person may write as CRLF.
MAX_HEADER: Final = MAX_BYTES
#: What a `BATCH` may hold.
MAX_BATCH: Final = 100_000
MAX_BATCH_BYTES: Final = 64 << 20

_NUMBER = re.compile(r"[0-9]{1,18}")
_KEYWORD = re.compile(r"[A-Za-z]{1,20}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@attrs.frozen
class Grammar:
    """What follows a keyword.

    Attributes:
        arguments: their names; in brackets what may be missing; those that are numbers have `#`.
        has_header: whether a header follows the line.
        is_change: whether a `BATCH` may hold it.
    """

    arguments: str
    has_header: bool = False
    is_change: bool = False

    @property
    def names(self) -> list[str]:
        """Names of the arguments, without brackets."""
        return self.arguments.replace("[", "").replace("]", "").split()

    @property
    def least(self) -> int:
        """How many there must be."""
        return len([name for name in self.arguments.split() if name[0] != "["])


#: DESIGN §3.4.
KEYWORDS: Final = {
    "AUTH": Grammar("user token"),
    "SUB": Grammar("folder #version [epoch]"),
    "UNSUB": Grammar("folder"),
    "PUT": Grammar("folder", has_header=True, is_change=True),
    "SET": Grammar("folder #base", has_header=True, is_change=True),
    "REM": Grammar("folder", has_header=True, is_change=True),
    "CLASS": Grammar("folder", has_header=True, is_change=True),
    "GET": Grammar("folder", has_header=True),
    "BATCH": Grammar("#n"),
    "QUIT": Grammar(""),
}
#: As in HTTP (RFC 9110 §15).
STATUSES: Final = {
    200: "done",
    205: "a listing follows",
    400: "cannot be read",
    401: "AUTH first",
    403: "no right to",
    404: "no such folder",
    409: "another version",
    413: "too large",
    500: "damaged",
    503: "try again",
}


@attrs.frozen
class Request:
    """One request.

    Attributes:
        seq: what the client numbered it with, or 0.
        keyword: in capitals.
        arguments: decoded.
        header: header or pattern, where the keyword has one.
    """

    seq: int
    keyword: str
    arguments: tuple[str, ...] = ()
    header: Header | None = None

    def to_bytes(self) -> bytes:
        """The request on the wire.

        Raises:
            LocalProtocolError: it breaks the grammar.
        """
        grammar = KEYWORDS.get(self.keyword)
        if grammar is None:
            raise LocalProtocolError(f"{self.keyword!a} is no keyword")
        if reason := fault(grammar, self.arguments):
            raise LocalProtocolError(f"{self.keyword}: {reason}")
        if grammar.has_header != (self.header is not None):
            raise LocalProtocolError(
                f"{self.keyword} {'needs a' if grammar.has_header else 'has no'} header"
            )
        words = [str(self.seq)] if self.seq else []
        words += [self.keyword, *map(encode, self.arguments)]
        line = " ".join(words).encode()
        if len(line) > MAX_LINE:
            raise LocalProtocolError(f"{self.keyword}: a line of more than {MAX_LINE} bytes")
        tail = b"" if self.header is None else self.header.to_bytes() + b"\n"
        return line + b"\n" + tail


@attrs.frozen
class Batch:
    """Changes that are one transaction with one reply."""

    seq: int
    requests: tuple[Request, ...]

    def to_bytes(self) -> bytes:
        """`BATCH` and its requests on the wire."""
        line = Request(self.seq, "BATCH", (str(len(self.requests)),)).to_bytes()
        return line + b"".join(request.to_bytes() for request in self.requests)


@attrs.frozen
class Reply:
    """The answer to a request.

    Attributes:
        seq: of the request.
        keyword: of the request, in lower case.
        status: as in HTTP; see `STATUSES`.
        text: on one line.
    """

    seq: int
    keyword: str
    status: int
    text: str

    def to_bytes(self) -> bytes:
        """The reply on the wire; what cannot stand in one line becomes a blank, and it is cut."""
        text = _CONTROLS.sub(" ", self.text).encode("utf-8", "replace")[: MAX_LINE // 2]
        text = text.decode(errors="ignore").encode()
        return f"-{self.seq} {self.keyword} {self.status} ".encode() + text + b"\n"


@attrs.frozen
class Refused:
    """A request that cannot be done as it came: `reply` is to be sent.

    Attributes:
        reply: what to answer.
        is_last: whether the connection is to be closed after it.
    """

    reply: Reply
    is_last: bool = False


Push = Patch | Now | End


def push_to_bytes(push: Push) -> bytes:
    """A push on the wire."""
    folder = encode(push.folder)
    if isinstance(push, Patch):
        versions = f"{push.old_version} {push.new_version}"
        line = f"PATCH {folder} {versions} {push.action}\n".encode()
        return line + push.header.to_bytes() + b"\n"
    if isinstance(push, Now):
        return f"NOW {folder} {push.version}\n".encode()
    return f"END {folder} {push.status} {_CONTROLS.sub(' ', push.text)}\n".encode()


def encode(argument: str) -> str:
    """An argument as one word; an empty folder is the root."""
    return quote(argument, safe="/@:+,;=!$&'()*~") or "/"


def decode(word: str) -> str:
    """The inverse of `encode`.

    Raises:
        ValueError: it is not percent-encoded UTF-8.
    """
    if _BAD_PERCENT.search(word):
        raise ValueError(f"{word[:80]!a} is not percent-encoded")
    return unquote_to_bytes(word).decode()


def fault(grammar: Grammar, arguments: tuple[str, ...]) -> str | None:
    """What is wrong with the arguments of a request, or None."""
    names = grammar.names
    if not grammar.least <= len(arguments) <= len(names):
        return f"expected {grammar.arguments or 'no arguments'}"
    for name, argument in zip(names, arguments, strict=False):
        if name[0] == "#" and not _NUMBER.fullmatch(argument):
            return f"{name[1:]} must be a number of at most 18 digits"
    return None


@attrs.frozen
class RequestLine:
    """A request line as it was read.

    Attributes:
        seq: or 0.
        keyword: in capitals; of what is no request as much as can be shown.
        arguments: decoded.
        reason: what is wrong, or None.
    """

    seq: int
    keyword: str
    arguments: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def grammar(self) -> Grammar:
        """Of its keyword; of an unknown one nothing follows."""
        return KEYWORDS.get(self.keyword, Grammar(""))


def parse_request_line(line: bytes) -> RequestLine:
    """Read a request line; what is wrong is in its `reason`."""
    try:
        words = line.decode().split()
    except UnicodeDecodeError:
        return RequestLine(0, "?", reason="a line must be UTF-8")
    seq = int(words.pop(0)) if words and _NUMBER.fullmatch(words[0]) else 0
    if not words:
        return RequestLine(seq, "?", reason="expected a keyword")
    keyword = words.pop(0).upper()
    if keyword not in KEYWORDS:
        shown = keyword if _KEYWORD.fullmatch(keyword) else "?"
        known = " ".join(KEYWORDS)
        return RequestLine(seq, shown, reason=f"no such keyword; there are {known}")
    try:
        arguments = tuple(map(decode, words))
    except ValueError as error:
        return RequestLine(seq, keyword, reason=str(error))
    return RequestLine(seq, keyword, arguments, fault(KEYWORDS[keyword], arguments))
