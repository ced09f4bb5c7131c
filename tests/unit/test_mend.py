"""Mails as every SMTP server takes them: as little is changed as can be."""

from __future__ import annotations

import email
import email.policy

import pytest

from mdirclient.mail.memory import take_apart
from mdirclient.mail.mend import MAX_LINE, header_end, mend

_HEAD = b"From: a@b.test\r\nMIME-Version: 1.0\r\n"
_LONG = b"word " * 1_000 + b"\r\n"


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\r\n")
    assert b"" == lines.pop()
    assert not [line for line in lines if b"\r" in line or b"\n" in line]
    return lines


@pytest.mark.parametrize("is_8bit", [True, False])
def test_what_is_right_stays(is_8bit: bool) -> None:
    """Not a byte is changed, odd as it may look."""
    data = (
        b"From: a@b.test\r\nX-Odd:\r\n\tfolded \r\nContent-Type: multipart/mixed;boundary=x\r\n\r\n"
        b"--x \r\n\r\n.\r\n..\r\n \r\n" + b"a" * MAX_LINE + b"\r\n--x--\r\n\r\n\r\n"
    )
    assert data == mend(data, is_8bit=is_8bit)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"A: b\n\nc\rd\r\n\r\r\ne", b"A: b\r\n\r\nc\r\nd\r\n\r\n\r\ne\r\n"),
        (b"A: b\r\n", b"A: b\r\n\r\n"),
        (b"A: b\r\nno field\r\n", b"A: b\r\n\r\nno field\r\n"),
        (b"A \t: b\r\n\r\n", b"A: b\r\n\r\n"),
        (b"From jo Thu Jan  1\nA: b\n\n", b"A: b\r\n\r\n"),
        (b"", b"\r\n"),
        (b"\r\nbody", b"\r\nbody\r\n"),
    ],
)
def test_line_ends_and_the_end_of_the_header(data: bytes, expected: bytes) -> None:
    """Every line ends with CRLF, and the header with an empty line."""
    assert expected == mend(data, is_8bit=True)


def test_a_long_line_of_text() -> None:
    """It is encoded, and says the same; 8 bits stay where they may."""
    data = _HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + _LONG + b"\xc3\xa4 \r\n"
    found = mend(data, is_8bit=True)
    assert max(map(len, _lines(found))) <= 76
    mail = email.message_from_bytes(found, policy=email.policy.default)
    assert "quoted-printable" == mail["content-transfer-encoding"]
    assert take_apart(data).contents == take_apart(found).contents


def test_eight_bits_towards_seven() -> None:
    """Text becomes quoted-printable or base64, whichever is shorter; its header tells."""
    german = (
        _HEAD
        + b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
        + b"Gr\xc3\xbc\xc3\x9fe an alle, die es gibt\r\n"
    )
    greek = (
        _HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "αβγ".encode() * 9 + b"\r\n"
    )
    for data, expected in ((german, b"quoted-printable"), (greek, b"base64")):
        found = mend(data, is_8bit=False)
        assert found.isascii()
        assert b"Content-Transfer-Encoding: " + expected in found
        assert take_apart(data).contents == take_apart(found).contents
        assert data == mend(data, is_8bit=True)


@pytest.mark.parametrize(
    ("text", "charset"), [(b"\xc3\xa4\r\n", b"utf-8"), (b"\xe4\r\n", b"unknown-8bit")]
)
def test_a_mail_without_mime(text: bytes, charset: bytes) -> None:
    """What it is must be said now that it is encoded (RFC 1428)."""
    found = mend(b"From: a@b.test\r\n\r\n" + text, is_8bit=False)
    assert b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=%s\r\n" % charset in found


def test_what_is_encoded_is_cut_where_that_says_nothing() -> None:
    """Base64 and quoted-printable have long lines too."""
    for encoding, text in (
        (b"base64", b"QUJD" * 1_000 + b"\r\n"),
        (b"quoted-printable", b"=C3=A4 b=3D" * 300 + b"\r\n\xc3\xa4=\r\n \r\n"),
    ):
        data = _HEAD + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + text
        found = mend(data, is_8bit=False)
        assert found.isascii()
        assert max(map(len, _lines(found))) <= MAX_LINE
        assert take_apart(data).contents == take_apart(found).contents


def test_what_was_signed_is_not_encoded() -> None:
    """Not within multipart/signed: the 8 bits stay, and long lines are cut as anybody would."""
    data = (
        _HEAD + b'Content-Type: multipart/signed; boundary="s"\r\n\r\n--s\r\n'
        b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: text/plain\r\n\r\n"
        b"\xc3\xa4\r\n--m--\r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n"
    )
    assert data == mend(data, is_8bit=False)
    long = data.replace(b"\xc3\xa4", b"\xc3\xa4 " + b"a" * 2_000)
    assert max(map(len, _lines(mend(long, is_8bit=False)))) <= MAX_LINE
    assert b"quoted-printable" not in mend(long, is_8bit=False)


def test_a_mail_in_a_mail() -> None:
    """It is no text: what is in it is mended, and it is not encoded itself (RFC 2046 §5.2.1)."""
    inner = (
        b"Subject: Gr\xc3\xbc\xc3\x9fe\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa4"
    )
    data = (
        _HEAD + b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n"
        b"Content-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--m--\r\n"
    )
    found = mend(data, is_8bit=False)
    assert found.isascii()
    mail = email.message_from_bytes(found, policy=email.policy.default)
    (attached,) = mail.iter_parts()
    (letter,) = attached.iter_parts()
    assert "Grüße" == letter["subject"]
    assert "ä" == letter.get_content()


def test_fields() -> None:
    """Long ones are folded, before blanks where there are any; the others become encoded words."""
    data = (
        _HEAD + b"Subject: Gr\xc3\xbc\xc3\x9fe \xc3\xa4n alle\r\n"
        b"To: \xc3\x84 B <x@y.test>\r\nX-None: " + b"a" * 3_000 + b"\r\n"
        b"X-Blanks: " + b" " * 3_000 + b"a\r\n"
        b"Content-Type: text/plain; name=\xc3\xa4.txt\r\n\r\nhi\r\n"
    )
    found = mend(data, is_8bit=False)
    assert found.isascii()
    assert max(map(len, _lines(found))) <= MAX_LINE
    assert not [line for line in _lines(found)[:-2] if line and not line.strip()]
    mail = email.message_from_bytes(found, policy=email.policy.default)
    assert ("Grüße än alle", "Ä B <x@y.test>") == (mail["subject"], mail["to"])
    assert "ä.txt" == mail.get_filename()
    assert "hi\r\n" == mail.get_content()


def test_any_boundary_stays() -> None:
    """A boundary of 8 bits is no word."""
    data = (
        b"Subject: \xc3\xa4\r\nContent-Type: multipart/mixed; boundary=\xc3\xa4\r\n\r\n"
        b"--\xc3\xa4\r\n\r\n\xc3\xa4\r\n--\xc3\xa4--\r\n"
    )
    found = take_apart(mend(data, is_8bit=False))
    assert (b"\xc3\xa4",) == found.contents


def test_where_a_header_ends() -> None:
    """Before the empty line, or before what is no field."""
    assert 6 == header_end(b"A: b\r\n\r\nc")
    assert 10 == header_end(b"A: b\r\n c\r\n\r\n")
    assert 0 == header_end(b" a: b\r\n\r\n")
    assert 0 == header_end(b"")


def test_a_mail_over_the_limits() -> None:
    """Of one with too many parts, or too deep, nothing is lost; its lines are cut."""
    head = b"From: a@b.test\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    many = head + b"".join(b"--x\r\n\r\n%d\r\n" % n for n in range(1_100)) + b"--x\r\n\r\n"
    level = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    deep = b"From: a@b.test\r\n" + b"".join(level % (n, n) for n in range(120)) + b"\r\n"
    for data in (many + _LONG, deep + _LONG):
        found = mend(data, is_8bit=True)
        assert data.split() == found.split()
        assert max(map(len, _lines(found))) <= MAX_LINE
