"""The service that holds the mdir."""

from mdirclient.mdird.embedded import EmbeddedMdird

__all__ = ["EmbeddedMdird"]
