"""Recipes: small beside the parts, and never the wrong bytes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import quopri

import attrs
import pytest

from mdirclient import take_apart
from mdirclient.errors import RecipeError
from mdirclient.mail.decompose import Decomposer
from mdirclient.mail.memory import Mail, MemoryShelf
from mdirclient.mail.rebuild import read_head, read_records, rebuild

BODY_SHA256 = hashlib.sha256(b"body\n").hexdigest().encode()
BASE64 = b"Content-Transfer-Encoding: base64\n\n"
QUOTED = b"Content-Transfer-Encoding: quoted-printable\n\n"


def fed(mail: bytes, step: int) -> Mail:
    """Taken apart in pieces of a size."""
    shelf = MemoryShelf()
    decomposer = Decomposer(shelf)
    for at in range(0, len(mail), step):
        decomposer.feed(mail[at : at + step])
    return shelf.mail(decomposer, hashlib.sha256(mail).hexdigest())


def check(mail: bytes) -> Mail:
    """It comes back, and is the same however it is fed."""
    whole = take_apart(mail)
    assert mail == whole.original()
    for step in (1, 5, 77) if len(mail) < 20_000 else (100_000,):
        pieces = fed(mail, step)
        assert whole.contents == pieces.contents
        assert mail == pieces.original()
    return whole


def records_of(mail: Mail) -> list[bytes]:
    """The recipe's lines, as far as they are text."""
    return gzip.decompress(mail.records).split(b"\n")


def encoded(content: bytes, length: int, newline: bytes, tail: bytes) -> bytes:
    """A base64 part in some layout."""
    text = base64.b64encode(content)
    lines = [text[at : at + length] for at in range(0, len(text), length)]
    return BASE64 + newline.join(lines) + tail


@pytest.mark.parametrize("length", [4, 60, 64, 72, 76, 1000])
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("lines", [0, 1, 3])
@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 4000, 200_000])
def test_base64_needs_no_copy(length: int, newline: bytes, lines: int, size: int) -> None:
    """Ordinary layouts are made again from the content alone."""
    content = bytes(range(256)) * 800
    mail = check(encoded(content[:size], length, newline, newline * lines))
    assert content[:size] == mail.contents[0]
    assert len(mail.records) < 260


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 3000, 200_000])
def test_base64_in_one_line_needs_no_copy(size: int, tail: bytes) -> None:
    """However long it is."""
    content = bytes(range(256)) * 800
    mail = check(BASE64 + base64.b64encode(content[:size]) + tail)
    assert content[:size] == mail.contents[0]
    assert len(mail.records) < 260


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
        b"QUJD\rQUJD\n",
        b"\r\n\r\n",
    ],
)
@pytest.mark.parametrize("place", ["alone", "first", "middle", "last"])
def test_odd_base64_comes_back(body: bytes, place: str) -> None:
    """Junk, odd padding and uneven lines are kept as they are, beside what they say."""
    line = b"QUJDREVG" * 9 + b"QUJD\r\n"
    before = line * 30 if place in ("middle", "last") else b""
    after = line * 30 if place in ("middle", "first") else b""
    mail = check(BASE64 + before + body + after)
    assert mail.contents[0].startswith(b"ABCDEF" * bool(before))
    assert len(mail.records) < 500


@pytest.mark.parametrize(
    "body", [bytes(range(256)), bytes(range(256)) * 300, bytes(range(255, -1, -1)) + b" \n"]
)
def test_binary_that_is_called_text_comes_back(body: bytes) -> None:
    """Every byte there is, none of them escaped."""
    check(QUOTED + body)
    check(BASE64 + body)


def test_one_odd_line_costs_one_line() -> None:
    """Not a copy of the attachment."""
    line = base64.b64encode(bytes(range(57))) + b"\r\n"
    mail = check(BASE64 + line * 5000 + b"-- junk --\r\n" + line * 5000)
    assert bytes(range(57)) * 5000 == mail.contents[0][: 57 * 5000]
    assert len(mail.records) < 3 * 5000


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
    assert content == check(BASE64 + body).contents[0]


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"caf=C3=A9=\n!\n", "café!\n".encode()),
        (b"soft=\r\nbreak\r\n", b"softbreak\r\n"),
        (b"broken =ZZ =", b"broken =ZZ "),
        (b"padded = \t\r\nbreak", b"padded break"),
        (b"bare=\rCR=\rs\r\nend", b"bareCRs\r\nend"),
        (b"plain\n", b"plain\n"),
        (b"two == signs ==3D\n", b"two == signs ==\n"),
        (b"cut=4=\n1\n", b"cut=41\n"),
        (b"raw \xe9 and =E9\n", b"raw \xe9 and \xe9\n"),
        (b'<a href="x">=3D</a>\n', b'<a href="x">=</a>\n'),
        (b"blank \n", b"blank \n"),
        (b"blank=20\r\n", b"blank \r\n"),
        (b"lower =c3=a9\n", "lower é\n".encode()),
        (b"end=\r\n", b"end"),
        (b"=", b""),
        (b"=41=\r\n=42=\r=43 =\r\n", b"ABC "),
        (b"caf=C3=A9 =\r=C3=A9 =\r\n", "café é ".encode()),
    ],
)
def test_quoted_printable(body: bytes, content: bytes) -> None:
    """Decoded for people, made again for the original."""
    assert content == check(QUOTED + body).contents[0]


TEXT = (
    "Déjà vu: l'été, où que l'on aille, la mer est à deux pas = 2 minutes à pied.\r\n"
    "Un long paragraphe que l'expéditeur n'a pas coupé, et que le codage coupe donc pour lui, "
    "plusieurs fois même, parce qu'il est décidément très long. \r\n\r\n"
).encode() * 40


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_quoted_printable_needs_no_copy(newline: bytes) -> None:
    """As the stdlib writes it: the breaks of lines are all that is noted."""
    content = TEXT.replace(b"\r\n", newline)
    lines = [quopri.encodestring(line + b"\n") for line in content.split(newline)[:-1]]
    body = b"".join(lines).replace(b"\n", newline)
    mail = check(QUOTED + body)
    assert content == mail.contents[0]
    assert len(mail.records) - len(take_apart(b"\n" + content).records) < 0.03 * len(body)


@pytest.mark.parametrize("odd", [b"odd: =zz = escape =C3=a9\r\n", b"A=42C\r\n", b"a =\t\r\nb\r\n"])
def test_one_odd_line_of_quoted_printable_costs_one_line(odd: bytes) -> None:
    """The others are made again."""
    lines = [quopri.encodestring(line + b"\n") for line in TEXT.split(b"\r\n")[:-1]]
    body = b"".join(lines).replace(b"\n", b"\r\n")
    mail = check(QUOTED + body + odd + body)
    assert b"raw %d %d" % (len(check(QUOTED + odd).contents[0]), len(odd)) in records_of(mail)
    assert len(mail.records) < 0.1 * len(body)


@pytest.mark.parametrize("unit", [b"=E4=BD=A0=E5=A5=BD", b"=e4=bd=a0", b"=2E", b"=20x", b"=0D=0A"])
def test_whatever_is_escaped_needs_no_copy(unit: bytes) -> None:
    """If it always is, or never."""
    line = unit * (72 // len(unit)) + b"=\r\n"
    mail = check(QUOTED + line * 500)
    assert len(mail.records) < 0.03 * 500 * len(line)


@pytest.mark.untraced
def test_large_bodies_are_decoded_in_pieces() -> None:
    """The same content as at once, where a piece would split an escape."""
    line = b"=C3=A9" * 12 + b"=\n"
    mail = QUOTED + line * 50_000
    assert "é".encode() * 600_000 == check(mail).contents[0]
    unbroken = mail.replace(b"=\n", b"")
    for shift in range(7):
        body = QUOTED + b"x" * shift + unbroken[len(QUOTED) :]
        assert b"x" * shift + "é".encode() * 600_000 == check(body).contents[0]


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("odd", [b"=c3=C3", b"=c3=C3\n=c3=C3\n"])
@pytest.mark.parametrize("tail", [b"====b", b"= =b", b"=\r=b", b"=4=b", b"=\n=b"])
def test_odd_lines_over_the_end_of_a_piece(shift: int, odd: bytes, tail: bytes) -> None:
    """What follows a cut tells what is before it."""
    check(QUOTED + odd + b"a" * (65_536 - len(odd) - shift) + tail * 3 + b"x\n")


@pytest.mark.parametrize("unit", [b"=", b"==", b"= ", b"=\r", b"=3", b" =", b"=\n", b"\r", b" "])
def test_any_run_of_quoted_printable_comes_back(unit: bytes) -> None:
    """Also over the end of a piece."""
    mail = check(QUOTED + unit * (200_000 // len(unit)) + b"end")
    assert mail.contents[0].endswith(b"nd")


@pytest.mark.parametrize(
    "name", ["x-uuencode", "uuencode", "x-yenc", "7bit", "8bit", "binary", "unknown", ""]
)
def test_other_encodings_are_left(name: str) -> None:
    """Content is what was sent."""
    body = b"begin 644 a\n#86)C\n`\nend\n=ybegin \x00\xff=3D\n"
    mail = b"Content-Transfer-Encoding: " + name.encode() + b"\n\n" + body
    assert body == check(mail).contents[0]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_cut_recipe_is_an_error(cut: int) -> None:
    """Never a shorter mail."""
    mail = take_apart(b"Subject: x\n\nbody\n")
    with pytest.raises(RecipeError):
        attrs.evolve(mail, records=mail.records[:-cut]).original()


@pytest.mark.parametrize("contents", [(), (b"",), (b"bodx\n",), (b"body\n+",), (b"body",)])
def test_other_contents_are_an_error(contents: tuple[bytes, ...]) -> None:
    """Missing, other, longer, shorter; the part is named."""
    mail = take_apart(b"Subject: x\n\nbody\n")
    with pytest.raises(RecipeError, match="part 1"):
        attrs.evolve(mail, contents=contents).original()


@pytest.mark.parametrize(
    "records",
    [
        b"raw 0 5\nabc\n",
        b"raw 0 99999999\n",
        b"raw 1 1\na\n",
        b"nonsense\n",
        b"part 0\n",
        b"part 2\n",
        b"part 1\n",
        b"part 1\nsame 5\n",
        b"same 5\n",
        b"end 0 " + b"0" * 64 + b"\n",
        b"part 1\nbase64 5 75 crlf ended\n",
        b"part 1\nbase64 5 76 cr ended\n",
        b"part 1\nquoted 5 crlf upper +2 - 0\n\n",
        b"part 1\nquoted 99999999 crlf upper + - 0\n\n",
        b"part 1\nquoted 5 crlf upper + - 2\n\x05\n",
        b"x" * 5000,
        b"part 1\nsame 5\npart 1\nsame 5\nend 5 " + BODY_SHA256 + b"\n",
        b"part 1\nsame 5\nend 5 " + BODY_SHA256 + b"\npart 1\n",
        b"part 1\nquoted 5 lf upper + - 2\n\x7f\x7f\n",
        b"part 1\nquoted 5 lf upper + - 200000\n" + b"\xff" * 200_000 + b"\n",
        b"part 1\nquoted 5 lf upper + -" + bytes(range(256)).hex().encode() + b" 1\n\x80\n",
    ],
)
def test_nonsense_is_an_error(records: bytes) -> None:
    """And bounded."""
    mail = take_apart(b"Subject: x\n\nbody\n")
    for packed in (records, gzip.compress(records)):
        with pytest.raises(RecipeError):
            attrs.evolve(mail, records=packed).original()


@pytest.mark.untraced
@pytest.mark.parametrize(
    "unit",
    [
        b"QQ==",
        b"QQ==\n",
        b"QUJD",
        b"=",
        b"\n",
        b"Q",
        b"QUJDRA=\n",
        b"QUJD\n!!!!\n",
        b"a\n" * 999 + b"= \n",
    ],
)
@pytest.mark.parametrize("head", [BASE64, QUOTED])
def test_decoding_takes_linear_time(unit: bytes, head: bytes) -> None:
    """A few megabytes of anything, in one line or many, end within the test's time-out."""
    check(head + unit * (3_000_000 // len(unit)) + b"\nQUJD\n")


def test_a_bomb_is_read_in_pieces() -> None:
    """Records that inflate to more than any that we write."""
    bomb = gzip.compress(b"raw 0 262144\n" + bytes(262144) + b"\n" + b"x" * 50_000_000)
    records = read_records(io.BytesIO(bomb))
    assert 262144 == len(next(rebuild(records, lambda _: io.BytesIO())))
    with pytest.raises(RecipeError):
        next(records)


def test_a_head_without_end_is_an_error() -> None:
    """It is not read to its end."""
    lines = io.BytesIO(b"a: b\n" * 1_000_000)
    with pytest.raises(RecipeError):
        read_head(lines)
    assert lines.tell() < 100_000
