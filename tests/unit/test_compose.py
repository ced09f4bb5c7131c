"""A new mail of parts: correct, and nothing that was not asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdirclient import Header, Mail, compose, take_apart
from mdirclient.errors import ComposeError

DATE = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
FROM = ("from", "jo@example.org")
TEXT = ("content-type", "text/plain; charset=utf-8")


def composed(*parts: tuple[list[tuple[str, str]], bytes]) -> tuple[bytes, Mail]:
    """A mail, and what is read from it."""
    pairs = [(Header(fields), content) for fields, content in parts]
    data = compose(pairs, date=DATE, message_id="new@example.org")
    return data, take_apart(data)


def fields_of(mail: Mail) -> dict[str, str]:
    """Its top-level fields."""
    return dict(mail.fields.fields)


def test_a_text() -> None:
    """With what was missing."""
    data, mail = composed(([FROM, ("to", "j@x.org"), ("subject", "Été"), TEXT], b"hello\n"))
    assert (
        b"From: jo@example.org\r\nTo: j@x.org\r\nSubject: =?utf-8?b?w4l0w6k=?=\r\n"
        b"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <new@example.org>\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 7bit\r\n'
        b"MIME-Version: 1.0\r\n\r\nhello\r\n"
    ) == data
    assert (b"hello\r\n",) == mail.contents


def test_text_html_picture_and_attachments() -> None:
    """Alternatives, what the HTML shows with it, the rest attached under its name."""
    data, mail = composed(
        ([FROM, TEXT], "Grüße\n".encode()),
        ([("content-type", "text/html")], b'<img src="cid:i@x">'),
        ([("content-type", "image/png"), ("content-id", "<i@x>")], b"\x89PNG"),
        ([("content-type", "text/csv"), ("suggested-name", "Été 🐇.csv")], b"a;b\n"),
        ([("content-type", "application/pdf"), ("suggested-name", "é" * 90 + ".pdf")], b"%PDF"),
    )
    assert [
        ("1.1", ("multipart/mixed", "multipart/alternative"), "text/plain", None),
        (
            "1.2.1",
            ("multipart/mixed", "multipart/alternative", "multipart/related"),
            "text/html",
            None,
        ),
        (
            "1.2.2",
            ("multipart/mixed", "multipart/alternative", "multipart/related"),
            "image/png",
            None,
        ),
        ("2", ("multipart/mixed",), "text/csv", "Été 🐇.csv"),
        ("3", ("multipart/mixed",), "application/pdf", "é" * 90 + ".pdf"),
    ] == [(part.section, part.within, part.media_type, part.suggested_name) for part in mail.parts]
    assert ("Grüße\r\n".encode(), b"\x89PNG", b"a;b\n", b"%PDF") == (
        mail.contents[0],
        *mail.contents[2:],
    )
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")


def test_what_is_kept_and_what_is_left_out() -> None:
    """Bcc, trace, mdir's own fields, and those that may stand once."""
    given = [
        ("url", "mdir:a@b/1"),
        ("envelope-to", "x@y"),
        ("return-path", "<x@y>"),
        ("bcc", "secret@example.org"),
        ("Bcc", "secret@example.org"),
        ("resent-bcc", "secret@example.org"),
        ("received", "from x"),
        ("content-md5", "x"),
        ("mime-version", "9"),
        FROM,
        ("from", "second@example.org"),
        ("subject", "one"),
        ("subject", "two"),
        ("in-reply-to", "<a@b>"),
        ("x-own", "1"),
        ("x-own", "2"),
        ("date", "Mon, 1 Jan 2024 00:00:00 +0100"),
        ("message-id", "<own@example.org>"),
        TEXT,
    ]
    data, mail = composed((given, b""))
    assert b"secret" not in data
    assert [
        "from subject in-reply-to x-own x-own date message-id".split(),
        ["Mon, 01 Jan 2024 00:00:00 +0100", "<own@example.org>"],
    ] == [
        [name for name, _ in mail.fields.fields if name[:7] not in ("content", "mime-ve")],
        [fields_of(mail)[name] for name in ("date", "message-id")],
    ]
    assert "one" == fields_of(mail)["subject"]


@pytest.mark.parametrize(
    ("name", "value", "new"),
    [
        ("date", "yesterday", "Sun, 22 Nov 2026 10:00:00 +0000"),
        ("message-id", "no id at all", "<new@example.org>"),
        ("message-id", "own@x", "<own@x>"),
    ],
)
def test_what_cannot_be_read_is_made_anew(name: str, value: str, new: str) -> None:
    """Date and Message-ID."""
    _, mail = composed(([FROM, TEXT, (name, value)], b""))
    assert new == fields_of(mail)[name]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"Doe, J" <j@x.org>', '"Doe, J" <j@x.org>'),
        ("Jö <j@x.org>", "Jö <j@x.org>"),
        ("jo@exämple.org", "jo@xn--exmple-cua.org"),
        ("friends: a@b.org, c@d.org;", "friends: a@b.org, c@d.org;"),
        ("undisclosed-recipients:;", None),
        ("j@x.org,\n k@x.org", "j@x.org, k@x.org"),
        ('"a\r\nBcc: z@x.org" <j@x.org>', '"a Bcc: z@x.org" <j@x.org>'),
        ("jö@x.org", None),
        ("nobody", None),
        ("<>", None),
        ("@", None),
    ],
)
def test_addresses(value: str, expected: str | None) -> None:
    """As they are, domains in ASCII; one that no server takes is an error that names the field."""
    if expected is None:
        with pytest.raises(ComposeError, match="address"):
            composed(([FROM, TEXT, ("to", value)], b""))
    else:
        assert expected == fields_of(composed(([FROM, TEXT, ("to", value)], b""))[1])["to"]


@pytest.mark.parametrize(
    ("media_type", "content", "expected"),
    [
        ("message/rfc822", b"A: b\n\nc\n", ("message/rfc822", b"A: b\r\n\r\nc\r\n")),
        ("message/rfc822", b"A: \xff\n\nc\n", ("application/octet-stream", b"A: \xff\n\nc\n")),
        ("message/rfc822", b"x" * 1000, ("application/octet-stream", b"x" * 1000)),
        ("message/rfc822", b"a\rb", ("application/octet-stream", b"a\rb")),
        ("message/delivery-status", b"A: b\n\n", ("application/octet-stream", b"A: b\n\n")),
        ("multipart/mixed", b"--b\n", ("application/octet-stream", b"--b\n")),
        ("text/plain; charset=none", b"\xff\n", ("text/plain", b"\xff\n")),
        ("text/plain; charset=koi8-r", b"\xf0\n", ("text/plain", "П\r\n".encode())),
        ("text/x-log", b"a\nb\r\n\x00", ("text/x-log", b"a\nb\r\n\x00")),
        ("nonsense", b"a\n", ("text/plain", b"a\r\n")),
        ("text/plain", b"x" * 5000, ("text/plain", b"x" * 5000 + b"\r\n")),
    ],
)
def test_contents_of_every_kind(
    media_type: str, content: bytes, expected: tuple[str, bytes]
) -> None:
    """Files travel byte for byte; texts have CRLF and UTF-8."""
    data, mail = composed(([FROM, TEXT], b"see\n"), ([("content-type", media_type)], content))
    assert expected == (mail.parts[1].media_type, mail.contents[1])
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998


def test_a_forwarded_mail_cannot_end_the_multipart() -> None:
    """Whatever delimiters it has: ours are made of all contents."""
    inner = composed(([FROM, TEXT], b"a\n"), ([("content-type", "image/png")], b"x"))[0]
    forwarded = ([("content-type", "message/rfc822")], inner)
    _, mail = composed(([FROM, TEXT], b"a\n"), forwarded, forwarded)
    assert (inner.rstrip(b"\r\n"),) * 2 == tuple(c.rstrip(b"\r\n") for c in mail.contents[1:])


@pytest.mark.parametrize("parts", [[], [([TEXT], b"x")], [([TEXT, ("from", " ")], b"x")]])
def test_what_makes_no_mail(parts: list[tuple[list[tuple[str, str]], bytes]]) -> None:
    """No part, no author."""
    with pytest.raises(ComposeError):
        composed(*parts)


VALUES = st.text(
    st.sampled_from(list("ab é漢🐇=?_utf-8qB<>@,:;\"'()\\[]%*\r\n\t\0\x0b\x85\u2028\x7f. ")),
    max_size=120,
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from("subject comments x-a list-id references user-agent".split()), VALUES
    ),
    max_size=5,
)


@given(FIELDS, VALUES, VALUES, st.binary(max_size=100), st.sampled_from(["text/plain", "a/b"]))
def test_no_value_adds_a_field_or_a_part(
    fields: list[tuple[str, str]], address: str, name: str, content: bytes, media_type: str
) -> None:
    """Whatever the values are: composed with just these, or an error that is documented."""
    for to in ("k@x.org", address):
        given = [FROM, TEXT, *fields, ("to", to)]
        second = [("content-type", media_type), ("suggested-name", name), ("content-id", name)]
        try:
            data, mail = composed((given, content), (second, content))
        except ComposeError:
            continue
        theirs = BytesParser(policy=policy.default).parsebytes(data)
        ours = {field for field, _ in mail.fields.fields}
        assert ours == {key.lower() for key in theirs.keys()}  # noqa: SIM118
        own = {"from", "to", "date", "message-id", "mime-version", "content-type"}
        assert ours <= own | {field for field, _ in fields}
        assert 2 == len(mail.parts) == len(list(theirs.iter_parts()))


SPOKEN = st.text(st.sampled_from("abc déà 漢字 🐇  =?_.,:;()"), max_size=200)


@given(SPOKEN, SPOKEN)
def test_what_people_write_comes_back(subject: str, name: str) -> None:
    """Subjects and names, but for runs of blanks."""
    _, mail = composed(
        ([FROM, TEXT, ("subject", subject)], b"x"),
        ([("content-type", "a/b"), ("suggested-name", name)], b"y"),
    )
    assert subject.split() == fields_of(mail).get("subject", "").split()
    assert (name.strip() or None) == mail.parts[1].suggested_name
