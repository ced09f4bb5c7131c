"""The only place of the package that changes files. A test on the syntax tree checks it.

Writing, publishing without overwriting, locking and flushing, each with what is durable
on return and what a crash leaves. Errors of the disk pass unchanged as `OSError`.
"""

from mdirclient._fs.flush import Group, flush_together, has_syncfs, sync_directory, sync_file
from mdirclient._fs.lock import is_abandoned, lock
from mdirclient._fs.probe import FileSystem, filesystem_type, free_bytes, is_network_filesystem
from mdirclient._fs.publish import (
    has_hard_links,
    make_directories,
    make_directory,
    move,
    publish,
    publish_directory,
    remove,
    remove_tree,
    set_mode,
    sweep,
    touch,
)
from mdirclient._fs.read import NOT_A_FILE, chunks, open_file, read_file
from mdirclient._fs.times import Stamp, grain_ns, is_older, mark, stamp_of
from mdirclient._fs.trial import try_file_system
from mdirclient._fs.write import NewFile, create, replace, replace_with, spool

__all__ = [
    "NOT_A_FILE",
    "FileSystem",
    "Group",
    "NewFile",
    "Stamp",
    "chunks",
    "create",
    "filesystem_type",
    "flush_together",
    "free_bytes",
    "grain_ns",
    "has_hard_links",
    "has_syncfs",
    "is_abandoned",
    "is_network_filesystem",
    "is_older",
    "lock",
    "make_directories",
    "make_directory",
    "mark",
    "move",
    "open_file",
    "publish",
    "publish_directory",
    "read_file",
    "remove",
    "remove_tree",
    "replace",
    "replace_with",
    "set_mode",
    "spool",
    "stamp_of",
    "sweep",
    "sync_directory",
    "sync_file",
    "touch",
    "try_file_system",
]
