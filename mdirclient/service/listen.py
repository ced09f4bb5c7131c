"""Where a daemon listens: addresses as texts, and the sockets of them."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import stat
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import attrs

from mdirclient import _fs
from mdirclient.errors import SettingsError, TransportError

_BACKLOG: Final = 512
#: Turns of the loop after which a connection that was accepted has its protocol.
_ACCEPTING: Final = 5


@attrs.frozen
class Place:
    """A place to listen: a Unix socket, or host and port.

    Attributes:
        path: of the socket, or None.
        host: name or address; empty: all of this machine's.
        port: 0: any that is free.
    """

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.path}" if self.path else f"tcp://{host}:{self.port}"


def parse_places(text: str, name: str, default_port: int) -> list[Place]:
    """Read `unix:/path` and `tcp://host[:port]`, by commas.

    Raises:
        SettingsError: something else; `name` is that of the setting.
    """
    places = [_parse(word.strip(), name, default_port) for word in text.split(",") if word.strip()]
    if not places:
        raise SettingsError(name, text, "expected unix:/path or tcp://host:port")
    return places


def _parse(text: str, name: str, default_port: int) -> Place:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise SettingsError(name, text, "the path of a socket must begin with /")
        return Place(path=path)
    try:
        parts = urlsplit(text)
        port = default_port if parts.port is None else parts.port
    except ValueError as error:
        raise SettingsError(name, text, str(error)) from None
    if parts.scheme != "tcp" or parts.path.strip("/") or parts.username is not None:
        raise SettingsError(name, text, "expected unix:/path or tcp://host:port")
    return Place(host=parts.hostname or "", port=port)


def listen_at(place: Place) -> list[socket.socket]:
    """The sockets of a place, as `listen`.

    Raises:
        TransportError: it cannot be listened there.
    """
    try:
        return listen(place)
    except OSError as error:
        reason = f"cannot listen there: {error.strerror or error}"
        raise TransportError(str(place), reason) from error


async def stop_listening(servers: Iterable[asyncio.Server]) -> None:
    """Accept nobody any more.

    Race: what was accepted a moment ago has no connection yet, and a server that is closed
    (Python 3.11) forgets it without closing it.
    """
    loop = asyncio.get_running_loop()
    closing = list(servers)
    for listening in (one for server in closing for one in server.sockets):
        loop.remove_reader(listening.fileno())
    for _ in range(_ACCEPTING):
        await asyncio.sleep(0)
    for server in closing:
        server.close()


def listen(place: Place) -> list[socket.socket]:
    """The sockets that listen at a place: one for each address of a host.

    Raises:
        OSError: it cannot be listened there, such as when another process does.
    """
    if place.path:
        return [_listen_unix(place.path)]
    found = socket.getaddrinfo(
        place.host or None, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            # Port 0 means one free port for all addresses.
            port = sockets[0].getsockname()[1] if sockets and not place.port else place.port
            sockets.append(_listen_tcp(family, (address[0], port, *address[2:])))
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def _listen_tcp(family: int, address: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen(_BACKLOG)
        one.setblocking(False)
    except BaseException:
        one.close()
        raise
    return one


def _listen_unix(path: str) -> socket.socket:
    """A socket at a path; one that a killed process left is replaced."""
    _fs.make_directories(os.path.dirname(path), mode=0o700)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_abandoned(path):
            _fs.remove(path)
        one.bind(path)
        # Everybody may connect: who they are is asked for, or told by the socket.
        _fs.set_mode(path, 0o666)
        one.listen(_BACKLOG)
        one.setblocking(False)
    except BaseException:
        one.close()
        raise
    return one


def _is_abandoned(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False  # bind will say what is wrong
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError as error:
        return error.errno == errno.ENOENT
    return False


def name_of(one: socket.socket) -> str:
    """Where a socket listens, as a text."""
    name = one.getsockname()
    if one.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"tcp://{host}:{name[1]}"


def allow_many_files() -> int:
    """Each connection is an open file: as many as the system allows, which is returned."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
