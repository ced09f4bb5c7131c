"""Opening an mdird and an mstore by url, or by what is agreed on in the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mdirclient.errors import SettingsError
from mdirclient.settings import Settings, file_path, file_url

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird, Mstore

STORE: Final = "store"


def connect(
    url: str | None = None,
    *,
    create: bool = True,
    timeout: float = 30.0,
    settings: Settings | None = None,
) -> Mdird:
    """Open an mdird.

    Args:
        url: `file:///path` for one in a directory of this machine; None: `$MDIRD`, else the
            user's data directory, so that nothing has to be set up.
        create: make it (and the store in it) if it is missing.
        timeout: seconds to wait for other processes.
        settings: instead of this process's environment.

    Raises:
        TransportError: it is missing or cannot be opened.
        StoreError: its store is missing or cannot be opened.
        SettingsError: the url cannot be used.
    """
    from mdirclient.mdird import EmbeddedMdird  # what another kind of mdird does not need

    found = settings or Settings(os.environ)
    address = url or found.mdird()
    path = file_path(address, "MDIRD")
    store = found.find("MDIR_STORE") or file_url(os.path.join(path, STORE))
    return EmbeddedMdird(path, open_store(store, create=create), create=create, timeout=timeout)


def open_store(
    url: str | None = None, *, create: bool = True, settings: Settings | None = None
) -> Mstore:
    """Open an mstore.

    Args:
        url: `file:///directory`; None: `$MDIR_STORE`, else `store/` in the embedded mdird.
        create: make it if it is missing.
        settings: instead of this process's environment.

    Raises:
        StoreError: it is missing or no mstore.
        SettingsError: the url cannot be used.
    """
    from mdirclient.mstore import DirectoryMstore

    found = settings or Settings(os.environ)
    given = url or found.find("MDIR_STORE")
    if given:
        return DirectoryMstore(file_path(given, "MDIR_STORE"), create=create)
    mdird = found.mdird()
    if not mdird.startswith("file:"):
        raise SettingsError(
            "MDIR_STORE", mdird, "only an mdird at file:///path has a store of its own"
        )
    return DirectoryMstore(os.path.join(file_path(mdird, "MDIRD"), STORE), create=create)
