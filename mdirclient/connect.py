"""Opening an mdird and an mstore by url, or by what is agreed on in the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mdirclient.errors import SettingsError, TransportError
from mdirclient.settings import Settings, file_path, file_url

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird, Mstore
    from mdirclient.mdird import EmbeddedMdird
    from mdirclient.mstore import DirectoryMstore
    from mdirclient.protocol.address import Address

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
        url: `file:///path` for one in a directory of this machine;
            `mdird://user:token@host:port` or `unix:///path` for one that is served; None:
            `$MDIRD`, else the user's data directory, so that nothing has to be set up.
        create: make it (and the store in it) if it is missing.
        timeout: seconds to wait for other processes, or for the server.
        settings: instead of this process's environment.

    Raises:
        TransportError: it is missing, or cannot be opened or reached.
        PermanentReplyError: 401, the user or token is not accepted.
        StoreError: its store is missing or cannot be opened.
        SettingsError: the url cannot be used.
    """
    found = settings or Settings(os.environ)
    address = url or found.mdird()
    if not address.startswith("file:"):
        from mdirclient.mdird.remote import RemoteMdird  # what a file does not need
        from mdirclient.protocol.address import parse_address

        server = parse_address(address)
        return RemoteMdird(server, timeout=timeout, store=lambda: store_of(server, found, timeout))
    from mdirclient.mdird import EmbeddedMdird  # what another kind of mdird does not need

    path = file_path(address, "MDIRD")
    given = found.find("MDIR_STORE") or file_url(os.path.join(path, STORE))
    store = _open_store(given, create=create, timeout=timeout)
    users = found.folder("MDIR_USERS")
    return EmbeddedMdird(
        path, _with_bases(store, found, timeout), create=create, timeout=timeout, users=users
    )


def open_own(
    settings: Settings, *, create: bool = True, reserve: int | None = None
) -> tuple[EmbeddedMdird, DirectoryMstore]:
    """The mdird in a directory of this machine, and the directory of its store.

    Args:
        settings: where they are.
        create: make them if they are missing.
        reserve: bytes of the disk that are left free; None: as usual.

    Raises:
        TransportError, StoreError: they cannot be opened.
        SettingsError: they are elsewhere.
    """
    from mdirclient.mdird import EmbeddedMdird
    from mdirclient.mstore import DirectoryMstore
    from mdirclient.mstore.directory import DEFAULT_RESERVE

    path = file_path(settings.mdird(), "MDIRD")
    given = settings.find("MDIR_STORE") or file_url(os.path.join(path, STORE))
    kept = DEFAULT_RESERVE if reserve is None else reserve
    if not create and not os.path.isdir(path):
        raise TransportError(path, "there is no mdird")
    store = DirectoryMstore(file_path(given, "MDIR_STORE"), create=create, reserve=kept)
    users = settings.folder("MDIR_USERS")
    return EmbeddedMdird(path, store, create=create, users=users, reserve=kept), store


def open_store(
    url: str | None = None, *, create: bool = True, settings: Settings | None = None
) -> Mstore:
    """Open an mstore.

    Args:
        url: `file:///directory`, or `https://user:token@host/path/` where one is served; None:
            `$MDIR_STORE`, else that of the mdird.
        create: make it if it is missing.
        settings: instead of this process's environment.

    Raises:
        StoreError: it is missing or no mstore.
        SettingsError: the url cannot be used.
    """
    found = settings or Settings(os.environ)
    given = url or found.find("MDIR_STORE")
    if not given:
        mdird = found.mdird()
        if not mdird.startswith("file:"):
            from mdirclient.protocol.address import parse_address

            return store_of(parse_address(mdird), found, 30.0)
        given = file_url(os.path.join(file_path(mdird, "MDIRD"), STORE))
    return _open_store(given, create=create, timeout=30.0)


def store_of(server: Address, settings: Settings, timeout: float) -> Mstore:
    """The store of an mdird that is served: by HTTP at the same address, unless one is set."""
    given = settings.find("MDIR_STORE")
    if given:
        return _with_bases(_open_store(given, create=False, timeout=timeout), settings, timeout)
    from mdirclient.fetch import Fetcher
    from mdirclient.mstore.remote import RemoteMstore

    return _with_bases(RemoteMstore(Fetcher(server, timeout=timeout)), settings, timeout)


def _open_store(url: str, *, create: bool, timeout: float) -> Mstore:
    if url.startswith("https:"):
        from mdirclient.fetch import Fetcher
        from mdirclient.mstore.remote import RemoteMstore
        from mdirclient.protocol.address import parse_place

        address, prefix = parse_place(url, "MDIR_STORE")
        return RemoteMstore(Fetcher(address, prefix, timeout=timeout))
    from mdirclient.mstore import DirectoryMstore

    return DirectoryMstore(file_path(url, "MDIR_STORE"), create=create)


def _with_bases(store: Mstore, settings: Settings, timeout: float) -> Mstore:
    """The store, and further bases where some are set."""
    given = settings.find("MDIR_BASES")
    if not given:
        return store
    from mdirclient.mstore.bases import BasesMstore

    others: dict[str, Mstore] = {}
    for pair in given.split(","):
        base, equals, place = pair.strip().partition("=")
        if not equals or not base.endswith(("/", ":")):
            raise SettingsError(
                "MDIR_BASES",
                pair,
                "expected base=place, such as https://host/path/=https://user:token@host/path/",
            )
        others[base] = _open_store(place, create=False, timeout=timeout)
    return BasesMstore(store, others)
