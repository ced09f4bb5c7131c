"""The conversation with a smarthost: what its replies mean for each recipient."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mdirclient.service.log import make_log
from mdirclient.smtp.outbox.outcome import Outcome, Refused
from mdirclient.smtp.outbox.prepare import Prepared
from mdirclient.smtp.relay.smarthost import Smarthost, parse_relay
from tests.ports import free_port
from tests.relayed import Host, smarthost


def _jobs(url: str, path: Path) -> Smarthost:
    keys = str(path / "keys")
    return Smarthost(
        parse_relay(url), str(path), host="mx.test", keys=keys, log=make_log(as_json=True)
    )


def _sent(path: Path, host: Host | None, *recipients: str) -> tuple[Outcome, Smarthost]:
    """The outcome of one mail; no host: nobody listens."""
    port = free_port()
    jobs = _jobs(f"smtp://127.0.0.1:{port}?tls=no", path)

    async def send() -> Outcome:
        await jobs.start()
        mail = path / "job.mail"
        mail.write_bytes(b"Subject: x\r\n\r\na\rb\n")
        prepared = Prepared(str(mail), "<>", "jo@ours.test", recipients, ())
        try:
            return await jobs.send("job", prepared)
        finally:
            await jobs.stop()

    if host is None:
        return asyncio.run(send()), jobs
    with smarthost(host, port):
        return asyncio.run(send()), jobs


def test_all_are_taken(tmp_path: Path) -> None:
    """More than fit into one transaction go in several; the null sender stays null."""
    host = Host(says={"r149@x.test": ["452 4.5.3 Too many", "250 2.1.5 Ok"]})
    recipients = tuple(f"r{number}@x.test" for number in range(150))
    outcome, _ = _sent(tmp_path, host, *recipients)
    assert Outcome("2.0.0") == outcome
    assert [100, 49, 1] == [len(one) for _, one, _ in host.taken]
    assert {"<>"} == {sender for sender, _, _ in host.taken}
    assert b"Subject: x\r\n\r\na\r\nb\r\n" == host.taken[0][2]


def test_some_are_not(tmp_path: Path) -> None:
    """Each has its own reply, and the next process knows of it."""
    host = Host(says={"a@x.test": ["550 5.1.1 No"], "b@x.test": ["450 Later"]})
    outcome, jobs = _sent(tmp_path, host, "a@x.test", "b@x.test", "c@x.test")
    refused = (
        Refused("a@x.test", "5.1.1", "the smarthost says 550 5.1.1 No"),
        Refused("b@x.test", "4.0.0", "the smarthost says 450 Later"),
    )
    assert Outcome("2.0.0", "", refused) == outcome
    following = _jobs("smtps://x", tmp_path)
    asyncio.run(following.start())
    assert {"job": outcome} == following.ended
    jobs.forget("job")
    assert [] == list(tmp_path.glob("job*"))


def test_a_host_that_hangs_up_after_it_refused(tmp_path: Path) -> None:
    """What it said counts: the mail is not sent again and again."""
    host = Host(end=["554 5.7.1 Spam"], is_rude=True)
    outcome, _ = _sent(tmp_path, host, "a@x.test", "b@x.test")
    assert ("5.7.1", 2) == (outcome.status, len(outcome.refused))
    assert 1 == host.tried


def test_nobody_is(tmp_path: Path) -> None:
    """As long as one may be taken later the mail is tried again."""
    host = Host(says={"a@x.test": ["550 5.1.1 No"], "b@x.test": ["450 4.2.0 Later"]})
    outcome, _ = _sent(tmp_path, host, "a@x.test", "b@x.test")
    assert ("4.2.0", 2) == (outcome.status, len(outcome.refused))


def test_nobody_listens(tmp_path: Path) -> None:
    """A smarthost that is away is asked again."""
    outcome, _ = _sent(tmp_path, None, "a@x.test")
    assert ("4.4.1", ()) == (outcome.status, outcome.refused)


def test_end_of_the_mail(tmp_path: Path) -> None:
    """What is said at the end counts for all who were taken, and a lost link for nobody."""
    for end, status in (("554 5.7.1 Spam", "5.7.1"), ("451 Later", "4.0.0"), (None, "4.4.2")):
        path = tmp_path / status
        path.mkdir()
        outcome, _ = _sent(path, Host(end=[end]), "a@x.test", "b@x.test")
        assert status == outcome.status
        assert [status, status] == [one.status for one in outcome.refused]
