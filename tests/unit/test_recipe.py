"""Recipes: small beside the parts, and never the wrong bytes."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator

import pytest

from mdirclient.mail.rebuild import RecipeError, read_records, rebuild
from mdirclient.mail.recipe import PartRecord, write_recipe
from mdirclient.mail.split import split


def taken_apart(mail: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Recipe and contents of a mail."""
    contents: dict[int, bytes] = {}

    def store(number: int, content: Iterator[bytes]) -> tuple[int, str]:
        contents[number] = b"".join(content)
        return len(contents[number]), hashlib.sha256(contents[number]).hexdigest()

    return b"".join(write_recipe(mail, split(mail), store)), contents


def rebuilt(recipe: bytes, contents: dict[int, bytes]) -> bytes:
    """The mail again."""

    def content(record: PartRecord) -> Iterator[bytes]:
        data = contents[record.number]
        for at in range(0, len(data), 7):
            yield data[at : at + 7]

    return b"".join(rebuild(read_records(io.BytesIO(recipe)), content))


def encoded(content: bytes, length: int, newline: bytes, tail: bytes) -> bytes:
    """A base64 part in some layout."""
    text = base64.b64encode(content)
    lines = [text[at : at + length] for at in range(0, len(text), length)]
    return b"Content-Transfer-Encoding: base64\n\n" + newline.join(lines) + tail


@pytest.mark.parametrize("length", [4, 60, 64, 72, 76, 1000])
@pytest.mark.parametrize("newline", [b"\r\n", b"\n", b"\r"])
@pytest.mark.parametrize("lines", [0, 1, 3])
@pytest.mark.parametrize("size", [0, 1, 57, 58, 4000])
def test_base64_needs_no_copy(length: int, newline: bytes, lines: int, size: int) -> None:
    """Ordinary layouts are made again from the content alone."""
    content = bytes(range(256)) * 16
    mail = encoded(content[:size], length, newline, newline * lines)
    recipe, contents = taken_apart(mail)
    assert content[:size] == contents[1]
    assert mail == rebuilt(recipe, contents)
    assert len(recipe) < 200


@pytest.mark.parametrize(
    "body",
    [
        b"aGVsbG8",
        b"aGVs\nbG8=\nd29y\n",
        b"aGVs bG8=",
        b"aGVsbG8=aGVsbG8=",
        b"aGVsbG9=",
        b"!!!",
        b"aGVs\n\nbG8=\n",
        b"aGVsbG8=\r\n\n",
        b"aGVsb\nG8=\n",
        b"QQ==QQ==\n",
        b"QQ==\nQQ==\nQQ==\n",
        b"====",
        b"a",
    ],
)
def test_odd_base64_comes_back(body: bytes) -> None:
    """Junk, odd padding and uneven lines are kept as they are, beside what they say."""
    mail = b"Content-Transfer-Encoding: base64\n\n" + body
    recipe, contents = taken_apart(mail)
    assert mail == rebuilt(recipe, contents)


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"aGVsbG8", b"hello"),
        (b"aGVsbG8=aGVsbG8=", b"hellohello"),
        (b"a G\nV!s\r\nbG8=", b"hello"),
        (b"aGVsb", b"hel"),
        (b"", b""),
    ],
)
def test_base64_is_decoded_leniently(body: bytes, content: bytes) -> None:
    """What can be read is."""
    assert content == taken_apart(b"Content-Transfer-Encoding: base64\n\n" + body)[1][1]


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"caf=C3=A9=\n!\n", "café!\n".encode()),
        (b"soft=\r\nbreak\r\n", b"softbreak\r\n"),
        (b"broken =ZZ =", b"broken =ZZ "),
        (b"padded = \t\r\nbreak", b"padded break"),
        (b"bare=\rCR=\rs\r\nend", b"bareCRs\r\nend"),
        (b"plain\n", b"plain\n"),
    ],
)
def test_quoted_printable(body: bytes, content: bytes) -> None:
    """Decoded for people, kept for the original."""
    mail = b"Content-Transfer-Encoding: quoted-printable\n\n" + body
    recipe, contents = taken_apart(mail)
    assert content == contents[1]
    assert mail == rebuilt(recipe, contents)


def test_large_bodies_are_decoded_in_pieces() -> None:
    """The same content as at once, where a piece would split an escape."""
    line = b"=C3=A9" * 12 + b"=\n"
    mail = b"Content-Transfer-Encoding: quoted-printable\n\n" + line * 50_000
    recipe, contents = taken_apart(mail)
    assert "é".encode() * 600_000 == contents[1]
    assert mail == rebuilt(recipe, contents)
    unbroken = mail.replace(b"=\n", b"")
    assert "é".encode() * 600_000 == taken_apart(unbroken)[1][1]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_cut_recipe_is_an_error(cut: int) -> None:
    """Never a shorter mail."""
    recipe, contents = taken_apart(b"Subject: x\n\nbody\n")
    with pytest.raises(RecipeError):
        rebuilt(recipe[:-cut], contents)


@pytest.mark.parametrize(
    "recipe",
    [b"literal 5\nabc\n", b"deflate 3\nabc\n", b"literal 99999999\n", b"nonsense\n", b"part 1\n"],
)
def test_nonsense_is_an_error(recipe: bytes) -> None:
    """And bounded."""
    with pytest.raises(RecipeError):
        rebuilt(recipe, {})


@pytest.mark.parametrize("unit", [b"QQ==", b"QQ==\n", b"QUJD", b"=", b"\n", b"Q"])
def test_base64_takes_linear_time(unit: bytes) -> None:
    """A few megabytes of anything, in one line or many, end within the test's time-out."""
    mail = b"Content-Transfer-Encoding: base64\n\n" + unit * (4_000_000 // len(unit)) + b"\nQUJD\n"
    recipe, contents = taken_apart(mail)
    assert mail == rebuilt_at_once(recipe, contents)


def rebuilt_at_once(recipe: bytes, contents: dict[int, bytes]) -> bytes:
    """The mail again, contents in one piece."""
    return b"".join(
        rebuild(read_records(io.BytesIO(recipe)), lambda record: iter([contents[record.number]]))
    )


def test_a_bomb_is_an_error() -> None:
    """A record that inflates to more than any that we write."""
    import zlib

    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(RecipeError):
        rebuilt(b"deflate %d\n%s\n" % (len(bomb), bomb), {})
