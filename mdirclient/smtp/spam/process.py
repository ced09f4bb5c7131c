"""`mdir-smtp spam` as a process, where no server runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import attrs

from mdirclient.service.log import Log, make_log
from mdirclient.service.notify import notify
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.daemon import connected, on_signal, unless_ended
from mdirclient.smtp.following import Following
from mdirclient.smtp.spam.box import KEPT, SpamBox
from mdirclient.smtp.spam.votes import Votes

if TYPE_CHECKING:
    from mdirclient.settings import Settings


@attrs.frozen
class Options:
    """What `mdir-smtp spam` was told; see its help."""

    as_json: bool = False
    kept: float = KEPT


def run(settings: Settings, options: Options) -> None:
    """Record and empty the spam box until a signal comes.

    Raises:
        SettingsError: the folders cannot be used.
        StoreError: the server's own database cannot be opened.
    """
    asyncio.run(_run(settings, options, make_log(as_json=options.as_json)))


async def _run(settings: Settings, options: Options, log: Log) -> None:
    ended = on_signal()
    places = Places.from_settings(settings)
    mdird = await unless_ended(connected(settings, log), ended)
    if mdird is None:
        return
    async with mdird:
        with contextlib.closing(Votes(settings.smtp_state())) as votes:
            following = Following(mdird, places, log)
            box = SpamBox(
                mdird, following, votes, places=places, kept=options.kept, log=log,
                now=time.time,
            )  # fmt: skip
            tasks: list[asyncio.Task[Any]] = [
                ended,
                asyncio.create_task(following.run()),
                asyncio.create_task(box.run()),
            ]
            notify(os.environ, "READY=1")
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            notify(os.environ, "STOPPING=1")
            log("stopping")
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in done - {ended}:
                task.result()
