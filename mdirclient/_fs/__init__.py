"""The only place of the package that changes files. A test on the syntax tree checks it.

Writing, publishing without overwriting, locking and flushing, each with what is durable
on return and what a crash leaves. Errors of the disk pass unchanged as `OSError`.
"""

from mdirclient._fs.flush import sync_directory, sync_file
from mdirclient._fs.lock import LockFile, lock, read_generation
from mdirclient._fs.probe import filesystem_type, is_network_filesystem
from mdirclient._fs.publish import (
    has_hard_links,
    make_directories,
    make_directory,
    publish,
    publish_directory,
    remove,
    remove_tree,
    sweep,
)
from mdirclient._fs.read import chunks
from mdirclient._fs.write import NewFile, create, replace, replace_with, spool

__all__ = [
    "LockFile",
    "NewFile",
    "chunks",
    "create",
    "filesystem_type",
    "has_hard_links",
    "is_network_filesystem",
    "lock",
    "make_directories",
    "make_directory",
    "publish",
    "publish_directory",
    "read_generation",
    "remove",
    "remove_tree",
    "replace",
    "replace_with",
    "spool",
    "sweep",
    "sync_directory",
    "sync_file",
]
