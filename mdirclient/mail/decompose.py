"""Takes a mail apart as it comes: contents, and the recipe of the original. Pure: a shelf keeps."""

from __future__ import annotations

import hashlib
from typing import IO, Final, Protocol

import attrs

from mdirclient.header import Header
from mdirclient.mail.events import (
    Between,
    Event,
    Leaf,
    MailBegin,
    OverLimit,
    PartBegin,
    PartContent,
    PartEnd,
    PartVoid,
)
from mdirclient.mail.limits import DEFAULT, Limits
from mdirclient.mail.part import MailFields, Part, describe, describe_leaf
from mdirclient.mail.recipe import MAX_RAW, RecipeWriter
from mdirclient.mail.split import Splitter
from mdirclient.mail.transfer import Decoder, decoder_of

#: Under this number the whole mail is collected, when it turns out to be over a limit.
WHOLE: Final = 0
_MIB: Final = 1 << 20


class Shelf(Protocol):
    """Where contents and records go; what is on it appears only when the mail is whole."""

    def begin(self, number: int) -> None:
        """A content follows."""
        ...

    def write(self, data: bytes) -> None:
        """Append to the content that began last."""
        ...

    def end(self) -> None:
        """The content is whole."""
        ...

    def discard(self, number: int) -> None:
        """The content is not wanted."""
        ...

    def rename(self, number: int, new_number: int) -> None:
        """The content is another part's."""
        ...

    def record(self, data: bytes) -> None:
        """Append to the recipe's records."""
        ...

    def open_part(self, number: int) -> IO[bytes]:
        """A content that is whole; FileNotFoundError if there is none."""
        ...

    def take_records(self) -> IO[bytes]:
        """The records so far; those that follow begin anew."""
        ...


@attrs.frozen
class Decomposed:
    """A mail taken apart.

    Attributes:
        mail: its top-level fields.
        parts: at least one, in the order of the mail.
        kept_whole: which limit it is over, so that its one part is all of it, or None.
    """

    mail: MailFields
    parts: tuple[Part, ...]
    kept_whole: str | None = None


class Decomposer:
    """Feed it a mail in chunks of any size.

    After an error of the shelf, and after `close`, there is nothing more to be had from it.

    Args:
        shelf: where contents and records go.
        limits: see `Limits`.
    """

    def __init__(self, shelf: Shelf, limits: Limits = DEFAULT) -> None:
        self._shelf = shelf
        self._limits = limits
        self._splitter = Splitter(limits)
        self._recipe = RecipeWriter()
        self._mail = MailFields((), (), None)
        self._parts: list[Part] = []
        self._is_spent = False
        self._header_bytes = 0
        self._copied_bytes = 0  # of those, what stands in the header of each part
        self._content: _Content | None = None
        self._kept_whole: str | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the mail.

        Raises:
            ValueError: it was closed, or the shelf failed before.
        """
        self._spend()
        self._handle(self._splitter.feed(data))
        self._is_spent = False

    def close(self) -> Decomposed:
        """The mail has ended.

        Raises:
            ValueError: it was closed, or the shelf failed before.
        """
        self._spend()
        self._handle(self._splitter.close())
        if self._kept_whole:
            self._end_whole()
        self._record(self._recipe.close())
        return Decomposed(self._mail, tuple(self._parts), self._kept_whole)

    def _spend(self) -> None:
        """What fails half way is never taken for the whole."""
        if self._is_spent:
            raise ValueError("this mail failed or was closed; take it apart from its beginning")
        self._is_spent = True

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, PartContent):
                self._write(event.data)
            elif isinstance(event, Between):
                if self._kept_whole:
                    self._write(event.data)
                else:
                    self._record(self._recipe.between(event.data))
            elif isinstance(event, MailBegin):
                self._mail = describe(event.block, self._limits)
            elif not self._kept_whole:
                self._handle_part(event)

    def _handle_part(self, event: PartBegin | PartEnd | PartVoid | OverLimit) -> None:
        if isinstance(event, OverLimit):
            self._begin_whole(event.limit)
        elif isinstance(event, PartBegin):
            self._begin(event.leaf)
        elif isinstance(event, PartEnd):
            size, sha256 = self._end()
            self._parts[-1] = attrs.evolve(self._parts[-1], size=size, sha256=sha256)
        else:
            self._void()

    def _begin(self, leaf: Leaf) -> None:
        part = describe_leaf(leaf, len(self._parts) + 1, self._limits)
        self._parts.append(part)
        if self._is_over(part):
            self._parts.pop()
            size = self._limits.header_bytes
            words = f"{size} bytes" if size % _MIB else f"{size // _MIB} MiB"
            self._begin_whole(f"more than {words} of headers")
            return
        self._shelf.begin(part.number)
        self._record(self._recipe.begin(part.number))
        self._content = _Content(decoder_of(leaf.encoding))

    def _write(self, data: bytes) -> None:
        """Bytes of the content that began last."""
        assert self._content
        if content := self._content.feed(data):
            self._shelf.write(content)
        self._record(self._recipe.add(self._content.decoder.taken()))

    def _end(self) -> tuple[int, str]:
        """The content is whole; returns its size and SHA-256."""
        assert self._content
        if rest := self._content.close():
            self._shelf.write(rest)
        self._record(self._recipe.add(self._content.decoder.taken()))
        self._shelf.end()
        size, sha256 = self._content.size, self._content.digest.hexdigest()
        self._record(self._recipe.end(size, sha256))
        self._content = None
        return size, sha256

    def _void(self) -> None:
        """What began as a part is a preamble after all."""
        self._content = None
        self._shelf.end()
        self._recipe.void()
        number = self._parts.pop().number
        with self._shelf.open_part(number) as file:
            while data := file.read(MAX_RAW):
                self._record(self._recipe.between(data))
        self._shelf.discard(number)

    # -- over a limit

    def _is_over(self, part: Part) -> bool:
        """Whether the headers of all parts so far, as they are written, are over their limit."""
        if not self._copied_bytes:
            self._copied_bytes = len(Header(self._mail.fields).to_bytes())
        self._header_bytes += self._copied_bytes + len(Header(part.own_fields()).to_bytes())
        return self._header_bytes > self._limits.header_bytes

    def _begin_whole(self, limit: str) -> None:
        """Make what came so far again; it is the beginning of the one part."""
        from mdirclient.mail.rebuild import read_records, rebuild  # nearly no mail needs it

        self._kept_whole = limit
        self._record(self._recipe.close())
        self._recipe = RecipeWriter()
        self._content = _Content(decoder_of("binary"))
        self._shelf.begin(WHOLE)
        with self._shelf.take_records() as records:
            self._record(self._recipe.begin(1))
            for data in rebuild(read_records(records), self._shelf.open_part):
                self._write(data)
        for part in self._parts:
            self._shelf.discard(part.number)

    def _end_whole(self) -> None:
        size, sha256 = self._end()
        self._shelf.rename(WHOLE, 1)
        media_type = "message/rfc822"
        described = (("content-type", media_type),)
        self._parts = [Part(1, "1", (), media_type, None, described, size, sha256)]

    def _record(self, data: bytes) -> None:
        if data:
            self._shelf.record(data)


class _Content:
    """The content of one part on its way."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.size = 0
        self.digest = hashlib.sha256()

    def feed(self, data: bytes) -> bytes:
        return self._measured(self.decoder.feed(data))

    def close(self) -> bytes:
        return self._measured(self.decoder.close())

    def _measured(self, content: bytes) -> bytes:
        self.size += len(content)
        self.digest.update(content)
        return content
