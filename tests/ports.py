"""Ports of loopback, for servers that must be told theirs."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

# Linux gives clients 32768 and up (ip_local_port_range): a server's port among those may go to any
# client before the server has it, even to one that asks whether it listens already. The test
# processes of a run have each its own of these, and none comes twice.
_SERVERS = range(10_000, 32_768)
_PROCESSES = 32


def _of_this_process() -> Iterator[int]:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    yield from random.sample(mine := _SERVERS[number % _PROCESSES :: _PROCESSES], len(mine))


_ports = _of_this_process()


def free_port() -> int:
    """A port that nobody has, and no client gets."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
