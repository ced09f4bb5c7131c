"""What goes wrong in the database, as replies of mdird."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from mdirclient.errors import (
    FormatError,
    ReplyError,
    TemporaryReplyError,
    TransportError,
    reply_error,
)


class BusyError(TemporaryReplyError):
    """503: another process is writing."""


@contextlib.contextmanager
def replies() -> Iterator[None]:
    """Turn what goes wrong below into the replies of mdird.

    Raises:
        PermanentReplyError: 400, something cannot be read.
        TemporaryReplyError: 503, busy for too long, disk full, I/O: the transaction was
            rolled back; 500, the database is damaged.
        TransportError: it was closed.
    """
    try:
        yield
    except ReplyError:
        raise
    except FormatError as error:
        raise reply_error(400, str(error)) from error
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise BusyError(503, f"another process is writing: {error}") from error
        raise reply_error(503, f"the mdird cannot do this now: {error}") from error
    except sqlite3.ProgrammingError as error:
        raise TransportError("a closed connection", str(error)) from error
    except sqlite3.Error as error:
        raise reply_error(500, f"the mdird is damaged: {error}") from error
