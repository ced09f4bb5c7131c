"""What tests of folders share."""

from __future__ import annotations

import errno
import hashlib
import os

from mdirclient import Folder, Header


def header(number: int | str, name: str | None = None, content: bytes | None = None) -> Header:
    """The header of an entry; with size and digest if the content is given."""
    fields = [("url", f"mdir:{number}@x.org/1"), ("content-type", "text/plain; charset=utf-8")]
    fields += [("suggested-name", name)] if name is not None else []
    if content is not None:
        fields += [("size", str(len(content))), ("sha256", hashlib.sha256(content).hexdigest())]
    return Header(fields)


def names(folder: Folder) -> list[str]:
    """The visible files."""
    return sorted(name for name in os.listdir(folder.path) if not name.startswith("."))


def refuse_link(source: str, target: str, **_: bool) -> None:
    """link(2) of a file system without hard links, in the order in which Linux looks."""
    if not os.path.lexists(source):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", source)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "File exists", target)
    raise PermissionError(errno.EPERM, "Operation not permitted", source)
