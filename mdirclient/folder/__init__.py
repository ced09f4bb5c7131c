"""A local folder: physical files, their headers, and the counter."""

from mdirclient.folder.batch import Batch, Counted
from mdirclient.folder.entry import Entry, Message
from mdirclient.folder.folder import Folder
from mdirclient.folder.origin import Origin

__all__ = ["Batch", "Counted", "Entry", "Folder", "Message", "Origin"]
