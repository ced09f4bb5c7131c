"""What happened at SMTP time: one row for each mail, for spam learning and statistics.

Reads and writes one SQLite database. The last rows may be gone after a power cut, never a part of
one: they say what happened to a mail, and are not the mail.
"""

from __future__ import annotations

import contextlib
import json
import operator
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from mdirclient import _fs, _sqlite
from mdirclient.errors import StoreError
from mdirclient.smtp.statistics import totals
from mdirclient.smtp.statistics.totals import TABLE, Total

#: Scripts of the whole database.
MIGRATIONS: Final = (
    """CREATE TABLE mail (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        listener TEXT NOT NULL,
        client TEXT NOT NULL,
        helo TEXT NOT NULL,
        protocol TEXT NOT NULL,
        user TEXT NOT NULL,
        reverse_path TEXT NOT NULL,
        recipients TEXT NOT NULL,
        refused TEXT NOT NULL,
        size INTEGER NOT NULL,
        verdict TEXT NOT NULL,
        reply TEXT NOT NULL,
        anchor TEXT NOT NULL
    );
    CREATE INDEX mail_at ON mail (at);
    CREATE INDEX mail_anchor ON mail (anchor) WHERE anchor <> ''""",
    """CREATE TABLE blocked (
        network TEXT PRIMARY KEY,
        until REAL NOT NULL,
        count INTEGER NOT NULL,
        last REAL NOT NULL,
        reason TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX blocked_until ON blocked (until);
    CREATE TABLE good (network TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX good_at ON good (at);
    CREATE TABLE unknown (
        network TEXT NOT NULL,
        recipient TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (network, recipient)
    ) WITHOUT ROWID;
    CREATE INDEX unknown_at ON unknown (at)""",
    """CREATE TABLE grey (
        source TEXT NOT NULL,
        sender TEXT NOT NULL,
        recipient TEXT NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        passed INTEGER NOT NULL,
        domain TEXT NOT NULL,
        PRIMARY KEY (source, sender, recipient)
    ) WITHOUT ROWID;
    CREATE INDEX grey_last ON grey (passed, last);
    CREATE TABLE known (network TEXT PRIMARY KEY, passes INTEGER NOT NULL, at REAL NOT NULL)
        WITHOUT ROWID;
    CREATE INDEX known_at ON known (at);
    CREATE TABLE correspondent (
        account TEXT NOT NULL,
        address TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (account, address)
    ) WITHOUT ROWID;
    CREATE INDEX correspondent_at ON correspondent (at);
    CREATE TABLE delayed (
        account TEXT NOT NULL,
        slot INTEGER NOT NULL,
        source TEXT NOT NULL,
        sender TEXT NOT NULL,
        version INTEGER NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (account, slot)
    ) WITHOUT ROWID""",
    """CREATE TABLE vote (
        account TEXT NOT NULL,
        anchor TEXT NOT NULL,
        at REAL NOT NULL,
        client TEXT NOT NULL,
        sender TEXT NOT NULL,
        is_known INTEGER NOT NULL,
        is_emptied INTEGER NOT NULL,
        PRIMARY KEY (account, anchor)
    ) WITHOUT ROWID;
    CREATE INDEX vote_at ON vote (at)""",
    TABLE,
    """ALTER TABLE vote ADD COLUMN struck TEXT NOT NULL DEFAULT '';
    DELETE FROM published WHERE message IS NOT NULL;
    UPDATE OR REPLACE published SET report = substr(report, instr(report, ' ') + 1);
    INSERT OR IGNORE INTO secret VALUES (1, randomblob(32));
    CREATE TABLE begun (at REAL NOT NULL, is_filling INTEGER NOT NULL)""",
)
#: Bytes of the smallest database.
_SMALLEST: Final = 100
_TIMEOUT: Final = 10.0
#: Seconds in which a large database can be looked through.
_LOOKING: Final = 300.0
#: Rows that are forgotten in one transaction.
_PAGE: Final = 5_000

#: Rows that are kept at most.
MAX_ROWS: Final = 750_000
#: How a mail ended: these say why it was not taken, where that is known.
ACCEPTED, DEFERRED, REFUSED, ABANDONED = "accepted", "deferred", "refused", "abandoned"
UNKNOWN, GREYLISTED, BLOCKED = "unknown", "greylisted", "blocked"


@attrs.frozen
class Record:
    """What happened to one mail.

    Attributes:
        at: seconds since 1970.
        listener: `smtp`, `submission`, `submissions` or `lmtp`.
        client: IP address, or empty.
        helo: what the client called itself.
        protocol: such as `ESMTPS`.
        user: who authenticated, or empty.
        reverse_path: `<>` for none.
        recipients: that were accepted.
        refused: that were not, each with its reply's code before it.
        size: bytes; 0 if none came.
        verdict: `accepted`; `unknown` (no such recipient), `greylisted`, `blocked`; `deferred` (451
            and the like), `refused`; `abandoned`.
        reply: the last one, code and enhanced code.
        anchor: url of part 1, once it is stored; else empty.
        accounts: names of those that got it. This and what follows is counted, and not kept.
        foreign: recipients of other hosts, which are among `recipients`.
        reasons: codes with which recipients, or all of it, were not taken.
        seconds: from MAIL to the answer; 0: not known.
    """

    at: float
    listener: str
    client: str
    helo: str
    protocol: str
    user: str
    reverse_path: str
    recipients: tuple[str, ...]
    refused: tuple[str, ...]
    size: int
    verdict: str
    reply: str
    anchor: str = ""
    accounts: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


_COUNTED: Final = ("accounts", "foreign", "reasons", "seconds")
_COLUMNS: Final = tuple(field.name for field in attrs.fields(Record) if field.name not in _COUNTED)
_INSERT: Final = (
    f"INSERT INTO mail ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
)
_LISTS: Final = ("recipients", "refused")


def _record(row: Sequence[Any]) -> Record:
    values = dict(zip(_COLUMNS, row, strict=True))
    values |= {name: tuple(json.loads(values[name])) for name in _LISTS}
    return Record(**values)


_values = operator.attrgetter(*_COLUMNS)
_PLACES: Final = tuple(_COLUMNS.index(name) for name in _LISTS)


def _row(record: Record) -> list[object]:
    row = list(_values(record))
    for place in _PLACES:
        row[place] = json.dumps(row[place]) if row[place] else "[]"
    return row


class State:
    """The database. May be shared by threads.

    Args:
        path: of the file; made if it is missing.

    Raises:
        StoreError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._adding = totals.Adding()
        with telling(path):
            self._connection = connected(path)

    def check(self) -> None:
        """Read all of it.

        Raises:
            StoreError: it is damaged.
        """
        query = "PRAGMA quick_check(1)"
        with self._lock, telling(self.path):
            (found,) = self._connection.execute(query).fetchone()
            missing = _sqlite.tables(MIGRATIONS) - _sqlite.names(self._connection)
        if found == "ok" and missing:
            found = f"it has no {', '.join(sorted(missing))}"
        if found != "ok":
            raise StoreError(f"{self.path}: {found}") from sqlite3.DatabaseError(found)

    def add(self, records: Sequence[Record], events: Sequence[Total] = ()) -> None:
        """Keep what happened, and count it.

        Args:
            records: of mails.
            events: what else is counted.

        Raises:
            StoreError: it cannot be written now.
        """
        with self._writing():
            self._insert(records, events)

    def merge(self, records: Sequence[Record]) -> None:
        """Keep what somebody else knows of accepted mails, unless it is known.

        A mail that came to several accounts is one, however often and in which order it is told.

        Raises:
            StoreError: it cannot be written now.
        """
        query = (
            "SELECT id, recipients FROM mail WHERE anchor = ? AND anchor <> ''"
            " AND client = ? AND reverse_path = ? AND verdict = ? ORDER BY id DESC LIMIT 1"
        )
        with self._writing():
            for record in records:
                key = record.anchor, record.client, record.reverse_path, ACCEPTED
                row = self._connection.execute(query, key).fetchone()
                if row is None:
                    self._insert([record])
                    continue
                known = tuple(json.loads(row[1]))
                if new := [one for one in record.recipients if one not in known]:
                    self._connection.execute(
                        "UPDATE mail SET recipients = ? WHERE id = ?",
                        (json.dumps([*known, *new]), row[0]),
                    )
                    self._adding.add(self._connection, totals.received(record))

    def begin(self, at: float) -> None:
        """This is a new database in the place of one that was damaged; it is to be filled.

        Raises:
            StoreError: it cannot be written now.
        """
        with self._writing():
            self._connection.execute("INSERT INTO begun VALUES (?, 1)", (at,))

    def filling(self) -> float | None:
        """Since when it is to be filled with what is still known; None: it is not.

        Raises:
            StoreError: it cannot be read now.
        """
        query = "SELECT at FROM begun WHERE is_filling"
        with telling(self.path), self._lock:
            row = self._connection.execute(query).fetchone()
        return row[0] if row else None

    def end_filling(self) -> None:
        """All that is known is in it.

        Raises:
            StoreError: it cannot be written now.
        """
        with self._writing():
            self._connection.execute("UPDATE begun SET is_filling = 0")

    def find(self, anchor: str) -> tuple[Record, ...]:
        """What happened to the mails with an anchor, the oldest first."""
        return self._read("WHERE anchor = ? ORDER BY id", anchor)

    def since(self, at: float) -> tuple[Record, ...]:
        """What happened from a time on, the oldest first."""
        return self._read("WHERE at >= ? ORDER BY id", at)

    def forget(self, before: float, most: int = MAX_ROWS) -> int:
        """Remove what is older, and the oldest of what is too much; returns how many.

        The totals of it stay.
        """
        query = "SELECT at FROM mail ORDER BY at DESC LIMIT 1 OFFSET ?"
        with telling(self.path), self._lock:
            row = self._connection.execute(query, (most,)).fetchone()
        count = self._remove("at <= ? ORDER BY at", row[0]) if row else 0
        return count + self._remove("at < ? ORDER BY at", before)

    def _remove(self, where: str, value: float) -> int:
        oldest = f"SELECT id FROM mail WHERE {where} LIMIT ?"  # noqa: S608 - of constants
        query = f"DELETE FROM mail WHERE id IN ({oldest})"  # noqa: S608 - of constants
        count = 0
        while True:
            with self._writing():
                removed = self._connection.execute(query, (value, _PAGE)).rowcount
            count += removed
            if removed < _PAGE:
                return count

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def _insert(self, records: Sequence[Record], events: Sequence[Total] = ()) -> None:
        stored = totals.stored(self._new_in_store(records))
        counts = [*totals.counted(records), *stored, *events]
        self._connection.executemany(_INSERT, map(_row, records))
        self._adding.add(self._connection, counts)

    def _new_in_store(self, records: Sequence[Record]) -> list[Record]:
        """The first record of each content that no row names; what was forgotten is new again."""
        found: dict[str, Record] = {}
        query = "SELECT 1 FROM mail WHERE anchor = ? AND anchor <> ''"
        for record in records:
            anchor = record.anchor
            if not anchor or anchor in found:
                continue
            if self._connection.execute(query, (anchor,)).fetchone() is None:
                found[anchor] = record
        return list(found.values())

    def _read(self, where: str, value: object) -> tuple[Record, ...]:
        query = f"SELECT {', '.join(_COLUMNS)} FROM mail {where}"  # noqa: S608 - of constants
        with self._lock:
            rows = self._connection.execute(query, (value,)).fetchall()
        return tuple(_record(row) for row in rows)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with telling(self.path), self._lock:
            try:
                with _sqlite.transaction(self._connection):
                    yield
            except BaseException:
                self._adding.forget()
                raise


@contextlib.contextmanager
def telling(path: str, advice: str = "") -> Iterator[None]:
    """What goes wrong with the database, as an error of ours."""
    try:
        yield
    except sqlite3.Error as error:
        text = f"the SMTP server's own database, {path}: {error}{advice}"
        raise StoreError(text) from error


def connected(path: str) -> sqlite3.Connection:
    """A connection to the database; what is made is for its owner only: it knows who wrote whom."""
    if not os.path.lexists(path):
        _fs.make_directories(os.path.dirname(os.path.abspath(path)), mode=0o700)
        _make(path)
    return _connected(path)


def _connected(path: str) -> sqlite3.Connection:
    return _sqlite.connect(path, MIGRATIONS, timeout=_TIMEOUT, create=True, durable=False)


def _make(path: str) -> None:
    """Make the database whole before it has its name: one that is empty would be taken for damaged.

    Race: of two that make one the first decides.
    """
    staged = f"{path}.{os.urandom(4).hex()}"
    try:
        _fs.create(staged, b"", durable=False, mode=0o600)
        _connected(staged).close()
        with contextlib.suppress(FileExistsError):
            _fs.publish(staged, path)
    except OSError as error:
        text = f"the SMTP server's own database, {path}: cannot be made: {error.strerror}"
        raise StoreError(text) from error
    finally:
        _fs.remove(staged)


def open_state(path: str, now: float) -> tuple[State, str | None]:
    """Open the database, and look whether it is whole; one that is damaged is set aside.

    Of several processes that do so one does, and the others wait.

    Args:
        path: of the file.
        now: seconds since 1970, for the name of what is set aside.

    Returns:
        It, and where the damaged one is now; None: it was whole.

    Raises:
        StoreError: it cannot be opened, and is not damaged.
        LockTimeoutError: another process has looked at it for minutes.
    """
    _fs.make_directories(os.path.dirname(os.path.abspath(path)), mode=0o700)
    with _fs.lock(f"{path}.opening", timeout=_LOOKING):
        return _opened(path, now)


def _opened(path: str, now: float) -> tuple[State, str | None]:
    fresh = f"{path}.new"
    if os.path.lexists(fresh) and not os.path.lexists(path):  # killed when it was to take the place
        _fs.replace_with(fresh, path)
    try:
        if os.path.lexists(path) and os.path.getsize(path) < _SMALLEST:
            raise StoreError(f"{path}: cut off") from sqlite3.DatabaseError("cut off")
        state = State(path)
        try:
            state.check()
        except StoreError:
            state.close()
            raise
    except StoreError as error:
        if not _is_damaged(error.__cause__):
            raise
    else:
        return state, None
    aside = f"{path}.damaged-{now:.0f}"
    _make_fresh(fresh, now)
    for suffix in ("-wal", "-shm", ""):  # none of it may be taken for the new one's
        with contextlib.suppress(FileNotFoundError):
            _fs.replace_with(path + suffix, aside + suffix)
    _fs.replace_with(fresh, path)
    return State(path), aside


def _make_fresh(path: str, now: float) -> None:
    """Make a database that is to be filled; one that was begun with is gone."""
    for suffix in ("-wal", "-shm", ""):
        _fs.remove(path + suffix)
    state = State(path)
    state.begin(now)
    state.close()


def _is_damaged(error: BaseException | None) -> bool:
    """Whether a file is no database of ours any more; a newer version is."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    is_newer = "newer version" in str(error)
    return (
        isinstance(error, sqlite3.DatabaseError)
        and code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        and not is_newer
    )
