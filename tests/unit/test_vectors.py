"""The golden vectors of `tests/vectors`: what any implementation must find in a mail."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mdirclient import Limits, take_apart
from mdirclient.mail import Decomposer
from mdirclient.mail.memory import Mail, MemoryShelf

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "mail.json").read_text()
)


def described(mail: Mail) -> list[dict[str, Any]]:
    """Parts as a vector has them: bytes are characters U+0000 to U+00FF."""
    found = []
    for part, content in zip(mail.parts, mail.contents, strict=True):
        what: dict[str, Any] = {
            "section": part.section,
            "media-type": part.media_type,
            "content": content.decode("latin-1"),
        }
        if part.within:
            what["within"] = list(part.within)
        if part.suggested_name:
            what["suggested-name"] = part.suggested_name
        found.append(what)
    return found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    """Fields, parts, names, contents; whole and byte by byte; and the mail comes back."""
    message = vector["mail"].encode("latin-1")
    mail = take_apart(message)
    assert vector["parts"] == described(mail)
    for name, value in vector.get("fields", {}).items():
        assert value == dict(mail.fields.fields)[name]
    assert message == mail.original()
    shelf = MemoryShelf()
    decomposer = Decomposer(shelf)
    for at in range(len(message)):
        decomposer.feed(message[at : at + 1])
    assert vector["parts"] == described(shelf.mail(decomposer, hashlib.sha256(message).hexdigest()))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector_over_a_limit(vector: dict[str, Any]) -> None:
    """Kept whole, it is all of the mail."""
    message = vector["mail"].encode("latin-1")
    mail = take_apart(message, Limits(header_bytes=0))
    assert mail.kept_whole == "more than 0 MiB of headers"
    assert (message,) == mail.contents
    assert message == mail.original()
    assert "message/rfc822" == mail.parts[0].media_type
