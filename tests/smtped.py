"""A real SMTP server in a thread of this process, in front of a real mdird."""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path

import attrs

from mdirclient import Header, aio
from mdirclient.interfaces import AsyncMdird
from mdirclient.mdird.users import find_user, set_password
from mdirclient.service.listen import Place, listen
from mdirclient.settings import Settings
from mdirclient.smtp.accounts import add_account
from mdirclient.smtp.antispam.spf import SPF
from mdirclient.smtp.deliver import Host
from mdirclient.smtp.following import Following
from mdirclient.smtp.serve.certificates import Certificates
from mdirclient.smtp.serve.limits import Limits
from mdirclient.smtp.serve.process import Reserve, listener_of
from mdirclient.smtp.serve.server import Server
from mdirclient.smtp.state import State
from tests.places import PLACES
from tests.served import Served, serving

ACCOUNTS = ("jo@ours.test", "li@ours.test")
KINDS = ("smtp", "submission", "submissions", "lmtp")


@attrs.define
class Smtped:
    """Where a server is, and what it says."""

    path: Path
    served: Served
    state: State
    ports: dict[str, int] = attrs.field(factory=dict)
    log: list[tuple[str, dict[str, object]]] = attrs.field(factory=list)
    server: Server | None = None
    mdird: AsyncMdird | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def client(self, kind: str = "smtp") -> smtplib.SMTP:
        """A client of the standard library, connected."""
        if kind == "submissions":
            return smtplib.SMTP_SSL(
                "127.0.0.1", self.ports[kind], "client.test", context=trusting()
            )
        maker = smtplib.LMTP if kind == "lmtp" else smtplib.SMTP
        return maker("127.0.0.1", self.ports[kind], "client.test")

    def socket(self, kind: str = "smtp") -> socket.socket:
        """A connection without manners."""
        return socket.create_connection(("127.0.0.1", self.ports[kind]), timeout=20)

    def entries(self, address: str = ACCOUNTS[0]) -> list[Header]:
        """The parts in an account."""
        with self.served.embedded() as mdird:
            found = mdird.lookup(f"{PLACES.accounts}/{address}")
            return [header for header in found if "part" in header]

    def mails(self, address: str = ACCOUNTS[0]) -> list[bytes]:
        """The mails in an account, as they were sent."""
        mails = []
        with self.served.embedded() as mdird:
            for header in self.entries(address):
                if header["part"] == "1":
                    with mdird.store.open(header["url"][:-1] + "0") as file:
                        mails.append(file.read())
        return mails

    def events(self, name: str) -> list[dict[str, object]]:
        """What was logged under a name."""
        return [fields for event, fields in self.log if event == name]


def trusting() -> ssl.SSLContext:
    """A context that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def smtp_serving(
    path: Path,
    limits: Limits | None = None,
    *,
    settings: dict[str, str] | None = None,
    accounts: tuple[str, ...] = ACCOUNTS,
    passwords: bool = False,
    lmtp_socket: bool = False,
    dns: int | None = None,
    now: Callable[[], float] = time.time,
) -> Iterator[Smtped]:
    """Serve accounts on a port for each kind of listener, until the context ends.

    With `lmtp_socket` also at `lmtp` in the directory. `dns` is the port of a DNS server for SPF.
    """
    given = {"MDIR_SMTP_HOSTNAME": "mx.test", **(settings or {})}
    with ExitStack() as stack:
        served = stack.enter_context(serving(path / "mdir"))
        with served.embedded() as mdird:
            for address in accounts:
                add_account(mdird, PLACES, address)
                if passwords:
                    set_password(mdird, PLACES.users, address, "secret")
        state = State(str(path / "smtp.sqlite3"))
        stack.callback(state.close)
        world = Smtped(path, served, state)
        environ = {"MDIRD": served.unix, "MDIR_STORE": f"file://{served.path}/store", **given}
        running = _running(
            world, Settings(environ), limits or Limits(), lmtp_socket=lmtp_socket, dns=dns, now=now
        )
        stack.enter_context(running)
        yield world


@contextmanager
def _running(
    world: Smtped,
    settings: Settings,
    limits: Limits,
    *,
    lmtp_socket: bool,
    dns: int | None,
    now: Callable[[], float],
) -> Iterator[None]:
    sockets = {kind: listen(Place(host="127.0.0.1"))[0] for kind in KINDS}
    world.ports = {kind: one.getsockname()[1] for kind, one in sockets.items()}
    ready, stop = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def log(event: str, **fields: object) -> None:
        world.log.append((event, fields))
        if event == "defect":
            failures.append(AssertionError(f"a defect: {fields}"))
        if event == "accounts":
            ready.set()

    async def serve() -> None:
        loop = world.loop = asyncio.get_running_loop()
        reserve = Reserve(list(sockets.values()), log)
        loop.set_exception_handler(reserve.on_exception)
        tls = Certificates(settings, str(world.path), log)
        host = Host("mx.test", (), "")
        places = attrs.evolve(PLACES, postmaster=settings.find("MDIR_SMTP_POSTMASTER"))
        async with await aio.connect(settings=settings) as mdird, aclosing(reserve):
            world.mdird = mdird
            following = Following(mdird, places, log)
            spf = SPF(host=host.name, nameservers=[("127.0.0.1", dns)]) if dns else None
            server = world.server = Server(
                mdird, following, world.state, places=places, host=host, limits=limits, log=log,
                spf=spf, now=now,
            )  # fmt: skip
            followed = loop.create_task(following.run())
            listening = [
                (listener_of(kind, host.name, tls, limits), one) for kind, one in sockets.items()
            ]
            if lmtp_socket:
                (one,) = listen(Place(path=f"{world.path}/lmtp"))
                listening.append((listener_of("lmtp", host.name, tls, limits), one))
            await server.start_listening(listening)
            await asyncio.to_thread(stop.wait)
            await server.stop()
            followed.cancel()

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
        yield
    finally:
        stop.set()
        thread.join(90)
    if failures:
        raise failures[0]


def change_user(world: Smtped, name: str, *fields: tuple[str, str]) -> None:
    """Add fields to a user's entry."""
    with world.served.embedded() as mdird:
        version, header = find_user(mdird, PLACES.users, name)
        assert header
        mdird.set(PLACES.users, Header([*header, *fields]), base=version)


def crlf(mail: bytes) -> bytes:
    """As it is sent."""
    return re.sub(rb"\r?\n", b"\r\n", mail)


def eventually(is_so: Callable[[], bool], timeout: float = 30) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def code(do: Callable[[], tuple[int, bytes]]) -> str:
    """The reply of a command, code and enhanced code."""
    number, text = do()
    return f"{number} {text.decode().split(' ')[0]}"


def send(world: Smtped, mail: bytes, *recipients: str) -> None:
    """Send one mail."""
    with world.client() as client:
        client.sendmail("a@b.test", recipients or ACCOUNTS[:1], mail)
