"""SPF against a real DNS server: for whom domains vouch, and what is unknown."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdirclient.smtp.antispam.spf import SPF, TEMPERROR, Outcome
from tests.named import named, needs_dnsmasq
from tests.ports import free_port

pytestmark = needs_dnsmasq

_LONG = "v=spf1 " + " ".join(f"ip4:198.51.100.{number}" for number in range(40)) + " -all"
RECORDS = {
    "plain.test": [("TXT", "v=spf1 ip4:192.0.2.0/24 -all")],
    "soft.test": [("TXT", "v=spf1 ~all")],
    "neutral.test": [("TXT", "v=spf1 ?all")],
    "other.test": [("TXT", "something else")],
    "two.test": [("TXT", "v=spf1 -all"), ("TXT", "v=spf1 ip4:192.0.2.0/24 -all")],
    "wrong.test": [("TXT", "v=spf1 ip4:300.1.1.1 -all")],
    "include.test": [("TXT", "v=spf1 include:plain.test -all")],
    "redirect.test": [("TXT", "v=spf1 redirect=plain.test")],
    "loop.test": [("TXT", "v=spf1 include:loop.test -all")],
    "eleven.test": [("TXT", "v=spf1" + " include:fail.test" * 11 + " +all")],
    "ten.test": [("TXT", "v=spf1" + " include:fail.test" * 10 + " +all")],
    "fail.test": [("TXT", "v=spf1 -all")],
    "refused.test": [("REFUSED", "")],
    "huge.test": [("TXT", "v=spf1 a:x." + "a" * 16_000 + "! -all")],
    "text.test": [("TXT", "some text, " * 1_000), ("TXT", "v=spf1 +all")],
    "a.test": [("TXT", "v=spf1 a -all"), ("A", "192.0.2.1"), ("AAAA", "2001:db8::1")],
    "mx.test": [("TXT", "v=spf1 mx -all"), ("MX", "a.test,10")],
    "alias.test": [("TXT", "v=spf1 a:www.alias.test -all")],
    "www.alias.test": [("CNAME", "a.test")],
    "six.test": [("TXT", "v=spf1 ip6:2001:db8::/32 -all")],
    "macro.test": [("TXT", "v=spf1 exists:%{i}.%{l}.ok.test -all")],
    "192.0.2.1.al.ok.test": [("A", "127.0.0.2")],
    "192.0.2.1.xn--4ca.ok.test": [("A", "127.0.0.2")],
    "long.test": [("TXT", _LONG)],
    "xn--bcher-kva.test": [("TXT", "v=spf1 ip4:192.0.2.0/24 -all")],
    "void.test": [("TXT", "v=spf1 a:no.test a:none.test a:never.test ip4:192.0.2.0/24 -all")],
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A DNS server with these records."""
    with named(tmp_path_factory.mktemp("dns"), RECORDS) as port:
        yield port


def ask(port: int, *asked: tuple[str, str, str], seconds: float = 20.0) -> list[Outcome]:
    """What is said of some clients, asked at once."""

    async def check() -> list[Outcome]:
        spf = SPF(host="mx.ours.test", nameservers=[("127.0.0.1", port)], seconds=seconds)
        try:
            return await asyncio.gather(*(spf.check(*one) for one in asked))
        finally:
            await spf.close()

    return asyncio.run(check())


@pytest.mark.parametrize(
    ("client", "sender", "expected"),
    [
        ("192.0.2.1", "al@plain.test", "pass"),
        ("::ffff:192.0.2.1", "al@Plain.Test", "pass"),
        ("198.51.100.1", "al@plain.test", "fail"),
        ("192.0.2.1", "al@soft.test", "softfail"),
        ("192.0.2.1", "al@neutral.test", "neutral"),
        ("192.0.2.1", "al@other.test", "none"),
        ("192.0.2.1", "al@missing.test", "none"),
        ("192.0.2.1", "al@two.test", "permerror"),
        ("192.0.2.1", "al@wrong.test", "permerror"),
        ("192.0.2.1", "al@loop.test", "permerror"),
        ("192.0.2.1", "al@void.test", "permerror"),
        ("192.0.2.1", "al@ten.test", "pass"),
        ("192.0.2.1", "al@eleven.test", "permerror"),
        ("192.0.2.1", "al@huge.test", "permerror"),
        ("192.0.2.1", "al@text.test", "pass"),
        ("192.0.2.1", "al@refused.test", TEMPERROR),
        ("192.0.2.1", "al@include.test", "pass"),
        ("198.51.100.1", "al@include.test", "fail"),
        ("192.0.2.1", "al@redirect.test", "pass"),
        ("192.0.2.1", "al@a.test", "pass"),
        ("2001:db8::1", "al@a.test", "pass"),
        ("192.0.2.2", "al@a.test", "fail"),
        ("192.0.2.1", "al@mx.test", "pass"),
        ("192.0.2.1", "al@alias.test", "pass"),
        ("2001:db8::77", "al@six.test", "pass"),
        ("192.0.2.1", "al@macro.test", "pass"),
        ("192.0.2.1", "bo@macro.test", "fail"),
        ("198.51.100.39", "al@long.test", "pass"),
        ("198.51.100.40", "al@long.test", "fail"),
        ("192.0.2.1", "al@bücher.test", "pass"),
        ("192.0.2.1", '"a b"@plain.test', "pass"),
        ("192.0.2.1", '"a@b"@plain.test', "pass"),
        ("192.0.2.1", '"a@plain.test"@neutral.test', "neutral"),
        ("192.0.2.1", "ä@macro.test", "fail"),
        ("nonsense", "al@plain.test", TEMPERROR),
        ("list", "al@text.test", TEMPERROR),
    ],
)  # fmt: skip
def test_results(port: int, client: str, sender: str, expected: str) -> None:
    """What each kind of record says."""
    (found,) = ask(port, (client, "x.test", sender))
    assert expected == found.result


def test_the_null_sender(port: int) -> None:
    """The name of HELO is asked in its place."""
    (found,) = ask(port, ("192.0.2.1", "plain.test", "<>"))
    assert Outcome("pass", "plain.test") == found


def test_no_dns(tmp_path: Path) -> None:
    """Nobody there, or somebody who says nothing: nothing is known, in the time that there is."""
    (found,) = ask(free_port(), ("192.0.2.1", "x.test", "al@plain.test"), seconds=0.5)
    assert TEMPERROR == found.result
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        many = [("192.0.2.1", "x.test", f"al@{number}.test") for number in range(300)]
        found_of = ask(silent.getsockname()[1], *many, seconds=0.5)
    assert {TEMPERROR} == {one.result for one in found_of}


def test_the_loop_goes_on(port: int) -> None:
    """While a record is read that takes long, and while nobody answers, other work is done."""

    async def longest(port: int, sender: str) -> float:
        async def tick() -> None:
            last = time.monotonic()
            while True:
                await asyncio.sleep(0.01)
                now = time.monotonic()
                gaps.append(now - last)
                last = now

        gaps: list[float] = []
        spf = SPF(host="mx.ours.test", nameservers=[("127.0.0.1", port)], seconds=2)
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.05)
        await spf.check("192.0.2.1", "x.test", sender)
        await asyncio.sleep(0.05)
        ticking.cancel()
        await spf.close()
        return max(gaps)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        # The record took 20 seconds, in which nothing else was done.
        assert asyncio.run(longest(port, "al@huge.test")) < 6
        assert asyncio.run(longest(silent.getsockname()[1], "al@plain.test")) < 6


def test_closing(tmp_path: Path) -> None:
    """Who is being asked for, and who asks later, gets no result and no error."""

    async def check() -> list[Outcome]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            servers = [("127.0.0.1", silent.getsockname()[1])]
            spf = SPF(host="mx.ours.test", nameservers=servers, seconds=1)
            checks = [
                asyncio.create_task(spf.check("192.0.2.1", "x.test", f"al@{number}.test"))
                for number in range(30)
            ]
            await asyncio.sleep(0)  # each has begun
            await spf.close()
            return [*await asyncio.gather(*checks), await spf.check("192.0.2.1", "x", "al@b.test")]

    assert [TEMPERROR] * 31 == [one.result for one in asyncio.run(check())]


def test_who_vouched_is_not_asked_again(tmp_path: Path) -> None:
    """For some minutes it is known."""

    async def check() -> list[str]:
        spf = None
        try:
            with named(tmp_path, RECORDS) as port:
                spf = SPF(host="mx", nameservers=[("127.0.0.1", port)], seconds=5)
                first = await spf.check("192.0.2.1", "x", "al@plain.test")
            second = await spf.check("192.0.2.1", "x", "bo@plain.test")
            third = await spf.check("192.0.2.2", "x", "bo@plain.test")
            return [first.result, second.result, third.result]
        finally:
            if spf:
                await spf.close()

    assert ["pass", "pass", TEMPERROR] == asyncio.run(check())


_ANY = st.text(st.characters(), max_size=80)  # surrogates too, which stand for bytes


@given(_ANY, _ANY, _ANY)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_strangers_say(port: int, address: str, helo: str, sender: str) -> None:
    """It is asked, or it is not; nothing is raised."""
    found_of = ask(port, (address, helo, sender), ("192.0.2.1", helo, f"{sender}@plain.test"))
    assert all(one.result for one in found_of)
