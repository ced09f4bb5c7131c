"""Talks to the service manager. Sources: sd_notify(3), sd_listen_fds(3)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_FIRST: Final = 3  # SD_LISTEN_FDS_START


def notify(environ: MutableMapping[str, str], *lines: str) -> None:
    """Tell the service manager something, such as `READY=1`; nothing where there is none."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    # Whether it listens is its own matter.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto("\n".join(lines).encode(), name)


def take_sockets(environ: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """The listening sockets that the service manager opened for this process, with their names.

    The variables are removed, so that no child takes them for its own.
    """
    process, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if process != str(os.getpid()) or not count.isdecimal():
        return []
    names += ["unknown"] * int(count)
    return [(names[number], socket.socket(fileno=_FIRST + number)) for number in range(int(count))]
