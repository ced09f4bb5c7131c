"""Stores of contents."""

from mdirclient.mstore.directory import DirectoryMstore

__all__ = ["DirectoryMstore"]
