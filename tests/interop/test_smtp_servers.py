"""The same conversations with Postfix, aiosmtpd and us: who says yes and who says no."""

from __future__ import annotations

import gc
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from tests.ports import free_port
from tests.postfixed import postfix
from tests.smtped import ACCOUNTS, Smtped, smtp_serving

JO = ACCOUNTS[0]
HELLO = b"EHLO client.test"
MAIL = b"MAIL FROM:<a@b.test>"
RCPT = b"RCPT TO:<jo@ours.test>"

#: Conversation → the first digits of our answers, and where a peer differs, its own and why.
CASES: dict[str, tuple[list[bytes], str, dict[str, str]]] = {
    "a mail": ([HELLO, MAIL, RCPT, b"DATA", b"x\r\n.", b"QUIT"], "222322", {}),
    "HELO": ([b"HELO x", MAIL, RCPT, b"DATA", b"x\r\n.", b"QUIT"], "222322", {}),
    "no HELO": ([MAIL, b"QUIT"], "52", {"postfix": "22"}),  # smtpd_helo_required=no
    "no MAIL": ([HELLO, RCPT, b"DATA", b"QUIT"], "2552", {}),
    "no RCPT": ([HELLO, MAIL, b"DATA", b"QUIT"], "2252", {}),
    "MAIL twice": ([HELLO, MAIL, MAIL, b"QUIT"], "2252", {}),
    "RSET": ([HELLO, MAIL, RCPT, b"RSET", RCPT, b"DATA", b"QUIT"], "2222552", {}),
    "EHLO resets": ([HELLO, MAIL, HELLO, RCPT, b"QUIT"], "22252", {}),
    "two mails": ([HELLO, MAIL, RCPT, b"DATA", b"x\r\n.", RCPT, MAIL, RCPT], "22232522", {}),
    "null sender": ([HELLO, b"MAIL FROM:<>", RCPT], "222", {}),
    "no brackets": ([HELLO, b"MAIL FROM:a@b.test"], "25", {"postfix": "22", "aiosmtpd": "22"}),
    "a space": ([HELLO, b"MAIL FROM: <a@b.test>", RCPT], "222", {}),
    "wrong keyword": ([HELLO, b"MAIL TO:<a@b.test>"], "25", {}),
    "no address": ([HELLO, MAIL, b"RCPT TO:<>"], "225", {"aiosmtpd": "222"}),
    "unknown parameter": ([HELLO, b"MAIL FROM:<a@b.test> FOO=BAR"], "25", {}),
    "SIZE": ([HELLO, b"MAIL FROM:<a@b.test> SIZE=1000"], "22", {}),
    "SIZE is no number": ([HELLO, b"MAIL FROM:<a@b.test> SIZE=x"], "25", {}),
    "SIZE too large": ([HELLO, b"MAIL FROM:<a@b.test> SIZE=999999999"], "25", {}),
    "8BITMIME": ([HELLO, b"MAIL FROM:<a@b.test> BODY=8BITMIME"], "22", {}),
    "wrong BODY": ([HELLO, b"MAIL FROM:<a@b.test> BODY=9BIT"], "25", {}),
    "unknown": ([HELLO, b"FOO", b"NOOP"], "252", {}),
    "VRFY": ([HELLO, b"VRFY a@b.test"], "22", {}),
    "EXPN": ([HELLO, b"EXPN list"], "25", {}),
    "EHLO without a name": ([b"EHLO"], "5", {}),
    "AUTH": ([HELLO, b"AUTH PLAIN AGEAYg=="], "25", {}),
    "STARTTLS without": ([HELLO, b"STARTTLS x"], "25", {}),
    "quoted": ([HELLO, MAIL, b'RCPT TO:<"jo"@ours.test>'], "222", {}),
    "BDAT": ([HELLO, MAIL, RCPT, b"BDAT 0 LAST"], "2225", {"postfix": "2222"}),  # CHUNKING
    "dots": ([HELLO, MAIL, RCPT, b"DATA", b"..\r\n..x\r\n.", b"NOOP"], "222322", {}),
    "UTF-8": ([HELLO, b"MAIL FROM:<\xc3\xa9@b.test> SMTPUTF8"], "22", {}),
    "UTF-8 not said": (
        [HELLO, b"MAIL FROM:<\xc3\xa9@b.test>"],
        "25",
        {"postfix": "22", "aiosmtpd": "22"},  # strict_smtputf8=no
    ),
}


def conversation(port: int, lines: list[bytes]) -> str:
    """The first digits of the answers, each line after the answer to the one before."""
    digits = ""
    with socket.create_connection(("127.0.0.1", port), 20) as sock, sock.makefile("rb") as file:
        assert file.readline().startswith(b"220")
        for line in lines:
            sock.sendall(line + b"\r\n")
            answer = file.readline()
            while answer[3:4] == b"-":
                answer = file.readline()
            digits += answer[:1].decode()
    return digits


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtped]:
    """Our server."""
    with smtp_serving(tmp_path_factory.mktemp("smtp")) as world:
        yield world


@pytest.mark.parametrize("name", CASES)
def test_ours(ours: Smtped, name: str) -> None:
    """As the table says."""
    lines, expected, _ = CASES[name]
    assert expected == conversation(ours.ports["smtp"], lines)


def test_aiosmtpd() -> None:
    """It answers as we do, but for what the table says."""
    port = free_port()
    controller = Controller(
        Sink(), hostname="127.0.0.1", port=port, enable_SMTPUTF8=True, ready_timeout=30
    )
    controller.start()
    try:
        found = {name: conversation(port, lines) for name, (lines, _, _) in CASES.items()}
    finally:
        controller.stop()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # what it leaves open is its own matter
    assert {name: other.get("aiosmtpd", own) for name, (_, own, other) in CASES.items()} == found


def test_postfix(tmp_path: Path) -> None:
    """So does Postfix."""
    settings = {"mydestination": "ours.test", "local_recipient_maps": "", "smtputf8_enable": "yes"}
    with postfix(tmp_path / "postfix", **settings) as server:
        found = {name: conversation(server.port, lines) for name, (lines, _, _) in CASES.items()}
    assert {name: other.get("postfix", own) for name, (_, own, other) in CASES.items()} == found
