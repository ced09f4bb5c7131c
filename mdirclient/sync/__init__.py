"""Keeping a local folder in step with a folder of the mdir."""

from mdirclient.sync.run import SyncReport, sync
from mdirclient.sync.tree import TreeReport, sync_tree

__all__ = ["SyncReport", "TreeReport", "sync", "sync_tree"]
