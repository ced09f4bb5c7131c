"""Many deliveries and syncs at once, and deliveries that are killed."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mdirclient import Folder, connect
from mdirclient.mstore import DirectoryMstore
from mdirclient.smtp.deliver import Host, deliver
from mdirclient.smtp.envelope import read_envelope
from tests.crash.ladder import Ladder, killed_at
from tests.mails import small, two_photos
from tests.places import PLACES
from tests.system.commands import World

ACCOUNTS = ["jo@machin.com", "li@machin.com"]


def urls(world: World, account: str) -> list[str]:
    """The entries of an account."""
    with connect(world.environ["MDIRD"], create=False) as mdird:
        found = mdird.lookup(f"SMTP/Accounts/{account}")
        return [header["url"] for header in found if header.get("type") != "rights"]


def test_two_hundred_deliveries_and_two_syncs(world: World) -> None:
    """Eight at a time into two accounts: nothing lost, nothing double, no error."""
    for account in ACCOUNTS:
        world.account(account)
    finished = threading.Event()

    def sync_on(account: str) -> None:
        is_last = False
        while not is_last:
            is_last = finished.is_set()
            world.right("mdir", "sync", f"SMTP/Accounts/{account}", account)

    def send(number: int) -> None:
        done = world.deliver(small(number), ACCOUNTS[number % 2])
        assert (0, "") == (done.status, done.errors), done

    with ThreadPoolExecutor(10) as pool:
        syncs = [pool.submit(sync_on, account) for account in ACCOUNTS]
        try:
            with ThreadPoolExecutor(8) as senders:
                list(senders.map(send, range(200)))
        finally:
            finished.set()
        for sync in syncs:
            sync.result()
    for which, account in enumerate(ACCOUNTS):
        expected = {f"mdir:{number}@example.org/1" for number in range(which, 200, 2)}
        assert Counter(expected) == Counter(urls(world, account))
        folder = Folder(world.path / account)
        assert Counter(expected) == Counter(str(entry.url) for entry in folder)
        assert 101 == folder.version
        assert 100 == len(list((world.path / account).glob("[!.]*")))


def test_killed_at_any_moment_then_again(served: World) -> None:
    """Exactly one copy of each."""
    chance = random.Random(2026)
    killed = 0
    for number in range(40):
        mail = two_photos(message_id=f"{number}@x")
        process = subprocess.Popen(
            ["mdir-smtp", "deliver", "--recipient", "jo@machin.com"],
            stdin=subprocess.PIPE,
            env=served.environ,
        )
        assert process.stdin is not None
        process.stdin.write(mail)
        process.stdin.close()
        time.sleep(chance.uniform(0.04, 0.12))  # not to wait for it: to stop it anywhere
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert 0 == served.deliver(mail).status
    assert killed >= 5
    expected = {f"mdir:{number}@x/{part}" for number in range(40) for part in (1, 2, 3)}
    assert Counter(expected) == Counter(urls(served, "jo@machin.com"))


def test_killed_at_each_step_then_again(served: World) -> None:
    """Of the store and what leads to it: the same, at every system call."""
    host = Host("here", (), "now")
    envelope = read_envelope({}, recipients=["jo@machin.com"])
    ladder = Ladder()
    step = 0
    for step in ladder:
        mail = two_photos(message_id=f"{step}@x")

        def once(mail: bytes = mail) -> None:
            with connect(served.environ["MDIRD"], create=False) as mdird:
                deliver([mail], mdird, envelope=envelope, places=PLACES, host=host)

        ladder.note(is_reached=killed_at(step, once))
        once()
    assert step > 20
    print(f"{step} states")
    expected = {f"mdir:{number}@x/{part}" for number in range(1, step + 1) for part in (1, 2, 3)}
    assert Counter(expected) == Counter(urls(served, "jo@machin.com"))


def test_what_was_killed_is_swept(tmp_path: Path) -> None:
    """A day later; what is younger may be on its way."""
    import os

    store = DirectoryMstore(tmp_path / "store")
    left = tmp_path / "store" / "incoming" / "left"
    left.mkdir()
    (left / "1").write_bytes(b"half")
    (tmp_path / "store" / "incoming" / "large").write_bytes(b"half")
    store.add(small(1))
    assert 2 == len(list(left.parent.iterdir()))
    for path in left.parent.iterdir():
        os.utime(path, (0, 0))
    DirectoryMstore(tmp_path / "store").add(small(2))
    assert [] == list(left.parent.iterdir())
