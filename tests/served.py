"""A real server in a thread of this process, for the tests that need one for each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import attrs

from mdirclient import Header, make_folder
from mdirclient.mdird import EmbeddedMdird
from mdirclient.mdird.credentials import hash_token, new_token
from mdirclient.mstore import DirectoryMstore
from mdirclient.server.server import Limits, Server
from mdirclient.service.listen import Place, listen
from mdirclient.service.tls import fingerprint, own_certificate, server_context


@attrs.frozen
class Served:
    """Where a server is, and its own files."""

    path: Path
    port: int
    pin: str
    log: list[str]
    defects: list[BaseException]

    @property
    def unix(self) -> str:
        """Url of its socket."""
        return f"unix://{self.path}/socket"

    def tls(self, user: str, token: str) -> str:
        """Url of its port, for a user."""
        who = f"{quote(user, safe='')}:{quote(token, safe='')}"
        return f"mdird://{who}@127.0.0.1:{self.port}?fingerprint={self.pin}"

    def embedded(self) -> EmbeddedMdird:
        """The files, as the administrator has them."""
        return EmbeddedMdird(self.path, DirectoryMstore(self.path / "store"))

    def user(self, name: str, *rights: str) -> str:
        """Make a user; their token."""
        with self.embedded() as mdird:
            return add_user(mdird, name, *rights)


def add_user(mdird: EmbeddedMdird, name: str, *rights: str) -> str:
    """Make a user; their token."""
    token = new_token()
    make_folder(mdird, "Users")
    stored = mdird.store.add_file(b"", media_type="text/plain", suggested_name=name)
    fields = [("type", "user"), ("name", name), ("token-hash", hash_token(token))]
    fields += [("right", right) for right in rights]
    mdird.put("Users", Header([*stored.headers()[0], *fields]))
    return token


@contextmanager
def serving(
    path: Path, limits: Limits | None = None, *, history: int | None = None
) -> Iterator[Served]:
    """Serve the mdir at a path, on a Unix socket and on a TLS port, until the context ends."""
    if history is not None:
        limits = Limits(history=history)
    store = DirectoryMstore(path / "store")
    certificate = own_certificate(str(path), "localhost")
    sockets = [*listen(Place(path=f"{path}/socket")), *listen(Place(host="127.0.0.1"))]
    port = sockets[1].getsockname()[1]
    lines: list[str] = []
    ready, stop = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def log(event: str, **fields: object) -> None:
        lines.append(f"{event} {fields}")

    def unforeseen(_: object, context: dict[str, object]) -> None:
        failures.append(AssertionError(f"an exception in the loop of the server: {context}"))

    async def serve() -> None:
        asyncio.get_running_loop().set_exception_handler(unforeseen)
        with EmbeddedMdird(path, store) as mdird:
            server = Server(mdird, store, log, limits)
            await server.start(sockets, server_context(certificate))
            ready.set()
            await asyncio.to_thread(stop.wait)
            await server.stop()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield Served(path, port, fingerprint(certificate), lines, failures)
    finally:
        stop.set()
        thread.join(60)
    if failures:
        raise failures[0]
