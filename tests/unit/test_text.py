"""Header values in Unicode."""

from __future__ import annotations

import inspect
from email.utils import getaddresses

import pytest

from mdirclient import take_apart
from mdirclient.mail.charset import decode_charset
from mdirclient.mail.parameters import parse_parameters
from mdirclient.mail.text import decode_addresses, decode_text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b" plain ", "plain"),
        (b" a\r\n b", "a b"),
        (b"=?utf-8?q?=C3=A9t=C3=A9?=", "été"),
        (b"=?UTF-8?B?w6l0w6k=?=", "été"),
        (b"=?utf-8?b?w6k?=", "é"),
        (b"=?utf-8*fr?q?a_b?=", "a b"),
        (b"=?iso-8859-1?q?caf=E9?= noir", "café noir"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        (b"=?utf-8?q?a?=\r\n\t=?utf-8?q?b?= c", "ab c"),
        (b"=?utf-8?b?w4M=?= =?utf-8?q?=C2?= =?utf-8?q?=A9?=", "Ã©"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        (b"=?koi8-r?b?8NLJ18XU?=", "Привет"),
        (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?gb2312?b?xOO6ww==?=", "你好"),
        (b"=?no-such-charset?q?caf=C3=A9?=", "café"),
        (b"=?us-ascii?q?caf=C3=A9?=", "café"),
        (b"=?utf-8?q?=FF?=", "\ufffd"),
        (b"=?cp-850?q?=82?=", "é"),
        (b"=?idna?q?a?=", "a"),
        (b"=?+undefined?Q?=FF?=", "ÿ"),
        (b"=?+punycode?Q?a?=", "a"),
        (b"=?unicode+escape?Q?=5Cx41?=", "\\x41"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?q?a", "=?utf-8?q?a"),
        ("été".encode(), "été"),
        (b"caf\xe9", "café"),
        (b"\x81", "\x81"),
        (b"a=?utf-8?q?b?=c", "abc"),
    ],
)
def test_text(raw: bytes, expected: str) -> None:
    """Encoded words as really sent, and raw 8-bit."""
    assert expected == decode_text(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"=?utf-8?q?Doe=2C_J?= <j@x.org>", '"Doe, J" <j@x.org>'),
        (b"=?utf-8?q?J=C3=B6?= <j@x.org>", "Jö <j@x.org>"),
        (b"=?utf-8?q?a=40b=2Ec?= <j@x.org>", '"a@b.c" <j@x.org>'),
        (b"=?utf-8?q?=22x=5C?= <j@x.org>", '"\\"x\\\\" <j@x.org>'),
        (b'"=?utf-8?q?a=22b?=" <j@x.org>', '"a\\"b" <j@x.org>'),
        (b"j@x.org (=?utf-8?q?a=29b?=)", "j@x.org (a\\)b)"),
        (b'"Doe, J" <j@x.org>', '"Doe, J" <j@x.org>'),
        (b"=?utf-8?q?=0D=0ABcc=3A_z=40x?= <j@x.org>", '" Bcc: z@x" <j@x.org>'),
        (b"'=?utf-8?q?J=C3=B6?=' <j@x.org>", "'Jö' <j@x.org>"),
        (b'"=?utf-8?q?a=0D=0Ab?=" <j@x.org>', '"a b" <j@x.org>'),
        (b'"open =?utf-8?q?a?= <j@x.org>', '"open =?utf-8?q?a?= <j@x.org>'),
        (b"Dr. =?utf-8?q?J=C3=B6?= <j@x.org>", "Dr. Jö <j@x.org>"),
        (b"=?utf-8?q?John_(Sales)?= <j@x.org>", '"John (Sales)" <j@x.org>'),
        (b"=?utf-8?q?J?= =?utf-8?q?=C3=B6?= Doe <j@x.org>", "Jö Doe <j@x.org>"),
        (b"=?utf-8?q?J?==?utf-8?q?=C3=B6?= <j@x.org>", "Jö <j@x.org>"),
        (b"a <a@x>, =?utf-8?q?b?= <b@x>,=?utf-8?q?c?=<c@x>", "a <a@x>, b <b@x>,c<c@x>"),
        (b"<=?utf-8?q?ceo?=@corp.example>", "<=?utf-8?q?ceo?=@corp.example>"),
        (b"=?utf-8?q?bob?=@x.org", "=?utf-8?q?bob?=@x.org"),
        (b'"=?utf-8?q?bob?="@x.org', '"=?utf-8?q?bob?="@x.org'),
        (b"x=?utf-8?q?a?= <j@x.org>", "x=?utf-8?q?a?= <j@x.org>"),
    ],
)
def test_addresses(raw: bytes, expected: str) -> None:
    """Decoding never changes the addresses: display names are quoted again."""
    assert expected == decode_addresses(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'"a\\=?utf-8?q?=22_=3Cevil=40x=2Eorg=3E=2C?= b" <a@b.org>',
        b"(\\() =?utf-8?q?evil=40x.org=2C?= <a@b.org>",
        b"(\\=?utf-8?q?=29_evil=40x=2Eorg=2C_=28?=) <a@b.org>",
        b'(") =?utf-8?q?evil=40x.org=2C_=22?= <a@b.org>',
        b"=?utf-8?q?evil=40x.org=2C?= <a@b.org>",
        b"=?utf-8?q?=3Cevil=40x.org=3E=2C?= <a@b.org>",
        b"=?utf-8?b?Iiwgb2ggZXZpbEB4Lm9yZywgIg==?= <a@b.org>",
        b"=?utf-8?q?a=5C?= <a@b.org>",
        b"=?utf-8?q?a <real@x.org>, b?= <other@y.org>",
        b"=?utf-8?q?a, b?= <other@y.org>",
        b"=?utf-8?q?a(b?= <other@y.org>",
        b'<"a>b"@x.org>, =?utf-8?q?c=2C_evil=40x=2Eorg=2C?= <d@e.org>',
        b'"unclosed =?utf-8?q?=2C_evil=40x=2Eorg=2C?= <d@e.org>',
        b'"=?utf-8?q?a?=".b@x.org',
        b"=?utf-8?q?a?= @x.org",
        b"a@ =?utf-8?q?b?=",
    ],
)
def test_addresses_are_the_same_after_decoding(raw: bytes) -> None:
    """Held against the stdlib's parser, which does not decode either."""
    assert stdlib_addresses(raw.decode()) == stdlib_addresses(decode_addresses(raw))


def stdlib_addresses(text: str) -> list[str]:
    """What `getaddresses` reads, without the check that newer Pythons make before it (an odd
    number of quotes in a comment empties their answer).
    """
    has_check = "strict" in inspect.signature(getaddresses).parameters
    options = {"strict": False} if has_check else {}
    return [address for _, address in getaddresses([text], **options)]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"Authentication-Results: mx.me; dkim=pass", "authentication-results"),
        (b"authentication-results:mx.me; dkim=pass", "authentication-results"),
        (b"Authentication-Results: =?utf-8?q?mx.me?=; dkim=pass", "mail-authentication-results"),
        (b"Authentication-Results : mx.me; dkim=pass", "mail-authentication-results"),
        (b"Authentication-Results: other; dkim=pass", "mail-authentication-results"),
        (b"Authentication-Results:", "mail-authentication-results"),
        (b"X: y\rAuthentication-Results: mx.me; dkim=pass", None),
    ],
)
def test_forged_authentication_results(line: bytes, name: str | None) -> None:
    """What an MTA's filter does not see as one is not believed."""
    mail = take_apart(line + b"\nSubject: x\n\n").fields
    names = [name for name, _ in mail.renamed(["mx.me"]) if "authentication" in name]
    assert ([name] if name else []) == names


def test_half_an_address_is_none() -> None:
    """A long list is cut between two addresses."""
    to = b", ".join(b"user%d@bank.com" % number for number in range(2000))
    mail = take_apart(b"To: " + to + b"\n\n").fields
    ((_, value),) = mail.fields
    assert value.endswith("@bank.com")
    assert ("to",) == mail.truncated


def test_structured_fields_of_a_part_are_not_decoded() -> None:
    """An encoded word cannot add a parameter."""
    raw = b'text/plain; name="=?utf-8?q?a=22=3B_charset=3D=22x?="'
    (part,) = take_apart(b"Content-Type: " + raw + b"\n\n").parts
    assert (("content-type", raw.decode()),) == part.described
    assert 'a"; charset="x' == part.suggested_name


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"attachment; filename=a.txt", "a.txt"),
        (b'attachment; FILENAME = "a b.txt"; x=y', "a b.txt"),
        (b'attachment; filename="a\\"b\\\\c.txt"', 'a"b\\c.txt'),
        (b'attachment; filename="C:\\Docs\\x.doc"', "C:\\Docs\\x.doc"),
        (b"attachment; filename=a b.txt", "a b.txt"),
        (b"attachment; filename*=utf-8''%c3%a9.txt", "é.txt"),
        (b"attachment; filename*=iso-8859-1'en'%e9.txt", "é.txt"),
        (b"attachment; filename=old.txt; filename*=utf-8''new.txt", "new.txt"),
        (b"attachment; filename*0=a; filename*1=b.txt", "ab.txt"),
        (b"attachment; filename*1=b.txt; filename*0*=utf-8''%c3%a9", "éb.txt"),
        (b"attachment; filename*0*=utf-8''%c3; filename*1*=%a9.txt", "é.txt"),
        (b"attachment; filename*0=a; filename*2=c", "a"),
        (b'attachment; filename="=?utf-8?b?w6kudHh0?="', "é.txt"),
        (b"attachment; filename==?utf-8?q?=C3=A9.txt?=", "é.txt"),
        (b'attachment; filename="caf\xe9.txt"', "café.txt"),
        ('attachment; filename="été.txt"'.encode(), "été.txt"),
        (b"attachment; filename=", None),
        (b"attachment; filename", None),
        (b"attachment", None),
        (b"attachment; filename*9999=x; filename*a=y", None),
        (b"attachment; filename*=utf-16'%00", "utf-16'\x00"),
    ],
)
def test_filename(raw: bytes, expected: str | None) -> None:
    """RFC 2231 and RFC 2047 forms, 8-bit names, and what cannot be read."""
    mail = b"Content-Disposition: " + raw + b"\n\n"
    assert expected == take_apart(mail).parts[0].suggested_name


def test_name_of_the_content_type_is_second() -> None:
    """Old mailers have only that."""
    only = b"Content-Type: image/png; name=a.png\n\n"
    both = b"Content-Disposition: inline; filename=b.png\n" + only
    assert "a.png" == take_apart(only).parts[0].suggested_name
    assert "b.png" == take_apart(both).parts[0].suggested_name


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"Content-Description: Re: offer", "Re: offer.eml"),
        (b"Content-Description: =?utf-8?q?=C3=A9t=C3=A9?=", "été.eml"),
        (b"Content-Description: mail.EML", "mail.EML"),
        (b"Content-Description: \nX: y", None),
        (b"Content-Description: a\nContent-Disposition: inline; filename=b.eml", "b.eml"),
    ],
)
def test_name_of_a_forwarded_mail(fields: bytes, expected: str | None) -> None:
    """Its description comes last, and only there is it a name."""
    mail = b"Content-Type: message/rfc822\n" + fields + b"\n\nA: b\n"
    assert expected == take_apart(mail).parts[0].suggested_name
    assert take_apart(mail.replace(b"message/rfc822", b"text/plain")).parts[0].suggested_name in (
        None,
        "b.eml",
    )


@pytest.mark.parametrize(
    "unit",
    ["a", " ", ";", "=", '"', "\\", '\\"', "a=", 'a="', "=?a?q?", "=?a?q?b?= ", "*0=", "(", "%"],
)
def test_time_is_linear(unit: str) -> None:
    """64 KiB of anything is read at once."""
    raw = (unit * (65536 // len(unit))).encode()
    for _ in range(3):
        decode_text(b"\r" * 65536 + b" x")
        parse_parameters(b"x; filename=" + raw)
        parse_parameters(raw)
        decode_text(raw)
        decode_addresses(b"=?a?q?b?=" + raw)


@pytest.mark.parametrize(
    "charset",
    ["zlib", "base64", "rot13", "bz2", "unicode_escape", "punycode", "\0", "utf-7", "a" * 80],
)
def test_codecs_that_are_no_charsets(charset: str) -> None:
    """No decompression, no escapes, no error, no lone surrogate."""
    text = decode_charset(b"+2AA-\\ud800abc", charset)
    text.encode()
