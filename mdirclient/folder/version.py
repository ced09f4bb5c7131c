"""The `.version` file: a counter in decimal ASCII (docs: formats/folder). Pure."""

from __future__ import annotations

import re
from typing import Final

from mdirclient.errors import VersionFormatError

MAX_VERSION: Final = 10**18 - 1
#: A file that is longer is no counter.
MAX_READ: Final = 4096

_COUNTER = re.compile(rb"[0-9]{1,18}")


def parse_version(data: bytes, *, path: str) -> int:
    """Read a counter; blanks, CRLF and a BOM around it are allowed.

    Raises:
        VersionFormatError: anything else, an empty file included. It is never taken for 0.
    """
    trimmed = data.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    if len(data) > MAX_READ or not _COUNTER.fullmatch(trimmed):
        raise VersionFormatError(path, data)
    return int(trimmed)


def version_to_bytes(version: int) -> bytes:
    """The exact form that is written."""
    if not 0 <= version <= MAX_VERSION:
        raise ValueError(f"a version is 0 to {MAX_VERSION}, not {version}")
    return b"%d\n" % version
