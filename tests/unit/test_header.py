"""The text form of headers."""

from __future__ import annotations

import pytest

from mdirclient import Header
from mdirclient.errors import HeaderError
from mdirclient.header import MAX_BYTES


def test_fields_in_order_and_repeated() -> None:
    """Repeated names are kept, names compare without case."""
    header = Header([("B", "1"), ("a", "2"), ("b", "3")])
    assert (("b", "1"), ("a", "2"), ("b", "3")) == header.fields
    assert ("1", "3") == header.get_all("B")
    assert "1" == header["b"]
    assert header.get("c") is None
    assert "A" in header


def test_missing_field_is_a_key_error() -> None:
    """As with a mapping."""
    with pytest.raises(KeyError):
        Header()["a"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("9",), (("a", "1"), ("b", "9"), ("c", "3"))),
        ((), (("a", "1"), ("c", "3"))),
        (("8", "9"), (("a", "1"), ("b", "8"), ("b", "9"), ("c", "3"))),
    ],
)
def test_replace(values: tuple[str, ...], expected: tuple[tuple[str, str], ...]) -> None:
    """New values stand where the first old one stood."""
    header = Header([("a", "1"), ("b", "2"), ("c", "3"), ("b", "4")])
    assert expected == header.replace("B", *values).fields


def test_replace_of_a_new_name_is_last() -> None:
    """A field that was not there is added."""
    assert (("a", "1"), ("b", "2")) == Header([("a", "1")]).replace("b", "2").fields


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        (" ", "\\x20"),
        ("  two ", "\\x20 two\\x20"),
        ("a\nb\r\\", "a\\nb\\r\\\\"),
        ("\t\x00\x7f\x85", "\\t\\x00\\x7f\\x85"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("été 😀", "été 😀"),
        ("\\n", "\\\\n"),
        ("\ufeff", "\ufeff"),
    ],
)
def test_escapes(value: str, text: str) -> None:
    """What would break a line or be trimmed is escaped, and comes back."""
    header = Header([("a", value)])
    assert f"a: {text}\n".encode() == header.to_bytes()
    assert header == Header.parse(header.to_bytes())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\r\nb: 2\r\n", [("a", "1"), ("b", "2")]),
        (b"\xef\xbb\xbfa: 1\n", [("a", "1")]),
        (b"a: 1\n b\n\tc\n", [("a", "1 b\tc")]),
        (b"a:1", [("a", "1")]),
        (b"A: \t 1 \t \n", [("a", "1")]),
        (b"a: \\q\\x4\\ud800\n", [("a", "\\q\\x4\\ud800")]),
        (b"a: \\x20x\\u00e9\n", [("a", " xé")]),
        (b"a: x:y\n", [("a", "x:y")]),
        (b"a: x\ty\n", [("a", "x\ty")]),
        (b"", []),
    ],
)
def test_what_people_leave_is_read(data: bytes, expected: list[tuple[str, str]]) -> None:
    """CRLF, a BOM, folds, blanks, no last newline, unknown escapes."""
    assert Header(expected) == Header.parse(data)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a: 1\n\nb: 2\n", 2),
        (b"a: 1\nb\n", 2),
        (b" folded first\n", 1),
        (b"a: 1\nb : 2\n", 2),
        (b"a: 1\n\xff: 2\n", 2),
        (b"a: 1\nb: \xff\n", 2),
        (b"a: \x00\n", 1),
        (b"a: 1\rb: 2\n", 1),
        (b": 1\n", 1),
        ("é: 1\n".encode(), 1),
        (b"a: 1\n" * 1001, 1001),
    ],
)
def test_anything_else_names_file_and_line(data: bytes, line: int) -> None:
    """The error says where."""
    with pytest.raises(HeaderError) as caught:
        Header.parse(data, source=".meta/x")
    assert (".meta/x", line) == (caught.value.source, caught.value.line)
    assert str(caught.value).startswith(f".meta/x:{line}: ")


@pytest.mark.parametrize(
    "fields",
    [
        [("a", "\ud800")],
        [("a b", "")],
        [("", "")],
        [("a:", "")],
        [("é", "")],
        [("\u212a", "")],
        [("a", "")] * 1001,
        [("a", "x" * MAX_BYTES)],
        [("a", "\u2028" * (MAX_BYTES // 5))],
    ],
)
def test_what_cannot_be_written_is_refused(fields: list[tuple[str, str]]) -> None:
    """A header that exists can be written."""
    with pytest.raises(HeaderError):
        Header(fields)


def test_too_long_text_is_refused() -> None:
    """Before it is taken apart."""
    with pytest.raises(HeaderError):
        Header.parse(b"a: " + b"x" * MAX_BYTES)


def test_largest_header_is_written() -> None:
    """The limit counts bytes as written."""
    header = Header([("a", "x" * (MAX_BYTES - 4))])
    assert MAX_BYTES == len(header.to_bytes())
    assert header == Header.parse(header.to_bytes())


def test_matches() -> None:
    """A pattern asks for fields with their very values."""
    header = Header([("a", "1"), ("a", "2"), ("b", "3")])
    assert header.matches(Header([("a", "2"), ("b", "3")]))
    assert not header.matches(Header([("a", "3")]))


def test_fed_byte_by_byte_and_with_trailing_data() -> None:
    """Every prefix is a header, a documented error, and never another exception."""
    data = Header([("a", "x\n"), ("b", "été")]).to_bytes() + b"trailing"
    for end in range(len(data)):
        try:
            Header.parse(data[:end])
        except HeaderError:
            continue
