"""`mdir-smtp outbox` as a process: its directory, signals, the service manager."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs

from mdirclient import _fs
from mdirclient.errors import LockTimeoutError
from mdirclient.service.log import Log, make_log
from mdirclient.service.notify import notify
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.daemon import connected, host_of, on_signal, unless_ended
from mdirclient.smtp.following import Following
from mdirclient.smtp.outbox import sender
from mdirclient.smtp.outbox.sender import Outbox
from mdirclient.smtp.outbox.sendmail import Sendmail, parse_words

if TYPE_CHECKING:
    from mdirclient.settings import Settings

#: Names in the directory of the sender.
_LOCK, _PLACE, _JOBS = "lock", "place", "jobs"
_MAX_PLACE: Final = 100
#: Seconds in which another sender of this directory may end, before something is said of it.
_PATIENCE: Final = 3.0
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
    words = parse_words(settings.find("MDIR_SMTP_SENDMAIL") or _SENDMAIL)
    directory = settings.smtp_outbox()
    _fs.make_directories(directory, mode=0o700)
    with _alone(directory, log):
        asyncio.run(_run(settings, options, words, directory, log))


@contextlib.contextmanager
def _alone(directory: str, log: Log) -> Iterator[None]:
    """Be the only process that has this directory."""
    timeout = _PATIENCE
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_fs.lock(os.path.join(directory, _LOCK), timeout=timeout))
            except LockTimeoutError as error:
                if timeout == _PATIENCE:
                    log("waiting", reason=error)
                timeout = 3600.0
                continue
            yield
            return


async def _run(
    settings: Settings, options: Options, words: tuple[str, ...], directory: str, log: Log
) -> None:
    ended = on_signal()
    mdird = await unless_ended(connected(settings, log), ended)
    if mdird is None:
        return
    async with mdird:
        places = Places.from_settings(settings)
        jobs = os.path.join(directory, _JOBS)
        sendmail = Sendmail(words, jobs, seconds=options.seconds)
        following = Following(mdird, places, log)
        if await unless_ended(_started(sendmail, jobs), ended) is None:
            return
        outbox = Outbox(
            mdird,
            following,
            sendmail,
            places=places,
            place=place_of(directory),
            host=host_of(settings).name,
            options=options.sending,
            log=log,
        )
        work = [asyncio.create_task(following.run()), asyncio.create_task(outbox.run())]
        notify(os.environ, "READY=1")
        log("sending", program=words[0], outbox=places.outbox)
        tasks: list[asyncio.Task[Any]] = [ended, *work]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        notify(os.environ, "STOPPING=1")
        log("stopping")
        await outbox.stop(_DRAIN)
        for task in work:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.wait(work)
        await sendmail.stop()


async def _started(sendmail: Sendmail, jobs: str) -> bool:
    await sendmail.start()
    await asyncio.to_thread(_fs.sweep, jobs, older_than=time.time() - _OLD)
    return True


def place_of(directory: str) -> str:
    """The name of a sender's directory: random, made once."""
    path = os.path.join(directory, _PLACE)
    with contextlib.suppress(FileNotFoundError):
        if place := _fs.read_file(path, _MAX_PLACE)[0].decode("ascii", "replace").strip():
            return place
    place = os.urandom(16).hex()
    _fs.replace(path, place.encode() + b"\n", staged=f"{path}.new")
    return place
