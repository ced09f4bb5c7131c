"""Taking apart on a shelf: limits, preambles, and what they cost."""

from __future__ import annotations

import io
import tracemalloc
from typing import IO

import pytest

from mdirclient import Limits, take_apart
from mdirclient.mail import Decomposer
from tests.benchmarks.mail import Nothing

MIXED = b"Content-Type: multipart/mixed; boundary=b\n\n"


@pytest.mark.parametrize(
    "limits",
    [
        Limits(parts=3, header_bytes=300),
        Limits(parts=3),
        Limits(parts=0),
        Limits(depth=0),
        Limits(boundary=0),
        Limits(header_bytes=700),
    ],
)
def test_over_one_limit_and_then_another(limits: Limits) -> None:
    """Kept whole once, all of it."""
    inner = b"--b\n" + MIXED.replace(b"=b", b"=cc") + b"--cc\n\nx\n--cc--\n"
    mail = b"S: " + b"a" * 400 + b"\n" + MIXED + b"--b\n\nhello\n" * 3 + inner * 3
    whole = take_apart(mail, limits)
    assert whole.kept_whole
    assert (mail,) == whole.contents
    assert mail == whole.original()


def test_many_parts_with_large_headers_take_linear_time() -> None:
    """The fields of the mail are written once, not for each part."""
    head = (b"S: " + b"\x01" * 60 + b"\n") * 1100
    mail = head + MIXED + b"--b\n\n" * 1002
    for _ in range(10):
        assert (mail,) == take_apart(mail).contents


class Counting(Nothing):
    """Counts what is written, and what is in memory then."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> None:
        """Not kept."""
        self.size += len(data)

    def open_part(self, number: int) -> IO[bytes]:
        """Nothing is there to be read: of a preamble no more than its bytes are wanted."""
        return io.BytesIO(bytes(self.size))


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("head", "unit", "mebibytes"),
    [
        (b"Subject: x\n\n", b"line\n" * 13_000, 16),
        (b"", b"a:\n" * 22_000, 8),
        (b"Subject: ", b"x" * 65_536, 16),
        (b"Subject: ", b"x\n y" * 16_000, 6),
        (MIXED, b"preamble\n" * 7_000, 16),
        (b"Content-Transfer-Encoding: base64\n\n", b"QUJD" * 16_384, 16),
        (b"Content-Transfer-Encoding: base64\n\n", b"!\n" * 32_768, 16),
        (b"Content-Transfer-Encoding: quoted-printable\n\n", b"=C3=A9" * 11_000, 8),
        (b"Content-Transfer-Encoding: quoted-printable\n\n", b"=" * 65_536, 8),
    ],
)
def test_memory_is_bounded(head: bytes, unit: bytes, mebibytes: int) -> None:
    """By a few megabytes, whatever the size of the mail."""
    decomposer = Decomposer(Counting())
    tracemalloc.start()
    try:
        decomposer.feed(head)
        for _ in range((mebibytes << 20) // len(unit)):
            decomposer.feed(unit)
        decomposer.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20


def test_memory_of_open_multiparts_is_bounded() -> None:
    """Of each only the fields that tell its structure."""
    decomposer = Decomposer(Counting())
    tracemalloc.start()
    try:
        for level in range(99):
            decomposer.feed(b"X: %s\n" % (b"x" * 60_000) * 10)
            decomposer.feed(
                b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (level, level)
            )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20
