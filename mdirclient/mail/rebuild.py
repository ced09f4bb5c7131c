"""Read a recipe and make the original bytes again (see `recipe`). Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final

import attrs

from mdirclient.header import Header
from mdirclient.mail.recipe import FORMAT, PartRecord
from mdirclient.mail.transfer import CHUNK, Base64Layout, encode_base64

_MAX_LINE: Final = 200
_PART = re.compile(
    rb"part ([1-9][0-9]{0,8}) ([0-9]{1,18}) ([0-9a-f]{64}) "
    rb"(none|identity|base64 ([0-9]{1,9}) (crlf|lf|cr) ([0-9]{1,9}))\n"
)
_BYTES = re.compile(rb"(literal|deflate) ([0-9]{1,9})\n")


@attrs.frozen
class BytesRecord:
    """Bytes of the original that are in no part."""

    data: bytes


class RecipeError(ValueError):
    """A recipe that cannot be read."""


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
        if match := _PART.fullmatch(line):
            layout = None
            if match[5]:
                layout = Base64Layout(int(match[5]), match[6].decode(), int(match[7]))  # type: ignore[arg-type]
            coding = match[4].partition(b" ")[0].decode()
            yield PartRecord(int(match[1]), int(match[2]), match[3].decode(), coding, layout)
        elif match := _BYTES.fullmatch(line):
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
