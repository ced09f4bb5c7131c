"""Folders of an mdird: made where they are missing, and their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdirclient.errors import NotFoundReplyError
from mdirclient.header import Header
from mdirclient.naming import split_path

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird


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
