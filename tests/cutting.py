"""A relay between clients and a server that cuts connections after some bytes."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

Cut = Callable[[], tuple[int, int]]


class CuttingRelay:
    """Forwards each connection, until so many bytes went to the server or came from it.

    Args:
        path: where it listens.
        target: the server's socket.
        cut: for each connection, the bytes in both directions that pass.
    """

    def __init__(self, path: Path, target: Path, cut: Cut) -> None:
        self._target = target
        self._cut = cut
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(64)
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._main = threading.Thread(target=self._accept)
        self._main.start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            if self._is_closed:
                client.close()
                return
            thread = threading.Thread(target=self._relay, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _relay(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server, contextlib.suppress(OSError):
            server.connect(str(self._target))
            there, back = self._cut()
            left = {client: there, server: back}
            while not self._is_closed:
                ready, _, _ = select.select([client, server], [], [], 0.2)
                for one in ready:
                    data = one.recv(65536)
                    passed = data[: left[one]]
                    left[one] -= len(passed)
                    (server if one is client else client).sendall(passed)
                    if not data or left[one] <= 0:
                        return

    def close(self) -> None:
        """End it."""
        self._is_closed = True
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self._listening.getsockname())
        self._main.join()
        self._listening.close()
        for thread in self._threads:
            thread.join()
