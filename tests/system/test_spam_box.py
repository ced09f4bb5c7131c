"""The spam box of a real server: users move mails there, and the server learns from the facts."""

from __future__ import annotations

import contextlib
import json
import smtplib
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mdirclient import Header, make_folder
from mdirclient.smtp.accounts import add_account
from mdirclient.smtp.spam.votes import Votes
from tests.outboxed import ACCOUNT, JO, LI, Outboxed, outboxed
from tests.places import PLACES
from tests.smtped import eventually

BOX = f"{PLACES.spam}/{JO}"
_MAIL = (
    "From: Al <al@there.test>\r\nTo: jo@ours.test\r\nSubject: Buy\r\n"
    "Message-ID: <{}@there.test>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nBuy\r\n"
    "--b\r\nContent-Type: image/png\r\n\r\npicture\r\n--b--\r\n"
)


def send(port: int, name: str, *recipients: str, sender: str = "al@there.test") -> None:
    """A mail of two parts, from a client of another network than loopback's first."""
    with smtplib.SMTP(source_address=("127.0.2.1", 0)) as client:
        client.connect("127.0.0.1", port)
        client.sendmail(sender, recipients or [JO], _MAIL.format(name).encode())


def move(world: Outboxed, name: str, source: str, target: str) -> None:
    """What a mail client does with all parts of a mail."""
    with world.connect() as mdird:
        found = [
            one for one in mdird.lookup(source) if f"mdir:{name}@" in (one.get("anchor") or "")
        ]
        assert found
        with mdird.batch() as batch:
            for header in found:
                batch.put(target, header)
                batch.remove(source, Header([("url", header["url"])]))


def votes(world: Outboxed) -> list[dict[str, Any]]:
    """What was recorded."""
    done = world.run("spam", "--list", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def in_account(world: Outboxed, name: str) -> bool:
    """Whether both parts are there."""
    anchor = f"mdir:{name}@there.test/1"
    return sum(one.get("anchor") == anchor for one in world.entries(ACCOUNT)) == 2


def in_box(world: Outboxed) -> int:
    """Entries that are in it."""
    with world.connect() as mdird:
        return sum(one.get("type") is None for one in mdird.lookup(BOX))


def test_a_mail_that_is_spam(tmp_path: Path) -> None:
    """One vote for all its parts, with the facts of its SMTP time; then the box is emptied."""
    with outboxed(tmp_path) as world, world.serving("--spam-kept", "1") as (_, port):
        send(port, "one", JO, LI)
        eventually(lambda: len(world.entries(ACCOUNT)) == 2)
        move(world, "one", ACCOUNT, BOX)
        eventually(lambda: len(votes(world)) == 1)
        (vote,) = votes(world)
        expected = {"account": JO, "sender": "al@there.test", "client": "127.0.2.1"}
        assert expected == {name: vote[name] for name in expected}
        eventually(lambda: in_box(world) == 0)
        # The content is in the store all the same, and the other recipient has the mail.
        with world.connect() as mdird, mdird.store.open("mdir:one@there.test/0") as file:
            assert b"Subject: Buy" in file.read()
        assert 2 == len(world.entries(f"{PLACES.accounts}/{LI}"))
        # The same mail once more is no second vote.
        with world.connect() as mdird:
            mdird.put(BOX, Header([("url", "mdir:one@there.test/1")]))
        eventually(lambda: in_box(world) == 0)
        assert 1 == len(votes(world))


def test_a_vote_before_the_record(tmp_path: Path) -> None:
    """Records of a busy time are kept together; a vote on such a mail waits for its own."""
    names = [f"mail{number}" for number in range(12)]
    with outboxed(tmp_path) as world, world.serving() as (_, port):
        for name in names:
            send(port, name)
            eventually(partial(in_account, world, name))
            move(world, name, ACCOUNT, BOX)
        eventually(lambda: len(votes(world)) == len(names), 30)
        assert {"127.0.2.1"} == {vote["client"] for vote in votes(world)}
        assert "spam-unknown" not in world.log


def test_a_mail_that_is_none_after_all(tmp_path: Path) -> None:
    """Who moves it back takes the vote back, also while the server is away."""
    with outboxed(tmp_path) as world:
        with world.serving() as (_, port):
            for name in ("one", "two"):
                send(port, name)
            eventually(lambda: len(world.entries(ACCOUNT)) == 4)
            for name in ("one", "two"):
                move(world, name, ACCOUNT, BOX)
            eventually(lambda: len(votes(world)) == 2)
            move(world, "one", BOX, ACCOUNT)
            eventually(lambda: len(votes(world)) == 1)
        move(world, "two", BOX, ACCOUNT)
        with world.serving():
            eventually(lambda: votes(world) == [])
        assert 4 == len(world.entries(ACCOUNT))


def remove(world: Outboxed, name: str, folder: str) -> None:
    """What a mail client does to delete all parts of a mail."""
    with world.connect() as mdird:
        mdird.remove(folder, Header([("anchor", f"mdir:{name}@there.test/1")]))


def open_votes(world: Outboxed) -> list[str]:
    """Anchors of what a user may take back."""
    with contextlib.closing(Votes(world.environ["MDIR_SMTP_STATE"])) as found:
        return list(found.of(JO))


def test_where_it_goes_to(tmp_path: Path) -> None:
    """Spam that is deleted, or thrown into the trash, is spam; below the account it is none."""
    folders = {
        "thrown": f"{ACCOUNT}/trash", "other": "Home/Jo/Trash", "sorted": f"{ACCOUNT}/Work/Lists"
    }  # fmt: skip
    with outboxed(tmp_path) as world:
        with world.connect() as mdird:
            for folder in folders.values():
                make_folder(mdird, folder)
        with world.serving() as (_, port):
            for name in ("deleted", *folders):
                send(port, name)
                eventually(partial(in_account, world, name))
                move(world, name, ACCOUNT, BOX)
            eventually(lambda: len(votes(world)) == 4)
            remove(world, "deleted", BOX)
            for name, folder in folders.items():
                move(world, name, BOX, folder)
            eventually(lambda: world.log.count("spam-undone") == 1)
        # Second thoughts, while the server is away.
        move(world, "thrown", f"{ACCOUNT}/trash", ACCOUNT)
        with world.serving():
            eventually(lambda: world.log.count("spam-undone") == 2)
        anchors = [f"mdir:{name}@there.test/1" for name in ("deleted", "other")]
        assert anchors == sorted(vote["anchor"] for vote in votes(world))
        assert anchors == sorted(open_votes(world))
        with world.serving("--spam-kept", "0"):  # their time is over
            eventually(lambda: not open_votes(world))
        move(world, "other", folders["other"], ACCOUNT)  # too late
        with world.serving() as (_, port):
            send(port, "last")
            eventually(partial(in_account, world, "last"))
        assert anchors == sorted(vote["anchor"] for vote in votes(world))


def test_a_client_that_removes_first(tmp_path: Path) -> None:
    """It is looked for once more, and at the end of its time."""
    with outboxed(tmp_path) as world, world.serving("--spam-kept", "20") as (_, port):
        for name in ("soon", "late"):
            send(port, name)
            eventually(partial(in_account, world, name))
            with world.connect() as mdird:
                entries = [
                    one for one in mdird.lookup(ACCOUNT) if name in (one.get("anchor") or "")
                ]
            move(world, name, ACCOUNT, BOX)
            eventually(lambda: len(votes(world)) == 1)
            remove(world, name, BOX)
            time.sleep(1 if name == "soon" else 7)  # the server has looked once, or twice
            assert 1 == len(votes(world))
            with world.connect() as mdird:
                for entry in entries:
                    mdird.put(ACCOUNT, entry)
            eventually(lambda: votes(world) == [], 40)


def test_a_user_with_two_addresses(tmp_path: Path) -> None:
    """One vote for each mail and user; it is taken back when neither box has the mail."""
    with outboxed(tmp_path) as world:
        with world.connect() as mdird:
            add_account(mdird, PLACES, "other@ours.test", user=JO)
        other = [f"{place}/other@ours.test" for place in (PLACES.accounts, PLACES.spam)]
        with world.serving() as (_, port):
            send(port, "one", JO, LI, "other@ours.test")
            eventually(lambda: len(world.entries(other[0])) == 2)
            eventually(partial(in_account, world, "one"))
            move(world, "one", ACCOUNT, BOX)
            eventually(lambda: len(votes(world)) == 1)
            move(world, "one", *other)
            eventually(lambda: "spam account=other@ours.test" in world.log)
            assert [JO] == [vote["account"] for vote in votes(world)]
            move(world, "one", BOX, ACCOUNT)
            eventually(partial(in_account, world, "one"))
            move(world, "one", f"{PLACES.accounts}/{LI}", f"{PLACES.spam}/{LI}")
            eventually(lambda: len(votes(world)) == 2)
            move(world, "one", *reversed(other))
            eventually(lambda: [LI] == [vote["account"] for vote in votes(world)])


@pytest.mark.parametrize("kept", ["0", "2"])
def test_a_server_that_is_killed_meanwhile(tmp_path: Path, kept: str) -> None:
    """No vote is lost or counted twice, and all leaves the box."""
    names = [f"mail{number}" for number in range(6)]
    with outboxed(tmp_path) as world:
        with world.serving("--spam-kept", kept) as (process, port):
            for name in names:
                send(port, name)
            eventually(lambda: len(world.entries(ACCOUNT)) == 2 * len(names))
            for name in names:
                move(world, name, ACCOUNT, BOX)
            eventually(lambda: len(votes(world)) > 0)
            process.kill()
            process.wait(30)
        with world.serving("--spam-kept", kept):
            eventually(lambda: in_box(world) == 0, 30)
        found = sorted(vote["anchor"] for vote in votes(world))
        assert [f"mdir:{name}@there.test/1" for name in names] == found


def test_what_did_not_come_by_smtp(tmp_path: Path) -> None:
    """It is recorded as unknown; a forged header of the moved entry changes nothing."""
    with outboxed(tmp_path) as world, world.serving("--spam-kept", "0") as (_, port):
        send(port, "other", LI)
        forged = [("url", "mdir:x@y.test/1"), ("client-address", "192.0.2.1"),
                  ("anchor", "mdir:x@y.test/1"), ("envelope-from", "boss@y.test")]  # fmt: skip
        with world.connect() as mdird:
            mdird.put(BOX, Header(forged))
            # Of a mail that somebody else got nothing is known of this account.
            mdird.put(BOX, Header([("url", "mdir:other@there.test/1")]))
        eventually(lambda: len(votes(world)) == 2)
        eventually(lambda: in_box(world) == 0)
        assert [(None, None)] * 2 == [(one["sender"], one["client"]) for one in votes(world)]
        eventually(lambda: world.log.count("spam-unknown") == 2)


def test_what_is_learned(tmp_path: Path) -> None:
    """Who brought spam must show anew that it brings good mail."""
    words = ["--early", "0", "--allow", "192.0.2.1/32", "--spam-kept", "0", "--grey-for", "0"]
    with outboxed(tmp_path) as world, world.serving(*words) as (_, port):
        send(port, "one")
        eventually(lambda: len(world.entries(ACCOUNT)) == 2)
        move(world, "one", ACCOUNT, BOX)
        eventually(lambda: in_box(world) == 0)
        with smtplib.SMTP(source_address=("127.0.2.1", 0)) as client:
            client.connect("127.0.0.1", port)
            client.ehlo()
            client.mail("x@there.test")
            for name in ("amy", "bob", "cat"):
                assert 550 == client.rcpt(f"{name}@ours.test")[0]
        eventually(lambda: "blocked network=127.0.2.1" in world.log)


def test_the_command_alone(tmp_path: Path) -> None:
    """Where no server runs `mdir-smtp spam` does the same."""
    with outboxed(tmp_path) as world:
        with world.serving() as (_, port):
            send(port, "one")
            eventually(lambda: len(world.entries(ACCOUNT)) == 2)
        world.start_command("spam", "--kept", "0")
        move(world, "one", ACCOUNT, BOX)
        eventually(lambda: len(votes(world)) == 1)
        eventually(lambda: in_box(world) == 0)
        assert 64 == world.run("spam", "--kept", "-1").returncode


def test_the_command_beside_a_server(tmp_path: Path) -> None:
    """It waits: two would take what the other empties for a second thought."""
    names = [f"mail{number}" for number in range(6)]
    with outboxed(tmp_path) as world:
        with world.serving("--spam-kept", "0") as (_, port):
            world.start_command("spam", "--kept", "0")
            eventually(lambda: "spam-waits holder=" in world.log)
            for name in names:
                send(port, name)
                eventually(partial(in_account, world, name))
                move(world, name, ACCOUNT, BOX)
            eventually(lambda: in_box(world) == 0, 30)
            assert len(names) == len(votes(world))
            send(port, "last")
            eventually(partial(in_account, world, "last"))
        move(world, "last", ACCOUNT, BOX)  # the server has ended
        eventually(lambda: len(votes(world)) == len(names) + 1, 30)


def test_a_damaged_database(tmp_path: Path) -> None:
    """It is set aside and named; what the mdir has is known again, and mail comes meanwhile."""
    with outboxed(tmp_path) as world:
        with world.serving() as (_, port):
            send(port, "one", JO, LI)
            eventually(lambda: len(world.entries(ACCOUNT)) == 2)
        (tmp_path / "smtp.sqlite3").write_bytes(b"nonsense" * 10_000)
        with world.serving("--spam-kept", "0") as (_, port):
            eventually(lambda: "state-rebuilt mails=2" in world.log)
            assert f"state-damaged moved_to={tmp_path}/smtp.sqlite3.damaged-" in world.log
            send(port, "two")
            move(world, "one", ACCOUNT, BOX)
            eventually(lambda: len(votes(world)) == 1)
            assert "127.0.2.1" == votes(world)[0]["client"]
            # One mail to two accounts is one mail.
            eventually(lambda: '"mails": 2' in world.run("stats", "--json").stdout)
        assert 1 == len(list(tmp_path.glob("smtp.sqlite3.damaged-*")))
