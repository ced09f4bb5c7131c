"""A mail taken apart in memory, for scripts and tests. Pure."""

from __future__ import annotations

import hashlib
import io
from typing import IO

import attrs

from mdirclient.errors import RecipeError
from mdirclient.mail.decompose import Decomposer
from mdirclient.mail.limits import DEFAULT, Limits
from mdirclient.mail.part import MailFields, Part
from mdirclient.mail.rebuild import read_records, rebuild


@attrs.frozen
class Mail:
    """A mail in memory.

    Attributes:
        fields: its top-level fields in Unicode.
        parts: at least one, in the order of the mail.
        contents: of the parts, with the transfer encoding undone.
        records: how the original is made of them, compressed.
        sha256: of the original, hexadecimal.
        kept_whole: which limit it is over, so that its one part is all of it, or None.
    """

    fields: MailFields
    parts: tuple[Part, ...]
    contents: tuple[bytes, ...] = attrs.field(repr=False)
    records: bytes = attrs.field(repr=False)
    sha256: str
    kept_whole: str | None = None

    def original(self) -> bytes:
        """The mail again, byte for byte.

        Raises:
            RecipeError: contents or records are not those of the mail.
        """
        data = b"".join(rebuild(read_records(io.BytesIO(self.records)), self._open_part))
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise RecipeError("the rebuilt mail is not the original")
        return data

    def _open_part(self, number: int) -> IO[bytes]:
        if not 1 <= number <= len(self.contents):
            raise FileNotFoundError(number)
        return io.BytesIO(self.contents[number - 1])


def take_apart(message: bytes, limits: Limits = DEFAULT) -> Mail:
    """Take a mail apart; any bytes whatsoever give at least one part.

    Args:
        message: line ends as they are, CRLF or LF.
        limits: beyond which it is kept whole.
    """
    shelf = MemoryShelf()
    decomposer = Decomposer(shelf, limits)
    decomposer.feed(message)
    return shelf.mail(decomposer, hashlib.sha256(message).hexdigest())


class MemoryShelf:
    """A `Shelf` in memory."""

    def __init__(self) -> None:
        self._contents: dict[int, list[bytes]] = {}
        self._last: list[bytes] = []
        self._records: list[bytes] = []

    def mail(self, decomposer: Decomposer, sha256: str) -> Mail:
        """Close the decomposer that filled this; what is here is the mail of this SHA-256."""
        found = decomposer.close()
        contents = tuple(b"".join(self._contents[part.number]) for part in found.parts)
        records = b"".join(self._records)
        return Mail(found.mail, found.parts, contents, records, sha256, found.kept_whole)

    def begin(self, number: int) -> None:
        """See `Shelf`."""
        self._last = self._contents[number] = []

    def write(self, data: bytes) -> None:
        """See `Shelf`."""
        self._last.append(data)

    def end(self) -> None:
        """See `Shelf`."""

    def discard(self, number: int) -> None:
        """See `Shelf`."""
        del self._contents[number]

    def rename(self, number: int, new_number: int) -> None:
        """See `Shelf`."""
        self._contents[new_number] = self._contents.pop(number)

    def record(self, data: bytes) -> None:
        """See `Shelf`."""
        self._records.append(data)

    def open_part(self, number: int) -> IO[bytes]:
        """See `Shelf`."""
        if number not in self._contents:
            raise FileNotFoundError(number)
        return io.BytesIO(b"".join(self._contents[number]))

    def take_records(self) -> IO[bytes]:
        """See `Shelf`."""
        records, self._records = b"".join(self._records), []
        return io.BytesIO(records)
