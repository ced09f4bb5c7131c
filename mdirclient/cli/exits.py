"""Exit codes: one table. Source: sysexits(3)."""

from __future__ import annotations

TYPE_CHECKING = False  # a hand-over imports nothing that it can do without
if TYPE_CHECKING:
    from typing import Final

OK: Final = 0
USAGE: Final = 64
BROKEN: Final = 65
NOT_FOUND: Final = 66
NO_USER: Final = 67
TEMPORARY: Final = 75
INTERRUPTED: Final = 130

#: Names of classes: the first that an error is one of counts.
CODES: Final = (
    ("SettingsError", 78),
    ("TemporaryReplyError", TEMPORARY),
    ("DiskReserveError", TEMPORARY),
    ("TransportError", 69),
    ("RemoteProtocolError", 69),
    ("UnknownURLError", 66),
    ("UnknownContentError", 66),
    ("NotFoundReplyError", 66),
    ("MassRemovalError", 77),
    ("ConflictReplyError", 65),
    ("PermanentReplyError", 65),
    ("FormatError", 65),
    ("FolderError", 73),
    ("StoreError", 74),
    ("MdirError", 70),
    ("OSError", 74),
)


def code_for(error: BaseException) -> int:
    """The exit code for an error; 70 for one that is not foreseen."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return next((code for name, code in CODES if name in names), 70)
