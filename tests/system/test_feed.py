"""Push: slow subscribers do not slow others, memory is bounded, other processes are noticed."""

from __future__ import annotations

import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mdirclient import Header, Now, Patch, connect, make_folder
from mdirclient.server.feed import Feed, Subscriber
from mdirclient.server.server import Limits
from tests.served import Served, serving
from tests.system.commands import World
from tests.system.test_serve import daemon


@contextmanager
def with_folder(path: Path, patience: float) -> Iterator[Served]:
    """A server with the folder A."""
    with serving(path / "mdir", Limits(patience=patience)) as server:
        with connect(server.unix) as mdird:
            make_folder(mdird, "A")
        yield server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """One that is not patient."""
    with with_folder(tmp_path, 2.0) as server:
        yield server


def item(number: int, size: int = 0) -> Header:
    """An entry."""
    return Header([("url", f"https://e.example/{number}@x.org/1"), ("filler", "x" * size)])


def raw(served: Served, *lines: bytes) -> socket.socket:
    """A connection that has asked for something, and reads when it wants."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(f"{served.path}/socket")
    peer.settimeout(60)
    peer.sendall(b"\n".join([*lines, b""]))
    return peer


def read_until(peer: socket.socket, end: bytes) -> bytes:
    """What comes, up to some bytes."""
    data = b""
    while end not in data:
        more = peer.recv(1 << 20)
        assert more, data[-200:]
        data += more
    return data


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Served]:
    """One that waits long enough for changes that a slow disk takes time to keep."""
    with with_folder(tmp_path, 6.0) as server:
        yield server


def test_a_slow_subscriber_slows_nobody(patient: Served) -> None:
    """Others get each change at once; the slow one gets all when it reads, or is cut."""
    served = patient
    slow, stuck = raw(served, b"sub A 0"), raw(served, b"sub A 0")
    for peer in (slow, stuck):
        read_until(peer, b"NOW A 0\n")
    with connect(served.unix) as mdird, connect(served.unix) as other:
        events = iter(other.subscribe("A", timeout=60))
        assert Now("A", 0) == next(events)
        for number in range(40):
            version = mdird.put("A", item(number, 100_000))
            assert isinstance(next(events), Patch)
            assert Now("A", version) == next(events)
        data = read_until(slow, b"NOW A %d\n" % version)
        assert 40 == data.count(b"PATCH A ")
        mdird.put("A", item(99))
        read_until(slow, b"NOW A %d\n" % (version + 1))
    deadline = time.monotonic() + 60
    while not any("slow" in line for line in served.log):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ConnectionResetError):
        while stuck.recv(1 << 20):
            pass
        raise ConnectionResetError  # all that was on its way, and then the end
    slow.close()
    stuck.close()


def test_who_does_not_say_who_it_is_is_cut(served: Served) -> None:
    """After some time, with TLS or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", served.port), 30) as peer:
        assert b"" == peer.recv(100)
    with (
        socket.create_connection(("127.0.0.1", served.port), 30) as plain,
        context.wrap_socket(plain) as peer,
    ):
        peer.sendall(b"AU")
        assert b"" == peer.recv(100)
    assert any("no AUTH" in line for line in served.log)


def test_many_subscriptions_on_one_connection(served: Served) -> None:
    """Each folder by the name that it was asked for; UNSUB ends one."""
    with connect(served.unix) as mdird, raw(served, b"sub A 0", b"sub /A 0", b"sub A 0") as peer:
        assert b"-0 sub 400 " in read_until(peer, b"already")
        mdird.put("A", item(1))
        data = read_until(peer, b"NOW /A 1\n")
        if b"NOW A 1\n" not in data:
            data += read_until(peer, b"NOW A 1\n")
        assert b"PATCH A 0 1 +" in data
        assert b"PATCH /A 0 1 +" in data
        peer.sendall(b"unsub A\nunsub A\n")
        assert b"-0 unsub 404" in read_until(peer, b"404")
        mdird.put("A", item(2))
        assert b"PATCH A " not in read_until(peer, b"NOW /A 2\n")


def test_what_other_processes_commit_is_pushed(served: Served) -> None:
    """By whoever has the database open, such as a delivery."""
    with connect(served.unix) as mdird, served.embedded() as beside:
        events = iter(mdird.subscribe("A", timeout=60))
        next(events)
        for number in range(5):
            version = beside.put("A", item(number))
            assert isinstance(next(events), Patch)
            assert Now("A", version) == next(events)


def test_a_long_transaction_beside_it_stops_only_writers(served: Served) -> None:
    """While another process writes, changes wait and subscribers are served."""
    with connect(served.unix) as mdird, served.embedded() as beside:
        connection = beside.open_connection()
        connection.execute("BEGIN IMMEDIATE")
        done = threading.Event()

        def put() -> None:
            mdird.put("A", item(1))
            done.set()

        thread = threading.Thread(target=put)
        thread.start()
        with connect(served.unix) as other:
            assert [] == list(other.lookup("A"))
            assert not done.wait(0.3)
            assert [] == list(other.lookup("A"))
        connection.execute("ROLLBACK")
        connection.close()
        assert done.wait(30)
        thread.join()


def test_one_fault_does_not_end_the_service(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that fails once; what follows is answered and pushed."""
    look = Feed.look
    failures = [sqlite3.OperationalError("disk I/O error")]

    def faulty(feed: Feed) -> list[Subscriber]:
        if failures:
            raise failures.pop()
        return look(feed)

    with connect(served.unix) as mdird:
        events = iter(mdird.subscribe("A", timeout=60))
        next(events)
        monkeypatch.setattr(Feed, "look", faulty)
        version = 0
        for number in range(3):
            version = mdird.put("A", item(number))
        while Now("A", version) != next(events):
            pass
    served.defects.clear()


def test_it_stops_at_once_under_load(tmp_path: Path) -> None:
    """What was asked is answered, however much more would come."""
    begin = 0.0
    with serving(tmp_path / "mdir") as server, connect(server.unix) as mdird:
        make_folder(mdird, "A")
        stop = threading.Event()
        ends: list[bytes] = []

        def press() -> None:
            with raw(server) as peer:
                data, count = b"", 0
                with suppress(OSError):
                    while True:
                        if not stop.is_set() and count < 10:
                            peer.sendall(b"put A\nurl: mdir:a@x.org/1\n\n" * 10)
                            count += 10
                        if not (more := peer.recv(1 << 16)):
                            break
                        count -= more.count(b"\n")
                        data = (data + more)[-200:]
                ends.append(data)

        threads = [threading.Thread(target=press) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        begin = time.monotonic()
    taken = time.monotonic() - begin
    stop.set()
    for thread in threads:
        thread.join()
    assert taken < 8
    assert all(data.endswith(b"\n") for data in ends)


def test_replies_come_in_order(served: Served) -> None:
    """Also where what was asked first takes longer."""
    lines = [b"1 put A", item(1).to_bytes(), b"2 get A", b"", b"3 put A", item(2).to_bytes()]
    lines += [b"4 get A", b"", b"5 put A", item(3).to_bytes(), b"6 nonsense", b"7 put", b"", b""]
    with raw(served, *lines, b"8 quit") as peer:
        data = read_until(peer, b"-8 quit 200")
    assert [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"] == [
        line[1:2] for line in data.split(b"\n") if line.startswith(b"-")
    ]
    assert 3 == data.count(b"PATCH")


def peak(pid: int) -> int:
    """Most memory that a process ever had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def test_memory_is_bounded(world: World) -> None:
    """Endless lines, headers and batches, and a client that asks and never reads."""
    with daemon(world) as one:
        with connect(f"unix://{world.path}/s") as mdird:
            make_folder(mdird, "A")
            for number in range(50):
                mdird.put("A", item(number, 50_000))
        before = peak(one.process.pid)
        junk = b"x: " + b"y" * 997 + b"\n"
        floods = [b"z" * 1_000_000, b"put A\n" + junk * 1000, b"batch 99999\n" + b"put A\n" + junk]
        for flood in [*floods, b"get A\n\n" * 10_000]:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(f"{world.path}/s")
                peer.settimeout(0.5)
                try:
                    for _ in range(30):
                        peer.sendall(flood)
                except (TimeoutError, BrokenPipeError, ConnectionResetError):
                    pass
        with connect(f"unix://{world.path}/s") as mdird:
            assert 50 == len(list(mdird.lookup("A")))
        assert peak(one.process.pid) - before < 64 << 20
