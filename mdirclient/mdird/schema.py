"""The tables of the embedded mdird (docs: formats/mdird-database).

An entry keeps one row, also when it is removed: the rows of a folder after a version, in
the order of their versions, are what a subscriber at that version misses. Rows of removed
entries go when they are older than the history; `horizon` is the highest version that went.
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
    # Rights and history: a url is looked for in all folders, a user by name; a folder has a
    # home, the dir entry that says its rights.
    """
    ALTER TABLE folder ADD COLUMN horizon INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE folder ADD COLUMN home INTEGER;
    ALTER TABLE folder ADD COLUMN home_name TEXT;
    UPDATE folder SET (home, home_name) = (
        SELECT entry.folder, entry.name FROM entry WHERE entry.target = folder.number
        ORDER BY entry.rowid LIMIT 1
    );
    CREATE TABLE entry_2 (
        folder INTEGER NOT NULL REFERENCES folder (number),
        identity TEXT NOT NULL,
        version INTEGER NOT NULL,
        is_live INTEGER NOT NULL,
        type TEXT NOT NULL,
        name TEXT,
        target INTEGER REFERENCES folder (number),
        header BLOB NOT NULL,
        UNIQUE (identity, folder)
    );
    INSERT INTO entry_2 SELECT * FROM entry;
    DROP TABLE entry;
    ALTER TABLE entry_2 RENAME TO entry;
    UPDATE entry SET name = substr(
        CAST(header AS TEXT), instr(CAST(header AS TEXT), char(10) || 'name: ') + 7,
        instr(substr(CAST(header AS TEXT), instr(CAST(header AS TEXT), char(10) || 'name: ') + 7),
            char(10)) - 1
    ) WHERE is_live AND type = 'user' AND instr(CAST(header AS TEXT), char(10) || 'name: ');
    CREATE UNIQUE INDEX entry_by_version ON entry (folder, version);
    CREATE INDEX entry_by_type ON entry (folder, type, name) WHERE is_live AND type != '';
    CREATE UNIQUE INDEX entry_by_name ON entry (folder, name) WHERE target IS NOT NULL;
    CREATE INDEX entry_by_target ON entry (target) WHERE target IS NOT NULL;
    CREATE INDEX entry_removed ON entry (folder, version) WHERE NOT is_live;
    CREATE TABLE upload (
        anchor TEXT NOT NULL,
        user TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (anchor, user)
    );
    INSERT INTO mdir VALUES ('generation', '0')
    """,
)

ROOT: Final = 1
