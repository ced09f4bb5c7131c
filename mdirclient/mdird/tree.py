"""Names of folders: paths from the root, and folders made where they are missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mdirclient.errors import FolderPathError, NotFoundReplyError
from mdirclient.header import Header

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird

MAX_NAME: Final = 255
MAX_DEPTH: Final = 100
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/]")


def check_name(name: str) -> str:
    """The name of one folder in its parent: 1 to 255 characters, no `/`, no control characters.

    Raises:
        FolderPathError: it cannot be one.
    """
    if not name or len(name) > MAX_NAME:
        raise FolderPathError(name, f"a name has 1 to {MAX_NAME} characters")
    if name in (".", "..") or _UNUSABLE.search(name):
        raise FolderPathError(name, "`.`, `..`, `/` and control characters are not allowed")
    return name


def split_path(folder: str) -> tuple[str, ...]:
    """The names on the way from the root; empty for the root itself (`/` or an empty text).

    Raises:
        FolderPathError: a name is not allowed.
    """
    path = folder.strip("/")
    names = tuple(check_name(name) for name in path.split("/")) if path else ()
    if len(names) > MAX_DEPTH:
        raise FolderPathError(folder, f"more than {MAX_DEPTH} levels")
    return names


def make_folder(mdird: Mdird, folder: str) -> None:
    """Make a folder and its parents where they are missing; durable on return.

    Only the folder above the first that is missing has to be one's own.
    """
    names = split_path(folder)
    if not names:
        return
    parent = "/".join(names[:-1])
    header = Header([("type", "dir"), ("name", names[-1])])
    try:
        mdird.put(parent, header)
    except NotFoundReplyError:
        make_folder(mdird, parent)
        mdird.put(parent, header)


def folder_id(mdird: Mdird, folder: str) -> str:
    """The id of a folder, whatever its names.

    Raises:
        NotFoundReplyError: there is no such folder.
    """
    subscription = mdird.subscribe(folder, timeout=0)
    subscription.close()
    return subscription.folder_id
