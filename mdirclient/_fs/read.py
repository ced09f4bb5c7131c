"""Reading a content in pieces, whatever form it is given in. Writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Final

CHUNK: Final = 1 << 20


def chunks(content: bytes | os.PathLike[str] | IO[bytes]) -> Iterator[bytes]:
    """The bytes of a content, a file at its path, or an open file from where it stands."""
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as file:
            yield from chunks(file)
    else:
        while chunk := content.read(CHUNK):
            yield chunk
