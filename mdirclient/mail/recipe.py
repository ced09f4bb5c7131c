"""How the original bytes are made again from the parts (docs: formats/mstore). Pure.

A recipe is a header and then records, each a line of words, some followed by bytes::

    literal N            LF, N bytes as they are in the original, LF
    deflate N            LF, N bytes that inflate (zlib, RFC 1950) to what is in the original, LF
    part K SIZE SHA256 none                            listed only; a deflate record follows
    part K SIZE SHA256 identity                        the content of part K
    part K SIZE SHA256 base64 LENGTH crlf|lf|cr TAIL   the content in base64
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from mdirclient.mail.block import Buffer
from mdirclient.mail.split import Leaf, Structure
from mdirclient.mail.transfer import Base64Layout, decode, find_base64_layout, slices

FORMAT: Final = "1"
#: Name of the file beside the parts.
RECIPE: Final = "recipe"


@attrs.frozen
class PartRecord:
    """A part in a recipe: what its file must hold, and how it stands in the original."""

    number: int
    size: int
    sha256: str
    coding: str
    layout: Base64Layout | None = None

    def to_bytes(self) -> bytes:
        """The record's line."""
        words = [f"part {self.number} {self.size} {self.sha256} {self.coding}"]
        if self.layout:
            words += [str(self.layout.line_length), self.layout.eol, str(self.layout.tail)]
        return " ".join(words).encode() + b"\n"


def write_recipe(
    data: Buffer, structure: Structure, store: Callable[[int, Iterator[bytes]], tuple[int, str]]
) -> Iterator[bytes]:
    """Yield the records of a mail's recipe and hand each part's content to `store`.

    Args:
        data: the mail.
        structure: its parts.
        store: takes a part number and the content in pieces, reads it all and returns its
            size and the hexadecimal SHA-256.
    """
    position = 0
    for number, leaf in enumerate(structure.leaves, 1):
        yield from _bytes_records("literal", data, position, leaf.start)
        size, sha256 = store(number, decode(leaf.encoding, data, leaf.start, leaf.end))
        coding, layout = _coding(data, leaf)
        yield PartRecord(number, size, sha256, coding, layout).to_bytes()
        if coding == "none":
            yield from _bytes_records("deflate", data, leaf.start, leaf.end)
        position = leaf.end
    yield from _bytes_records("literal", data, position, len(data))


def _coding(data: Buffer, leaf: Leaf) -> tuple[str, Base64Layout | None]:
    if leaf.encoding == "base64":
        layout = find_base64_layout(data, leaf.start, leaf.end)
        return ("base64", layout) if layout else ("none", None)
    if leaf.encoding == "quoted-printable" and not _is_same(data, leaf):
        return "none", None
    return "identity", None


def _is_same(data: Buffer, leaf: Leaf) -> bool:
    """Whether decoding changes nothing."""
    position = leaf.start
    for piece in decode(leaf.encoding, data, leaf.start, leaf.end):
        if data[position : position + len(piece)] != piece:
            return False
        position += len(piece)
    return position == leaf.end


def _bytes_records(kind: str, data: Buffer, start: int, end: int) -> Iterator[bytes]:
    for piece in slices(data, start, end):
        held = zlib.compress(piece) if kind == "deflate" else piece
        yield b"%s %d\n%s\n" % (kind.encode(), len(held), held)
