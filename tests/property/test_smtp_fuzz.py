"""The SMTP engine under any bytes: by Hypothesis, by libFuzzer, and with input that costs most."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdirclient.smtp.engine import Connection, Profile
from tests.property.smtp_target import smtp_target

WORDS = [
    b"EHLO x", b"HELO x", b"LHLO x", b"MAIL FROM:<a@b>", b"MAIL FROM:<>", b"RCPT TO:<jo@ours.test>",
    b"RCPT TO:<", b"DATA", b"RSET", b"NOOP", b"QUIT", b"STARTTLS", b"AUTH PLAIN", b"AUTH LOGIN",
    b"AUTH EXTERNAL =", b"AGpvAHNlY3JldA==", b"*", b".", b"..", b"", b"BODY=8BITMIME", b" SIZE=10",
    b" SMTPUTF8", b"\"a b\"@c", b"<@x,@y:a@b>", b"\xff", b"\xc3\xa9", b"\x00", b"GET / HTTP/1.1",
]  # fmt: skip
SEEDS = [
    b"\x00EHLO x\r\nMAIL FROM:<a@b> SIZE=10\r\nRCPT TO:<jo@ours.test>\r\nDATA\r\n",
    b'\x06EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<"a b"@c>\r\nDATA\r\nx\r\n..y\r\n.\r\nQUIT\r\n',
    b"\x07LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<@a:b@c>\r\nRCPT TO:<d@e>\r\n",
    b"\x05EHLO x\r\nAUTH PLAIN AGpvAHNlY3JldA==\r\nMAIL FROM:<a@b> BODY=8BITMIME AUTH=<>\r\n",
    b"\x00EHLO x\r\nSTARTTLS\r\nNOOP\r\n",
]


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Lines that are nearly right."""
    words = st.lists(st.sampled_from(WORDS), max_size=3).map(b"".join)
    line = st.one_of(words, words, st.binary(max_size=30))
    ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
    lines = draw(st.lists(st.tuples(line, ends), max_size=25))
    return b"".join(line + end for line, end in lines)


@settings(max_examples=1500)
@given(st.integers(0, 255), conversations())
def test_any_conversation(first: int, stream: bytes) -> None:
    """Never an exception, only replies that are well formed, one for each mail."""
    smtp_target(bytes([first]) + stream)


@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is not installed")
def test_by_coverage(tmp_path: Path) -> None:
    """By libFuzzer, which looks for inputs that reach new code."""
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(SEEDS):
        (seeds / str(number)).write_bytes(seed)
    options = ["-runs=20000", "-seed=1", "-max_len=1024", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.property.fuzz", "smtp", *options, str(seeds)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=250,
    )
    assert 0 == done.returncode, done.stderr[-3000:]
    assert "Done 20000 runs" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<" + b"@" * 4000,
        b"MAIL FROM:<@" + b":" * 4000 + b">",
        b"MAIL FROM:<" + b"@a," * 1300 + b"b>",
        b'MAIL FROM:<"' + b"\\a" * 2000 + b'"@b>',
        b"MAIL FROM:<a@b> " + b"SIZE=1 " * 500,
        b"MAIL FROM:<a@b> AUTH=" + b"+41" * 1300,
        b"MAIL FROM:<a@b> AUTH=" + b"+" * 4000,
        b"MAIL FROM:<" + b"a." * 2000 + b"@b>",
    ],
)
def test_the_longest_lines(line: bytes) -> None:
    """Are read in time that grows with their length; here, that they come to an end at all."""
    engine = Connection(Profile("mx.test", is_submission=False))
    engine.receive(b"EHLO x\r\n" + line + b"\r\n")
    engine.next_event()
    assert engine.take_output().startswith(b"250")
