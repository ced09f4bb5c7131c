"""Beside the stdlib's `email`: the same parts with the same contents in well-formed mail."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mdirclient import take_apart

TEXTS = st.text(
    st.sampled_from("abc é漢🐇=.-\t \n")
    | st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]),
    max_size=300,
)
FORWARDED = b"a forwarded mail, as it stands"
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=60)


def leaves(message: Message) -> Iterator[Message]:
    """Of a mail as we take it apart: a forwarded mail is one."""
    if message.get_content_maintype() == "multipart":
        for part in message.get_payload():
            assert isinstance(part, Message)
            yield from leaves(part)
    else:
        yield message


@given(
    st.lists(TEXTS, min_size=1, max_size=3),
    st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=3),
    TEXTS,
    st.sampled_from([policy.SMTP, policy.default]),
)
def test_mail_written_by_the_stdlib(
    texts: list[str], files: list[tuple[str, bytes]], subject: str, how: policy.EmailPolicy
) -> None:
    """Read by both."""
    mail = EmailMessage(policy=how)
    mail["Subject"] = " ".join(subject.split())
    mail.set_content(texts[0])
    for text in texts[1:]:
        mail.add_alternative(text, subtype="html")
    for name, content in files:
        mail.add_attachment(content, maintype="application", subtype="x", filename=name)
    data = mail.as_bytes()
    ours = take_apart(data)
    theirs = list(leaves(message_from_bytes(data, policy=policy.default)))
    assert [(part.get_content_type(), part.get_filename()) for part in theirs] == [
        (part.media_type, part.suggested_name) for part in ours.parts
    ]
    assert [part.get_payload(decode=True) for part in theirs] == list(ours.contents)
    assert data == ours.original()


#: Content-Transfer-Encoding of well-formed mail (RFC 2045 §6.1). We leave uuencode as it is.
ENCODINGS = {"", "7bit", "8bit", "binary", "base64", "quoted-printable"}


def is_well_formed(message: Message) -> bool:
    """Whether the stdlib finds no defect, also none in what it decoded."""
    parts = list(message.walk())
    for part in parts:
        part.get_payload(decode=True)
    encodings = {str(part.get("content-transfer-encoding", "")).lower() for part in parts}
    return encodings <= ENCODINGS and not any(part.defects for part in parts)


def test_real_mails_that_are_well_formed(corpus: list[Path]) -> None:
    """The same types and contents; but the stdlib drops some parts that are empty."""
    compared = 0
    for path in corpus:
        data = path.read_bytes()
        theirs = message_from_bytes(data)
        if not is_well_formed(theirs):
            continue
        expected = [(part.get_content_type(), content_of(part)) for part in leaves(theirs)]
        mail = take_apart(data)
        found = [
            (part.media_type, FORWARDED if part.media_type[:8] == "message/" else content)
            for part, content in zip(mail.parts, mail.contents, strict=True)
        ]
        compared += 1
        assert [one for one in expected if one[1]] == [one for one in found if one[1]], path.name
    print(f"{compared} of {len(corpus)} mails are well-formed, and the same")
    assert compared > len(corpus) / 2


def content_of(part: Message) -> bytes:
    """The content of a leaf, decoded; a forwarded mail as it stands."""
    if part.get_content_maintype() == "message":
        return FORWARDED
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content
