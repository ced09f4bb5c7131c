"""Read a recipe and make the original bytes again (see `recipe`). Pure."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final

import attrs

from mdirclient.errors import RecipeError
from mdirclient.header import Header
from mdirclient.mail.recipe import FORMAT, MAX_RAW
from mdirclient.mail.segment import EOLS, Base64Lines, QuotedLines, Raw, Same, Segment, unpack

_MAX_LINE: Final = 2000
_MAX_HEAD: Final = 1 << 14
_CHUNK: Final = 1 << 18
_NUMBER = rb"([0-9]{1,18})"
_PART = re.compile(rb"part ([1-9][0-9]{0,8})\n")
_END = re.compile(rb"end " + _NUMBER + rb" ([0-9a-f]{64})\n")
_SAME = re.compile(rb"same " + _NUMBER + rb"\n")
_RAW = re.compile(rb"raw " + _NUMBER + rb" ([0-9]{1,8})\n")
_BASE64 = re.compile(rb"base64 " + _NUMBER + rb" ([0-9]{1,6}) (crlf|lf) (ended|open)\n")
_QUOTED = re.compile(
    rb"quoted ([0-9]{1,8}) (crlf|lf) (lower|upper) "
    rb"\+((?:[0-9a-f]{2})*) -((?:[0-9a-f]{2})*) ([0-9]{1,8})\n"
)


@attrs.frozen
class PartRecord:
    """What follows is of a part."""

    number: int


@attrs.frozen
class EndRecord:
    """The part must be this."""

    size: int
    sha256: str


Record = PartRecord | EndRecord | Segment


def read_head(file: IO[bytes]) -> Header:
    """Read the header of a recipe; the file then stands at the records.

    Raises:
        RecipeError: cut off, or of another format.
        HeaderError: not a header.
    """
    text = b""
    while (line := file.readline(_MAX_HEAD)) != b"\n":
        text += line
        if not line.endswith(b"\n") or len(text) > _MAX_HEAD:
            raise RecipeError("its header is cut off")
    head = Header.parse(text)
    if head.get("recipe") != FORMAT:
        raise RecipeError(f"format {head.get('recipe')}, this version reads {FORMAT}")
    return head


def read_records(file: IO[bytes]) -> Iterator[Record]:
    """Read the records from where they begin.

    Raises:
        RecipeError: cut off or not a recipe.
    """
    try:
        with gzip.GzipFile(fileobj=file) as records:
            while line := records.readline(_MAX_LINE):
                yield _record(line, records)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RecipeError(f"its records cannot be read: {error}") from error


def _record(line: bytes, file: gzip.GzipFile) -> Record:
    if match := _PART.fullmatch(line):
        return PartRecord(int(match[1]))
    if match := _END.fullmatch(line):
        return EndRecord(int(match[1]), match[2].decode())
    if match := _SAME.fullmatch(line):
        return Same(int(match[1]))
    if match := _RAW.fullmatch(line):
        return Raw(int(match[1]), _bytes(file, int(match[2])))
    if match := _BASE64.fullmatch(line):
        length = int(match[2])
        if length % 4 == 0:
            return Base64Lines(int(match[1]), length, EOLS[match[3]], match[4] == b"ended")
    if (match := _QUOTED.fullmatch(line)) and int(match[1]) <= MAX_RAW:
        try:
            breaks = unpack(_bytes(file, int(match[6])))
        except ValueError as error:
            raise RecipeError(f"line breaks of quoted-printable: {error}") from error
        extra, bare = (bytes.fromhex(match[group].decode()) for group in (4, 5))
        is_lower = match[3] == b"lower"
        return QuotedLines(int(match[1]), EOLS[match[2]], is_lower, extra, bare, breaks)
    raise RecipeError(f"not a record: {line[:40]!a}")


def _bytes(file: gzip.GzipFile, size: int) -> bytes:
    if size > MAX_RAW:
        raise RecipeError(f"a record of {size} bytes")
    data = file.read(size)
    if len(data) != size or file.read(1) != b"\n":
        raise RecipeError("a record is cut off")
    return data


def rebuild(records: Iterator[Record], open_part: Callable[[int], IO[bytes]]) -> Iterator[bytes]:
    """Yield the original bytes.

    Args:
        records: the recipe.
        open_part: opens the content of a part.

    Raises:
        RecipeError: see `read_records`; also: a part is missing or is not what was stored.
    """
    part: _PartReader | None = None
    last = 0
    try:
        for record in records:
            if isinstance(record, PartRecord):
                if part or record.number != last + 1:
                    raise RecipeError(f"part {record.number} after part {last}")
                last = record.number
                part = _PartReader(record.number, open_part)
            elif isinstance(record, EndRecord):
                if part is None:
                    raise RecipeError("an end without a part")
                part.check(record)
                part = None
            elif isinstance(record, Raw) and not record.size:
                yield record.data
            elif part is None:
                raise RecipeError("content without a part")
            else:
                yield from part.made(record)
        if part:
            raise RecipeError(f"part {last} has no end")
    finally:
        if part:
            part.close()


class _PartReader:
    """The content of a part, read once and checked."""

    def __init__(self, number: int, open_part: Callable[[int], IO[bytes]]) -> None:
        self.number = number
        self._digest = hashlib.sha256()
        self._size = 0
        try:
            self._file = open_part(number)
        except FileNotFoundError:
            raise RecipeError(f"part {number} is missing") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def made(self, segment: Segment) -> Iterator[bytes]:
        """The original bytes of the next content."""
        content = self._read(segment.size)
        if isinstance(segment, Same):
            yield from content
        elif isinstance(segment, Base64Lines):
            from mdirclient.mail.base64 import encode_base64  # texts need it not

            yield from encode_base64(content, segment)
        elif isinstance(segment, QuotedLines):
            from mdirclient.mail.quoted_printable import encode_quoted

            try:
                yield encode_quoted(b"".join(content), segment)
            except ValueError as error:
                raise RecipeError(f"part {self.number}: {error}") from error
        else:
            for _ in content:
                pass
            yield segment.data

    def check(self, record: EndRecord) -> None:
        """Whether it was all, and what was stored."""
        is_all = not self._file.read(1)
        self._file.close()
        if not is_all or record != EndRecord(self._size, self._digest.hexdigest()):
            raise RecipeError(f"part {self.number} is not what was stored")

    def _read(self, size: int) -> Iterator[bytes]:
        while size and (chunk := self._file.read(min(size, _CHUNK))):
            self._digest.update(chunk)
            self._size += len(chunk)
            size -= len(chunk)
            yield chunk
        if size:
            raise RecipeError(f"part {self.number} is not what was stored")
