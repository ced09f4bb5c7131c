"""What the daemons of the connector do when they start and end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mdirclient import aio
from mdirclient.errors import SettingsError, TransportError
from mdirclient.smtp.deliver import Host

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log
    from mdirclient.settings import Settings

#: Seconds between two tries to reach the mdird when a daemon starts.
_PAUSE: Final = 2.0

_Answer = TypeVar("_Answer")


def on_signal() -> asyncio.Task[bool]:
    """A task that ends when a signal asks the process to end."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return loop.create_task(stopped.wait())


async def unless_ended(
    work: Coroutine[object, object, _Answer], ended: asyncio.Task[bool]
) -> _Answer | None:
    """What the work gives; None if the process is to end before that."""
    task = asyncio.create_task(work)
    tasks: list[asyncio.Task[Any]] = [task, ended]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    return None


async def connected(settings: Settings, log: Log) -> AsyncMdird:
    """The mdird, as soon as it is there. Until then nobody is let in: senders try again."""
    said = ""
    while True:
        try:
            return await aio.connect(create=False, settings=settings)
        except TransportError as error:
            if str(error) != said:
                log("waiting", reason=error)
            said = str(error)
        await asyncio.sleep(_PAUSE)


def host_of(settings: Settings) -> Host:
    """This host, as the settings say it; without a date.

    Raises:
        SettingsError: its name cannot be used.
    """
    authserv_ids = (settings.find("MDIR_SMTP_AUTHSERV") or "").replace(",", " ").split()
    name = settings.find("MDIR_SMTP_HOSTNAME") or os.uname().nodename
    if not (name.isascii() and name.isprintable()) or " " in name:
        raise SettingsError("MDIR_SMTP_HOSTNAME", name, "expected a host name in ASCII")
    return Host(name, tuple(authserv_ids), "")
