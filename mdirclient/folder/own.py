"""The folder's own files: counter, origin and journal. Reads only."""

from __future__ import annotations

import errno
from typing import Final

from mdirclient import _fs
from mdirclient.errors import JournalError, VersionFormatError
from mdirclient.folder.entry import Layout
from mdirclient.folder.journal import Journal
from mdirclient.folder.origin import Origin
from mdirclient.folder.version import MAX_READ, parse_version
from mdirclient.header import MAX_BYTES, Header

#: What is in the place of a file of ours is none, or one that we may not read.
_NO_FILE: Final = _fs.NOT_A_FILE | {errno.EACCES}


def read_version(layout: Layout) -> int:
    """The counter on disk; 0 if the file is absent.

    Raises:
        VersionFormatError: it holds something else, is no file, or cannot be read.
    """
    try:
        data, _ = _fs.read_file(layout.version, MAX_READ)
    except FileNotFoundError:
        return 0
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        reason = f"it cannot be read as a file ({error.strerror})"
        raise VersionFormatError(layout.version, b"", reason) from error
    return parse_version(data, path=layout.version)


def read_origin(layout: Layout) -> Origin | None:
    """Which folder of which mdird the counter counts for, or None.

    Raises:
        HeaderError: the file cannot be read.
    """
    try:
        data, _ = _fs.read_file(layout.origin, MAX_BYTES)
    except FileNotFoundError:
        return None
    header = Header.parse(data, source=layout.origin)
    return Origin.from_header(header, source=layout.origin)


def read_journal(layout: Layout) -> Journal | None:
    """The journal of a change that was cut, or None.

    Raises:
        JournalError: it cannot be read.
    """
    try:
        with _fs.open_file(layout.journal) as file:
            return Journal.parse(file.read(), path=layout.journal)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise JournalError(layout.journal, f"it cannot be read ({error.strerror})") from error
