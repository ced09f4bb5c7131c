"""What is on its way to mdird: noted before it is sent, so that it is not sent twice.

A record is the header that the entry will have, and the name of its file in `name-here`. Reads and
writes `.meta/.outgoing`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Final

import attrs

from mdirclient import _fs
from mdirclient.errors import HeaderError, PartURLError
from mdirclient.folder.entry import Layout
from mdirclient.header import MAX_BYTES, Header
from mdirclient.url import PartURL

_NAME: Final = "name-here"


@attrs.frozen
class Outgoing:
    """An entry on its way.

    Attributes:
        name: of its file.
        header: that it will have.
    """

    name: str
    header: Header


def read_outgoing(layout: Layout) -> dict[PartURL, Outgoing]:
    """All that is on its way; what a person spoilt there is not."""
    found = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(layout.outgoing)):
            with contextlib.suppress(OSError, HeaderError, PartURLError, KeyError):
                path = os.path.join(layout.outgoing, name)
                header = Header.parse(_fs.read_file(path, MAX_BYTES)[0])
                record = Outgoing(header[_NAME], header.replace(_NAME))
                found[PartURL.parse(header["url"])] = record
    return found


def note_outgoing(layout: Layout, outgoing: Outgoing, *, durable: bool) -> None:
    """Record that an entry will be sent; durable on return."""
    if not os.path.isdir(layout.outgoing):
        _fs.make_directory(layout.outgoing, exist_ok=True)
        if durable:
            _fs.sync_directory(layout.meta)
    header = Header([(_NAME, outgoing.name), *outgoing.header])
    staged = layout.staged(os.urandom(8).hex())
    path = _path(layout, PartURL.parse(outgoing.header["url"]))
    _fs.replace(path, header.to_bytes(), staged=staged, durable=durable)


def forget_outgoing(layout: Layout, url: PartURL) -> None:
    """Forget a record. Crash: it may come back; then the entry is here, and it is forgotten."""
    with contextlib.suppress(FileNotFoundError):
        _fs.remove(_path(layout, url))


def _path(layout: Layout, url: PartURL) -> str:
    return os.path.join(layout.outgoing, hashlib.sha256(str(url).encode()).hexdigest()[:32])
