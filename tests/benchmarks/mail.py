"""Taking mail apart, beside the stdlib and fast-mail-parser, in one run.

    MDIR_TEST_CORPUS=… .venv/bin/python -m tests.benchmarks.mail [DIRECTORY]

Medians of several rounds, in which the peers take turns. DIRECTORY is where 1 GiB is stored (a
temporary one by default). fast-mail-parser is in the extra `benchmarks`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.parser import BytesParser
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO

from mdirclient import Limits, take_apart
from mdirclient.mail import Decomposer, Splitter
from mdirclient.mail.events import MailBegin, PartBegin, PartContent, PartEnd
from mdirclient.mail.part import describe, describe_leaf
from mdirclient.mail.transfer import decoder_of
from mdirclient.mail.words import decode_words

CHUNK = 1 << 18
ROUNDS = 7
RECIPE_HEAD = 200
HEAD = (
    b"Subject: large\r\nMessage-ID: <large@example.org>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=frontier\r\n\r\n"
    b"--frontier\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n"
)
TAIL = b"\r\n--frontier--\r\n"

RECEIVE = """
import sys
def peak(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
bare = peak()
from mdirclient.mstore import DirectoryMstore
print(DirectoryMstore(sys.argv[1]).add(sys.stdin.buffer).size, peak() - bare)
"""


def row(what: str, figure: str, target: str) -> None:
    """One line of the table."""
    print(f"{what:<58} {figure:>28}   {target}", flush=True)


def seconds(work: Callable[[], object]) -> float:
    """Of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(*works: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Seconds of each, in turns."""
    for work in works:
        work()
    runs = [[seconds(work) for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*runs, strict=True)]


def decoded(mail: bytes) -> int:
    """Split and decode as it comes; bytes of content."""
    splitter = Splitter()
    size = 0
    decoder = decoder_of("")
    chunks = (mail[at : at + CHUNK] for at in range(0, len(mail), CHUNK))
    for events in (*map(splitter.feed, chunks), splitter.close()):
        for event in events:
            if isinstance(event, PartBegin):
                decoder = decoder_of(event.leaf.encoding)
            elif isinstance(event, PartContent):
                size += len(decoder.feed(event.data))
            elif isinstance(event, PartEnd):
                size += len(decoder.close())
    return size


def read_ours(mail: bytes) -> None:
    """Fields in Unicode, parts with names and contents."""
    splitter = Splitter()
    content: list[bytes] = []
    decoder = decoder_of("")
    for event in splitter.feed(mail) + splitter.close():
        if isinstance(event, PartContent):
            content.append(decoder.feed(event.data))
        elif isinstance(event, PartBegin):
            describe_leaf(event.leaf, 1)
            decoder = decoder_of(event.leaf.encoding)
        elif isinstance(event, PartEnd):
            content.append(decoder.close())
        elif isinstance(event, MailBegin):
            describe(event.block)


def read_stdlib(mail: bytes) -> None:
    """The same by `email`, whose `policy.SMTP` decodes a field when it is asked for."""
    message = BytesParser(policy=policy.SMTP).parsebytes(mail)
    for part in message.walk():
        if not part.is_multipart():
            part.get_payload(decode=True)


def large_base64() -> None:
    """10 MB in one attachment."""
    content = os.urandom(10_000_000)
    body = base64.encodebytes(content).replace(b"\n", b"\r\n")
    mail = HEAD + body + TAIL
    begin = len(HEAD)

    def stdlib() -> None:
        *_, part = message_from_bytes(mail).walk()
        assert part.get_payload(decode=True) == content

    def bare() -> None:
        assert len(base64.b64decode(mail[begin : mail.find(b"\r\n--frontier", begin)])) == len(
            content
        )

    def ours() -> None:
        assert decoded(mail) == len(content)

    mine, theirs, least = medians(ours, stdlib, bare)
    row("10 MB base64: split and decode", f"{mine * 1000:.1f} ms", "")
    row("  times stdlib BytesParser + get_payload", f"{theirs / mine:.1f}", ">= 5")
    row("  of bytes.find + b64decode alone", f"{100 * least / mine:.0f} %", ">= 70 %")


def ordinary(corpus: list[bytes]) -> None:
    """Real mails, mean."""
    mine, theirs = medians(
        lambda: list(map(read_ours, corpus)), lambda: list(map(read_stdlib, corpus))
    )
    each = 1e6 / len(corpus)
    row(f"{len(corpus)} real mails, mean", f"{mine * each:.0f} us", "")
    row("  times stdlib, policy.SMTP", f"{theirs / mine:.1f}", ">= 2")
    try:
        import fast_mail_parser
    except ImportError:
        row("  times the time of fast-mail-parser", "not installed", "<= 3")
        return
    failed = 0

    def rust(mail: bytes) -> None:
        nonlocal failed
        try:
            found = fast_mail_parser.parse_email(mail)
        except fast_mail_parser.ParseError:
            failed += 1
            return
        _ = found.subject, found.headers, found.text_plain, found.text_html
        for attachment in found.attachments:
            _ = attachment.content

    mine, theirs = medians(lambda: list(map(read_ours, corpus)), lambda: list(map(rust, corpus)))
    row("  times the time of fast-mail-parser", f"{mine / theirs:.1f}", "<= 3")
    row("  mails that it does not read", f"{failed // (ROUNDS + 1)}", "ours: 0")


def overhead(corpus: list[bytes]) -> None:
    """What is kept beside the contents, on top of what is in no part (headers, delimiters)."""
    recipes, between, sizes = [], [], list(map(len, corpus))
    for message in corpus:
        recipes.append(len(take_apart(message).records) + RECIPE_HEAD)
        between.append(len(message) - sum(map(len, bodies_of(message))))
    beside = [recipe - rest for recipe, rest in zip(recipes, between, strict=True)]
    row("recipes, of all bytes", f"{100 * sum(recipes) / sum(sizes):.1f} %", "")
    row("  headers and delimiters alone", f"{100 * sum(between) / sum(sizes):.1f} %", "")
    row("  on top of those", f"{100 * sum(beside) / sum(sizes):.1f} %", "< 3 %")
    for least in (1024, 4096):
        shares = [one / size for one, size in zip(beside, sizes, strict=True) if size >= least]
        figure = f"{100 * statistics.mean(shares):.1f} %, most {100 * max(shares):.1f} %"
        row(f"  {len(shares)} mails of at least {least} bytes, mean", figure, "< 3 %")


def bodies_of(message: bytes) -> Iterator[bytes]:
    """Bytes of the original that are in parts."""
    splitter = Splitter()
    for event in splitter.feed(message) + splitter.close():
        if isinstance(event, PartContent):
            yield event.data


class Nothing:
    """A shelf that keeps nothing."""

    def begin(self, number: int) -> None:
        """Not kept."""

    def write(self, data: bytes) -> None:
        """Not kept."""

    def end(self) -> None:
        """Not kept."""

    def discard(self, number: int) -> None:
        """Not kept."""

    def rename(self, number: int, new_number: int) -> None:
        """Not kept."""

    def record(self, data: bytes) -> None:
        """Not kept."""

    def open_part(self, number: int) -> IO[bytes]:
        """Not asked for by a mail within the limits."""
        raise FileNotFoundError(number)

    def take_records(self) -> IO[bytes]:
        """Not asked for by a mail within the limits."""
        return io.BytesIO()


def gibibyte() -> Iterator[bytes]:
    """A mail of 1 GiB in chunks of 64 KiB, as from a pipe."""
    lines = base64.encodebytes(os.urandom(57 * 840)).replace(b"\n", b"\r\n")
    yield HEAD
    for _ in range((1 << 30) // len(lines)):
        yield lines
    yield TAIL


def large_stream(place: str) -> None:
    """1 GiB, from memory to nowhere and through a pipe into a store."""

    def to_nowhere() -> None:
        decomposer = Decomposer(Nothing())
        for chunk in gibibyte():
            decomposer.feed(chunk)
        decomposer.close()

    took = medians(to_nowhere, rounds=3)[0]
    row(
        "1 GiB from memory to nowhere, digests and recipe made", f"{1074 / took:.0f} MB/s", ">= 100"
    )
    took = medians(lambda: [hashlib.sha256(b"x" * 65536) for _ in range(16384)], rounds=3)[0]
    row("  SHA-256 alone", f"{1074 / took:.0f} MB/s", "")
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", RECEIVE, f"{place}/store"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for chunk in gibibyte():
            process.stdin.write(chunk)
        process.stdin.close()
        size, peak = map(int, process.stdout.read().split())
    took = time.perf_counter() - start
    row("1 GiB from a pipe into an mstore, durable", f"{size / took / 1e6:.0f} MB/s", "")
    row("  peak memory over the interpreter", f"{peak / 1024:.1f} MiB", "< 64")


def trap(what: str, work: Callable[[int], object], count: int) -> None:
    """Twice the input, at most twice the time (± 30 %)."""
    inputs = count, 2 * count
    once, twice = medians(*(partial(work, number) for number in inputs), rounds=5)
    row(f"twice as {what}", f"{twice / once:.2f} times ({once * 1000:.0f} ms)", "<= 2.6")


def traps() -> None:
    """Inputs that are quadratic for others."""
    many = Limits(depth=10**9)
    mixed = b"Content-Type: multipart/mixed; boundary=b\n\n"
    for name, unit, head in (
        ("delimiters", b"--b\n\nx\n", mixed),
        ("what looks like delimiters", b"--c\n--\n", mixed),
        ("one header line", b"x: ", b"Subject:"),
        ("header lines", b"a: b\n", b""),
        ("encoded words", b"=?utf-8?q?=C3=A9?= ", b"Subject: "),
        ("parameters", b"a*0*=b; ", b"Content-Type: x/y; "),
        ("addresses", b'"a\\"b" <c@d>, (', b"To: "),
    ):
        trap(f"many: {name}", Trap(partial(repeated, head, unit)).spring, 1_000_000)
    trap("deep: multiparts", lambda depth: Splitter(many).feed(nested(depth)), 1000)
    trap("many words in one field", lambda count: decode_words("=?utf-8?b?w6k=?= " * count), 50_000)


class Trap:
    """Mails that are made once.

    Args:
        make: of a size.
    """

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self._make = functools.cache(make)

    def spring(self, size: int) -> None:
        """Take one apart."""
        take_apart(self._make(size), Limits(parts=10**9))


def repeated(head: bytes, unit: bytes, size: int) -> bytes:
    """A mail of about so many bytes."""
    return head + unit * (size // len(unit))


def nested(depth: int) -> bytes:
    """Multiparts within each other."""
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (number, number)
        for number in range(depth)
    )


def main() -> None:
    """Print the table."""
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}"
    )
    try:
        print(f"fast-mail-parser {version('fast-mail-parser')}")
    except ImportError:
        print("fast-mail-parser is not installed")
    large_base64()
    if path := os.environ.get("MDIR_TEST_CORPUS"):
        corpus = [mail.read_bytes() for mail in sorted(Path(path).glob("*.eml"))]
        ordinary(corpus)
        overhead(corpus)
    else:
        print("MDIR_TEST_CORPUS does not name a folder of mails: no real mails")
    traps()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as place:
        large_stream(place)


if __name__ == "__main__":
    main()
