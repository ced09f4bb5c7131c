"""How the original bytes are made again from the parts: written as they come. Pure.

A recipe is a header, and then records (docs: formats/mstore) in one gzip member (RFC 1952)::

    part K             what follows is of part K, from the beginning of its content
    end SIZE SHA256    part K is whole, and must be this
    …                  and those of `segment`, in the order of the original
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from mdirclient.mail.segment import Raw, Same, Segment

FORMAT: Final = "2"
#: Name of the file beside the parts.
RECIPE: Final = "recipe"
#: Bytes of the original in one record, at most.
MAX_RAW: Final = 1 << 18
#: Headers take half of their size at the fastest level; the others gain little.
_LEVEL: Final = 1
_GZIP: Final = 31


class RecipeWriter:
    """Collects what follows on each other; gives out compressed records.

    Each method returns what is to be appended to the records, often nothing.
    """

    def __init__(self) -> None:
        self._compress = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._part = 0  # that has begun and has no record yet
        self._same = 0
        self._raw: list[bytes] = []
        self._raw_bytes = 0
        self._raw_content = 0

    def between(self, data: bytes) -> bytes:
        """Bytes that are in no part."""
        return self._add_raw(0, data)

    def begin(self, number: int) -> bytes:
        """A part begins."""
        flushed = self._flushed()
        self._part = number
        return flushed

    def void(self) -> None:
        """The part that began is none; its bytes come again as `between`.

        Only of a part that is all `Same`, of which nothing was written yet.
        """
        self._part = self._same = 0

    def add(self, segments: Iterable[Segment]) -> bytes:
        """How the next bytes of the part are made of its content."""
        return b"".join(map(self._add, segments))

    def end(self, size: int, sha256: str) -> bytes:
        """The part is whole."""
        return self._flushed() + self._written(b"end %d %s\n" % (size, sha256.encode()))

    def close(self) -> bytes:
        """Nothing follows."""
        return self._flushed() + self._compress.flush()

    def _add(self, segment: Segment) -> bytes:
        if isinstance(segment, Raw):
            return self._add_raw(segment.size, segment.data)
        if isinstance(segment, Same):
            flushed = self._flushed() if self._raw or self._raw_content else b""
            self._same += segment.size
            return flushed
        return self._flushed() + self._written(segment.to_bytes())

    def _add_raw(self, size: int, data: bytes) -> bytes:
        flushed = self._flushed() if self._same else b""
        for at in range(0, len(data), MAX_RAW):
            piece = data[at : at + MAX_RAW]
            if self._raw_bytes + len(piece) > MAX_RAW:
                flushed += self._flushed()
            self._raw.append(piece)
            self._raw_bytes += len(piece)
        self._raw_content += size
        return flushed

    def _flushed(self) -> bytes:
        """What was collected, as records."""
        records = b""
        if self._part:
            records = b"part %d\n" % self._part
        if self._same:
            records += Same(self._same).to_bytes()
        if self._raw or self._raw_content:
            records += Raw(self._raw_content, b"".join(self._raw)).to_bytes()
        self._part = self._same = self._raw_bytes = self._raw_content = 0
        self._raw = []
        return self._written(records)

    def _written(self, records: bytes) -> bytes:
        return self._compress.compress(records) if records else b""
