"""Tokens, passwords, and how wrong ones are slowed down."""

from __future__ import annotations

import pytest

from mdirclient import Header
from mdirclient.mdird.credentials import (
    find_password,
    find_token,
    hash_password,
    hash_token,
    new_token,
)
from mdirclient.service.throttle import Throttle


def test_tokens() -> None:
    """Each is another; only its hash is kept, and only it fits."""
    one, two = new_token(), new_token()
    user = Header([("token-hash", hash_token(one)), ("token-hash", hash_token(two))])
    assert one != two
    assert hash_token(two) == find_token(user, two)
    assert one not in hash_token(one)
    for wrong in ("", "x", one + "x", hash_token(one), "é" * 2000, "\udc80"):
        assert find_token(user, wrong) is None


def test_passwords() -> None:
    """scrypt with a salt of its own (RFC 7914)."""
    kept = hash_password("correct horse")
    assert kept != hash_password("correct horse")
    assert kept.startswith("$scrypt$ln=14,r=8,p=1$")
    user = Header([("password-hash", kept)])
    assert kept == find_password(user, "correct horse")
    for wrong in ("", "Correct horse", kept, "x" * 2000, "\udc80"):
        assert find_password(user, wrong) is None
    assert find_password(None, "correct horse") is None
    assert find_password(Header(), "correct horse") is None


def test_a_vector_of_rfc_7914() -> None:
    """§12: password, salt and cost of the standard."""
    import base64

    salt = base64.b64encode(b"SodiumChloride").decode().rstrip("=")
    expected = bytes.fromhex(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    )
    kept = f"$scrypt$ln=14,r=8,p=1${salt}${base64.b64encode(expected).decode()}"
    assert kept == find_password(Header([("password-hash", kept)]), "pleaseletmein")


@pytest.mark.parametrize(
    "kept",
    [
        "", "plain", "$scrypt$ln=99,r=8,p=1$AAAA$AAAA", "$scrypt$ln=14,r=99,p=99$AAAA$AAAA",
        "$scrypt$ln=14,r=8,p=1$é$é", "$scrypt$ln=14,r=8,p=1$AAAA$", "$scrypt$ln=00,r=0,p=0$A$A",
        "$scrypt$ln=14,r=8,p=1$AAAA$AA", "$2b$12$abcdefghijklmnopqrstuv",
    ],
)  # fmt: skip
def test_hashes_written_by_hand(kept: str) -> None:
    """Nonsense fits nothing, and costs nothing."""
    assert find_password(Header([("password-hash", kept)]), "x") is None


def test_the_throttle() -> None:
    """Some are free; then each takes longer, from the same network, up to a limit."""
    now = 0.0
    throttle = Throttle(lambda: now)
    assert [0, 0, 0, 0.5, 1, 2, 4, 8, 15, 15] == [throttle.attempt("192.0.2.1") for _ in range(10)]
    assert 0 == throttle.attempt("192.0.2.2")
    for number in range(5):
        last = throttle.attempt(f"2001:db8::{number}")
    assert 1 == last
    assert 1.0 < throttle.attempt("::ffff:192.0.2.1")
    for _ in range(11):
        throttle.forgive("192.0.2.1")
    assert 0 == throttle.attempt("192.0.2.1")
    now = 10_000.0
    assert 0 == throttle.attempt("2001:db8::1")
    throttle.forgive("never seen")


def test_the_throttle_is_bounded() -> None:
    """Whatever comes from how many addresses."""
    throttle = Throttle(lambda: 0.0)
    for number in range(30_000):
        throttle.attempt(f"uid {number}")
    assert len(throttle._failures) <= 10_000
