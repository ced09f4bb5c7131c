"""Taking mails apart, as real mailers write them."""

from __future__ import annotations

import pytest

from mdirclient.mail.split import Limits, split

HEAD = b'Content-Type: multipart/mixed; boundary="b"\n\n'


def bodies(mail: bytes, limits: Limits | None = None) -> list[tuple[str, str, bytes]]:
    """(section, media type, body before decoding) of each leaf."""
    return [
        (leaf.section, leaf.media_type, mail[leaf.start : leaf.end])
        for leaf in split(mail, limits).leaves
    ]


@pytest.mark.parametrize(
    ("mail", "expected"),
    [
        (b"Subject: x\n\nbody\n", [("1", "text/plain", b"body\n")]),
        (b"Subject: x\n", [("1", "text/plain", b"")]),
        (b"Subject: x", [("1", "text/plain", b"")]),
        (b"\nbody", [("1", "text/plain", b"body")]),
        (b"no header at all", [("1", "text/plain", b"no header at all")]),
        (b"Subject: x\nno field\nbody", [("1", "text/plain", b"no field\nbody")]),
        (b"Subject : x\nFolded:\n y\n\nbody", [("1", "text/plain", b"body")]),
        (b"From a@b Sun Nov 22\nSubject: x\n\nbody", [("1", "text/plain", b"body")]),
        (b"\x00\x00", [("1", "text/plain", b"\x00\x00")]),
        (b"Content-Type: nonsense\n\nbody", [("1", "text/plain", b"body")]),
        (b"Content-Type: message/rfc822\n\nA: b\n\nc", [("1", "message/rfc822", b"A: b\n\nc")]),
    ],
)
def test_single_part(mail: bytes, expected: list[tuple[str, str, bytes]]) -> None:
    """A mail without parts is one."""
    assert expected == bodies(mail)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"pre\n--b\n\none\n--b\n\ntwo\n--b--\nepi", [b"one", b"two"]),
        (b"--b\n\none\n--b\n\ntwo\n--b--", [b"one", b"two"]),
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"one", b"two"]),
        (b"--b\n\none\r\n--b\n\ntwo\r--b--", [b"one", b"two\r--b--"]),
        (b"--b\r\r\n\r\r\none\r\r\n--b--\r\r\n", [b"one\r"]),
        (b"--b  \t\n\none\n--b--  \n", [b"one"]),
        (b"--b\n\none\n--b\n\ntwo", [b"one", b"two"]),
        (b"--b\n\none\n\n--b--", [b"one\n"]),
        (b"--b\n\none\n--bb\n--b-\n --b\n--b--", [b"one\n--bb\n--b-\n --b"]),
        (b"--b\n--b\n\ntwo\n--b--", [b"", b"two"]),
        (b"--b\nContent-Type: text/plain\n--b--", [b""]),
        (b"--b\n\n--b\n\n\n--b--", [b"", b""]),
        (b"--b", [b""]),
        (b"--b\n", [b""]),
    ],
)
def test_delimiters(body: bytes, expected: list[bytes]) -> None:
    """Delimiters with blanks, any line ends, a missing last one; empty leaves are kept."""
    assert expected == [content for _, _, content in bodies(HEAD + body)]


def test_cr_alone_ends_lines_where_there_is_no_lf() -> None:
    """As on the first Macintosh; one LF anywhere, and it is a character like any."""
    mail = HEAD.replace(b"\n", b"\r") + b"--b\r\rone\r--b\r\rtwo\r--b--"
    assert [b"one", b"two"] == [body for _, _, body in bodies(mail)]
    hidden = b"X: y\rContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--"
    assert [("1", "text/plain", b"--b\n\none\n--b--")] == bodies(hidden)


def test_a_stray_cr_hides_no_fields() -> None:
    """What follows is read."""
    mail = (
        b"Subject: a\r\r\nFrom: a@b\r\n" + HEAD.replace(b"\n", b"\r\n") + b"--b\r\n\r\none\r\n--b--"
    )
    structure = split(mail)
    assert ["subject", "from", "content-type"] == [f.name for f in structure.block.fields]
    assert [b"one"] == [body for _, _, body in bodies(mail)]


@pytest.mark.parametrize(
    ("field", "boundary"),
    [
        (b'multipart/mixed; boundary="----=_=?B?Q?x?="', b"----=_=?B?Q?x?="),
        (b'multipart/mixed; boundary="b\xe9"', b"b\xe9"),
        (b"multipart/mixed; boundary=x; boundary*=utf-8''y", b"x"),
        (b"multipart/mixed; boundary*0=a; boundary*1=b", b"ab"),
        (b"multipart/mixed (comment); boundary=x", b"x"),
        (b"multipart/mixed\n\tboundary=x", b"x"),
        (b"MULTIPART/Mixed;BOUNDARY = x ", b"x"),
    ],
)
def test_boundaries_as_really_written(field: bytes, boundary: bytes) -> None:
    """They are not decoded, because the delimiters are not encoded."""
    mail = b"Content-Type: " + field + b"\n\n--" + boundary + b"\n\none\n--" + boundary + b"--\n"
    assert [b"one"] == [body for _, _, body in bodies(mail)]


@pytest.mark.parametrize(
    ("field", "encoding"),
    [
        (b"BASE64", "base64"),
        (b'"base64"', "base64"),
        (b"base64;", "base64"),
        (b"base64 (c)", "base64"),
        (b"quoted-printable;", "quoted-printable"),
        (b"quoted printable", "quoted-printable"),
        (b"", ""),
        (b"x-uuencode", "x-uuencode"),
    ],
)
def test_encodings_as_really_written(field: bytes, encoding: str) -> None:
    """The first word counts."""
    mail = b"Content-Transfer-Encoding: " + field + b"\n\n"
    assert encoding == split(mail).leaves[0].encoding


@pytest.mark.parametrize(
    "body", [b"", b"only a preamble\n", b"--c\n\nanother boundary\n", b"--b--\n", b"x\n--b--\ny\n"]
)
def test_multipart_without_parts_is_kept_whole(body: bytes) -> None:
    """It is one leaf with all of its body."""
    assert [("1", "multipart/mixed", body)] == bodies(HEAD + body)


def test_multipart_without_boundary_is_kept_whole() -> None:
    """It cannot be split."""
    mail = b"Content-Type: multipart/mixed\n\n--b\n\none\n--b--\n"
    assert [("1", "multipart/mixed", b"--b\n\none\n--b--\n")] == bodies(mail)


def test_nested_parts_have_sections() -> None:
    """IMAP part specifiers, RFC 3501 §6.4.5."""
    inner = b'Content-Type: multipart/alternative; boundary="c"\n\n--c\n\n1\n--c\n\n2\n--c--\n'
    mail = HEAD + b"--b\n\n0\n--b\n" + inner + b"\n--b\nContent-Type: message/rfc822\n\nA: b\n--b--"
    leaves = split(mail).leaves
    assert ["1", "2.1", "2.2", "3"] == [leaf.section for leaf in leaves]
    assert ("multipart/mixed", "multipart/alternative") == leaves[1].within
    assert ["text/plain"] * 3 + ["message/rfc822"] == [leaf.media_type for leaf in leaves]


def test_an_outer_delimiter_closes_what_is_inside() -> None:
    """The inner final delimiter may be missing."""
    inner = b"Content-Type: multipart/alternative; boundary=c\n\n--c\n\n1\n"
    mail = HEAD + b"--b\n" + inner + b"--b\n\n2\n--b--"
    assert [("1.1", b"1"), ("2", b"2")] == [(section, body) for section, _, body in bodies(mail)]


def test_same_boundary_nested_means_the_inner_one() -> None:
    """As some mailers of 2001 wrote it."""
    inner = b"Content-Type: multipart/alternative; boundary=b\n\n--b\n\n1\n--b\n\n2\n--b--\n"
    mail = HEAD + b"--b\n" + inner + b"--b\n\n3\n--b--"
    assert ["1.1", "1.2", "2"] == [section for section, _, _ in bodies(mail)]


def test_boundary_that_is_the_prefix_of_another() -> None:
    """Whole lines are compared."""
    inner = b"Content-Type: multipart/alternative; boundary=bb\n\n--bb\n\n1\n--bb--\n"
    mail = HEAD + b"--b\n" + inner + b"--b\n\n2\n--b--"
    assert [("1.1", b"1"), ("2", b"2")] == [(section, body) for section, _, body in bodies(mail)]


def test_digest_parts_are_mails() -> None:
    """RFC 2046 §5.1.5."""
    mail = b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n--b--"
    assert [("1", "message/rfc822", b"A: b")] == bodies(mail)


def test_over_the_limit_of_parts_is_kept_whole() -> None:
    """All of it, as one message/rfc822, with the limit's name."""
    mail = HEAD + b"--b\n\nx\n" * 4
    assert 4 == len(bodies(mail, Limits(parts=4)))
    structure = split(mail, Limits(parts=3))
    assert "more than 3 parts" == structure.kept_whole
    assert [("1", "message/rfc822", mail)] == bodies(mail, Limits(parts=3))


def test_over_the_limit_of_depth_is_kept_whole() -> None:
    """2,000 multiparts within each other."""
    mail = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(2000)
    )
    assert "more than 100 multiparts within each other" == split(mail).kept_whole


@pytest.mark.parametrize(
    "unit",
    [
        b"--b\n",
        b"--\n",
        b"-",
        b"\n--",
        b"--b;",
        b" ",
        b"a:\n",
        b"\r",
        b"--" + b"b" * 500 + b"\n",
    ],
)
def test_time_is_linear(unit: bytes) -> None:
    """Traps of a megabyte end within the test's time-out."""
    split(HEAD + unit * (1_000_000 // len(unit)), Limits(parts=10**9))
    split(unit * (1_000_000 // len(unit)))
