"""The fuzz target: any bytes are taken apart, come back, and are read without an error."""

from __future__ import annotations

import hashlib

from mdirclient import Header, Limits, Mail, PartURL, take_apart
from mdirclient.mail import Decomposer
from mdirclient.mail.memory import MemoryShelf
from mdirclient.mail.stored import StoredMessage
from mdirclient.naming import safe_name

TIGHT = Limits(parts=3, depth=2, boundary=4, header_bytes=2000, field_bytes=50, fields_bytes=200)


def target(data: bytes) -> None:
    """The first byte says how the rest is cut; every property is an assertion."""
    step, message = (data[0] if data else 0) + 1, data[1:]
    for limits in (Limits(), TIGHT):
        whole = take_apart(message, limits)
        assert message == whole.original()
        pieces = in_steps(message, step, limits)
        assert (whole.fields, whole.parts) == (pieces.fields, pieces.parts)
        assert (whole.contents, whole.kept_whole) == (pieces.contents, pieces.kept_whole)
        assert message == pieces.original()
        check_headers(whole)


def in_steps(message: bytes, step: int, limits: Limits) -> Mail:
    """Taken apart as it comes."""
    shelf = MemoryShelf()
    decomposer = Decomposer(shelf, limits)
    for at in range(0, len(message), step):
        decomposer.feed(message[at : at + step])
    return shelf.mail(decomposer, hashlib.sha256(message).hexdigest())


def check_headers(mail: Mail) -> None:
    """What mdird is handed can be written, read, and its names are safe."""
    anchor = PartURL("mdir:", mail.fields.message_id or "made@x", 1)
    stored = StoredMessage(anchor, mail.parts, mail.fields, 1, "0" * 64, mail.kept_whole)
    for header in stored.headers(authserv_ids=["mx.me"], received="now"):
        assert header == Header.parse(header.to_bytes())
        assert str(PartURL.parse(header["url"])) == header["url"]
        name = safe_name(header.get("suggested-name") or "x")
        assert name == safe_name(name)
        assert "/" not in name
