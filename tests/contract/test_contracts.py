"""The contract suites on every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mdirclient import Mdird, Mstore
from mdirclient.mdird import EmbeddedMdird
from mdirclient.mstore import DirectoryMstore
from mdirclient.testing import MdirdContract, MstoreContract


class TestDirectoryMstore(MstoreContract):
    """The store in a directory."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Mstore:
        """A fresh one."""
        return DirectoryMstore(tmp_path / "store")


class TestEmbeddedMdird(MdirdContract):
    """mdird in a file."""

    @pytest.fixture
    def mdird(self, tmp_path: Path) -> Iterator[Mdird]:
        """A fresh one."""
        store = DirectoryMstore(tmp_path / "mdir" / "store")
        with EmbeddedMdird(tmp_path / "mdir", store) as mdird:
            yield mdird

    @pytest.fixture
    def other(self, tmp_path: Path, mdird: EmbeddedMdird) -> Iterator[Mdird]:
        """As another process has it."""
        with EmbeddedMdird(tmp_path / "mdir", mdird.store, create=False) as other:
            yield other
