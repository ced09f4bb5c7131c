"""How the original bytes are made again from the parts (docs: formats/mstore). Pure.

A recipe is a header and then records, each a line of words, some followed by bytes::

    literal N            LF, N bytes as they are in the original, LF
    deflate N            LF, N bytes that inflate (zlib, RFC 1950) to what is in the original, LF
    part K SIZE SHA256 none                            listed only; a deflate record follows
    part K SIZE SHA256 identity                        the content of part K
    part K SIZE SHA256 base64 LENGTH crlf|lf|cr TAIL   the content in base64
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final

import attrs

from mdirclient.header import Header
from mdirclient.mail.block import Buffer
from mdirclient.mail.split import Leaf, Structure
from mdirclient.mail.transfer import (
    CHUNK,
    Base64Layout,
    decode,
    encode_base64,
    find_base64_layout,
    slices,
)

FORMAT: Final = "1"
_MAX_LINE: Final = 200
_PART = re.compile(
    rb"part ([1-9][0-9]{0,8}) ([0-9]{1,18}) ([0-9a-f]{64}) "
    rb"(none|identity|base64 ([0-9]{1,9}) (crlf|lf|cr) ([0-9]{1,9}))"
)
_BYTES = re.compile(rb"(literal|deflate) ([0-9]{1,9})")


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


@attrs.frozen
class BytesRecord:
    """Bytes of the original that are in no part."""

    data: bytes


class RecipeError(ValueError):
    """A recipe that cannot be read."""


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


def read_head(file: IO[bytes]) -> Header:
    """Read the header of a recipe; the file then stands at the first record.

    Raises:
        RecipeError: cut off, or of another format.
        HeaderError: not a header.
    """
    lines = []
    while (line := file.readline(CHUNK)) != b"\n":
        if not line.endswith(b"\n"):
            raise RecipeError("its header is cut off")
        lines.append(line)
    head = Header.parse(b"".join(lines))
    if head.get("recipe") != FORMAT:
        raise RecipeError(f"format {head.get('recipe')}, this version reads {FORMAT}")
    return head


def read_records(file: IO[bytes]) -> Iterator[PartRecord | BytesRecord]:
    """Read the records after the header.

    Raises:
        RecipeError: cut off or not a recipe.
    """
    while line := file.readline(_MAX_LINE):
        if match := _PART.fullmatch(line.rstrip(b"\n")):
            layout = None
            if match[5]:
                layout = Base64Layout(int(match[5]), match[6].decode(), int(match[7]))  # type: ignore[arg-type]
            coding = match[4].partition(b" ")[0].decode()
            yield PartRecord(int(match[1]), int(match[2]), match[3].decode(), coding, layout)
        elif match := _BYTES.fullmatch(line.rstrip(b"\n")):
            yield BytesRecord(_read_bytes(file, match[1], int(match[2])))
        else:
            raise RecipeError(f"not a record: {line[:40]!a}")


def _read_bytes(file: IO[bytes], kind: bytes, size: int) -> bytes:
    if size > 2 * CHUNK:
        raise RecipeError(f"a record of {size} bytes")
    data = file.read(size)
    if len(data) != size or file.read(1) != b"\n":
        raise RecipeError("a record is cut off")
    if kind == b"literal":
        return data
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(data, CHUNK)
    except zlib.error as error:
        raise RecipeError(f"a record cannot be inflated: {error}") from error
    if not inflate.eof:
        raise RecipeError("a record inflates to more than it may")
    return data


def rebuild(
    records: Iterator[PartRecord | BytesRecord], content: Callable[[PartRecord], Iterator[bytes]]
) -> Iterator[bytes]:
    """Yield the original bytes.

    Args:
        records: the recipe.
        content: gives the content of a part in pieces.

    Raises:
        RecipeError: see `read_records`.
    """
    for record in records:
        if isinstance(record, BytesRecord):
            yield record.data
        elif record.layout:
            yield from encode_base64(content(record), record.layout)
        elif record.coding == "identity":
            yield from content(record)
