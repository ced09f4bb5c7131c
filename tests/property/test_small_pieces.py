"""The same target where every piece is small: what is rare at 64 KiB happens all the time."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdirclient.mail import base64, block, decompose, quoted_printable, rebuild, recipe, split
from tests.property.mutations import mutated
from tests.property.target import target

SMALL = [
    (base64, "_MAX_LINE", 100),
    (base64, "_MAX_TOGETHER", 200),
    (base64, "_MAX_ODD", 3),
    (block, "MAX_BLOCK_BYTES", 5000),
    (block, "MAX_FIELD_BYTES", 2100),
    (block, "MAX_FIELDS", 6),
    (decompose, "MAX_RAW", 1200),
    (quoted_printable, "_BLOCK", 1100),
    (quoted_printable, "_FEW", 2),
    (rebuild, "MAX_RAW", 1200),
    (recipe, "MAX_RAW", 1200),
    (split, "_MAX_HELD", 50),
    (split, "_MAX_LINE", 2100),
    (split, "_MAX_WITHOUT_LF", 300),
]
#: What a body is made of, for each header.
KINDS = {
    b"Content-Transfer-Encoding: base64\r\n\r\n": [
        *(b"QUJD" * 19 + b"\r\n", b"QUJD" * 15 + b"\r\n", b"QUJD" * 19 + b"\n", b"QUJD" * 40),
        *(b"QQ==\r\n", b"QUI=", b"!", b"QUJ", b"\r\n", b"=", b" \r\n"),
    ],
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n": [
        *(
            b"=C3=A9",
            b"=c3",
            b"=",
            b"==",
            b"=\r\n",
            b"= \n",
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"x",
            b"=ZZ",
        ),
    ],
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n": [
        *(
            b"--b\r\n",
            b"--b--\r\n",
            b"X: y\r\n",
            b" folded\r\n",
            b"\r\n",
            b"text\r\n",
            b"--",
            b"\r",
        ),
    ],
    b"": [b"X: y\r\n", b" folded\r\n", b"Subject: x\n", b"x", b" ", b":", b"\r\n", b"\r"],
}


@st.composite
def long_mails(draw: st.DrawFn) -> bytes:
    """A body in runs of its kind."""
    head = draw(st.sampled_from(list(KINDS)))
    runs = draw(st.lists(st.tuples(st.sampled_from(KINDS[head]), st.integers(1, 100)), max_size=12))
    return head + b"".join(unit * count for unit, count in runs)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Every bound is small, but none smaller than what must be held."""
    patches = [mock.patch.object(module, name, value) for module, name, value in SMALL]
    for patch in patches:
        patch.start()
    yield
    for patch in patches:
        patch.stop()


@settings(max_examples=1000)
@given(st.integers(0, 255), long_mails() | mutated())
def test_pieces_of_any_size(step: int, mail: bytes) -> None:
    """Parts and bytes are the same."""
    target(bytes([step]) + mail)
