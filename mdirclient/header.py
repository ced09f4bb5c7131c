"""Header: the metadata of one item as an ordered list of fields, and its text form. Pure.

The text form is used in `.meta/`, on the wire and in the database: one field a line,
`name: value` LF, UTF-8 (docs: formats/header).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from mdirclient.errors import HeaderError

MAX_BYTES: Final = 1 << 20
MAX_FIELDS: Final = 1000

#: Fields that mdir gives a meaning of its own. A field of a mail with one of these names
#: becomes `mail-<name>`, so that a stranger cannot write them.
OWN_FIELDS: Final = frozenset(
    "url anchor part parts section within suggested-name content-type content-id "
    "content-disposition size sha256 message-size message-sha256 kept-whole truncated "
    "received envelope-from envelope-to client-address client-name helo "
    "authentication-results type id name address user alias replaces pending-reason "
    "status queued attempts next-attempt reason sending settled send-after "
    "envelope-options recipient-options".split()
)

_NAME = re.compile(r"[!-9;-~]+")
# Cc, and what some programs take for the end of a line (Zl, Zp).
_BREAKING = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_TO_ESCAPE = re.compile(rf"[\\{_BREAKING}]")
_RAW_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
#: What `to_bytes` writes where nothing had to be escaped: nearly every header there is.
_PLAIN = re.compile(rf"(?:[!-9;-@\[-~]+: (?! )[^\\{_BREAKING}]*(?<! )\n)*")
_ESCAPE = re.compile(r"\\(?:n|r|t|\\|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")
_PLAIN_FIELD = re.compile(r"([^:]+): ([^\n]*)\n")
_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SHORT_BACK = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}
_LONGEST_ESCAPE = 6


def _escape_match(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT.get(char) or (f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}")


def _escape(value: str) -> str:
    text = _TO_ESCAPE.sub(_escape_match, value)
    # Of a run of blanks at an end only the outermost needs it: the rest is then inside.
    if text.startswith(" "):
        text = "\\x20" + text[1:]
    return text[:-1] + "\\x20" if text.endswith(" ") else text


def _unescape_match(match: re.Match[str]) -> str:
    escape = match[0]
    if escape in _SHORT_BACK:
        return _SHORT_BACK[escape]
    char = chr(int(escape[2:], 16))
    # A lone surrogate cannot be a value: the escape stays as it was written.
    return escape if _SURROGATE.match(char) else char


def _checked(fields: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    # Not yet for other characters: some of them become ASCII.
    return tuple((name.lower() if name.isascii() else name, value) for name, value in fields)


@attrs.frozen(repr=False)
class Header:
    """An immutable header: `(name, value)` fields in order, repeated names kept.

    Names are lower-case printable ASCII without space and colon (given in any case);
    values are any text without lone surrogates. At most 1,000 fields and 1 MiB as text.

    Raises:
        HeaderError: a name, a value or a limit is broken.
    """

    fields: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_checked)

    def __attrs_post_init__(self) -> None:
        if len(self.fields) > MAX_FIELDS:
            raise HeaderError(f"{len(self.fields)} fields, at most {MAX_FIELDS} are allowed")
        most = 0
        for name, value in self.fields:
            if not _NAME.fullmatch(name):
                raise HeaderError(
                    f"field name {name[:80]!a} must be printable ASCII without space or colon"
                )
            if not value.isascii() and _SURROGATE.search(value):
                raise HeaderError(f"the value of {name} has a lone surrogate")
            most += len(name) + 3 + _LONGEST_ESCAPE * len(value)
        if most > MAX_BYTES and len(self.to_bytes()) > MAX_BYTES:
            raise HeaderError(f"more than {MAX_BYTES} bytes as text")

    @classmethod
    def parse(cls, data: bytes, *, source: str | None = None) -> Header:
        """Read the text form.

        Accepts what people's editors leave: CRLF, a BOM, folded lines (RFC 5322 §2.2.3),
        blanks around the value, no last newline, unknown escapes (kept as they are).

        Args:
            data: the whole header, without the empty line that ends it on the wire.
            source: the file's name, for errors.

        Raises:
            HeaderError: names the source and the line.
        """
        if len(data) > MAX_BYTES:
            raise HeaderError(f"{len(data)} bytes, at most {MAX_BYTES} are allowed", source)
        if plain := _plain_fields(data):
            # Nothing is left to check: listings do this for each entry.
            header = cls.__new__(cls)
            object.__setattr__(header, "fields", plain)
            return header
        fields: list[tuple[str, str]] = []
        for line, name, value in _lines(data.removeprefix(b"\xef\xbb\xbf"), source):
            if len(fields) == MAX_FIELDS:
                raise HeaderError(f"more than {MAX_FIELDS} fields", source, line)
            if not _NAME.fullmatch(name):
                raise HeaderError("expected `name: value`, name in printable ASCII", source, line)
            fields.append((name, _ESCAPE.sub(_unescape_match, value.strip(" \t"))))
        try:
            return cls(fields)
        except HeaderError as error:
            raise HeaderError(error.reason, source) from error

    def to_bytes(self) -> bytes:
        """The text form; the exact inverse of `parse`."""
        text = "".join([f"{name}: {value}\n" for name, value in self.fields])
        # Nearly always nothing has to be escaped; a value with a line break has another number
        # of lines.
        if text.count("\n") != len(self.fields) or not _PLAIN.fullmatch(text):
            text = "".join([f"{name}: {_escape(value)}\n" for name, value in self.fields])
        return text.encode()

    def __getitem__(self, name: str) -> str:
        """The first value of a field; `KeyError` if there is none."""
        wanted = name.lower()
        for field_name, value in self.fields:
            if field_name == wanted:
                return value
        raise KeyError(name)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a field, or `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def get_all(self, name: str) -> tuple[str, ...]:
        """All values of a field, in order; empty if there is none."""
        wanted = name.lower()
        return tuple(value for field_name, value in self.fields if field_name == wanted)

    def replace(self, name: str, *values: str) -> Header:
        """A header with these values for a field, at the place of its first one, else last.

        Without values the field is gone.
        """
        wanted = name.lower()
        kept = [field for field in self.fields if field[0] != wanted]
        names = [field_name for field_name, _ in self.fields]
        place = names.index(wanted) if wanted in names else len(kept)
        kept[place:place] = [(wanted, value) for value in values]
        return Header(kept)

    def matches(self, pattern: Header) -> bool:
        """Whether this header has every field of `pattern`, with that very value."""
        return set(self.fields).issuperset(pattern.fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(field[0] == name.lower() for field in self.fields)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:
        return f"Header({list(self.fields)!r})"


#: Matches every header.
EMPTY: Final = Header()


def _plain_fields(data: bytes) -> tuple[tuple[str, str], ...]:
    """The fields of a header that is exactly as `to_bytes` writes it; else none."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ()
    if not _PLAIN.fullmatch(text):
        return ()
    fields = _PLAIN_FIELD.findall(text)
    return tuple(fields) if len(fields) <= MAX_FIELDS else ()


def _lines(data: bytes, source: str | None) -> Iterator[tuple[int, str, str]]:
    """Yield (line, name, raw value) with folded lines joined."""
    rows = data.split(b"\n")
    if rows[-1] == b"":
        rows.pop()
    current: tuple[int, str, list[str]] | None = None
    for line, row in enumerate(rows, 1):
        text = _text(row.removesuffix(b"\r"), source, line)
        if text[:1] in (" ", "\t") and current:
            current[2].append(text)
            continue
        name, colon, value = text.partition(":")
        if not colon:
            raise HeaderError("expected `name: value`", source, line)
        if current:
            yield current[0], current[1], "".join(current[2])
        current = (line, name, [value])
    if current:
        yield current[0], current[1], "".join(current[2])


def _text(row: bytes, source: str | None, line: int) -> str:
    try:
        text = row.decode()
    except UnicodeDecodeError as error:
        raise HeaderError("not UTF-8", source, line) from error
    if _RAW_CONTROL.search(text):
        raise HeaderError("a raw control character; write it as \\xNN", source, line)
    return text
