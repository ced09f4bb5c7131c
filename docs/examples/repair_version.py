"""Repair the `.version` of folders, and print what was found.

    python repair_version.py DIRECTORY...

A counter that cannot be read is set to 0, so that the next sync lists everything; nothing is
removed or fetched twice by that, and the old bytes are kept in `.meta/.lost+found`. Also prints
what was done by hand in each folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from mdirclient import Folder, errors


def repaired(directory: str) -> Iterator[str]:
    """Repair one folder; yields what was found, a line each."""
    with Folder(directory) as folder:
        try:
            status = folder.status()
        except errors.FolderNotFoundError as error:
            yield str(error)
            return
        try:
            yield f"{directory}: version {folder.version}, {len(folder)} entries"
        except errors.VersionFormatError as error:
            yield f"{directory}: it held {error.held!r}, and is 0 now: everything is listed again"
            folder.version = 0
        for name in status.new:
            yield f"{directory}: new: {name}"
        for entry in status.missing:
            yield f"{directory}: missing: {entry.name}"
        for found in status.renamed:
            yield f"{directory}: renamed: {found.entry.name} to {found.name}"
        for entry in status.modified:
            yield f"{directory}: changed: {entry.name}"
        for header in status.pending:
            yield f"{directory}: still to come: {header['url']}"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for argument in sys.argv[1:]:
        for line in repaired(argument):
            print(line)
