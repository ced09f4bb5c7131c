"""Round trips, idempotence and `only documented errors`."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st
from pathvalidate import is_valid_filename

from mdirclient import Header, PartURL
from mdirclient.errors import HeaderError, PartURLError
from mdirclient.mail.part import describe_leaf, take_apart
from mdirclient.mail.rebuild import read_records, rebuild
from mdirclient.mail.recipe import PartRecord, write_recipe
from mdirclient.mail.split import Limits, split
from mdirclient.mail.transfer import decode_base64
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


@given(MAILS)
@example(b"")
def test_any_bytes_split_and_rebuild_exactly(mail: bytes) -> None:
    """Leaves in order, at least one, and every byte comes back."""
    contents: dict[int, bytes] = {}

    def store(number: int, content: Iterator[bytes]) -> tuple[int, str]:
        contents[number] = b"".join(content)
        return len(contents[number]), hashlib.sha256(contents[number]).hexdigest()

    def content(record: PartRecord) -> Iterator[bytes]:
        yield contents[record.number]

    structure, fields = take_apart(mail, Limits(parts=10, depth=5))
    assert structure.leaves
    ends = [0] + [leaf.end for leaf in structure.leaves]
    assert all(
        end <= leaf.start <= leaf.end for end, leaf in zip(ends, structure.leaves, strict=False)
    )
    recipe = b"".join(write_recipe(mail, structure, store))
    assert mail == b"".join(rebuild(read_records(io.BytesIO(recipe)), content))
    for number, leaf in enumerate(structure.leaves, 1):
        describe_leaf(leaf, number, 0, "")
    Header([*fields.renamed(), ("url", "mdir:x/1")])


@given(st.binary(), st.lists(st.integers(0, 50)))
def test_base64_does_not_depend_on_the_pieces(data: bytes, cuts: list[int]) -> None:
    """However the text is cut, the content is the same."""
    pieces, position = [], 0
    for cut in cuts:
        pieces.append(data[position : position + cut])
        position += cut
    pieces.append(data[position:])
    assert b"".join(decode_base64([data])) == b"".join(decode_base64(pieces))


@given(st.binary(max_size=2000))
def test_leaves_do_not_depend_on_the_type_of_buffer(mail: bytes) -> None:
    """bytes and mmap are read the same."""
    import mmap

    if not mail:
        return
    with mmap.mmap(-1, len(mail)) as data:
        data.write(mail)
        assert split(mail) == split(data)
