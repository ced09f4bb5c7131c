"""Mails mutated byte by byte: from the vectors, by Hypothesis."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

SEEDS = [
    vector["mail"].encode("latin-1")
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "mail.json").read_text())
]
TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"--b",
        b"--b--",
        b"--",
        b"-",
        b"=",
        b"==",
        b"=\r\n",
        b"?=",
    ),
    *(b"\x00", b"\xff", b" ", b"\t", b":", b";", b'"', b"\\", b"(", b"<", b"=?utf-8?q?", b"*0*="),
    *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Transfer-Encoding: base64\r\n"),
    *(b"Content-Transfer-Encoding: quoted-printable\r\n", b"From ", b"QUJD" * 20 + b"\r\n", b"=C3"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A seed with some bytes changed, cut, repeated, or taken from another seed."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        to = min(at + draw(st.integers(0, 30)), len(data))
        how = draw(st.integers(0, 5))
        if how == 0:
            data[at:at] = draw(st.sampled_from(TOKENS))
        elif how == 1:
            data[at:to] = draw(st.binary(max_size=8))
        elif how == 2:
            del data[at:to]
        elif how == 3:
            data[at:at] = data[at:to] * draw(st.integers(1, 40))
        elif how == 4:
            other = draw(st.sampled_from(SEEDS))
            data[at:at] = other[: draw(st.integers(0, len(other)))]
        elif at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)
