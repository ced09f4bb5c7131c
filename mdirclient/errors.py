"""Every error of the package. Pure.

::

    MdirError
    ├── FormatError (ValueError)         bytes or text that break a format
    │   ├── HeaderError                  a header: source and line
    │   ├── PartURLError                 the url of a part
    │   ├── FolderPathError              the name of a folder of the mdir
    │   ├── VersionFormatError           a `.version` that is no counter
    │   ├── RecipeError                  how an original is made again, or the parts for it
    │   ├── ComposeError                 parts that make no correct mail
    │   └── ScriptError                  rules that cannot be read or run
    ├── ProtocolError                    bytes that break the protocol of mdird
    │   ├── LocalProtocolError (ValueError)        this side would have sent them
    │   └── RemoteProtocolError (ConnectionError)  the other side sent them
    ├── ReplyError                       mdird said no; `status` as in HTTP
    │   ├── TemporaryReplyError          500, 503: the same again may work
    │   └── PermanentReplyError          400, 401, 403, 413
    │       ├── NotFoundReplyError (LookupError)   404
    │       └── ConflictReplyError       409
    ├── TransportError (ConnectionError) mdird cannot be reached or opened
    ├── FolderError                      a local folder
    │   ├── FolderNotFoundError (FileNotFoundError)
    │   ├── UnknownURLError (KeyError)
    │   ├── LockTimeoutError (TimeoutError)
    │   ├── JournalError (ValueError)
    │   ├── CounterMovedError
    │   ├── OriginMismatchError (ValueError)
    │   └── MassRemovalError
    ├── StoreError                       an mstore
    │   ├── EmptyMessageError (ValueError)
    │   ├── UnknownContentError (KeyError)
    │   ├── ContentMismatchError (ValueError)
    │   ├── DamagedMessageError (ValueError)
    │   └── DiskReserveError (OSError)
    └── SettingsError (ValueError)       option, environment or TOML file

Errors of the disk (`OSError`) pass unchanged. Every error pickles and carries
its data as attributes; its text says what happened, where, and what to do.
"""

from __future__ import annotations

from typing import Final

import attrs

# The repr of BaseException shows the fields already.
_error = attrs.define(eq=False, slots=False, repr=False)


class MdirError(Exception):
    """Root of all errors of this package."""

    def __str__(self) -> str:
        return self.message()

    def message(self) -> str:
        """The text for a person: what, where, what to do. One line."""
        return " ".join(str(argument) for argument in self.args)


class FormatError(MdirError, ValueError):
    """Bytes or text that break one of the formats."""


@_error
class HeaderError(FormatError):
    """A header that cannot be read or written.

    Attributes:
        reason: what is wrong and how it would be right.
        source: the file it came from, or None.
        line: the line in it, from 1, or None.
    """

    reason: str
    source: str | None = None
    line: int | None = None

    def message(self) -> str:
        place = self.source or "header"
        return f"{place}:{self.line}: {self.reason}" if self.line else f"{place}: {self.reason}"


@_error
class PartURLError(FormatError):
    """A text that is not the url of a part, or a message-id that cannot stand in one."""

    url: str
    reason: str

    def message(self) -> str:
        return f"{_shown(self.url)} is not the url of a part: {self.reason}"


@_error
class FolderPathError(FormatError):
    """A text that cannot name a folder of the mdir."""

    folder: str
    reason: str

    def message(self) -> str:
        return f"{_shown(self.folder)} cannot name a folder: {self.reason}"


@_error
class VersionFormatError(FormatError):
    """A `.version` file that holds something else than a counter. `held` is what it holds."""

    path: str
    held: bytes
    reason: str = "it must hold 1 to 18 decimal digits"

    def message(self) -> str:
        held = f" holds {_shown(self.held)}" if self.held or "digits" in self.reason else ""
        return (
            f"{self.path}{held}: {self.reason}; "
            f"write the number of the last change that you have, or remove the file (0: "
            f"everything is listed again)"
        )


@_error
class RecipeError(FormatError):
    """A recipe that cannot be read, or parts that are not what it says."""

    reason: str

    def message(self) -> str:
        return self.reason


@_error
class ComposeError(FormatError):
    """Parts of which no correct mail can be made."""

    reason: str

    def message(self) -> str:
        return f"this mail cannot be composed: {self.reason}"


@_error
class ScriptError(FormatError):
    """Rules that cannot be read or run.

    Attributes:
        reason: what is wrong and how it would be right.
        line: in the script, from 1, or None.
        source: the file it came from, or None.
    """

    reason: str
    line: int | None = None
    source: str | None = None

    def message(self) -> str:
        place = self.source or "rules"
        return f"{place}:{self.line}: {self.reason}" if self.line else f"{place}: {self.reason}"


@_error
class ProtocolError(MdirError):
    """Bytes that break the protocol of mdird."""

    reason: str

    def message(self) -> str:
        return self.reason


class LocalProtocolError(ProtocolError, ValueError):
    """This side would have sent them: nothing was sent."""


class RemoteProtocolError(ProtocolError, ConnectionError):
    """The other side sent them; the connection is of no use any more."""

    def message(self) -> str:
        return f"the other side breaks the protocol: {self.reason}"


@_error
class ReplyError(MdirError):
    """mdird refused an operation. `status` is as in HTTP."""

    status: int
    text: str

    def message(self) -> str:
        return f"{self.text} ({self.status})"


class TemporaryReplyError(ReplyError):
    """500 or 503: the same operation may succeed later."""


class PermanentReplyError(ReplyError):
    """The operation will not succeed as it is."""


class NotFoundReplyError(PermanentReplyError, LookupError):
    """404: the folder does not exist."""


class ConflictReplyError(PermanentReplyError):
    """409: the state of the mdir is not the one that the caller believed in."""


def reply_error(status: int, text: str) -> ReplyError:
    """The error for a status of a reply."""
    kinds = {404: NotFoundReplyError, 409: ConflictReplyError}
    default = TemporaryReplyError if status >= 500 else PermanentReplyError
    return kinds.get(status, default)(status, text)


@_error
class TransportError(MdirError, ConnectionError):
    """mdird cannot be reached or opened at `address`."""

    address: str
    reason: str

    def message(self) -> str:
        return f"mdird at {self.address}: {self.reason}"


class FolderError(MdirError):
    """A local folder."""


@_error
class FolderNotFoundError(FolderError, FileNotFoundError):
    """The directory is not a folder (it has no `.meta`). A vanished folder is not an empty one."""

    path: str

    def message(self) -> str:
        return f"{self.path} is not a folder: it has no .meta; `mdir sync NAME DIR` makes one"


@_error
class UnknownURLError(FolderError, KeyError):
    """No entry of the folder has this url."""

    path: str
    url: str

    def message(self) -> str:
        return f"no entry of {self.path} has the url {_shown(self.url)}"


@_error
class LockTimeoutError(FolderError, TimeoutError):
    """Another process held the lock for longer than `timeout` seconds. `holder` names it."""

    path: str
    timeout: float
    holder: str

    def message(self) -> str:
        return f"{self.path} was locked for {self.timeout:g} s by {self.holder}; wait or end it"


@_error
class JournalError(FolderError, ValueError):
    """A `.meta/.journal` that cannot be read. Nothing of the folder was touched."""

    path: str
    reason: str

    def message(self) -> str:
        return f"{self.path}: {self.reason}; move it away to give up the change it describes"


@_error
class CounterMovedError(FolderError):
    """Another sync, or a person, moved `.version` meanwhile. Nothing was changed."""

    path: str

    def message(self) -> str:
        return f"{self.path}: its .version moved while a sync was under way; sync again"


@_error
class OriginMismatchError(FolderError, ValueError):
    """The folder mirrors another folder of the mdir than the one asked for."""

    path: str
    mirrored: str
    asked: str

    def message(self) -> str:
        return (
            f"{self.path} mirrors {self.mirrored}, not {self.asked}: its .version counts "
            f"for that one; give another directory"
        )


@_error
class MassRemovalError(FolderError):
    """A listing would remove more than half of the folder. Nothing was changed."""

    path: str
    removals: int
    entries: int

    def message(self) -> str:
        return (
            f"{self.path}: {self.removals} of {self.entries} entries are no longer listed and "
            f"would be removed; nothing was changed; allow it with --allow-mass-removal"
        )


#: DESIGN §5.7: so many entries may go for want of being there, or half of a folder, unasked.
FEW_REMOVALS: Final = 20


def check_mass_removal(path: str, removals: int, entries: int) -> None:
    """Stop what would empty a folder by accident.

    Args:
        path: of the folder.
        removals: how many entries would go.
        entries: how many there are now.

    Raises:
        MassRemovalError: more than half of the folder and more than 20 entries.
    """
    if removals > FEW_REMOVALS and removals > entries / 2:
        raise MassRemovalError(path, removals, entries)


class StoreError(MdirError):
    """An mstore."""


@_error
class EmptyMessageError(StoreError, ValueError):
    """A message of 0 bytes: there is nothing to store."""

    def message(self) -> str:
        return "the message is empty: nothing was stored"


@_error
class UnknownContentError(StoreError, KeyError):
    """The store has no content with this url, or does not answer for its base."""

    url: str
    reason: str = "the store does not have it"

    def message(self) -> str:
        return f"no content for {_shown(self.url)}: {self.reason}"


@_error
class ContentMismatchError(StoreError, ValueError):
    """A content whose size or SHA-256 is not the one that its header gives."""

    url: str
    expected: str
    found: str

    def message(self) -> str:
        return (
            f"the content of {_shown(self.url)} is not what its header says: "
            f"expected {self.expected}, found {self.found}; it was not used"
        )


@_error
class DamagedMessageError(StoreError, ValueError):
    """A stored message whose files no longer give the original bytes."""

    path: str
    reason: str

    def message(self) -> str:
        return f"{self.path} is damaged: {self.reason}; restore it from a backup"


@_error
class DiskReserveError(StoreError, OSError):
    """The disk has less room than the reserve: nothing was added. Try again later."""

    path: str
    free: int
    reserve: int

    def message(self) -> str:
        return (
            f"{self.path}: {self.free >> 20} MiB of the disk are free, {self.reserve >> 20} MiB "
            f"are kept in reserve; make room"
        )


@_error
class SettingsError(MdirError, ValueError):
    """A setting that cannot be used. `name` is that of the environment variable."""

    name: str
    source: str
    reason: str

    def message(self) -> str:
        return f"{self.name} ({self.source}): {self.reason}"


def _shown(held: str | bytes, limit: int = 80) -> str:
    """A stranger's text for an error message: escaped and short."""
    return ascii(held if len(held) <= limit else held[:limit]) + ("…" if len(held) > limit else "")
