"""What a trusted LMTP client may say: whose mail it brings, and exactly where that ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdirclient.smtp.engine import (
    Begin,
    Chunk,
    Connection,
    End,
    Forwarded,
    MailFrom,
    Profile,
    RcptTo,
)
from mdirclient.smtp.engine import reply as replies
from mdirclient.smtp.engine.data import DataDecoder

LMTP = Profile("mx.test", is_lmtp=True, max_size=1 << 20)
MAIL = b"MAIL FROM:<a@b.test>%s\r\nRCPT TO:<jo@ours.test>\r\nDATA\r\n"


def talk(*pieces: bytes, is_trusted: bool = True) -> tuple[str, list[Forwarded], list[bytes]]:
    """What is answered; what was forwarded for each mail; the mails."""
    engine = Connection(LMTP, is_trusted=is_trusted)
    forwarded, mails, content = [], [], b""
    for piece in (b"LHLO x\r\n", *pieces):
        engine.receive(piece)
        while event := engine.next_event():
            match event:
                case MailFrom():
                    forwarded.append(engine.forwarded)
                    engine.answer(replies.SENDER_OK)
                case RcptTo():
                    engine.answer(replies.RECIPIENT_OK)
                case Begin():
                    content = b""
                    engine.answer(replies.START_MAIL)
                case Chunk(data):
                    content += data
                case End():
                    mails.append(content)
                    engine.answer(replies.TAKEN)
    return engine.take_output().decode(), forwarded, mails


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (b"ADDR=192.0.2.1 NAME=mx.x.org HELO=he.lo", Forwarded("192.0.2.1", "mx.x.org", "he.lo")),
        (b"ADDR=IPV6:2001:DB8::1", Forwarded("2001:db8::1")),
        (b"ADDR=ipv6:::1 PORT=25 PROTO=ESMTP SOURCE=REMOTE IDENT=4AB", Forwarded("::1")),
        (b"NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL] HELO=a+2Bb+20c", Forwarded(None, None, "a+b?c")),
        (b"HELO=+C3+A9+0A+1B", Forwarded(None, None, "é??")),
        (b"HELO=" + b"x" * 300, Forwarded(None, None, "x" * 255)),
        (b"NAME=a\r\nXFORWARD HELO=b", Forwarded(None, "a", "b")),
    ],
)
def test_forwarded(words: bytes, expected: Forwarded) -> None:
    """Attributes in xtext, for the next mail only."""
    mail = MAIL % b"" + b"x\r\n.\r\n"
    first, last = mail.rsplit(b"DATA\r\n", 1)
    said, forwarded, _ = talk(b"XFORWARD " + words + b"\r\n", first, b"DATA\r\n", last, first)
    assert [expected, Forwarded()] == forwarded
    assert "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE" in said


@pytest.mark.parametrize(
    "line",
    [
        b"XFORWARD", b"XFORWARD NOBODY=x", b"XFORWARD ADDR=nonsense", b"XFORWARD ADDR=+ZZ",
        b"XFORWARD HELO=+0",
    ],
)  # fmt: skip
def test_what_is_no_forward(line: bytes) -> None:
    """501, and nothing is believed."""
    said, forwarded, _ = talk(line + b"\r\n", (MAIL % b"").rsplit(b"DATA", 1)[0])
    assert "\r\n501 5.5.4" in said
    assert [Forwarded()] == forwarded


def test_rset_forgets() -> None:
    """As Postfix does; within a mail it is refused."""
    first = (MAIL % b"").rsplit(b"DATA", 1)[0]
    said, forwarded, _ = talk(b"XFORWARD HELO=x\r\nRSET\r\n", first, b"XFORWARD HELO=x\r\n")
    assert [Forwarded()] == forwarded
    assert said.endswith("503 5.5.1 Not during a mail\r\n")


def test_strangers_may_not() -> None:
    """Neither is offered, neither is taken."""
    said, forwarded, _ = talk(
        b"XFORWARD HELO=x\r\n", b"MAIL FROM:<a@b.test> XEXACT\r\n", is_trusted=False
    )
    assert "XFORWARD" not in said
    assert "XEXACT" not in said
    assert said.endswith(
        "502 5.5.1 Not implemented\r\n555 5.5.4 A parameter is unknown or wrong\r\n"
    )
    assert [] == forwarded


def stuffed(mail: bytes) -> bytes:
    """As it is sent."""
    return (b"\r\n" + mail).replace(b"\r\n.", b"\r\n..")[2:] + b"\r\n.\r\n"


@given(
    st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"x", b"\0", b"\r\n."])),
    st.integers(1, 9),
)
def test_any_bytes_arrive_exactly(pieces: list[bytes], step: int) -> None:
    """With and without a line end at the end, in pieces of any length."""
    mail = b"".join(pieces)
    decoder, content = DataDecoder(is_exact=True), b""
    sent = stuffed(mail) + b"QUIT"
    rest = None
    for start in range(0, len(sent), step):
        if rest is not None:
            rest += sent[start : start + step]
            continue
        found, rest = decoder.feed(sent[start : start + step])
        content += found
    assert mail == content
    assert b"QUIT" == rest
    assert len(mail) == decoder.size


@pytest.mark.parametrize("mail", [b"x", b"x\n", b"x\r\n", b".\n.\r\n.", b"\r\n"])
def test_an_exact_mail(mail: bytes) -> None:
    """Through the whole engine; the next one is an ordinary one."""
    second = b"y\r\n"
    said, _, mails = talk(
        MAIL % b" XEXACT", stuffed(mail), MAIL % b"", second + b".\r\n", b"QUIT\r\n"
    )
    assert [mail, second] == mails
    assert said.endswith("221 2.0.0 Bye\r\n")
