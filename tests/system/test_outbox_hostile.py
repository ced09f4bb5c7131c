"""The outbox and what its users may put there: nobody else's mail, name or time is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from mdirclient import Header
from tests.mails import two_photos
from tests.outboxed import ACCOUNT, JO, LI, OUTBOX, Outboxed, outboxed
from tests.places import PLACES
from tests.smtped import eventually

BARE = b"From: jo@ours.test\r\nTo: x@there.test\r\nSubject: whole\r\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Outboxed]:
    """An outbox with a sender that sends one after the other."""
    with outboxed(tmp_path / "w") as made:
        made.start("--jobs", "1")
        yield made


def put(world: Outboxed, *fields: tuple[str, str]) -> None:
    """Put an entry as it is."""
    with world.connect() as mdird:
        mdird.put(OUTBOX, Header(fields))


def others_go_on(world: Outboxed) -> None:
    """Another user's mail leaves; each has its own text, for the same again is the same mail."""
    before = len(world.sent())
    mail = BARE.replace(b"jo@", b"li@") + b"\r\n%d" % before
    world.put_mail(mail, folder=f"{PLACES.outbox}/{LI}")
    eventually(lambda: LI in [words[2] for words, _ in world.sent()[before:]], 30)


INJECTIONS = [
    "jo+a@ours.test>\r\nRSET\r\nMAIL FROM:<boss@ours.test",
    "jo+\0@ours.test",
    '"jo+\\\r\nRSET"@ours.test',
    "jo@ours.test, li@ours.test",
    "jo+a@there.test> NOTIFY=NEVER <x@ours.test",
    "nonsense",
]


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("name", ["envelope-from", "envelope-to"])
def test_an_envelope_is_addresses(world: Outboxed, name: str, text: str) -> None:
    """Anything else leaves nothing; of a sender there is one."""
    url = world.put_mail(BARE + b"\r\nx", (name, text))
    eventually(lambda: world.status(url) in ("failed", None))
    for words, _ in world.sent():
        assert JO == words[2]
        assert all(word.isprintable() and " " not in word for word in words)
        assert text.startswith("jo@ours.test, ")
    others_go_on(world)


def test_what_another_part_says_does_not_count(world: Outboxed) -> None:
    """A part without its anchor, with a state of its own."""
    url = "mdir:0123456789abcdef0123456789abcdef@file.invalid/1"
    anchor = "mdir:nobody@file.invalid/1"
    for status in ("sending", "failed", "queued"):
        put(world, ("url", url), ("anchor", anchor), ("part", "2"), ("status", status))
        others_go_on(world)
        with world.connect() as mdird:
            mdird.remove(OUTBOX, Header([("url", url)]))


def test_an_anchor_that_is_removed_while_it_is_sent(tmp_path: Path) -> None:
    """Its other parts wait; nobody else does."""
    with outboxed(tmp_path / "w", 'touch "$W/begun"; sleep 1; exit 75') as world:
        world.start("--jobs", "1")
        url = world.compose(attach=[b"a"])
        eventually((world.path / "begun").exists)
        with world.connect() as mdird:
            mdird.remove(OUTBOX, Header([("url", url)]))
        world.does("exit 0")
        others_go_on(world)
        assert ["incomplete"] == [one["status"] for one in world.queue("--list", "--json")]


def test_parts_of_two_mails(world: Outboxed) -> None:
    """Who may read one part of a mail does not get it by parts of another."""
    with world.connect() as mdird:
        secret = mdird.store.add(
            two_photos(message_id="secret@x").replace(b"jo@example.org", b"jo@ours.test")
        )
        mine = mdird.store.add(two_photos(message_id="mine@x"))
        first = secret.headers()[0]
        mdird.put(OUTBOX, first)
        for header in mine.headers()[1:]:
            mdird.put(OUTBOX, header.replace("anchor", first["url"]))
    world.until(1)
    assert [] == world.sent()
    assert "failed" == world.status(first["url"])


def test_contents_of_other_places(world: Outboxed) -> None:
    """The sender's own credentials open nothing."""
    put(world, ("url", "https://elsewhere.test/store/a@b/0"), ("part", "0"))
    world.until(1)
    assert "failed" == world.entries()[0]["status"]
    assert "not in the store" in world.entries()[0]["reason"]


@pytest.mark.parametrize("count", [985, 990, 995, 999, 1000])
def test_a_header_without_room(world: Outboxed, count: int) -> None:
    """It is sent, or stays; nobody waits for it."""
    with world.connect() as mdird:
        stored = mdird.store.add_file(b"x", media_type="text/plain")
        header = stored.headers()[0]
        fields = [*header, ("from", JO), ("to", "x@there.test")]
        fields += [("x-field", str(number)) for number in range(count - len(fields))]
        mdird.put(OUTBOX, Header(fields))
    others_go_on(world)
    if count <= 990:
        eventually(lambda: len(world.sent()) == 2)
    else:
        assert ["too large"] == [one["status"] for one in world.queue("--list", "--json")]


HOSTILE = {
    "closed before they open": '"' + "))))" * 1500 + '" <a@x.org>, ' + "((((" * 1500,
    "commas": "," * 100_000,
    "comments": "(" * 10_000,
    "words": "a " * 100_000,
    "quotes": '"' * 100_000,
    "angles": "<" * 100_000,
    "encoded": "=?utf-8?q?" * 10_000,
    "addresses": ", ".join(f"a{number}@b.test" for number in range(14_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_fields(world: Outboxed, name: str) -> None:
    """They come to an end soon, and their user is told."""
    url = world.compose(("to", HOSTILE[name]))
    eventually(lambda: world.status(url) == "failed", 20)
    world.until(1)
    assert [] == world.sent()


def test_resent_goes_to_whom_it_is_resent(world: Outboxed) -> None:
    """And to nobody of the first time (RFC 5322 §3.6.6)."""
    resent = b"Resent-From: jo@ours.test\r\nResent-To: new@there.test\r\n"
    world.put_mail(resent + b"Resent-Bcc: hidden@there.test\r\n" + BARE + b"\r\nx")
    world.until(1)
    ((words, mail),) = world.sent()
    assert ["new@there.test", "hidden@there.test"] == words[4:]
    assert resent + BARE + b"\r\nx" == mail


def test_a_url_in_another_form(world: Outboxed) -> None:
    """Compared decoded."""
    with world.connect() as mdird:
        stored = mdird.store.add(b"Message-ID: <a-b@ours.test>\r\n" + BARE + b"\r\nx")
        url = str(attrs.evolve(stored.anchor, part=0)).replace("-", "%2D")
        mdird.put(OUTBOX, Header([("url", url), ("part", "0")]))
    world.until(1)
    assert 1 == len(world.sent())


def test_what_was_sent_is_not_tried_again(world: Outboxed) -> None:
    """Not by a tool either."""
    url = world.put_mail(BARE + b"\r\nx", ("status", "sent"))
    others_go_on(world)
    done = world.run("outbox", "--retry", url)
    assert 65 == done.returncode
    assert "was sent" in done.stderr
    assert 1 == len(world.sent())


def test_a_record_of_what_was_sent_survives(tmp_path: Path) -> None:
    """The content is away when the next sender reads how the last attempt ended."""
    with outboxed(tmp_path / "w", 'touch "$W/begun"; sleep 1') as world:
        sender = world.start()
        world.compose()
        eventually((world.path / "begun").exists)
        world.kill(sender)
        store = world.path / "mdir" / "store" / "messages"
        eventually(lambda: any((world.path / "smtp-outbox" / "jobs").glob("*.done")))
        store.rename(store.with_name("away"))
        store.mkdir()
        world.start()
        eventually(lambda: "outbox-waits" in world.log)
        store.rmdir()
        store.with_name("away").rename(store)
        world.until(1)
        assert 1 == len(world.sent())
        assert {"sent"} == {one.get("status") for one in world.entries(ACCOUNT)}


def test_many_parts_one_by_one(world: Outboxed) -> None:
    """The work grows with their number, not with its square; others go on meanwhile."""
    anchor = "mdir:0123456789abcdef0123456789abcdef@file.invalid/1"
    with world.connect() as mdird:
        for start in range(0, 20_000, 1_000):
            with mdird.batch() as batch:
                for number in range(start, start + 1_000):
                    fields = [("url", f"mdir:{number:032x}@file.invalid/1"), ("anchor", anchor)]
                    batch.put(OUTBOX, Header([*fields, ("part", str(number)), ("parts", "999999")]))
    others_go_on(world)
