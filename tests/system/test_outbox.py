"""The outbox: mails that are put there leave by sendmail, whatever that does."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mdirclient import Header
from tests.mails import two_photos
from tests.outboxed import ACCOUNT, JO, LI, OUTBOX, UNTIL_GO, Outboxed, outboxed
from tests.places import PLACES
from tests.smtped import eventually

BARE = b"From: jo@ours.test\r\nTo: x@there.test\r\nSubject: whole\r\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Outboxed]:
    """An outbox with a sender that is running."""
    with outboxed(tmp_path / "w") as made:
        made.start()
        yield made


def test_a_mail_of_parts(world: Outboxed) -> None:
    """It is composed, sent to all, filed as sent, and gone from the outbox; Bcc is nobody's."""
    fields = [("to", "X <x@there.test>, y@there.test"), ("cc", "z@there.test")]
    fields += [("bcc", "hidden@there.test"), ("subject", "Grüße")]
    world.compose(*fields, attach=[b"\0\1\2" * 1000, b"b"])
    world.until(1)
    ((words, mail),) = world.sent()
    recipients = ["x@there.test", "y@there.test", "z@there.test", "hidden@there.test"]
    assert ["-i", "-f", JO, "--", *recipients] == words
    assert b"hidden" not in mail
    message = email.message_from_bytes(mail, policy=email.policy.default)
    assert "Grüße" == message["subject"]
    first, second, third = message.iter_parts()
    assert "Hello" == first.get_content().strip()
    assert (b"\0\1\2" * 1000, b"b") == (second.get_content(), third.get_content())
    assert [] == world.entries()
    entries = world.entries(ACCOUNT)
    assert {"sent"} == {header["status"] for header in entries}
    assert 3 == len(entries)
    assert "hidden@there.test" == entries[0]["bcc"]
    with world.connect() as mdird, mdird.store.open(entries[0]["anchor"][:-1] + "0") as file:
        assert mail == file.read()


def test_it_waits_for_all_parts(world: Outboxed) -> None:
    """`parts` says how many; the anchor may come last, too."""
    url = world.compose(attach=[b"a", b"b"], hold_back=1)
    eventually(lambda: world.queue("--list", "--json")[0]["status"] == "incomplete")
    world.compose(("subject", "another"))  # which passes it
    world.until(1)
    assert "queued" == world.status(url)
    assert 1 == len(world.sent())


def test_the_last_part_lets_it_go(world: Outboxed) -> None:
    """As soon as it is there."""
    world.compose(attach=[b"a", b"b"], hold_back=3)
    world.put_rest()
    world.until(1)
    assert 1 == len(world.sent())


@pytest.mark.parametrize(
    "mail",
    [
        BARE + b"\r\nbody\r\n",
        BARE + b"\r\n8 bit: \xe9\xff, a long line: " + b"x" * 5000 + b"\r\n.\r\n..\r\n",
        BARE.replace(b"\r\n", b"\n") + b"\nbody\n",
        BARE + b"X-Odd : blank\r\nx:y\r\n folded\r\n\r\n",
        two_photos().replace(b"jo@example.org", b"jo@ours.test"),
        BARE,
    ],
    ids=["small", "odd", "LF", "fields", "parts", "no body"],
)
def test_a_whole_mail(world: Outboxed, mail: bytes) -> None:
    """It leaves byte for byte."""
    world.put_mail(mail)
    world.until(1)
    assert mail == world.sent()[0][1]
    (first, *_) = world.entries(ACCOUNT)
    assert "sent" == first["status"]
    assert "attempts" not in first


def test_bcc_is_removed_from_a_whole_mail(world: Outboxed) -> None:
    """And nothing else; its recipients get it; who sent it keeps it."""
    mail = BARE + b"Bcc: a@there.test,\r\n b@there.test\r\nX: y\r\nbcc: c@there.test\r\n\r\nx"
    world.put_mail(mail)
    world.until(1)
    ((words, sent),) = world.sent()
    assert BARE + b"X: y\r\n\r\nx" == sent
    assert ["x@there.test", "a@there.test", "b@there.test", "c@there.test"] == words[4:]
    with world.connect() as mdird:
        (header, *_) = world.entries(ACCOUNT)
        with mdird.store.open(header["anchor"][:-1] + "0") as file:
            assert mail == file.read()


def test_the_envelope_can_be_said(world: Outboxed) -> None:
    """As a submission says it: only to these."""
    world.put_mail(BARE + b"\r\nx", ("envelope-to", "only@there.test"), ("envelope-from", JO))
    world.until(1)
    assert ["-i", "-f", JO, "--", "only@there.test"] == world.sent()[0][0]


def test_all_parts_of_a_stored_mail(world: Outboxed) -> None:
    """A mail whose parts are put there is sent as it is."""
    mail = two_photos().replace(b"jo@example.org", b"jo@ours.test")
    with world.connect() as mdird:
        stored = mdird.store.add(mail)
        for header in stored.headers():
            mdird.put(OUTBOX, header)
    world.until(1)
    assert mail == world.sent()[0][1]
    assert 3 == len(world.entries(ACCOUNT))


def test_a_file_that_is_a_mail(world: Outboxed) -> None:
    """What a person drops there: `letter.eml`."""
    mail = BARE + b"\r\nfrom a file\r\n"
    with world.connect() as mdird:
        stored = mdird.store.add_file(mail, media_type="message/rfc822")
        mdird.put(OUTBOX, stored.headers()[0])
    world.until(1)
    assert mail == world.sent()[0][1]


REFUSED = {
    "another's from": BARE.replace(b"From: jo@", b"From: li@") + b"\r\nx",
    "one of two authors": BARE.replace(b"From: jo@ours.test", b"From: jo@ours.test, li@ours.test")
    + b"\r\nx",
    "another's sender": b"Sender: li@ours.test\r\n" + BARE + b"\r\nx",
    "a second from": BARE + b"From: boss@there.test\r\n\r\nx",
    "no from": b"To: x@there.test\r\n\r\nx",
    "no recipient": b"From: jo@ours.test\r\n\r\nx",
    "a recipient that is none": b"From: jo@ours.test\r\nTo: a b c\r\n\r\nx",
    "no mail": b"\0\1\2",
}


@pytest.mark.parametrize("name", REFUSED)
def test_users_send_in_their_own_names_only(world: Outboxed, name: str) -> None:
    """What cannot be sent stays, says why, and its user is told; nothing leaves."""
    url = world.put_mail(REFUSED[name])
    world.until(1)
    assert "failed" == world.status(url)
    assert world.entries()[0]["reason"]
    assert [] == world.sent()
    report = world.entries(ACCOUNT)[0]
    assert ("delivery-status", "<>", JO) == (
        report["type"], report["envelope-from"], report["envelope-to"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        [("from", LI)],
        [("sender", LI)],
        [("envelope-from", LI)],
        [("from", f"{JO}, {LI}"), ("sender", JO)],
        [("to", "no address at all")],
        [("to", " ")],
    ],
)
def test_parts_that_cannot_be_sent(world: Outboxed, fields: list[tuple[str, str]]) -> None:
    """The same of mails that are composed."""
    url = world.compose(*fields)
    world.until(1)
    assert "failed" == world.status(url)
    assert [] == world.sent()


def test_an_alias_is_ones_own(tmp_path: Path) -> None:
    """So is a sub-address."""
    with outboxed(tmp_path / "w") as world:
        with world.connect() as mdird:
            from mdirclient.mdird.users import find_user

            version, header = find_user(mdird, PLACES.users, JO)
            assert header
            mdird.set(PLACES.users, Header([*header, ("alias", "jojo@ours.test")]), base=version)
        world.start()
        world.compose(("from", "Jojo <jojo@ours.test>"))
        world.until(1)
        world.compose(("from", "jo+list@ours.test"))
        world.until(2)
        assert ["jojo@ours.test", "jo+list@ours.test"] == [words[2] for words, _ in world.sent()]


def test_who_may_read_a_part_does_not_get_the_mail(world: Outboxed) -> None:
    """An entry of one part does not send all of them."""
    with world.connect() as mdird:
        stored = mdird.store.add(two_photos().replace(b"jo@example.org", b"jo@ours.test"))
        header = stored.headers()[0].replace("parts", "1").replace("to", "x@there.test")
        mdird.put(OUTBOX, header)
    world.until(1)
    assert "failed" == world.status(header["url"])
    assert [] == world.sent()


# -- how sendmail ends

ENDS = {
    **{f"exit {code}": "deferred" for code in (1, 2, 64, *range(68, 79), 66, 126, 127, 255)},
    "exit 65": "failed",
    "exit 67": "failed",
    "kill -9 $$": "deferred",
    "kill -SEGV $$": "deferred",
    "kill -TERM $$": "deferred",
    "sleep 60": "deferred",
    "trap '' TERM INT HUP; sleep 60": "deferred",
    "yes garbage | head -c 10000000; exit 75": "deferred",
    "printf '\\000\\377\\033[2J 5.7.1 \\342\\200\\256'; exit 65": "failed",
    "exec >&- 2>&-; exit 75": "deferred",
    "sleep 60 & exit 75": "deferred",
}


def test_each_end_of_sendmail(tmp_path: Path) -> None:
    """Temporary ones are tried again, and come to their end; permanent ones are told of, once."""
    with outboxed(tmp_path / "w", "exit 75") as world:
        # Which mail it is says its subject.
        cases = "\n".join(f"{number}) {line} ;;" for number, line in enumerate(ENDS))
        world.does(
            f'[ -e "$W/good" ] && exit 0\n'
            f'case $(sed -n "s/^Subject: //p" "$name.mail" | tr -d "\\r") in\n{cases}\nesac\n'
        )
        urls = [world.compose(("subject", str(number))) for number in range(len(ENDS))]
        world.start("--deadline", "4", "--most-retry", "5", "--jobs", "8")
        wanted = dict(zip(urls, ENDS.values(), strict=True))
        seen: dict[str, str] = {}

        def is_so() -> bool:
            for item in world.queue("--list", "--json"):
                if item["status"] in ("deferred", "failed"):
                    seen.setdefault(item["url"], item["status"])
                    assert item["reason"].isprintable()
            return seen.keys() == wanted.keys()

        eventually(is_so, 90)
        assert wanted == seen
        (world.path / "good").touch()
        deferred = sum(one == "deferred" for one in wanted.values())
        failed = len(ENDS) - deferred
        world.until(len(ENDS), 90)
        eventually(lambda: len(world.entries()) == failed, 30)
        kinds = [one.get("type") for one in world.entries(ACCOUNT) if one["part"] == "1"]
        assert (failed, deferred) == (kinds.count("delivery-status"), kinds.count(None))


@pytest.mark.parametrize("program", ["/nonexistent", "/etc", "/etc/hostname", "/bin/true x"])
def test_a_program_that_is_none(tmp_path: Path, program: str) -> None:
    """Mistakes of the settings are temporary; words of one's own go before ours."""
    with outboxed(tmp_path / "w") as world:
        url = world.compose()
        world.start(MDIR_SMTP_SENDMAIL=program)
        if program.startswith("/bin/true"):
            world.until(1)
        else:
            eventually(lambda: world.status(url) == "deferred")
            assert "sendmail exited with 127" in world.entries()[0]["reason"]


def test_a_relative_program_is_refused(tmp_path: Path) -> None:
    """At the start, with what to do."""
    with outboxed(tmp_path / "w") as world:
        world.environ["MDIR_SMTP_SENDMAIL"] = "sendmail"
        done = world.run("outbox")
        assert 78 == done.returncode
        assert "expected the path of a program" in done.stderr


def test_it_gives_up(tmp_path: Path) -> None:
    """After --give-up seconds; the notification says why, and has the mail."""
    with outboxed(tmp_path / "w", "echo no network; exit 75") as world:
        url = world.compose(("subject", "Grüße"), ("to", "x@there.test, y@there.test"))
        world.start("--give-up", "5")
        world.until(1)
        assert "failed" == world.status(url)
        assert len(world.sent()) > 1
        with world.connect() as mdird:
            header = world.entries(ACCOUNT)[0]
            with mdird.store.open(header["anchor"][:-1] + "0") as file:
                report = email.message_from_bytes(file.read(), policy=email.policy.default)
        assert "multipart/report" == report.get_content_type()
        assert "delivery-status" == report["content-type"].params["report-type"]
        text, status, returned = report.iter_parts()
        assert "Grüße" in text.get_content()
        assert "no network" in text.get_content()
        groups: Any = status.get_payload()
        assert "dns; mx.test" == groups[0]["reporting-mta"]
        assert ["rfc822; x@there.test", "rfc822; y@there.test"] == [
            group["final-recipient"] for group in groups[1:]
        ]
        assert {("failed", "5.4.7")} == {(one["action"], one["status"]) for one in groups[1:]}
        assert "Grüße" == returned.get_content()["subject"]


# -- when


def test_send_after(tmp_path: Path) -> None:
    """Not before; in both forms of a time."""
    with outboxed(tmp_path / "w") as world:
        world.start()
        eventually(lambda: "accounts count" in world.log)
        soon = datetime.now(UTC) + timedelta(seconds=4)
        world.compose(("send-after", soon.isoformat()))
        world.compose(("send-after", soon.strftime("%a, %d %b %Y %H:%M:%S +0000")))
        late = world.compose(("send-after", "2099-01-01T00:00:00Z"))
        world.until(1)
        assert datetime.now(UTC) >= soon - timedelta(seconds=1)  # one form has whole seconds
        world.compose(("subject", "now"))
        world.until(3)
        assert any(b"Subject: now" in mail for _, mail in world.sent())
        assert "queued" == world.status(late)
        (waiting,) = world.queue("--list", "--json")
        assert "2099-01-01T00:00:00Z" == waiting["next-attempt"]


def test_hold_and_retry(tmp_path: Path) -> None:
    """A mail that is held waits; one that failed can be mended and tried again."""
    with outboxed(tmp_path / "w", "exit 65") as world:
        held = world.compose(("subject", "held"))
        assert "held" in world.run("outbox", "--hold", held).stdout
        world.start()
        failing = world.compose(("subject", "failing"))
        world.until(1)
        assert ("held", "failed") == (world.status(held), world.status(failing))
        shown = world.run("outbox", "--list").stdout
        assert "held        mdir:" in shown
        assert "reason  sendmail exited with 65" in shown
        world.does("exit 0")
        for url in (held, failing):
            assert "queued" in world.run("outbox", "--retry", url).stdout
        world.until(3)
        assert [] == world.entries()
        missing = world.run("outbox", "--retry", "mdir:nothing@x/1")
        assert 66 == missing.returncode
        assert "no entry of SMTP/Outbox" in missing.stderr


def test_an_edit_while_it_is_sent(tmp_path: Path) -> None:
    """What was sent is sent; a state that is written goes into what the user wrote."""
    with outboxed(tmp_path / "w", 'touch "$W/begun"; sleep 1; exit 75') as world:
        world.start()
        url = world.compose(("subject", "old"))
        eventually((world.path / "begun").exists)
        with world.connect() as mdird:
            for event in mdird.subscribe(OUTBOX, timeout=0):
                header = getattr(event, "header", None)
                if header and header.get("url") == url:
                    version = event.new_version  # type: ignore[union-attr]
                    mdird.set(OUTBOX, header.replace("subject", "new"), base=version)
                    break
        eventually(lambda: world.status(url) == "deferred")
        world.does("exit 0")
        world.until(1)
        assert b"Subject: new" in world.sent()[-1][1]


def test_a_folder_that_comes_later(world: Outboxed) -> None:
    """An account that is added sends at once."""
    from mdirclient.smtp.accounts import add_account

    with world.connect() as mdird:
        add_account(mdird, PLACES, "new@ours.test")
    world.put_mail(
        BARE.replace(b"jo@", b"new@") + b"\r\nx", folder=f"{PLACES.outbox}/new@ours.test"
    )
    eventually(lambda: len(world.sent()) == 1)


# -- several senders, and kills


def test_one_of_several_sends(tmp_path: Path) -> None:
    """The lease is one sender's; when it ends, another goes on."""
    with outboxed(tmp_path / "w") as world:
        first = world.start(MDIR_SMTP_STATE=f"{world.path}/one/smtp.sqlite3")
        eventually(lambda: "lease held=True" in world.log)
        world.start(MDIR_SMTP_STATE=f"{world.path}/two/smtp.sqlite3")
        for number in range(10):
            world.compose(("subject", str(number)))
        world.until(10)
        assert 10 == len(world.sent())
        first.terminate()
        assert 0 == first.wait(30)
        world.processes.remove(first)
        for number in range(10):
            world.compose(("subject", f"second {number}"))
        world.until(20)
        assert 20 == len(world.sent())
        assert 2 == world.log.count("lease held=True")


def test_two_senders_of_one_directory(tmp_path: Path) -> None:
    """The second waits, and says for whom."""
    with outboxed(tmp_path / "w") as world:
        first = world.start()
        eventually(lambda: "lease held=True" in world.log)
        world.start()
        eventually(lambda: "waiting reason=" in world.log)
        world.kill(first)
        world.compose()
        world.until(1)


def test_a_plan_for_many(world: Outboxed) -> None:
    """The queue of a user is worked through, and its tool shows what is left."""
    for number in range(30):
        world.compose(("subject", str(number)))
    world.until(30, 60)
    assert 30 == len(world.sent())
    assert [] == world.queue("--list", "--json")


def test_a_mail_that_cannot_be_filed(tmp_path: Path) -> None:
    """It was sent, so it is never sent again; it says so, and keeps nobody else waiting."""
    with outboxed(tmp_path / "w", UNTIL_GO) as world:
        world.start("--jobs", "1")
        url = world.compose()
        eventually((world.path / "begun").exists)
        with world.connect() as mdird:
            mdird.remove(ACCOUNT, Header([("type", "rights")]))
            mdird.remove(PLACES.accounts, Header([("type", "dir"), ("name", JO)]))
        (world.path / "go").touch()
        eventually(lambda: world.status(url) == "sent")
        assert "cannot be filed" in world.entries()[0]["reason"]
        world.put_mail(BARE.replace(b"jo@", b"li@") + b"\r\nx", folder=f"{PLACES.outbox}/{LI}")
        eventually(lambda: len(world.sent()) == 2)
        assert [JO, LI] == [words[2] for words, _ in world.sent()]
