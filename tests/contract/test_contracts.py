"""The contract suites on every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mdirclient import Mdird, Mstore, connect
from mdirclient.mdird import EmbeddedMdird
from mdirclient.mstore import DirectoryMstore
from mdirclient.testing import MdirdContract, MstoreContract
from tests.aio import Blocking
from tests.served import Served, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server with a fresh mdir."""
    with serving(tmp_path / "mdir") as server:
        yield server


@pytest.fixture(params=["unix", "tls"])
def address(request: pytest.FixtureRequest, served: Served) -> str:
    """Of the server, for who may do everything."""
    if request.param == "unix":
        return served.unix
    return served.tls("root", served.user("root", "admin,connector"))


class TestDirectoryMstore(MstoreContract):
    """The store in a directory."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Mstore:
        """A fresh one."""
        return DirectoryMstore(tmp_path / "store")


@pytest.fixture(params=["file", "unix", "tls"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An mdird of each kind."""
    if request.param == "file":
        yield f"file://{tmp_path}/mdir"
        return
    with serving(tmp_path / "mdir") as served:
        if request.param == "unix":
            yield served.unix
        else:
            yield served.tls("root", served.user("root", "admin,connector"))


class TestRemoteMstore(MstoreContract):
    """The store of a server."""

    @pytest.fixture
    def store(self, address: str) -> Iterator[Mstore]:
        """A fresh one."""
        with connect(address) as mdird:
            yield mdird.store


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


class TestRemoteMdird(MdirdContract):
    """A server, by its socket and by TLS."""

    @pytest.fixture
    def mdird(self, address: str) -> Iterator[Mdird]:
        """A fresh one."""
        with connect(address) as mdird:
            yield mdird

    @pytest.fixture
    def other(self, address: str, mdird: Mdird) -> Iterator[Mdird]:
        """As another process has it."""
        with connect(address) as other:
            yield other


class TestAsyncMdird(MdirdContract):
    """The same names as coroutines."""

    @pytest.fixture
    def mdird(self, place: str) -> Iterator[Mdird]:
        """A fresh one."""
        with Blocking(place) as mdird:
            yield mdird

    @pytest.fixture
    def other(self, place: str, mdird: Mdird) -> Iterator[Mdird]:
        """As another process has it."""
        with Blocking(place) as other:
            yield other
