"""`mdird serve` as a process: sockets, TLS, signals, the service manager."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from typing import TYPE_CHECKING

import attrs

from mdirclient.connect import open_own
from mdirclient.protocol.address import DEFAULT_PORT
from mdirclient.server.server import Limits, Server, certificates_needed
from mdirclient.service.listen import allow_many_files, listen_at, name_of, parse_places
from mdirclient.service.log import Log, make_log
from mdirclient.service.notify import notify, take_sockets
from mdirclient.service.tls import fingerprint, own_certificate, server_context

if TYPE_CHECKING:
    from mdirclient.mdird import EmbeddedMdird
    from mdirclient.mstore import DirectoryMstore
    from mdirclient.settings import Settings


@attrs.frozen
class Options:
    """What `mdird serve` was told; see its help."""

    listen: str | None
    certificate: str | None
    key: str | None
    is_plain: bool
    history: int
    reserve: int
    as_json: bool


def serve(settings: Settings, options: Options) -> None:
    """Serve until a signal comes.

    Raises:
        SettingsError: an address or a certificate cannot be used.
        TransportError: it cannot be listened there, or there is no mdird.
    """
    log = make_log(as_json=options.as_json)
    mdird, store = open_own(settings, reserve=options.reserve)
    with mdird:
        given = [one for _, one in take_sockets(os.environ)]
        sockets = given or _sockets(options.listen or settings.listen())
        allow_many_files()
        asyncio.run(_serve(mdird, store, sockets, options, log))


async def _serve(
    mdird: EmbeddedMdird,
    store: DirectoryMstore,
    sockets: list[socket.socket],
    options: Options,
    log: Log,
) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.set_exception_handler(
        lambda _, context: log("defect", what=context["message"], error=context.get("exception"))
    )
    server = Server(mdird, store, log, Limits(history=options.history))
    await server.start(sockets, _context(mdird, sockets, options, log))
    for one in sockets:
        log("listening", address=name_of(one))
    notify(os.environ, "READY=1")
    await stopped.wait()
    notify(os.environ, "STOPPING=1")
    log("stopping", sessions=len(server.sessions))
    await server.stop()


def _context(
    mdird: EmbeddedMdird, sockets: list[socket.socket], options: Options, log: Log
) -> ssl.SSLContext | None:
    if options.is_plain or not certificates_needed(sockets):
        return None
    certificate = options.certificate
    if certificate is None:
        certificate = own_certificate(mdird.path, socket.getfqdn() or "localhost")
    log("certificate", file=certificate, fingerprint=f"sha256:{fingerprint(certificate)}")
    return server_context(certificate, options.key)


def _sockets(text: str) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for place in parse_places(text, "MDIRD_LISTEN", DEFAULT_PORT):
        sockets += listen_at(place)
    return sockets
