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
#: What a `BATCH` may hold; of its bytes some more are counted for each request and field.
MAX_BATCH: Final = 100_000
MAX_BATCH_BYTES: Final = 64 << 20
#: What HTTP on a Unix socket begins with where the socket itself is to say who asks. A web server
#: in front cannot be made to send it: else its own login would open everything to its clients.
PEER: Final = b"PEER\n"
MAX_NUMBER: Final = 10**18 - 1

_NUMBER = re.compile(r"[0-9]{1,18}")
_SEQ = re.compile(rb"[0-9]{1,18}")
_KEYWORD = re.compile(rb"[A-Za-z]{1,20}")
_RAW_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PER_REQUEST: Final = 500
_PER_FIELD: Final = 200
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@attrs.frozen
class Grammar:
    """What follows a keyword.

    Attributes:
        arguments: their names; in brackets what may be missing; those that are numbers have `#`.
        has_header: whether a header follows the line.
        is_change: whether a `BATCH` may hold it.
        names: of the arguments, without brackets and #.
        numbers: which of them are numbers.
        least: how many there must be.
    """

    arguments: str
    has_header: bool = False
    is_change: bool = False

    names: tuple[str, ...] = attrs.field(init=False)
    numbers: tuple[bool, ...] = attrs.field(init=False)
    least: int = attrs.field(init=False)

    @names.default
    def _names(self) -> tuple[str, ...]:
        return tuple(re.sub(r"[\[\]#]", "", self.arguments).split())

    @numbers.default
    def _numbers(self) -> tuple[bool, ...]:
        return tuple("#" in name for name in self.arguments.split())

    @least.default
    def _least(self) -> int:
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
        if not 0 <= self.seq <= MAX_NUMBER:
            raise LocalProtocolError(f"seq {self.seq} is no number of at most 18 digits")
        if grammar.has_header != (self.header is not None):
            raise LocalProtocolError(
                f"{self.keyword} {'needs a' if grammar.has_header else 'has no'} header"
            )
        words = [str(self.seq)] if self.seq else []
        words += [self.keyword, *map(encode, grammar.names, self.arguments)]
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
        """`BATCH` and its requests on the wire.

        Raises:
            LocalProtocolError: too many, too large, or no changes.
        """
        if not 1 <= len(self.requests) <= MAX_BATCH:
            raise LocalProtocolError(f"a batch has 1 to {MAX_BATCH} requests")
        if not all(KEYWORDS[request.keyword].is_change for request in self.requests):
            raise LocalProtocolError("a batch holds changes only: PUT, SET, REM, CLASS")
        if sum(map(weight, self.requests)) > MAX_BATCH_BYTES:
            raise LocalProtocolError(f"a batch has at most {MAX_BATCH_BYTES} bytes")
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
        """The reply on the wire; what cannot stand in one line becomes a blank, and it is cut.

        Raises:
            LocalProtocolError: a status that there is not.
        """
        check_numbers(self.seq, status=self.status)
        return f"-{self.seq} {self.keyword} {self.status} {one_line(self.text)}\n".encode()


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
    """A push on the wire.

    Raises:
        LocalProtocolError: a version, an action or a status that there is not.
    """
    if isinstance(push, Patch):
        header = push.header.to_bytes()
        return patch_to_bytes(push.folder, push.old_version, push.new_version, push.action, header)
    folder = encode("folder", push.folder)
    if isinstance(push, Now):
        check_numbers(push.version)
        return f"NOW {folder} {push.version}\n".encode()
    check_numbers(0, status=push.status)
    return f"END {folder} {push.status} {one_line(push.text)}\n".encode()


def patch_to_bytes(
    folder: str, old_version: int, new_version: int, action: str, header: bytes
) -> bytes:
    """A patch on the wire, of a header that is in its text form already.

    Raises:
        LocalProtocolError: a version or an action that there is not.
    """
    check_numbers(old_version, new_version)
    if action not in ("+", "-"):
        raise LocalProtocolError(f"{action!a} is neither + nor -")
    line = f"PATCH {encode('folder', folder)} {old_version} {new_version} {action}\n"
    return line.encode() + header + b"\n"


def one_line(text: str) -> str:
    """A text for one line: whatever else it has becomes a blank, and it is cut."""
    data = _CONTROLS.sub(" ", text).encode("utf-8", "replace")[: MAX_LINE // 2]
    return data.decode(errors="ignore")


def check_numbers(*numbers: int, status: int = 200) -> None:
    """Whether numbers and a status can be sent.

    Raises:
        LocalProtocolError: they cannot.
    """
    if status not in STATUSES:
        raise LocalProtocolError(f"status {status}, which there is not")
    if not all(0 <= number <= MAX_NUMBER for number in numbers):
        raise LocalProtocolError(f"a version or seq above 18 digits: {numbers}")


def weight(request: Request) -> int:
    """About what a request takes in memory, in bytes; of a batch it is bounded."""
    fields = request.header.fields if request.header else ()
    texts = sum((len(name) + len(value)) * (1 if value.isascii() else 4) for name, value in fields)
    return _PER_REQUEST + sum(map(len, request.arguments)) + _PER_FIELD * len(fields) + texts


def encode(name: str, argument: str) -> str:
    """An argument as one word; an empty folder is the root.

    Raises:
        LocalProtocolError: it cannot be sent.
    """
    if not argument and name != "folder":
        raise LocalProtocolError(f"{name} must not be empty")
    try:
        return quote(argument, safe="/@:+,;=!$&'()*~") or "/"
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"{name} {argument[:80]!a} is no text") from error


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
    for name, is_number, argument in zip(names, grammar.numbers, arguments, strict=False):
        if is_number and not _NUMBER.fullmatch(argument):
            return f"{name} must be a number of at most 18 digits"
    return None


@attrs.frozen
class RequestLine:
    """A request line as it was read.

    Attributes:
        seq: or 0.
        keyword: in capitals; of what is no request as much as can be shown.
        arguments: decoded.
        reason: what is wrong, or None.
        is_readable: whether it is known what follows the line.
    """

    seq: int
    keyword: str
    arguments: tuple[str, ...] = ()
    reason: str | None = None
    is_readable: bool = True

    @property
    def grammar(self) -> Grammar:
        """Of its keyword; of an unknown one nothing follows."""
        return KEYWORDS.get(self.keyword, Grammar(""))


def parse_request_line(line: bytes) -> RequestLine:
    """Read a request line; what is wrong is in its `reason`."""
    words = line.replace(b"\t", b" ").split(b" ")
    words = [word for word in words if word]
    seq = int(words.pop(0)) if words and _SEQ.fullmatch(words[0]) else 0
    word = words.pop(0) if words else b""
    if not _KEYWORD.fullmatch(word):
        return RequestLine(seq, "?", reason="expected a keyword", is_readable=False)
    keyword = word.decode().upper()
    if keyword not in KEYWORDS:
        reason = f"no such keyword; there are {' '.join(KEYWORDS)}"
        return RequestLine(seq, keyword, reason=reason)
    if _RAW_CONTROL.search(line):
        return RequestLine(seq, keyword, reason="a control character; write it as %XX")
    try:
        arguments = tuple(decode(word.decode()) for word in words)
    except ValueError as error:
        return RequestLine(seq, keyword, reason=str(error))
    return RequestLine(seq, keyword, arguments, fault(KEYWORDS[keyword], arguments))
