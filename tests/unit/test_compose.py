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
from mdirclient.mail.fields import one_line

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
        b'MIME-Version: 1.0\r\nContent-Type: text/plain; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: 7bit\r\n\r\nhello\r\n"
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
        ("dkim-signature", "v=1"),
        ("arc-seal", "i=1"),
        ("resent-date", "yesterday"),
        FROM,
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
        ("undisclosed-recipients:;", "undisclosed-recipients:;"),
        ("j@x.org,\n k@x.org", "j@x.org, k@x.org"),
        ('"a\r\nBcc: z@x.org" <j@x.org>', '"a Bcc: z@x.org" <j@x.org>'),
        ("jö@x.org", None),
        ("nobody", None),
        ("J. Doe <j@x.org>", '"J. Doe" <j@x.org>'),
        ("j@x.org (a), k@x.org (b)", "j@x.org, k@x.org"),
        ("N" * 2000 + " <j@x.org>", "N" * 2000 + " <j@x.org>"),
        ('"j d"@[10.0.0.1]', '"j d"@[10.0.0.1]'),
        ("j@a_b.org", "j@a_b.org"),
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
        ("message/rfc822", b"A: \xff\n\nc\n", ("message/rfc822", b"A: \xff\r\n\r\nc\r\n")),
        ("message/rfc822", b"x" * 998, ("message/rfc822", b"x" * 998)),
        ("message/rfc822", b"x" * 999, ("application/octet-stream", b"x" * 999)),
        ("message/rfc822", b"a\rb", ("application/octet-stream", b"a\rb")),
        ("message/delivery-status", b"A: b\n\n", ("application/octet-stream", b"A: b\n\n")),
        ("multipart/mixed", b"--b\n", ("application/octet-stream", b"--b\n")),
        ("text/plain; charset=none", b"\xff\n", ("text/plain", b"\xff\n")),
        ("text/plain; charset=koi8-r", b"\xf0\n", ("text/plain", "П\r\n".encode())),
        ("text/x-log", b"a\nb\r\n\x00", ("text/x-log", b"a\nb\r\n\x00")),
        ("nonsense", b"a\n", ("text/plain", b"a\r\n")),
        ("text/plain", b"a\x00b\n", ("text/plain", b"a\x00b\r\n")),
        ("text/html; charset=utf-16", b"\xff\xfea\x00", ("text/html", b"\xff\xfea\x00")),
        ("text/plain", b"x" * 5000, ("text/plain", b"x" * 5000 + b"\r\n")),
    ],
)
def test_contents_of_every_kind(
    media_type: str, content: bytes, expected: tuple[str, bytes]
) -> None:
    """Files travel byte for byte; texts have CRLF and UTF-8."""
    data, mail = composed(([FROM, TEXT], b"see\n"), ([("content-type", media_type)], content))
    assert expected == (mail.parts[1].media_type, mail.contents[1])
    assert data.isascii() or b"Content-Transfer-Encoding: 8bit\r\n" in data.partition(b"--=_")[0]
    assert b"\x00" not in data
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


def recipients(value: str) -> list[str]:
    """As another program reads them in the mail."""
    data, _ = composed(([FROM, TEXT, ("to", value)], b""))
    read = BytesParser(policy=policy.default).parsebytes(data)["to"]
    assert not read.defects
    return [address.addr_spec for address in read.addresses]


@pytest.mark.parametrize(
    "name",
    [
        "boss@victim.org, " + "a" * 75,
        "x <evil@x.org>, " + "c" * 80,
        "x (c" + "o" * 90,
        "é, <evil@x.org>, " + "c" * 80,
        'a\\"b' * 30,
    ],
)
def test_a_long_name_adds_no_recipient(name: str) -> None:
    """The stdlib folds it without its quotes."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert ["a@b.org", "c@d.org"] == recipients(f'"{quoted}" <a@b.org>, c@d.org')


@pytest.mark.parametrize(
    "value",
    [
        "a@b.org; c@d.org",
        "a@b.org c@d.org",
        "a@b.org, (c@d.org",
        "Jo <a@b.org> <c@d.org>, e@f.org",
        "pal@é\uff0cvictim\uff20example.org",
        "a@x\uff0corg",
        "a@\u2100x.org",
        "a@straße.de",
        "(" * 5000 + "x@y.org",
        "a@b.org, " * 40_000 + "c@d.org",
        '"a" b c <',
        '"=?utf-8?q?evil=40x.org=2C?= a" <a@b.org>',
    ],
)
def test_an_address_in_doubt_is_an_error(value: str) -> None:
    """Nobody is left out, and nobody is added, because of a comma or a character."""
    with pytest.raises(ComposeError, match="field `to`"):
        composed(([FROM, TEXT, ("to", value)], b""))


def test_fields_of_addresses_are_joined_or_checked() -> None:
    """RFC 5322 §3.6."""
    _, mail = composed(([FROM, TEXT, ("to", "a@b.org"), ("to", "c@d.org")], b""))
    assert "a@b.org, c@d.org" == fields_of(mail)["to"]
    _, mail = composed(([FROM, TEXT, ("disposition-notification-to", "a@b.org")], b""))
    assert "a@b.org" == fields_of(mail)["disposition-notification-to"]
    two = ("from", "a@b.org, c@d.org")
    for sender in ([], [("sender", "a@b.org, c@d.org")], [("sender", "g: a@b.org;")]):
        with pytest.raises(ComposeError, match="sender"):
            composed(([two, TEXT, *sender], b""))
    assert "a@b.org" == fields_of(composed(([two, TEXT, ("sender", "a@b.org")], b""))[1])["sender"]


def test_thousands_of_recipients() -> None:
    """All of them."""
    to = ", ".join(f"User {number} <user{number}@example.org>" for number in range(4000))
    data, _ = composed(([FROM, TEXT, ("to", to)], b""))
    assert 4000 == data.count(b"@example.org>") - 1


def test_ids_and_links_are_written_literally() -> None:
    """RFC 2047 §5: no encoded words there, however long they are."""
    ids = " ".join(f"<{'a' * 60}{number}@{'b' * 60}.example.org>" for number in range(10))
    link = "<https://example.org/unsubscribe?" + "x" * 200 + ">"
    data, mail = composed(
        (
            [
                FROM,
                TEXT,
                ("in-reply-to", ids[:134]),
                ("references", ids),
                ("list-unsubscribe", link),
            ],
            b"",
        )
    )
    assert b"=?" not in data
    assert (ids, link) == (fields_of(mail)["references"], fields_of(mail)["list-unsubscribe"])
    assert max(map(len, data.split(b"\r\n"))) < 300


@pytest.mark.parametrize("length", [70, 79, 500, 900, 3000])
def test_long_words(length: int) -> None:
    """As they are as long as a line may be, so that a key stays one."""
    value = "addr=jo@example.org; keydata=" + "A" * length
    data, mail = composed(([FROM, TEXT, ("autocrypt", value), ("subject", "a" * length)], b""))
    assert (value, "a" * length) == (fields_of(mail)["autocrypt"], fields_of(mail)["subject"])
    assert (b"=?" in data) == (length > 850)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("<a:b@c>", "<a:b@c>"),
        ("<20261122-abc> <d@e>", "<20261122-abc> <d@e>"),
        ("a@b", "<a@b>"),
        ("your mail of Monday", None),
    ],
)
def test_ids_of_other_mails(given: str, written: str | None) -> None:
    """As they are: whoever made them looks for them."""
    _, mail = composed(([FROM, TEXT, ("references", given)], b""))
    assert written == fields_of(mail).get("references")


@pytest.mark.parametrize(
    "given", ["a,b@c", "<a(b@c>", "<a[b@c>", '<a(b)"@x>', "noat", "a b@c", "a" * 1000 + "@x"]
)
def test_a_message_id_that_is_none_gives_way(given: str) -> None:
    """The one of the caller must be one."""
    _, mail = composed(([FROM, TEXT, ("message-id", given)], b""))
    assert "<new@example.org>" == fields_of(mail)["message-id"]
    with pytest.raises(ComposeError, match="no message-id"):
        compose([(Header([FROM, TEXT]), b"")], date=DATE, message_id=given)


@pytest.mark.parametrize("name", ["date", "resent-date", "orig-date"])
def test_dates_out_of_range(name: str) -> None:
    """No error of another kind."""
    composed(([FROM, TEXT, (name, "Mon, 1 Jan 2024 00:00:00 +99999999999999999")], b""))


def test_what_a_part_says_of_itself_is_kept() -> None:
    """Parameters, description, the old place of the name; what is malformed is not."""
    _, mail = composed(
        (
            [FROM, ("content-type", "text/plain; charset=utf-8; format=flowed; delsp=yes")],
            b"a \nb\n",
        ),
        ([("content-type", 'a/b; name="old.pdf"'), ("content-description", "Été")], b"1"),
        ([("content-type", "a/b"), ("content-disposition", 'foo bar; filename="x.pdf"')], b"2"),
        ([("content-type", "a/b"), ("content-id", '<a>\r\nX: y <b c>é"')], b"3"),
        ([("content-type", "message/rfc822"), ("content-id", "<q@x>")], b"A: b\n\nc\n"),
    )
    described = [dict(part.described) for part in mail.parts]
    assert (
        'text/plain; charset="utf-8"; format="flowed"; delsp="yes"' == described[0]["content-type"]
    )
    assert ["old.pdf", "x.pdf", None, None] == [part.suggested_name for part in mail.parts[1:]]
    assert "attachment" == described[2]["content-disposition"].partition(";")[0]
    assert "content-id" not in described[3]
    assert "<q@x>" == described[4]["content-id"]


def test_what_html_shows() -> None:
    """Its pictures by their very ids; not what is attached."""
    html = b"<img src=\"cid:a%2Bb@x\"><img src='cid:c@x'>"
    picture = ("content-type", "image/png")
    long = "=?utf-8?q?" + "p" * 100 + "?=@x"
    data, mail = composed(
        ([FROM, ("content-type", "text/html")], html),
        ([picture, ("content-id", "<a+b@x>")], b"1"),
        ([picture, ("content-id", "<c@x>"), ("content-disposition", "attachment")], b"2"),
        ([picture, ("content-id", "<c@xy>")], b"3"),
        ([picture, ("content-id", f"<{long}>")], b"4"),
    )
    assert ["1.1", "1.2", "2", "3", "4"] == [part.section for part in mail.parts]
    assert f"<{long}>" == dict(mail.parts[4].described)["content-id"]
    assert b'multipart/related; type="text/html"' in data


def test_an_invitation_is_an_alternative() -> None:
    """As calendars expect it."""
    invitation = ([("content-type", "text/calendar; method=REQUEST")], b"BEGIN:VCALENDAR\n")
    _, mail = composed(([FROM, TEXT], b"come\n"), invitation)
    assert [("multipart/alternative",)] * 2 == [part.within for part in mail.parts]
    assert 'method="REQUEST"' in dict(mail.parts[1].described)["content-type"]


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
        assert all(value == one_line(value) for _, value in mail.fields.fields)
        assert 2 == len(mail.parts) == len(list(theirs.iter_parts()))


SPOKEN = st.text(st.sampled_from("abc déà 漢字 🐇  =?_.,:;()"), max_size=200)


@given(SPOKEN, SPOKEN)
def test_what_people_write_comes_back(subject: str, name: str) -> None:
    """Subjects and names, but for blanks around them."""
    _, mail = composed(
        ([FROM, TEXT, ("subject", subject)], b"x"),
        ([("content-type", "a/b"), ("suggested-name", name)], b"y"),
    )
    assert subject.strip() == fields_of(mail).get("subject", "")
    assert (name.strip() or None) == mail.parts[1].suggested_name
