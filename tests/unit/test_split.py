"""Taking mails apart, as real mailers write them."""

from __future__ import annotations

import attrs
import pytest

from mdirclient.mail import Limits, Splitter
from mdirclient.mail.block import MAX_BLOCK_BYTES, MAX_FIELD_BYTES, Block
from mdirclient.mail.events import (
    Between,
    Event,
    Leaf,
    MailBegin,
    OverLimit,
    PartBegin,
    PartContent,
    PartVoid,
)

HEAD = b'Content-Type: multipart/mixed; boundary="b"\n\n'


@attrs.define
class Seen:
    """What the events of a mail told."""

    block: Block
    leaves: list[Leaf] = attrs.field(factory=list)
    bodies: list[bytes] = attrs.field(factory=list)
    limit: str | None = None


def events_of(mail: bytes, step: int, limits: Limits) -> list[Event]:
    """Fed in pieces of a size; together the data is the mail."""
    splitter = Splitter(limits)
    events = [
        event for at in range(0, len(mail), step) for event in splitter.feed(mail[at : at + step])
    ]
    events += splitter.close()
    data = [event.data for event in events if isinstance(event, Between | PartContent)]
    assert mail == b"".join(data)
    assert b"" not in data
    return events


def seen(mail: bytes, step: int = 1 << 20, limits: Limits | None = None) -> Seen:
    """Put the events together."""
    events = events_of(mail, step, limits or Limits())
    assert isinstance(events[0] if mail else events[-3], Between | MailBegin)
    (block,) = (event.block for event in events if isinstance(event, MailBegin))
    result = Seen(block)
    for event in events:
        if isinstance(event, PartBegin):
            result.leaves.append(event.leaf)
            result.bodies.append(b"")
        elif isinstance(event, PartContent):
            result.bodies[-1] += event.data
        elif isinstance(event, PartVoid):
            result.leaves.pop()
            result.bodies.pop()
        elif isinstance(event, OverLimit):
            result.limit = event.limit
    return result


def bodies(mail: bytes) -> list[tuple[str, str, bytes]]:
    """(section, media type, body before decoding) of each leaf, however the mail is fed."""
    whole = seen(mail)
    for step in (1, 2, 3, 7, 64) if len(mail) < 1000 else (1000,):
        assert whole == seen(mail, step)
    return [
        (leaf.section, leaf.media_type, body)
        for leaf, body in zip(whole.leaves, whole.bodies, strict=True)
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
    assert ["subject", "from", "content-type"] == [field.name for field in seen(mail).block.fields]
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
    assert encoding == seen(mail).leaves[0].encoding


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
    leaves = seen(mail).leaves
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


def test_a_long_preamble_is_none_of_the_parts() -> None:
    """It begins as a part, because memory is bounded, and is taken back."""
    preamble = b"no part\n" * 20_000
    mail = HEAD + preamble + b"--b\n\none\n--b--\n"
    events = events_of(mail, 4096, Limits())
    assert 1 == sum(isinstance(event, PartVoid) for event in events)
    assert [("1", "text/plain", b"one")] == bodies(mail)
    alone = HEAD + preamble
    assert [("1", "multipart/mixed", preamble)] == bodies(alone)
    outer = HEAD + b"--b\n" + HEAD.replace(b'"b"', b'"c"') + preamble + b"--b\n\n2\n--b--"
    assert [("1", preamble[:-1]), ("2", b"2")] == [(found[0], found[2]) for found in bodies(outer)]


@pytest.mark.parametrize(
    ("unit", "limits", "limit"),
    [
        (b"--b\n\nx\n", Limits(parts=3), "more than 3 parts"),
        (
            (
                b'--b\nContent-Type: multipart/mixed; boundary="c"\n\n'
                b'--c\nContent-Type: multipart/mixed; boundary="b"\n\n'
            ),
            Limits(depth=5),
            "more than 5 multiparts within each other",
        ),
        (
            b"--b\nContent-Type: multipart/mixed; boundary=" + b"c" * 80 + b"\n\n",
            Limits(boundary=70),
            "a boundary of more than 70 bytes",
        ),
    ],
)
def test_over_a_limit(unit: bytes, limits: Limits, limit: str) -> None:
    """It is told once; nothing but bytes follows."""
    mail = HEAD + unit * 4
    for step in (1, 10, 10_000):
        events = events_of(mail, step, limits)
        kinds = [type(event) for event in events]
        assert limit == seen(mail, step, limits).limit
        assert {Between, OverLimit} >= {*kinds[kinds.index(OverLimit) :]}
    assert seen(mail, limits=Limits()).limit is None


def test_at_a_limit() -> None:
    """So many are allowed."""
    mail = HEAD + b"--b\n\nx\n" * 4
    assert seen(mail, limits=Limits(parts=4)).limit is None
    assert seen(HEAD + b"--b\n\nx", limits=Limits(boundary=1, depth=1)).limit is None


@pytest.mark.parametrize("size", [100, 20_000, 70_000, 1_500_000])
@pytest.mark.parametrize("after", [b"\n", b"\n folded\n"])
def test_a_header_line_of_any_length(size: int, after: bytes) -> None:
    """What follows it is found, and memory is bounded."""
    mail = b"X: " + b"x" * size + after + HEAD + b"--b\n\none"
    for step in (1000, 1 << 22):
        result = seen(mail, step)
        assert ["x", "content-type"] == [field.name for field in result.block.fields]
        assert (size > MAX_FIELD_BYTES) == result.block.fields[0].is_cut
        assert [b"one"] == result.bodies


def test_a_line_of_any_length_that_is_no_field() -> None:
    """It is the body."""
    mail = b"x" * 2_000_000
    assert [mail] == seen(mail, 1000).bodies
    assert [b" " + mail] == seen(b" " + mail, 1000).bodies


@pytest.mark.parametrize(
    "mail",
    [
        b"X: " + b"a" * 1_500_000 + b"\nSubject: hi\nFrom: a@b\n\nbody",
        b"A: b\nSubject" + b" " * 20_000 + b": x\n\nbody",
        b"A: b\nSubject" + b" " * 900 + b": x\n\nbody",
        b"A: b\n" + b"n" * 998 + b" " * 16_000 + b": x\n\nbody",
        b"Subject: x\n" + b"\r" * 20_000 + b"\nbody",
        b"Subject: x\n" + b"\r" * 990 + b"\nbody",
        b"Subject: x\n" + b" " * 50_000 + b"\n\nbody",
        b"Subject: x\n--b" + b" " * 50_000 + b"\n\nbody",
    ],
)
def test_long_lines_of_a_header_are_the_same_in_any_chunks(mail: bytes) -> None:
    """Whether a line is a field is told by its beginning."""
    whole = seen(mail)
    for step in (64, 1000, 16_384, 65_536):
        assert whole == seen(mail, step)


@pytest.mark.parametrize("newline", [b"\n", b"\r"])
@pytest.mark.parametrize(
    "junk",
    [
        b"X: a\n" + (b" " + b"v" * 70 + b"\n") * 3600,
        b"X: y\n" * 5001,
        b"X: " + b"y" * 262_000 + b"\n",
        b"X: a" + b"\r" * 300_000 + b"z\n",
    ],
)
def test_structure_behind_large_fields_is_read(junk: bytes, newline: bytes) -> None:
    """However the mail is cut, and whatever ends its lines."""
    head = b"Content-Type: multipart/mixed; boundary=b; x=" + b"y" * 17_000
    mail = junk + head + b"\nMessage-ID: <q@x>" + b" " * 17_000 + b"\n\n--b\n\nhello\n--b--\n"
    if newline == b"\r":
        mail = mail.replace(b"\r", b"x").replace(b"\n", b"\r")
    whole = seen(mail)
    assert [b"hello"] == whole.bodies
    assert (whole.block.get(b"message-id") or b"").strip() == b"<q@x>"
    for step in (700, 1000, 4096, 16_384, 65_536, 100_000):
        assert whole == seen(mail, step)


def test_a_huge_field_hides_no_other() -> None:
    """It is cut, and the next are there."""
    mail = b"X: " + b"a" * 1_500_000 + b"\nSubject: hi\nFrom: a@b\n\nbody"
    assert ["x", "subject", "from"] == [field.name for field in seen(mail).block.fields]


def test_a_header_block_of_any_length() -> None:
    """What tells the structure is found behind megabytes of other fields."""
    junk = b"".join(b"X-%d: %s\n" % (number, b"x" * 900) for number in range(6000))
    mail = b"Subject: s\n" + junk + HEAD + b"--b\n\none"
    for step in (5000, 1 << 23):
        result = seen(mail, step)
        assert result.block.more
        assert b' multipart/mixed; boundary="b"' == result.block.get(b"content-type")
        assert 2 * MAX_BLOCK_BYTES > sum(len(field.value) for field in result.block.fields)
        assert [b"one"] == result.bodies


@pytest.mark.parametrize("size", [10, 1_000_000, 1_100_000])
def test_a_mail_without_any_lf(size: int) -> None:
    """Up to a megabyte CR ends its lines; beyond that it is one line, and a field."""
    mail = HEAD.replace(b"\n", b"\r") + b"--b\r\r" + b"x" * size + b"\r--b--"
    expected = [b"x" * size] if size <= 1_000_000 else [b""]
    assert expected == seen(mail, 1000).bodies == seen(mail).bodies


def test_the_line_of_an_mbox_is_skipped() -> None:
    """However long it is."""
    for line in (b"From a@b Sun", b"From " + b"x" * 100_000):
        assert [b"body"] == seen(line + b"\nSubject: x\n\nbody", 1000).bodies
    assert [b"From x"] == seen(b"From x").bodies


def test_a_delimiter_may_have_blanks_but_not_without_end() -> None:
    """As many as a line may have characters."""
    for count, expected in ((900, [b"1", b"2"]), (3000, [b"1\n--b" + b" " * 3000 + b"\n\n2"])):
        mail = HEAD + b"--b\n\n1\n--b" + b" " * count + b"\n\n2\n--b--"
        assert expected == [body for _, _, body in bodies(mail)]


@pytest.mark.untraced
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
        b"--x: y\n",
    ],
)
def test_time_is_linear(unit: bytes) -> None:
    """Traps of half a megabyte end within the test's time-out."""
    limits = Limits(parts=10**9)
    seen(HEAD + unit * (500_000 // len(unit)), limits=limits)
    seen(HEAD + unit * (500_000 // len(unit)), 1000, limits)
    seen(unit * (500_000 // len(unit)), 1000)
