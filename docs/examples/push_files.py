"""A connector: every new or changed file of a directory becomes an entry of a folder of the mdir.

    python push_files.py DIRECTORY FOLDER

The directory is not touched. What was sent is known by its digest, which the entry tells, so that
nothing has to be remembered here: run it as often as you like.
"""

from __future__ import annotations

import hashlib
import mimetypes
import sys
from pathlib import Path

import mdirclient
from mdirclient import Header, Mdird


def push(directory: Path, mdird: Mdird, folder: str) -> list[str]:
    """Send the files that are not yet there; returns their names."""
    mdirclient.make_folder(mdird, folder)
    there = {(found.get("suggested-name"), found.get("sha256")) for found in mdird.lookup(folder)}
    sent = []
    for path in sorted(directory.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if (path.name, digest) in there:
            continue
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        stored = mdird.store.add_file(path, media_type=media_type, suggested_name=path.name)
        (header,) = stored.headers(received=f"from {directory}")
        # CLASS, not PUT: where it goes is decided by the rules of the folder.
        mdird.classify(folder, Header([*header, ("date", str(path.stat().st_mtime_ns))]))
        sent.append(path.name)
    return sent


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with mdirclient.connect() as connection:
        for name in push(Path(sys.argv[1]), connection, sys.argv[2]):
            print(name)
