"""`mdir-smtp serve` as a process: sockets, TLS, signals, the service manager."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs

from mdirclient.errors import MdirError, SettingsError
from mdirclient.service.listen import Place, allow_many_files, listen_at, name_of
from mdirclient.service.log import Log, make_log
from mdirclient.service.notify import notify, take_sockets
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.antispam.spf import SPF
from mdirclient.smtp.daemon import connected, host_of, on_signal, unless_ended
from mdirclient.smtp.engine import Profile
from mdirclient.smtp.following import Following
from mdirclient.smtp.outbox import sender
from mdirclient.smtp.outbox.process import send, way_of
from mdirclient.smtp.serve import answers
from mdirclient.smtp.serve.certificates import Certificates
from mdirclient.smtp.serve.limits import Limits
from mdirclient.smtp.serve.server import Listener, Server
from mdirclient.smtp.spam.box import SpamBox
from mdirclient.smtp.state import State, open_state
from mdirclient.smtp.statistics.archive import Archive
from mdirclient.smtp.statistics.publish import Publisher
from mdirclient.smtp.statistics.rebuild import rebuild
from mdirclient.smtp.statistics.totals import DAY
from mdirclient.smtp.statistics.view import view_of

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.settings import Settings

#: Kind of a listener → its port where none is said (RFC 5321, 6409, 8314; RFC 2033 wants none).
KINDS: Final = {"smtp": 25, "submission": 587, "submissions": 465, "lmtp": 24}
#: Seconds in which the accounts are waited for before anybody is let in.
_PATIENCE: Final = 5.0
#: Open files that are no connections: databases, the mdird, contents on their way. When there are
#: too few after all, nobody is accepted for a second, and a mail is 451.
_OTHER_FILES: Final = 400
#: Seconds between two lines in the log that there are no more.
_QUIET: Final = 10.0
#: Seconds after which a database that could not be filled is tried again.
_AGAIN: Final = 10.0
_EXHAUSTED: Final = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])


@attrs.frozen
class Options:
    """What `mdir-smtp serve` or `lmtp` was told; see their help."""

    listen: str | None
    has_tls: bool
    as_json: bool
    limits: Limits


def serve(settings: Settings, options: Options) -> None:
    """Serve until a signal comes.

    Raises:
        SettingsError: an address, a folder or a certificate cannot be used.
        TransportError: it cannot be listened there.
        StoreError: the server's own database cannot be opened.
        LockTimeoutError: another server has been opening it for minutes.
    """
    log = make_log(as_json=options.as_json)
    # What is wrong in the settings is said at once.
    view_of(settings)
    places = Places.from_settings(settings)
    # Before anything is waited for: who listens on a low port gives up that right later.
    sockets = _given_sockets() or _sockets(options.listen or settings.get("MDIR_SMTP_LISTEN"))
    most = allow_many_files()
    connections = min(options.limits.connections, max(16, most - _OTHER_FILES))
    limits = attrs.evolve(options.limits, connections=connections)
    if not is_greylisting(settings):
        limits = attrs.evolve(limits, grey_for=0.0)
    path = settings.smtp_state()
    state, aside = open_state(path, time.time())
    if aside:
        log("state-damaged", moved_to=aside)
    try:
        directory = os.path.dirname(os.path.abspath(path))
        tls = Certificates(settings, directory, log) if options.has_tls else None
        asyncio.run(_serve(settings, places, sockets, state, tls=tls, limits=limits, log=log))
    finally:
        state.close()


async def _serve(
    settings: Settings,
    places: Places,
    sockets: list[tuple[str, socket.socket]],
    state: State,
    *,
    tls: Certificates | None,
    limits: Limits,
    log: Log,
) -> None:
    loop = asyncio.get_running_loop()
    ended = on_signal()
    mdird = await unless_ended(connected(settings, log), ended)
    if mdird is None:
        return
    reserve = Reserve([one for _, one in sockets], log)
    loop.set_exception_handler(reserve.on_exception)
    async with mdird, contextlib.aclosing(reserve):
        host = host_of(settings)
        following = Following(mdird, places, log)
        has_relay = settings.find("MDIR_SMTP_RELAY") is not None
        server = Server(
            mdird,
            following,
            state,
            places=places,
            host=host,
            limits=limits,
            log=log,
            has_relay=has_relay,
            spf=spf_of(settings, host.name) if limits.grey_for else None,
        )
        followed = loop.create_task(following.run())
        stopping = asyncio.Event()
        sending: list[asyncio.Task[None]] = []
        if has_relay:
            way, options = way_of(settings, 0.0, log), sender.Options()
            sender_work = send(settings, mdird, following, way, options, stopping=stopping, log=log)
            sending.append(loop.create_task(sender_work))
        work = _learn(settings, places, mdird, following, state, limits=limits, log=log)
        learning = loop.create_task(_beside(work, "what learns", log))
        # Who comes a moment later need not be told to come again.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(following.made(), _PATIENCE)
        listeners = [(listener_of(kind, host.name, tls, limits), one) for kind, one in sockets]
        await server.start_listening(listeners)
        if tls:
            loop.add_signal_handler(signal.SIGHUP, tls.reload)
            server.start(tls.watch())
        for listener, one in listeners:
            log("listening", kind=listener.kind, address=name_of(one))
        notify(os.environ, "READY=1")
        tasks: list[asyncio.Task[Any]] = [ended, followed, *sending]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        notify(os.environ, "STOPPING=1")
        log("stopping", connections=len(server.sessions))
        stopping.set()
        await server.stop()
        for task in sending:
            await task
        learning.cancel()
        await asyncio.wait([learning])
        if followed.done():
            followed.result()
        followed.cancel()


def is_greylisting(settings: Settings) -> bool:
    """Whether senders that come for the first time are told to come again.

    Raises:
        SettingsError: neither `on` nor `off`.
    """
    given = settings.get("MDIR_SMTP_GREYLIST").lower()
    if given not in ("on", "off"):
        raise SettingsError("MDIR_SMTP_GREYLIST", given, "expected on or off")
    return given == "on"


def spf_of(settings: Settings, hostname: str) -> SPF:
    """What asks domains for whom they vouch.

    Raises:
        SettingsError: the DNS server is no address.
    """
    given = settings.find("MDIR_SMTP_DNS")
    if given is None:
        return SPF(host=hostname)
    try:
        parts = urlsplit(f"//{given}")
        address, port = str(ipaddress.ip_address(parts.hostname or "")), parts.port
    except ValueError as error:
        raise SettingsError("MDIR_SMTP_DNS", given, str(error)) from None
    return SPF(host=hostname, nameservers=((address, 53 if port is None else port),))


async def _learn(
    settings: Settings,
    places: Places,
    mdird: AsyncMdird,
    following: Following,
    state: State,
    *,
    limits: Limits,
    log: Log,
) -> None:
    """The spam box and statistics, until cancelled."""
    archive = Archive(state.path)
    try:
        box = SpamBox(
            mdird,
            following,
            archive,
            places=places,
            kept=limits.spam_kept,
            log=log,
            now=time.time,
        )
        publisher = Publisher(
            mdird, archive, view_of(settings), folder=places.statistics, log=log, now=time.time
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(_beside(box.run(), "the spam box", log))
            filling = _fill(mdird, places.accounts, state, log, keep=limits.keep)
            # Nobody reports of a database that is filled with one half of what happened.
            if await _beside(filling, "the new database", log):
                group.create_task(_beside(publisher.run(), "statistics", log))
    finally:
        # A thread may be reading yet: the loop does not wait for it here.
        await asyncio.to_thread(archive.close)


async def _fill(mdird: AsyncMdird, accounts: str, state: State, log: Log, *, keep: int) -> None:
    """What the mdir still has goes into the database that took the place of a damaged one."""
    while True:
        try:
            begun = await asyncio.to_thread(state.filling)
            if begun is None:
                return
            # What is older would be forgotten, and counted again the next time.
            since = max(begun, time.time()) - keep * DAY
            count = await rebuild(mdird, accounts, state, since, begun)
            await asyncio.to_thread(state.end_filling)
            log("state-rebuilt", mails=count)
        except (MdirError, OSError) as error:
            log("state-failed", error=error)
            await asyncio.sleep(_AGAIN)


async def _beside(work: Coroutine[object, object, None], what: str, log: Log) -> bool:
    """Something without which mails come and go all the same; whether it ended well."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - see above
        log("defect", what=what, error=repr(error))
        return False
    return True


def listener_of(kind: str, hostname: str, tls: Certificates | None, limits: Limits) -> Listener:
    """What is offered where clients of a kind come in.

    Raises:
        SettingsError: submission without TLS.
    """
    is_submission = kind.startswith("submission")
    if is_submission and not tls:
        raise SettingsError("MDIR_SMTP_LISTEN", kind, "submission needs TLS")
    profile = Profile(
        hostname,
        is_lmtp=kind == "lmtp",
        is_submission=is_submission,
        has_tls=tls is not None and kind != "submissions",
        max_size=limits.size,
        max_recipients=limits.recipients,
        max_errors=limits.errors,
    )
    return Listener(kind, profile, kind == "submissions", tls.of(kind) if tls else lambda: None)


def parse_listen(text: str) -> list[tuple[str, Place]]:
    """Read `smtp://host:port` and the like, and `unix:/path` for LMTP, by commas.

    Raises:
        SettingsError: something else.
    """
    found = []
    for word in (word.strip() for word in text.split(",") if word.strip()):
        if word.startswith("unix:"):
            path = word.removeprefix("unix:").removeprefix("//")
            if not path.startswith("/"):
                raise SettingsError("MDIR_SMTP_LISTEN", word, "a socket's path begins with /")
            found.append(("lmtp", Place(path=path)))
            continue
        try:
            parts = urlsplit(word)
            port = parts.port
        except ValueError as error:
            raise SettingsError("MDIR_SMTP_LISTEN", word, str(error)) from None
        if parts.scheme not in KINDS or parts.path.strip("/") or parts.username is not None:
            expected = f"expected {', '.join(f'{kind}://host:port' for kind in KINDS)}"
            raise SettingsError("MDIR_SMTP_LISTEN", word, f"{expected} or unix:/path")
        place = Place(host=parts.hostname or "", port=KINDS[parts.scheme] if port is None else port)
        found.append((parts.scheme, place))
    if not found:
        raise SettingsError("MDIR_SMTP_LISTEN", text, "there is no address in it")
    return found


def _sockets(text: str) -> list[tuple[str, socket.socket]]:
    return [(kind, one) for kind, place in parse_listen(text) for one in listen_at(place)]


def _given_sockets() -> list[tuple[str, socket.socket]]:
    """Those of the service manager: `FileDescriptorName=` says the kind."""
    given = take_sockets(os.environ)
    for name, _ in given:
        if name not in KINDS:
            raise SettingsError(
                "FileDescriptorName", name, f"expected one of {', '.join(KINDS)} for each socket"
            )
    return given


class Reserve:
    """A descriptor that is kept for the moment in which there are no others."""

    def __init__(self, listening: Sequence[socket.socket], log: Log) -> None:
        self._listening = {one.fileno(): one for one in listening}
        self._log = log
        self._kept = socket.socket()
        self._quiet_until = 0.0

    async def aclose(self) -> None:
        """It is not needed any more."""
        self._kept.close()

    def on_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What the loop calls. When there are no more it stops accepting for a second by itself."""
        error, found = context.get("exception"), context.get("socket")
        if not isinstance(error, OSError) or error.errno not in _EXHAUSTED or found is None:
            self._log("defect", what=context["message"], error=repr(error))
            return
        # asyncio asks again for each that waits: one line is enough.
        if time.monotonic() >= self._quiet_until:
            self._log("exhausted", reason=error)
            self._quiet_until = time.monotonic() + _QUIET
        self._kept.close()
        # Whoever waits is gone already, or is told.
        with contextlib.suppress(OSError, KeyError):
            refused, _peer = self._listening[found.fileno()].accept()
            with refused:
                refused.setblocking(False)
                refused.send(answers.TOO_MANY.to_bytes())
        self._kept = socket.socket()
