"""The tables of the embedded mdird (docs: formats/mdird-database).

An entry keeps one row, also when it is removed: the rows of a folder after a version, in
the order of their versions, are what a subscriber at that version misses.
"""

from __future__ import annotations

from typing import Final

MIGRATIONS: Final = (
    """
    CREATE TABLE mdir (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE folder (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE entry (
        folder INTEGER NOT NULL REFERENCES folder (number),
        identity TEXT NOT NULL,
        version INTEGER NOT NULL,
        is_live INTEGER NOT NULL,
        type TEXT NOT NULL,
        name TEXT,
        target INTEGER REFERENCES folder (number),
        header BLOB NOT NULL,
        UNIQUE (folder, identity)
    );
    CREATE UNIQUE INDEX entry_by_version ON entry (folder, version);
    CREATE INDEX entry_by_type ON entry (folder, type) WHERE is_live AND type != '';
    CREATE UNIQUE INDEX entry_by_name ON entry (folder, name) WHERE target IS NOT NULL;
    CREATE INDEX entry_by_target ON entry (target) WHERE target IS NOT NULL;
    CREATE TABLE receipt (
        folder INTEGER NOT NULL,
        identity TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (folder, identity)
    );
    CREATE INDEX receipt_by_time ON receipt (at);
    INSERT INTO mdir VALUES ('epoch', lower(hex(randomblob(8))));
    INSERT INTO folder (number, id) VALUES (1, lower(hex(randomblob(16))))
    """,
)

ROOT: Final = 1
