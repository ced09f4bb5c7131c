"""Keeping a local folder in step with a folder of the mdir."""

from mdirclient.sync.run import SyncReport, sync

__all__ = ["SyncReport", "sync"]
