"""What senders want to be told: parameters, and the fields in which they wait."""

from __future__ import annotations

import pytest

from mdirclient import Header
from mdirclient.smtp.engine import NULL_PATH, Profile, RcptTo, Reply, Transaction
from mdirclient.smtp.engine.command import parse_mail, parse_rcpt
from mdirclient.smtp.wishes import (
    FAILURE,
    SUCCESS,
    decode_xtext,
    is_wanted,
    read_mail,
    read_recipients,
    value_of,
    write_recipient,
)

USERS, STRANGERS = Profile("mx.test", is_submission=True), Profile("mx.test")


@pytest.mark.parametrize(
    "words",
    [
        "NOTIFY=NEVER", "NOTIFY=SUCCESS,FAILURE,DELAY", "notify=delay",
        "ORCPT=rfc822;bo+2Bx@b.test", "NOTIFY=FAILURE ORCPT=utf-8;x",
    ],
)  # fmt: skip
def test_of_recipients(words: str) -> None:
    """Users may say them, strangers may not; they come back from the outbox."""
    found = parse_rcpt(f"TO:<a@b.test> {words}", Transaction(NULL_PATH), USERS)
    assert isinstance(found, RcptTo)
    assert words.upper() == " ".join(found.options).upper()
    assert isinstance(
        parse_rcpt(f"TO:<a@b.test> {words}", Transaction(NULL_PATH), STRANGERS), Reply
    )
    for recipient in ("a@b.test", '"j> d"@b.test'):
        field = ("recipient-options", write_recipient(recipient, found.options))
        assert {recipient: found.options} == read_recipients(Header([field]))


@pytest.mark.parametrize(
    "words",
    [
        "NOTIFY", "NOTIFY=", "NOTIFY=NEVER,DELAY", "NOTIFY=DELAY,DELAY", "NOTIFY=ſUCCESS",
        "ORCPT=x", "ORCPT=rfc822;a b", "ORCPT=rfc822;" + "x" * 500, "NOTIFY=NEVER NOTIFY=NEVER",
        "RET=FULL", "ORCPT=rfc822;a+2b",
    ],
)  # fmt: skip
def test_what_is_none(words: str) -> None:
    """Neither from a client nor from a field that a user wrote."""
    assert isinstance(parse_rcpt(f"TO:<a@b.test> {words}", Transaction(NULL_PATH), USERS), Reply)
    field = ("recipient-options", f"<a@b.test> {words}")
    # Of words that are right each for itself one may be left: it is a parameter like any.
    left = {"NOTIFY=NEVER NOTIFY=NEVER": ("NOTIFY=NEVER",), "ORCPT=rfc822;a b": ("ORCPT=rfc822;a",)}
    assert left.get(words, ()) == read_recipients(Header([field]))["a@b.test"]


@pytest.mark.parametrize(
    ("words", "is_right"),
    [
        ("RET=HDRS", True), ("RET=FULL ENVID=QQ+2B", True), ("RET=HDRſ", False), ("RET", False),
        ("ENVID=", False), ("ENVID=" + "x" * 101, False), ("ENVID=ä", False),
    ],
)  # fmt: skip
def test_of_mails(words: str, is_right: bool) -> None:
    """The same of MAIL."""
    found = parse_mail(f"FROM:<a@b.test> {words}", USERS, is_trusted=False)
    assert is_right == isinstance(found, Transaction)
    if isinstance(found, Transaction):
        assert tuple(words.split()) == found.options
        assert found.options == read_mail(Header([("envelope-options", " ".join(found.options))]))
    else:
        assert () == read_mail(Header([("envelope-options", words)]))


def test_what_is_wanted() -> None:
    """Without a word failures are told, successes are not (RFC 3461 §4.1)."""
    assert is_wanted((), FAILURE)
    assert not is_wanted((), SUCCESS)
    assert not is_wanted(("NOTIFY=NEVER",), FAILURE)
    assert is_wanted(("NOTIFY=delay,success",), SUCCESS)
    assert "x" == value_of(("A=y", "ENVID=x"), "ENVID")
    assert "a+b ?" == decode_xtext("a+2Bb+20+0A")
