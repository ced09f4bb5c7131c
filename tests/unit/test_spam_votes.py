"""The spam box while its folders cannot be followed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mdirclient.smtp.accounts import Places
from mdirclient.smtp.followed import Followed
from mdirclient.smtp.following import Following
from mdirclient.smtp.spam.box import SpamBox, _Box
from mdirclient.smtp.spam.votes import Vote, Votes

PLACES = Places("Users", "SMTP/Accounts", "SMTP/Outbox", "SMTP/Spam", "SMTP/Delayed")


def test_nothing_is_due_while_the_mdird_is_away(tmp_path: Path) -> None:
    """It waits to hear of it, and does not look again and again."""
    nothing: Any = None

    def log(*_: object, **__: object) -> None:
        """Nobody listens."""

    async def waits() -> list[float | None]:
        votes = Votes(str(tmp_path / "smtp.sqlite3"))
        following = Following(nothing, PLACES, log)
        following._is_made = True
        box = SpamBox(nothing, following, votes, folder="x", kept=5, log=log, now=lambda: 100.0)
        followed = Followed(nothing, "x", None, lambda: None, log, event="stale")
        late = {"mdir:a@b/1": Vote("jo@ours.test", "mdir:a@b/1", 1.0)}
        task = asyncio.create_task(asyncio.sleep(0))
        box._boxes["jo@ours.test"] = _Box(followed, task, late)
        found = [await box._work_all()]
        followed.is_current = True
        found.append(await box._work_all())
        await task
        votes.close()
        return found

    assert [None, 0.0] == asyncio.run(waits())
