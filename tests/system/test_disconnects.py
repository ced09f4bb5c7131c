"""Connections that break, servers that are killed: nothing acknowledged is lost or double."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest

from mdirclient import End, Folder, Header, Mdird, Now, Patch, connect, make_folder, sync
from mdirclient.errors import ConflictReplyError, MdirError, TransportError
from mdirclient.mstore import DirectoryMstore
from tests.cutting import CuttingRelay
from tests.served import Served, serving
from tests.system.commands import SCRIPTS, World

NEVER = 1 << 60


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server with the folder A."""
    with serving(tmp_path / "mdir") as server:
        with connect(server.unix) as mdird:
            make_folder(mdird, "A")
        yield server


def url(number: int) -> str:
    """The url of an entry."""
    return f"mdir:{number}@x.org/1"


def item(number: int, *fields: tuple[str, str]) -> Header:
    """An entry."""
    return Header([("url", url(number)), *fields])


def state(mdird: Mdird) -> list[tuple[str, str | None]]:
    """What is in A."""
    return [(header["url"], header.get("flag")) for header in mdird.lookup("A")]


REQUESTS: dict[str, tuple[bytes, int]] = {
    "put": (item(1).to_bytes(), 1),
    "class": (item(1).to_bytes(), 1),
    "set": (item(1, ("flag", "x")).to_bytes(), 1),
    "batch": (b"", 2),
}


@pytest.mark.parametrize("keyword", ["put", "class", "set", "batch"])
def test_a_request_that_is_cut_is_not_done(served: Served, keyword: str) -> None:
    """At every byte: what did not come whole has no effect."""
    header, count = REQUESTS[keyword]
    if keyword == "batch":
        one, two = item(1).to_bytes(), item(2).to_bytes()
        request = b"batch 2\nput A\n" + one + b"\nput A\n" + two + b"\n"
    else:
        base = b" 0" if keyword == "set" else b""
        request = b"%s A%s\n%s\n" % (keyword.encode(), base, header)
    with connect(served.unix) as mdird:
        for cut in range(len(request)):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(f"{served.path}/socket")
                peer.sendall(request[:cut])
                peer.shutdown(socket.SHUT_WR)
                assert b" 200 " not in peer.recv(1000)
            assert [] == state(mdird), cut
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"{served.path}/socket")
            peer.sendall(request)
            assert b" 200 " in peer.recv(1000)
        assert count == len(state(mdird))


def test_a_reply_that_is_cut_is_an_error(served: Served, tmp_path: Path) -> None:
    """At every byte of it: TransportError, and what was asked is done once."""
    limit = 0
    relay = CuttingRelay(tmp_path / "r", served.path / "socket", lambda: (NEVER, limit))
    try:
        for limit in range(1, len("-1 put 200 1\n")):
            with (
                connect(f"unix://{tmp_path}/r") as cut,
                pytest.raises(TransportError, match="closed"),
            ):
                cut.put("A", item(limit))
            with connect(served.unix) as mdird:
                version = mdird.put("A", item(limit))
                assert version == mdird.put("A", item(limit))
                assert limit == len(state(mdird))
    finally:
        relay.close()


def test_a_listing_that_is_cut_is_not_complete(served: Served, tmp_path: Path) -> None:
    """At every byte before NOW a sync fails and moves nothing; after it, all is there."""
    with connect(served.unix) as mdird:
        for number in range(3):
            for header in mdird.store.add(b"Message-ID: <%d@y>\r\n\r\nx" % number).headers():
                mdird.put("A", header)
        size = sum(
            len(f"PATCH A {event.old_version} {event.new_version} +\n\n")
            + len(event.header.to_bytes())
            for event in mdird.subscribe("A", timeout=0)
            if isinstance(event, Patch)
        )
    limit = 0
    relay = CuttingRelay(tmp_path / "r", served.path / "socket", lambda: (NEVER, limit))
    store = DirectoryMstore(served.path / "store")
    try:
        for limit in [*range(1, size, 7), *range(size, size + 200)]:  # noqa: B007 - the relay's
            with connect(f"unix://{tmp_path}/r") as cut, Folder(tmp_path / "a") as folder:
                try:
                    sync(folder, cut, "A", store=store)
                except MdirError:
                    assert 0 == len(folder)
                    assert 0 == folder.version
                else:
                    assert 3 == len(folder)
                    break
        else:
            raise AssertionError("never complete")
    finally:
        relay.close()


# -- many clients, kills, and a history that is forgotten


@attrs.define
class Client:
    """One of several, which changes urls that are its own; knows what the mdir may hold.

    Attributes:
        may: for each number the flags that its entry may have now; None: absent.
    """

    place: str
    first: int
    seed: int
    may: dict[int, set[str | None]] = attrs.field(factory=dict)
    acknowledged: int = 0
    broken: int = 0

    def run(self, stop: threading.Event) -> None:
        """Change things until it is told to stop, whatever breaks."""
        chance = random.Random(self.seed)
        while not stop.is_set():
            try:
                with connect(self.place, timeout=20) as mdird:
                    while not stop.is_set():
                        self.step(mdird, chance)
            except TransportError:
                self.broken += 1
            except MdirError as error:
                if getattr(error, "status", 0) != 503:
                    raise

    def step(self, mdird: Mdird, chance: random.Random) -> None:
        """One change of one entry, or of two together."""
        number = self.first + chance.randrange(12)
        flag = str(chance.randrange(10**9))
        now = self.may.setdefault(number, {None})
        act = chance.choice(["put", "remove", "set", "batch"])
        if act == "put":
            self.done({number: {flag} if now == {None} else now | {flag}})(
                lambda: mdird.put("A", item(number, ("flag", flag))),
                {
                    number: {flag}
                    if now == {None}
                    else {*now} - {None} | ({flag} if None in now else set())
                },
            )
        elif act == "remove":
            self.done({number: now | {None}})(
                lambda: mdird.remove("A", item(number)), {number: {None}}
            )
        elif act == "set":
            version = self.version_of(mdird, number)
            try:
                self.done({number: now | {flag}})(
                    lambda: mdird.set("A", item(number, ("flag", flag)), base=version),
                    {number: {flag}},
                )
            except ConflictReplyError:
                raise AssertionError("nobody else changes it") from None
        else:
            other = self.first + (number - self.first + 1) % 12

            def both() -> None:
                with mdird.batch() as batch:
                    for one in (number, other):
                        batch.remove("A", item(one))
                        batch.put("A", item(one, ("flag", flag)))

            before = {one: self.may.setdefault(one, {None}) | {flag} for one in (number, other)}
            self.done(before)(both, {number: {flag}, other: {flag}})

    def done(self, unknown: dict[int, set[str | None]]) -> Callable[..., None]:
        """Do something; until it is acknowledged it is unknown whether it was done."""

        def act(operation: Callable[[], object], after: dict[int, set[str | None]]) -> None:
            before = {number: set(self.may[number]) for number in unknown}
            for number, flags in unknown.items():
                self.may[number] = set(flags) | before[number]
            operation()
            self.may.update(after)
            self.acknowledged += 1

        return act

    def version_of(self, mdird: Mdird, number: int) -> int:
        """The version of an entry, found as a client finds it."""
        version = 0
        for event in mdird.subscribe("A", timeout=0):
            if isinstance(event, Patch) and event.header["url"] == url(number):
                version = event.new_version if event.action == "+" else 0
        return version


class Mirror:
    """A client that keeps a local folder in step."""

    def __init__(self, place: str, world: World) -> None:
        self.path = world.path / "mirror"
        self._place = place
        self._store = DirectoryMstore(world.path / "mdir" / "store")

    def follow(self, until: Callable[[], bool]) -> None:
        """Sync until it is enough, and once more."""
        while True:
            is_last = until()
            try:
                with connect(self._place, timeout=20) as mdird, Folder(self.path) as folder:
                    sync(folder, mdird, "A", store=self._store, allow_mass_removal=True)
                    if is_last:
                        return
            except TransportError:
                pass
            except MdirError as error:
                if getattr(error, "status", 0) != 503:
                    raise


class Follower:
    """A client that follows the folder for good, beginning again where it is cut."""

    def __init__(self, place: str) -> None:
        self.held: dict[str, str | None] = {}
        self.version = 0
        self._place = place
        self._epoch: str | None = None
        self._pending: dict[str, str | None] | None = None

    def follow(self, until: Callable[[], bool]) -> None:
        """Follow until it is enough, and everything has come."""
        while True:
            is_last = until()
            try:
                with connect(self._place, timeout=20) as mdird:
                    subscription = mdird.subscribe(
                        "A", self.version, epoch=self._epoch, timeout=0 if is_last else 0.2
                    )
                    self._epoch = subscription.epoch
                    self._pending = {} if subscription.is_listing else dict(self.held)
                    if self._take(iter(subscription)) and is_last:
                        return
            except TransportError:
                pass

    def _take(self, events: Iterator[Patch | Now | End]) -> bool:
        assert self._pending is not None
        is_complete = False
        for event in events:
            match event:
                case Patch(action="+", header=header):
                    self._pending[header["url"]] = header.get("flag")
                case Patch(header=header):
                    self._pending.pop(header["url"], None)
                case Now(version=version):
                    assert version >= self.version
                    self.held, self.version = dict(self._pending), version
                    is_complete = True
                case End():
                    return False
        return is_complete


def serve(world: World) -> subprocess.Popen[bytes]:
    """A server with a history of three removals."""
    process = subprocess.Popen(
        [SCRIPTS / "mdird", "serve", "--listen", f"unix:{world.path}/s", "--history", "3"],
        env=world.environ,
        stderr=subprocess.PIPE,
    )
    assert process.stderr
    assert b"listening" in process.stderr.readline()
    return process


def guarded(run: Callable[[], None], failures: list[BaseException]) -> threading.Thread:
    """A thread whose failures are kept."""

    def work() -> None:
        try:
            run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("seed", [1, 2])
def test_clients_converge_whatever_breaks(world: World, seed: int) -> None:
    """Random changes, cuts at random bytes, kill -9, and a history of three removals."""
    chance = random.Random(seed)
    with connect(f"file://{world.path}/mdir") as mdird:
        make_folder(mdird, "A")
        for number in (100 * client + one for client in range(3) for one in range(12)):
            mdird.store.add(b"Message-ID: <%d@x.org>\r\n\r\nmail %d" % (number, number))

    def cut() -> tuple[int, int]:
        there, back = (chance.choice([NEVER, chance.randrange(1, 3000)]) for _ in range(2))
        return there, back

    place = f"unix://{world.path}/r"
    clients = [Client(place, 100 * n, 10 * seed + n) for n in range(3)]
    follower, mirror = Follower(place), Mirror(place, world)
    stop, ended = threading.Event(), threading.Event()
    failures: list[BaseException] = []
    servers = [serve(world)]
    relay = CuttingRelay(world.path / "r", world.path / "s", cut)
    changing = [guarded(partial(one.run, stop), failures) for one in clients]
    following = [guarded(partial(one.follow, ended.is_set), failures) for one in (follower, mirror)]
    try:
        for _ in range(3):
            time.sleep(chance.uniform(0.5, 1.5))
            servers[-1].kill()
            servers.append(serve(world))
            assert 0 == world.run("mdird", "gc", "--history", "3").status
        time.sleep(1)
        stop.set()
        for thread in changing:
            thread.join(60)
        ended.set()
        for thread in following:
            thread.join(60)
    finally:
        stop.set()
        ended.set()
        relay.close()
        for server in servers:
            server.terminate()
            server.communicate(timeout=30)
    assert [] == failures
    compare(world, clients, follower, mirror)


def compare(world: World, clients: list[Client], follower: Follower, mirror: Mirror) -> None:
    """The mdir is what it may be, and all who follow it have that."""
    with connect(f"file://{world.path}/mdir") as mdird:
        there = state(mdird)
    found = dict(there)
    assert len(found) == len(there), "an entry twice"
    may = {url(n): flags for one in clients for n, flags in one.may.items()}
    assert set(found) <= set(may)
    for one, flags in may.items():
        assert found.get(one) in flags, one
    assert found == follower.held
    with Folder(mirror.path) as folder:
        assert found == {str(entry.url): entry.header.get("flag") for entry in folder}
        assert {} == folder.pending()
        assert () == folder.check()
    assert sum(one.acknowledged for one in clients) > 50
    assert sum(one.broken for one in clients) > 5
