"""Whatever bytes a mail has: what leaves can be sent, says the same, and its signatures hold."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdirclient.mail.memory import Mail, take_apart
from mdirclient.mail.mend import MAX_LINE, canonical, mend
from mdirclient.smtp.relay.keys import Key, make_keys
from mdirclient.smtp.relay.sign import sign
from tests.unit.test_dkim import verified

#: Of these mails are made: line ends, long lines, the structure of a mail, what is not ASCII.
_PIECES = [
    b"\r", b"\n", b"\r\n", b"\r\r\n", b"\n\r", b".", b"..", b"\0", b"\x1a", b"\x85", b" ", b"\t",
    b"=", b"=3D", b"=C3", b"=\r\n", b"\xc3\xa4", b"\xff", b"a" * 998, b"b" * 5_000, b" " * 1_200,
    b"word " * 400, b"\xc3\xa4 " * 700, b"QUJD" * 300, b"\r\n--x", b"\r\n--x--", b"--x\r\n",
    b"\r\n--y\r\n", b"--y--", b"From ", b"From: a@b.test", b"To", b":", b" : ", b"Subject: hi",
    b"Content-Type: multipart/mixed; boundary=x\r\n", b"MIME-Version: 1.0\r\n", b"\r\n\r\n",
    b"Content-Type: multipart/signed; boundary=y\r\n", b"Content-Type: message/rfc822\r\n",
    b"Content-Type: text/plain; charset=utf-8\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n", b"Content-Transfer-Encoding: 8bit\r\n",
]  # fmt: skip
_HEAD = b"From: a@ours.test\r\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, ...]:
    """A pair of one domain."""
    return make_keys(str(tmp_path_factory.mktemp("keys")), "ours.test", "one")


def check(data: bytes, *, is_8bit: bool) -> bytes:
    """What leaves, which every server takes; nothing more is to be mended."""
    found = mend(data, is_8bit=is_8bit)
    lines = found.split(b"\r\n")
    assert b"" == lines[-1]
    assert not [line for line in lines if b"\r" in line or b"\n" in line]
    assert MAX_LINE >= max(map(len, lines))
    assert found == mend(found, is_8bit=is_8bit), found
    return found


def _said(mail: Mail) -> list[bytes]:
    return [content.rstrip(b"\r\n") for content in mail.contents]


@given(st.lists(st.sampled_from(_PIECES) | st.binary(max_size=20), max_size=25), st.booleans())
def test_any_mail(pieces: list[bytes], is_8bit: bool) -> None:
    """It can be sent."""
    check(b"".join(pieces), is_8bit=is_8bit)


@given(st.lists(st.sampled_from(_PIECES) | st.binary(max_size=20), max_size=25))
def test_any_signature(keys: tuple[Key, ...], pieces: list[bytes]) -> None:
    """Signatures of what leaves hold."""
    data = check(_HEAD + b"".join(pieces), is_8bit=True)
    assert [True, True] == verified(sign(data, keys) + data, keys)


@given(
    st.sampled_from(["7bit", "8bit", "binary", "quoted-printable", "base64", ""]),
    st.lists(st.sampled_from([b"\r\n", b"a " * 600, "ä".encode(), b"=\r\n", b" ", b"x"])),
    st.booleans(),
)
def test_the_same_is_said(encoding: str, pieces: list[bytes], is_8bit: bool) -> None:
    """A part that is encoded another way has the content that it had."""
    head = b"%sContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" % _HEAD
    part = b"Content-Type: text/x; charset=utf-8\r\nContent-Transfer-Encoding: %s\r\n\r\n"
    data = head + part % encoding.encode() + b"".join(pieces) + b"\r\n--b--\r\n"
    found = check(data, is_8bit=is_8bit)
    assert is_8bit or found.isascii()
    if encoding != "base64":  # what is none has no content that could be the same
        assert _said(take_apart(canonical(data))) == _said(take_apart(found))


def bodies(seed: int, count: int) -> None:
    """So many generated mails can be sent, one half of them to a host of 7 bits."""
    source = random.Random(seed)
    for number in range(count):
        data = _HEAD + b"".join(source.choices(_PIECES, k=source.randrange(30)))
        check(data, is_8bit=number % 2 == 0)


def test_many_bodies() -> None:
    """Nothing that is relayed has a bare CR or LF."""
    bodies(1, 3_000)


@pytest.mark.long
def test_a_hundred_thousand_bodies() -> None:
    """The same, of 10⁵."""
    bodies(2, 100_000)


def test_any_mebibyte(tmp_path: Path, keys: tuple[Key, ...]) -> None:
    """Bodies that are hard for somebody: a mebibyte is sendable, and signed."""
    for pattern in (
        b"\r",
        b" ",
        b"\t ",
        b" \r\n",
        b"\r\n",
        b"a",
        b"\xe9",
        b"\xe9 ",
        b"=",
        b"\r\n--x",
    ):
        body = pattern * ((1 << 20) // len(pattern))
        data = check(_HEAD + b"\r\n" + body, is_8bit=False)
        assert [True, True] == verified(sign(data, keys) + data, keys)
