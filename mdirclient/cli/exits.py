"""Exit codes: one table. Source: sysexits(3)."""

from __future__ import annotations

from typing import Final

from mdirclient.errors import (
    ConflictReplyError,
    DiskReserveError,
    FolderError,
    FormatError,
    MassRemovalError,
    MdirError,
    NotFoundReplyError,
    PermanentReplyError,
    RemoteProtocolError,
    SettingsError,
    StoreError,
    TemporaryReplyError,
    TransportError,
    UnknownContentError,
    UnknownURLError,
)

OK: Final = 0
USAGE: Final = 64
BROKEN: Final = 65
NO_USER: Final = 67
TEMPORARY: Final = 75
INTERRUPTED: Final = 130

#: The first class that fits counts.
CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (SettingsError, 78),
    (TemporaryReplyError, TEMPORARY),
    (DiskReserveError, TEMPORARY),
    (TransportError, 69),
    (RemoteProtocolError, 69),
    (UnknownURLError, 66),
    (UnknownContentError, 66),
    (NotFoundReplyError, 66),
    (MassRemovalError, 77),
    (ConflictReplyError, 65),
    (PermanentReplyError, 65),
    (FormatError, 65),
    (FolderError, 73),
    (StoreError, 74),
    (MdirError, 70),
    (OSError, 74),
)


def code_for(error: BaseException) -> int:
    """The exit code for an error; 70 for one that is not foreseen."""
    return next((code for kind, code in CODES if isinstance(error, kind)), 70)
