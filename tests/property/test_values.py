"""Round trips, idempotence and `only documented errors`."""

from __future__ import annotations

import base64
import hashlib
import quopri

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pathvalidate import is_valid_filename

from mdirclient import Header, Limits, Mail, PartURL, take_apart
from mdirclient.errors import HeaderError, PartURLError
from mdirclient.mail import Decomposer
from mdirclient.mail.base64 import decode_base64
from mdirclient.mail.memory import MemoryShelf
from mdirclient.naming import fold, safe_name, suffix_key, with_suffix
from mdirclient.url import is_usable_message_id

NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1
)
VALUES = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGE_IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).filter(
    is_usable_message_id
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=20))
@example([("a", " \n\r\\ \x85\u2028\ufeff ")])
def test_headers_come_back(fields: list[tuple[str, str]]) -> None:
    """`parse(h.to_bytes()) == h`, one line a field."""
    header = Header(fields)
    data = header.to_bytes()
    assert header == Header.parse(data)
    assert len(fields) == len(data.splitlines())


@given(st.binary())
def test_any_bytes_are_a_header_or_an_error(data: bytes) -> None:
    """And what was read is written and read the same."""
    try:
        header = Header.parse(data)
    except HeaderError:
        return
    assert header == Header.parse(header.to_bytes())


@given(
    MESSAGE_IDS,
    st.integers(0, 10**9 - 1),
    st.none() | st.from_regex("[0-9a-f]{16}", fullmatch=True),
)
def test_urls_come_back(message_id: str, part: int, variant: str | None) -> None:
    """Written canonically, read the same."""
    url = PartURL("mdir:", message_id, part, variant)
    assert url == PartURL.parse(str(url))


@given(st.text())
def test_any_text_is_a_url_or_an_error(text: str) -> None:
    """Never another exception; and canonical once written."""
    for candidate in (text, f"mdir:{text}/1"):
        try:
            url = PartURL.parse(candidate)
        except PartURLError:
            continue
        assert url == PartURL.parse(str(url))
        assert "/" not in url.segment
        assert url.segment not in ("", ".", "..")


HOSTILE = st.lists(
    st.sampled_from(
        ["..", "/", "\\", ".", " ", "con", "nul", "aux.", "META~1", ".version", "COM¹", "$", "~1"]
        + [
            "\u200b",
            "\u202e",
            "\ud800",
            "\x00",
            "e\u0301",
            "\ufe0f",
            ":",
            "(2)",
            ".tar.gz",
            "é" * 99,
        ]
        + ["a" * 120, "\u2028", "|", "CONIN$", "\u1100\u1161", "\u0344", "\u0f43", "\ufb1d"]
    )
    | st.text(max_size=5),
    max_size=8,
).map("".join)


@given(HOSTILE)
def test_names_are_safe_and_stay(suggested: str) -> None:
    """Valid at once on three systems, inside of the folder, idempotent."""
    name = safe_name(suggested)
    assert name == safe_name(name)
    assert 1 <= len(name.encode()) <= 200
    assert not name.startswith(".")
    assert "/" not in name
    for system in ("Linux", "macOS", "Windows"):
        assert is_valid_filename(name, platform=system, max_len=200), (name, system)
    key, _ = suffix_key(name)
    suffixed = with_suffix(name, 12)
    assert (key, 12) == suffix_key(suffixed)
    assert suffixed == safe_name(suffixed)
    assert fold(name) != fold(suffixed) or name == suffixed


LINES = st.sampled_from(
    [b"--a", b"--b", b"--a--", b"--b--", b"--ab", b"", b"text", b"From x", b" fold", b"--", b"="]
    + [
        b"Content-Type: multipart/mixed; boundary=a",
        b'Content-Type: multipart/digest; boundary="b"',
    ]
    + [b"Content-Type: message/rfc822", b"Content-Transfer-Encoding: base64", b"aGVsbG8="]
    + [
        b"Content-Transfer-Encoding: quoted-printable",
        b"=C3=A9=",
        b"=ZZ",
        b"Subject: =?utf-8?q?a?=",
    ]
    + [
        b"Content-Disposition: attachment; filename*0*=utf-8''%c3; filename*1=x",
        b"\x00\xff",
        b"aGVsbG8",
    ]
)
MAILS = (
    st.lists(st.tuples(LINES, st.sampled_from([b"\r\n", b"\n", b"\r", b""])), max_size=30).map(
        lambda lines: b"".join(line + end for line, end in lines)
    )
    | st.binary()
)


BODIES = (
    st.lists(
        st.sampled_from(
            [
                b"QUJD",
                b"QUJD" * 16,
                b"QUI=",
                b"QQ==",
                b"=",
                b"==",
                b"\n",
                b"\r\n",
                b"\r",
                b" ",
                b"!",
            ]
            + [b"=C3=A9", b"=c3", b"=3D", b"=\r\n", b"= \n", b"=ZZ", b"text ", b"\xe9", b"\t", b"Q"]
        ),
        max_size=60,
    ).map(b"".join)
    | st.binary()
)


@given(MAILS, st.lists(st.integers(1, 40), max_size=20))
@example(b"", [])
def test_any_bytes_split_and_rebuild_exactly(mail: bytes, cuts: list[int]) -> None:
    """However they are cut: the same parts, at least one, and every byte comes back."""
    for limits in (
        Limits(),
        Limits(parts=2, header_bytes=200),
        Limits(parts=2, depth=2, boundary=1, header_bytes=300),
    ):
        whole = take_apart(mail, limits)
        assert mail == whole.original()
        assert list(range(1, len(whole.parts) + 1)) == [part.number for part in whole.parts]
        assert len(whole.parts) == len(whole.contents) >= 1
        for part, content in zip(whole.parts, whole.contents, strict=True):
            assert (len(content), hashlib.sha256(content).hexdigest()) == (part.size, part.sha256)
            Header(part.own_fields())
        Header([*whole.fields.renamed(), ("url", "mdir:x/1")])
        pieces = in_pieces(mail, cuts, limits)
        assert (whole.fields, whole.parts) == (pieces.fields, pieces.parts)
        assert (whole.contents, whole.kept_whole) == (pieces.contents, pieces.kept_whole)
        assert mail == pieces.original()


def in_pieces(mail: bytes, cuts: list[int], limits: Limits) -> Mail:
    """Taken apart as it comes."""
    shelf = MemoryShelf()
    decomposer = Decomposer(shelf, limits)
    position = 0
    for cut in cuts:
        decomposer.feed(mail[position : position + cut])
        position += cut
    decomposer.feed(mail[position:])
    return shelf.mail(decomposer, hashlib.sha256(mail).hexdigest())


@given(st.sampled_from(["base64", "quoted-printable"]), BODIES, st.lists(st.integers(0, 50)))
def test_decoding_does_not_depend_on_the_pieces(
    encoding: str, body: bytes, cuts: list[int]
) -> None:
    """However the text is cut, the content is the same, and the text comes back."""
    head = f"Content-Transfer-Encoding: {encoding}\n\n".encode()
    whole = take_apart(head + body)
    pieces = in_pieces(head + body, [len(head), *cuts], Limits())
    assert whole.contents == pieces.contents
    assert head + body == whole.original() == pieces.original()


LINE_LENGTHS = st.sampled_from([4, 8, 32, 36, 60, 72, 76, 76, 76, 75, 77, 1000, 40_000, 70_000])


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            LINE_LENGTHS,
            st.integers(1, 4),
            st.sampled_from(
                [b"\r\n", b"\n", b"\r\n\r\n", b"", b"=\n", b"==\r\n", b"!\n", b" \r\n"]
            ),
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 200_000), max_size=4),
)
@example([(76, 4, b"\r\n"), (60, 4, b"\r\n")], [])
@example([(70_000, 1, b""), (60, 1, b"\n"), (4464, 3, b"\n")], [])
def test_base64_of_any_lines_comes_back(
    lines: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    """Lines of several lengths after each other, long ones, other ends, in any chunks."""
    text = base64.b64encode(bytes(range(256)) * 210)
    body = b"".join((text[:length] + end) * count for length, count, end in lines)
    mail = b"Content-Transfer-Encoding: base64\n\n" + body
    whole = take_apart(mail)
    pieces = in_pieces(mail, cuts, Limits())
    assert mail == whole.original() == pieces.original()
    assert whole.contents == pieces.contents == (decode_base64(body),)


@given(st.binary(max_size=300), st.integers(1, 20), st.sampled_from([b"\r\n", b"\n"]))
def test_base64_is_as_the_stdlib_has_it(content: bytes, quanta: int, newline: bytes) -> None:
    """On what is regular."""
    text = base64.b64encode(content)
    lines = [text[at : at + 4 * quanta] for at in range(0, len(text), 4 * quanta)]
    mail = take_apart(b"Content-Transfer-Encoding: base64\n\n" + newline.join(lines))
    assert (content,) == mail.contents


@given(st.binary(max_size=300))
def test_quoted_printable_is_as_the_stdlib_has_it(content: bytes) -> None:
    """Written by one, read by the other."""
    text = quopri.encodestring(content)
    assert (content,) == take_apart(
        b"Content-Transfer-Encoding: quoted-printable\n\n" + text
    ).contents
