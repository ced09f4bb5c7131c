"""`mdir-smtp outbox` as a process: its directory, signals, the service manager."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from mdirclient import _fs
from mdirclient.errors import LockTimeoutError
from mdirclient.service.log import Log, make_log
from mdirclient.service.notify import notify
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.antispam.greys import Greys
from mdirclient.smtp.daemon import connected, host_of, on_signal, unless_ended
from mdirclient.smtp.following import Following
from mdirclient.smtp.outbox import sender
from mdirclient.smtp.outbox.jobs import Jobs
from mdirclient.smtp.outbox.sender import Outbox
from mdirclient.smtp.outbox.sendmail import Sendmail, parse_words

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.settings import Settings

#: Names in the directory of the sender.
_LOCK, _PLACE, _JOBS = "lock", "place", "jobs"
_MAX_PLACE: Final = 100
#: Seconds in which another sender of this directory may end, before something is said of it.
_PATIENCE: Final = 3.0
_LOOK: Final = 0.2
#: Where it is on every system that has one.
_SENDMAIL: Final = "/usr/sbin/sendmail"
#: Seconds that mails on their way have when the sender stops.
_DRAIN: Final = 30.0
#: Seconds after which a file that no mail refers to goes.
_OLD: Final = 30 * 86_400.0


@attrs.frozen
class Options:
    """What `mdir-smtp outbox` was told; see its help.

    Attributes:
        as_json: log lines as JSON.
        seconds: that sendmail may take.
        sending: how the queue is worked through.
    """

    as_json: bool = False
    seconds: float = 300.0
    sending: sender.Options = attrs.field(factory=sender.Options)


def run(settings: Settings, options: Options) -> None:
    """Send what is in the outbox until a signal comes.

    Raises:
        SettingsError: the program cannot be used.
        StoreError: it cannot be started.
    """
    log = make_log(as_json=options.as_json)
    asyncio.run(_run(settings, options, log))


async def _run(settings: Settings, options: Options, log: Log) -> None:
    ended = on_signal()
    # Before anything is waited for: what is wrong in the settings is said at once.
    way = way_of(settings, options.seconds, log)
    places = Places.from_settings(settings)
    mdird = await unless_ended(connected(settings, log), ended)
    if mdird is None:
        return
    async with mdird:
        following = Following(mdird, places, log)
        work = asyncio.create_task(following.run())
        stopping = asyncio.Event()
        sending = asyncio.create_task(
            send(settings, mdird, following, way, options.sending, stopping=stopping, log=log)
        )
        tasks: list[asyncio.Task[Any]] = [ended, work, sending]
        notify(os.environ, "READY=1")
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        notify(os.environ, "STOPPING=1")
        log("stopping")
        stopping.set()
        await sending
        if work.done():
            work.result()
        work.cancel()


def way_of(settings: Settings, seconds: float, log: Log) -> Jobs:
    """How mails are sent: to a smarthost if there is one, else by a sendmail program.

    Raises:
        SettingsError: it cannot be used.
    """
    jobs = os.path.join(settings.smtp_outbox(), _JOBS)
    if relay := settings.find("MDIR_SMTP_RELAY"):
        from mdirclient.smtp.relay.smarthost import Smarthost, parse_relay  # extra `smtp`

        host, keys = host_of(settings).name, settings.smtp_dkim()
        return Smarthost(parse_relay(relay), jobs, host=host, keys=keys, log=log)
    words = parse_words(settings.find("MDIR_SMTP_SENDMAIL") or _SENDMAIL)
    return Sendmail(words, jobs, seconds=seconds)


async def send(
    settings: Settings,
    mdird: AsyncMdird,
    following: Following,
    way: Jobs,
    options: sender.Options,
    *,
    stopping: asyncio.Event,
    log: Log,
) -> None:
    """Send what is in the outbox, until that is to stop; then let end what was begun.

    Args:
        settings: of this run.
        mdird: with the outbox.
        following: the list of accounts; the caller runs it.
        way: how.
        options: of the queue.
        stopping: set to end.
        log: of events.

    Raises:
        StoreError: the way does not start.
    """
    directory = settings.smtp_outbox()
    async with _alone(directory, stopping, log) as is_ours:
        if not is_ours:
            return
        greys = Greys(settings.smtp_state())

        def wrote(account: str, recipients: Sequence[str]) -> None:
            greys.wrote(account, recipients, time.time())

        await way.start()
        await asyncio.to_thread(_fs.sweep, way.directory, older_than=time.time() - _OLD)
        places = Places.from_settings(settings)
        outbox = Outbox(
            mdird,
            following,
            way,
            places=places,
            place=place_of(directory),
            host=host_of(settings).name,
            options=options,
            log=log,
            wrote=wrote,
        )
        work = asyncio.create_task(outbox.run())
        log("sending", by=way.name, outbox=places.outbox)
        waiting = asyncio.create_task(stopping.wait())
        tasks: list[asyncio.Task[Any]] = [waiting, work]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await outbox.stop(_DRAIN)
        if work.done():
            work.result()
        work.cancel()
        await asyncio.wait([work])
        await way.stop()
        greys.close()


@contextlib.asynccontextmanager
async def _alone(directory: str, stopping: asyncio.Event, log: Log) -> AsyncIterator[bool]:
    """Be the only process that has this directory; False: it is to stop before that."""
    _fs.make_directories(directory, mode=0o700)
    since, is_said = time.monotonic(), False
    while not stopping.is_set():
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_fs.lock(os.path.join(directory, _LOCK), timeout=0))
            except LockTimeoutError as error:
                if not is_said and time.monotonic() > since + _PATIENCE:
                    log("waiting", reason=error)
                    is_said = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _LOOK)
                continue
            yield True
            return
    yield False


def place_of(directory: str) -> str:
    """The name of a sender's directory: random, made once."""
    path = os.path.join(directory, _PLACE)
    with contextlib.suppress(FileNotFoundError):
        if place := _fs.read_file(path, _MAX_PLACE)[0].decode("ascii", "replace").strip():
            return place
    place = os.urandom(16).hex()
    _fs.replace(path, place.encode() + b"\n", staged=f"{path}.new")
    return place
