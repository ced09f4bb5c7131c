"""What it takes to make a mail ready for the smarthost: `python -m tests.benchmarks.signing`.

A mebibyte, and two, of text and of bodies that are hard for somebody, mended for a host of 7 bits
and signed with RSA and Ed25519; beside it dkimpy alone, which signs the mended mail twice. Medians.
"""

from __future__ import annotations

import base64
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version

import dkim

from mdirclient.mail.mend import mend
from mdirclient.smtp.relay.keys import Key, make_keys
from mdirclient.smtp.relay.sign import sign

REPEATS = 7
BODIES = {
    "text": b"word " * 14 + b"\r\n",
    "CR": b"\r",
    "empty lines": b"\r\n",
    "lines of one blank": b" \r\n",
    "one line of blanks": b" ",
    "one line": b"a",
    "8 bits": b"\xe9",
    "words of 8 bits": b"\xe9 ",
    "delimiters": b"\r\n--x",
}


def _time(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _alone(data: bytes, keys: tuple[Key, ...]) -> None:
    for key in keys:
        is_rsa = key.kind == "rsa"
        dkim.sign(
            data,
            key.selector.encode(),
            key.domain.encode(),
            key.private if is_rsa else base64.b64encode(key.private),
            signature_algorithm=b"rsa-sha256" if is_rsa else b"ed25519-sha256",
            canonicalize=(b"relaxed", b"simple"),
        )


def main() -> None:
    """Print the table."""
    print(f"Python {platform.python_version()}, dkimpy {version('dkimpy')}")
    with tempfile.TemporaryDirectory() as place:
        keys = make_keys(place, "ours.test", "x")
    for name, piece in BODIES.items():
        found = []
        for size in (1 << 20, 2 << 20):
            data = b"From: a@ours.test\r\nSubject: x\r\n\r\n" + piece * (size // len(piece))
            mended = mend(data, is_8bit=False)
            both = [(_time(lambda: sign(mend(data, is_8bit=False), keys)),  # noqa: B023
                     _time(lambda: _alone(mended, keys)))  # noqa: B023
                    for _ in range(REPEATS)]  # fmt: skip
            found.append([statistics.median(column) * 1_000 for column in zip(*both, strict=True)])
        (one, alone), (two, _) = found
        print(f"{name}: {one:.0f} ms a MiB, two {two / one:.1f} times; dkimpy alone {alone:.0f} ms")


if __name__ == "__main__":
    main()
