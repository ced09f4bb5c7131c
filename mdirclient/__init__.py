"""mdirclient: mail taken apart into one file per part, and folders of them kept in step.

Names are imported when they are first used (PEP 562), so that a program pays only for
what it needs.
"""

from __future__ import annotations

import sys

# `typing` and `importlib` would be most of the time of a small delivery.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from mdirclient import aio, errors
    from mdirclient.connect import connect, open_store
    from mdirclient.folder import (
        Batch,
        Change,
        Counted,
        Entry,
        Finding,
        Folder,
        Message,
        Origin,
        Renamed,
        Status,
    )
    from mdirclient.header import Header
    from mdirclient.interfaces import (
        AsyncMdird,
        AsyncSubscription,
        Mdird,
        Mstore,
        Receiver,
        Subscription,
    )
    from mdirclient.mail.compose import compose
    from mdirclient.mail.limits import Limits
    from mdirclient.mail.memory import Mail, take_apart
    from mdirclient.mail.stored import StoredMessage
    from mdirclient.mdird.tree import folder_id, make_folder
    from mdirclient.naming import safe_name
    from mdirclient.patch import End, Now, Patch
    from mdirclient.sync import SyncReport, TreeReport, sync, sync_tree
    from mdirclient.url import PartURL
else:
    ModuleType = type(sys)

_HOMES = {
    "AsyncMdird": "interfaces",
    "AsyncSubscription": "interfaces",
    "Batch": "folder",
    "Change": "folder",
    "Counted": "folder",
    "End": "patch",
    "Entry": "folder",
    "Finding": "folder",
    "Folder": "folder",
    "Header": "header",
    "Limits": "mail.limits",
    "Mail": "mail.memory",
    "Mdird": "interfaces",
    "Message": "folder",
    "Mstore": "interfaces",
    "Now": "patch",
    "Origin": "folder",
    "PartURL": "url",
    "Patch": "patch",
    "Receiver": "interfaces",
    "Renamed": "folder",
    "Status": "folder",
    "StoredMessage": "mail.stored",
    "Subscription": "interfaces",
    "SyncReport": "sync",
    "TreeReport": "sync",
    "compose": "mail.compose",
    "connect": "connect",
    "aio": "",
    "errors": "",
    "folder_id": "mdird.tree",
    "make_folder": "mdird.tree",
    "open_store": "connect",
    "safe_name": "naming",
    "sync": "sync",
    "sync_tree": "sync",
    "take_apart": "mail.memory",
}

__all__ = [
    "AsyncMdird",
    "AsyncSubscription",
    "Batch",
    "Change",
    "Counted",
    "End",
    "Entry",
    "Finding",
    "Folder",
    "Header",
    "Limits",
    "Mail",
    "Mdird",
    "Message",
    "Mstore",
    "Now",
    "Origin",
    "PartURL",
    "Patch",
    "Receiver",
    "Renamed",
    "Status",
    "StoredMessage",
    "Subscription",
    "SyncReport",
    "TreeReport",
    "aio",
    "compose",
    "connect",
    "errors",
    "folder_id",
    "make_folder",
    "open_store",
    "safe_name",
    "sync",
    "sync_tree",
    "take_apart",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mdirclient' has no attribute {name!r}")
    from importlib import import_module

    home = _HOMES[name]
    if not home:
        return import_module(f"mdirclient.{name}")
    value = getattr(import_module(f"mdirclient.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """Keeps `mdirclient.connect` and `mdirclient.sync` the functions.

    Importing the modules of the same names would otherwise put them in the functions' place.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
