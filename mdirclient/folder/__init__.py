"""A local folder: physical files, their headers, and the counter."""

from mdirclient.folder.batch import Batch, Counted
from mdirclient.folder.check import Finding
from mdirclient.folder.entry import Entry, Message
from mdirclient.folder.folder import Folder
from mdirclient.folder.origin import Origin
from mdirclient.folder.outgoing import Outgoing
from mdirclient.folder.status import Renamed, Status
from mdirclient.folder.watch import Change

__all__ = [
    "Batch",
    "Change",
    "Counted",
    "Entry",
    "Finding",
    "Folder",
    "Message",
    "Origin",
    "Outgoing",
    "Renamed",
    "Status",
]
