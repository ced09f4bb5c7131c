"""Entries whose content could not be had: their headers in `.meta/.pending`. Reads only."""

from __future__ import annotations

import contextlib
import hashlib
import os

from mdirclient import _fs
from mdirclient.errors import HeaderError, PartURLError
from mdirclient.folder.entry import Layout
from mdirclient.header import MAX_BYTES, Header
from mdirclient.url import PartURL


def pending_name(url: PartURL) -> str:
    """The name of a pending entry there: 32 digits of its url's SHA-256."""
    return hashlib.sha256(str(url).encode()).hexdigest()[:32]


def read_pending(layout: Layout) -> dict[PartURL, Header]:
    """The headers, with `pending-reason`; what a person spoilt cannot be tried again."""
    headers = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(layout.pending)):
            with contextlib.suppress(OSError, HeaderError, PartURLError, KeyError):
                path = os.path.join(layout.pending, name)
                header = Header.parse(_fs.read_file(path, MAX_BYTES)[0])
                headers[PartURL.parse(header["url"])] = header
    return headers
