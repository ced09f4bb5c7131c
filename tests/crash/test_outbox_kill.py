"""The sender of the outbox, killed at any moment: nothing is lost, nothing is sent twice."""

from __future__ import annotations

import contextlib
import email
import os
import signal
import time
from pathlib import Path

import pytest

from tests.outboxed import UNTIL_GO, Outboxed, outboxed
from tests.smtped import eventually


def test_a_kill_while_sendmail_runs(tmp_path: Path) -> None:
    """The next sender hears how that ended: nothing is sent again."""
    with outboxed(tmp_path / "w", UNTIL_GO) as world:
        sender = world.start()
        url = world.compose()
        eventually((world.path / "begun").exists)
        world.kill(sender)
        assert "sending" == world.status(url)
        (world.path / "go").touch()
        world.start()
        world.until(1)
        assert 1 == len(world.sent())
        assert [] == world.entries()


def test_a_kill_at_the_very_start(tmp_path: Path) -> None:
    """What it left where it was to write down its name is in nobody's way."""
    with outboxed(tmp_path / "w") as world:
        (world.path / "smtp-outbox").mkdir(mode=0o700)
        (world.path / "smtp-outbox" / "place.new").write_bytes(b"12ab")
        world.compose()
        world.start()
        world.until(1)
        assert 1 == len(world.sent())


def kill_often(world: Outboxed, mails: int, pause: float) -> int:
    """Kill senders again and again until all mails are sent; how often."""
    kills = 0
    sender = world.start("--jobs", "2")
    for number in range(mails):
        world.compose(("subject", f"mail {number}"), ("to", "x@there.test"))
    deadline = time.monotonic() + 120 + 3 * mails
    idle, before = 0, 0
    while world.received() < mails:
        assert time.monotonic() < deadline, world.log[-3000:]
        # At another moment each time; later where nothing comes, so that a slow machine gets on.
        idle = idle + 1 if world.received() == before else 0
        before = world.received()
        time.sleep(pause * (1 + kills % 7) / 4 * (1 + idle // 7))
        world.kill(sender)
        sender = world.start("--jobs", "2")
        kills += 1
    world.kill(sender)
    return kills


def _check_once(world: Outboxed, mails: int, kills: int) -> None:
    sent = world.sent()
    ids = [email.message_from_bytes(mail)["message-id"] for _, mail in sent]
    print(f"{mails} mails, {kills} kills, {len(ids) - len(set(ids))} sent twice")
    assert mails == len(set(ids))
    # The runner goes on where a sender is killed, so even the window is closed.
    assert mails == len(ids)
    assert [] == world.entries()


def test_kills(tmp_path: Path) -> None:
    """Each is sent, exactly once."""
    with outboxed(tmp_path / "w", "sleep 0.1") as world:
        _check_once(world, 6, kill_often(world, 6, 1.0))


@pytest.mark.long
@pytest.mark.timeout(3_000)
def test_many_kills(tmp_path: Path) -> None:
    """The same at many more moments."""
    with outboxed(tmp_path / "w", "sleep 0.05") as world:
        _check_once(world, 150, kill_often(world, 150, 1.0))


def test_the_whole_machine_is_killed(tmp_path: Path) -> None:
    """Runner and sendmail too: the mail is tried again, with the same Message-ID."""
    with outboxed(tmp_path / "w", UNTIL_GO) as world:
        sender = world.start()
        world.compose()
        eventually((world.path / "begun").exists)
        runners = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if _has(path, str(world.path / "smtp-outbox"))
        ]
        assert runners
        world.kill(sender)
        for pid in runners:
            _kill_group(pid)
        (world.path / "begun").unlink()
        world.does("exit 0")
        world.start()
        world.until(1)
        ids = {email.message_from_bytes(mail)["message-id"] for _, mail in world.sent()}
        assert 1 == len(ids)


def _has(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
