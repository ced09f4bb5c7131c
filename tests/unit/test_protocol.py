"""The protocol of mdird: one table drives reading and writing; whole, byte by byte, in a row."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdirclient import End, Header, Now, Patch
from mdirclient.errors import LocalProtocolError, RemoteProtocolError
from mdirclient.protocol import (
    Batch,
    ClientConnection,
    Refused,
    Reply,
    Request,
    ServerConnection,
)
from mdirclient.protocol.messages import (
    KEYWORDS,
    MAX_HEADER,
    MAX_LINE,
    Push,
    parse_request_line,
    push_to_bytes,
)
from mdirclient.protocol.server import AFTER_AUTH, BEFORE_AUTH
from mdirclient.protocol.server import Event as ServerEvent

HEADER = Header([("url", "mdir:a@x/1"), ("subject", "Été\n ")])
WIRE = HEADER.to_bytes() + b"\n"


def server() -> ServerConnection:
    """One that knows who asks."""
    return ServerConnection(is_authenticated=True)


def asked(data: bytes, connection: ServerConnection | None = None) -> list[ServerEvent]:
    """What a server reads; the same byte by byte."""
    events = (connection or server()).receive(data)
    if connection is None and len(data) < 10_000:
        bytewise = server()
        found = [event for byte in data for event in bytewise.receive(bytes([byte]))]
        assert events == found
    return events


REQUESTS = [
    (b"SUB Notes 0\n", Request(0, "SUB", ("Notes", "0"))),
    (b"12 sub Notes 41 e1\r\n", Request(12, "SUB", ("Notes", "41", "e1"))),
    (b"UNSUB A%20B/%C3%A9 \t\n", Request(0, "UNSUB", ("A B/é",))),
    (b"1 PUT Notes\n" + WIRE, Request(1, "PUT", ("Notes",), HEADER)),
    (b"2 SET / 7\r\n" + WIRE.replace(b"\n", b"\r\n"), Request(2, "SET", ("/", "7"), HEADER)),
    (b"3 REM Notes\nurl: mdir:a@x/1\n\n", Request(3, "REM", ("Notes",), HEADER.replace("subject"))),
    (b"4 CLASS Notes\n" + WIRE, Request(4, "CLASS", ("Notes",), HEADER)),
    (b"5 GET Notes\n\n", Request(5, "GET", ("Notes",), Header())),
    (b"6 QUIT\n", Request(6, "QUIT")),
]


@pytest.mark.parametrize(("data", "request_"), REQUESTS, ids=lambda value: str(value)[:30])
def test_requests(data: bytes, request_: Request) -> None:
    """As people and programs write them; written, they are read the same."""
    assert [request_] == asked(data)
    assert [request_] == asked(request_.to_bytes())
    if request_.keyword != "QUIT":
        assert [request_] * 2 == asked(data * 2)
        assert [request_] == asked(b"\n \r\n" + data + b"SUB")


def test_every_keyword_is_tested() -> None:
    """But AUTH and BATCH, which have tests of their own."""
    assert {request.keyword for _, request in REQUESTS} == set(KEYWORDS) - {"AUTH", "BATCH"}


@pytest.mark.parametrize(
    ("data", "keyword", "status", "text"),
    [
        (b"7\n", "?", 400, "expected a keyword"),
        (b"FLY away\n", "fly", 400, "no such keyword"),
        (b"\xff\n", "?", 400, "UTF-8"),
        (b"\x1b[2J\n", "?", 400, "no such keyword"),
        (b"SUB Notes\n", "sub", 400, "expected folder"),
        (b"SUB Notes x\n", "sub", 400, "version must be a number"),
        (b"SUB Notes -1\n", "sub", 400, "version must be a number"),
        (b"SUB Notes 1 e f\n", "sub", 400, "expected folder"),
        (b"SUB A%2 1\n", "sub", 400, "percent-encoded"),
        (b"SUB %ff 1\n", "sub", 400, "utf-8"),
        (b"QUIT now\n", "quit", 400, "expected no arguments"),
        (b"PUT\n" + WIRE, "put", 400, "expected folder"),
        (b"PUT Notes\nno field\n\n", "put", 400, "name: value"),
        (b"PUT Notes\nurl: \xff\n\n", "put", 400, ""),
        (b"PUT Notes\n" + b"x: y\n" * 1001 + b"\n", "put", 400, "1000 fields"),
        (b"AUTH jo secret\n", "auth", 400, "already"),
        (b"BATCH 0\n", "batch", 413, "1 to"),
        (b"BATCH 999999999\n", "batch", 413, "1 to"),
        (b"SUB " + b"x" * MAX_LINE + b"\n", "?", 413, "8192"),
        (b"PUT Notes\nx: " + b"y" * MAX_HEADER + b"\n\n", "put", 413, "1048576"),
        (b"PUT Notes\n" + (b"x: " + b"y" * 999 + b"\n") * 1050 + b"\n", "put", 413, "1048576"),
    ],
)
def test_what_is_wrong_is_answered(data: bytes, keyword: str, status: int, text: str) -> None:
    """And the next request is read."""
    refused, following = asked(data + b"8 GET Notes\n\n")
    assert isinstance(refused, Refused)
    assert (keyword, status, False) == (
        refused.reply.keyword,
        refused.reply.status,
        refused.is_last,
    )
    assert text.lower() in refused.reply.text.lower()
    assert Request(8, "GET", ("Notes",), Header()) == following


@pytest.mark.parametrize("keyword", sorted(set(KEYWORDS) | {"FLY", "?"}))
def test_before_auth(keyword: str) -> None:
    """AUTH and QUIT; anything else ends the connection."""
    connection = ServerConnection()
    arguments = {"AUTH": " jo secret", "QUIT": ""}.get(keyword, " Notes 1")
    (event,) = connection.receive(f"3 {keyword}{arguments}\nGET Notes\n\n".encode())[:1]
    if keyword in BEFORE_AUTH:
        assert isinstance(event, Request)
    else:
        assert Refused(Reply(3, keyword.lower(), 401, "AUTH first"), is_last=True) == event
        assert connection.is_closed
        assert [] == connection.receive(b"AUTH jo secret\n")
    with pytest.raises(LocalProtocolError):
        connection.push(Now("Notes", 1))


def test_after_auth() -> None:
    """Everything but AUTH; what was pipelined behind it is read as it is allowed then."""
    connection = ServerConnection()
    assert [Request(1, "AUTH", ("jo", "s e"))] == connection.receive(b"1 AUTH jo s%20e\n")
    connection.authenticated()
    assert b"NOW Notes 1\n" == connection.push(Now("Notes", 1))
    assert [Request(0, "UNSUB", ("Notes",))] == connection.receive(b"UNSUB Notes\n")
    assert AFTER_AUTH | {"AUTH"} == set(KEYWORDS)


CHANGES = (
    Request(0, "PUT", ("Notes",), HEADER),
    Request(0, "SET", ("Notes", "3"), HEADER),
    Request(0, "CLASS", ("Notes",), HEADER),
    Request(0, "REM", ("Notes",), Header([("url", "mdir:b@x/1")])),
)


def test_batch() -> None:
    """One event, one reply."""
    batch = Batch(9, CHANGES)
    assert [batch] == asked(batch.to_bytes())
    assert [batch, batch] == asked(batch.to_bytes() * 2)
    assert [] == asked(batch.to_bytes()[:-1])
    assert b"-9 batch 200 done\n" == server().reply(batch, 200, "done")


@pytest.mark.parametrize(
    ("within", "text"),
    [
        (b"GET Notes\n\n", "changes only"),
        (b"BATCH 2\n", "changes only"),
        (b"SUB Notes 0\n", "changes only"),
        (b"PUT Notes\nno field\n\n", "put"),
        (b"FLY\n", "no such keyword"),
        (b"SUB " + b"x" * MAX_LINE + b"\n", "8192"),
    ],
)
def test_one_wrong_request_refuses_the_batch(within: bytes, text: str) -> None:
    """All of it, once, when it is over."""
    change = CHANGES[0].to_bytes()
    refused, following = asked(b"9 BATCH 3\n" + change + within + change + b"GET Notes\n\n")
    assert isinstance(refused, Refused)
    assert (9, "batch", 400) == (refused.reply.seq, refused.reply.keyword, refused.reply.status)
    assert text in refused.reply.text
    assert Request(0, "GET", ("Notes",), Header()) == following


def test_quit_in_a_batch_ends_all() -> None:
    """Nothing of it is done."""
    assert [Request(0, "QUIT")] == asked(b"BATCH 2\n" + CHANGES[0].to_bytes() + b"QUIT\nPUT x\n")


PUSHES: list[tuple[Push, bytes]] = [
    (Patch("A B", 1, 3, "+", HEADER), b"PATCH A%20B 1 3 +\n" + WIRE),
    (Patch("/", 3, 4, "-", HEADER.replace("subject")), b"PATCH / 3 4 -\nurl: mdir:a@x/1\n\n"),
    (Now("Notes/é", 4), b"NOW Notes/%C3%A9 4\n"),
    (End("Notes", 403, "revoked"), b"END Notes 403 revoked\n"),
]


@pytest.mark.parametrize(("push", "data"), PUSHES)
def test_pushes(push: Push, data: bytes) -> None:
    """Written by the server, read by the client."""
    assert data == server().push(push) == push_to_bytes(push)
    assert [push] * 2 == ClientConnection().receive(data * 2)
    bytewise = ClientConnection()
    assert [push] == [event for byte in data for event in bytewise.receive(bytes([byte]))]
    bytewise.ended()


def test_client_and_server_understand_each_other() -> None:
    """Requests are numbered; replies come with their numbers, in any order."""
    client, peer = ClientConnection(), server()
    first, data = client.request("PUT", "Notes", header=HEADER)
    second, more = client.request("SUB", "Notes", "0")
    third, batch = client.batch(CHANGES)
    assert [1, 2, 3] == [first, second, third]
    requests = peer.receive(data + more + batch)
    answers = [peer.reply(request, 200, "done\r\n\x1b") for request in requests]  # type: ignore[arg-type]
    assert [
        Reply(3, "batch", 200, "done "),
        Reply(2, "sub", 200, "done "),
        Reply(1, "put", 200, "done "),
    ] == client.receive(b"".join(reversed(answers)))
    client.ended()


@pytest.mark.parametrize(
    "data",
    [
        b"220 mail.example.org ESMTP\n",
        b"-1 put 200 done\n",
        b"-0 put 299 done\n",
        b"-0 put done\n",
        b"PATCH Notes 1 2 *\n",
        b"PATCH Notes 1 2 +\nno field\n\n",
        b"PATCH %ff 1 2 +\n",
        b"NOW Notes x\n",
        b"\xff\n",
        b"x" * 100_000 + b"\n",
        b"PATCH Notes 1 2 +\n" + b"x: y\n" * 300_000,
    ],
)
def test_a_server_that_is_none(data: bytes) -> None:
    """It is told that the other side is to blame."""
    with pytest.raises(RemoteProtocolError, match="other side"):
        ClientConnection().receive(data)


def test_a_connection_that_ends_in_the_middle() -> None:
    """Of a patch, or before a reply."""
    client = ClientConnection()
    client.receive(b"PATCH Notes 1 2 +\nurl: mdir:a@x/1\n")
    with pytest.raises(RemoteProtocolError, match="patch"):
        client.ended()
    waiting = ClientConnection()
    waiting.request("GET", "Notes", header=Header())
    with pytest.raises(RemoteProtocolError, match="get"):
        waiting.ended()


@pytest.mark.parametrize(
    ("keyword", "arguments", "header"),
    [
        ("FLY", (), None),
        ("SUB", ("Notes",), None),
        ("SUB", ("Notes", "x"), None),
        ("PUT", ("Notes",), None),
        ("SUB", ("Notes", "1"), HEADER),
        ("SUB", ("x" * MAX_LINE, "1"), None),
    ],
)
def test_what_is_not_sent(keyword: str, arguments: tuple[str, ...], header: Header | None) -> None:
    """This side is to blame, and no number is used up."""
    client = ClientConnection()
    with pytest.raises(LocalProtocolError):
        client.request(keyword, *arguments, header=header)
    assert 1 == client.request("QUIT")[0]


ARGUMENTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
HEADERS = st.lists(st.tuples(st.sampled_from(["url", "subject", "x"]), ARGUMENTS), max_size=4).map(
    Header
)


@given(ARGUMENTS, ARGUMENTS, st.integers(0, 10**18 - 1), HEADERS)
def test_anything_comes_back(folder: str, epoch: str, number: int, header: Header) -> None:
    """Folders, epochs, headers of any characters."""
    requests = [
        Request(number, "SUB", (folder, str(number), epoch)),
        Request(1, "SET", (folder, str(number)), header),
        Request(1, "AUTH", (folder, epoch)),
    ]
    for request in requests[:2]:
        assert [request] == asked(request.to_bytes())
    assert [requests[2]] == ServerConnection().receive(requests[2].to_bytes())
    for push in (Patch(folder, 0, number, "+", header), Now(folder, number)):
        assert [push] == ClientConnection().receive(push_to_bytes(push))


WORDS = st.sampled_from(
    [
        b"SUB",
        b"put",
        b"BATCH",
        b"3",
        b"1",
        b"Notes",
        b"\n",
        b"\r\n",
        b"\n\n",
        b" ",
        b"url: mdir:a@x/1\n",
    ]
    + [
        b"QUIT",
        b"AUTH",
        b"GET",
        b"%",
        b"\xff",
        b"\x00",
        b"-",
        b"999999999999999999",
        b"x: y\n",
        b":",
    ]
)


@given(st.lists(WORDS, max_size=60).map(b"".join) | st.binary(max_size=400), st.booleans())
def test_any_bytes_are_asked_or_refused(data: bytes, is_authenticated: bool) -> None:
    """The same however they come; only replies that are documented; what is read is written."""
    whole = ServerConnection(is_authenticated=is_authenticated)
    pieces = ServerConnection(is_authenticated=is_authenticated)
    events = whole.receive(data)
    assert events == [event for byte in data for event in pieces.receive(bytes([byte]))]
    for event in events:
        if isinstance(event, Refused):
            assert event.reply.status in (400, 401, 413)
            (read,) = ClientConnection().receive(
                whole.refuse(Refused(Reply(0, event.reply.keyword, event.reply.status, "x")))
            )
            assert isinstance(read, Reply)
        elif is_authenticated:
            assert [event] == server().receive(event.to_bytes())
    if not is_authenticated:
        keywords = {event.keyword for event in events if isinstance(event, Request)}
        assert keywords <= BEFORE_AUTH
        assert not any(isinstance(event, Batch) for event in events)
    with contextlib.suppress(RemoteProtocolError):
        ClientConnection().receive(data)


@pytest.mark.parametrize(
    "unit",
    [b"x", b"PUT Notes\n", b"x: y\n", b"BATCH 90000\n" + b"PUT N\nx: " + b"y" * 9000 + b"\n\n"],
)
def test_memory_of_a_server_is_bounded(unit: bytes) -> None:
    """Whatever a client sends."""
    connection = server()
    connection.receive(b"PUT Notes\n" if unit == b"x: y\n" else b"")
    chunk = unit * max(60_000 // len(unit), 1)
    tracemalloc.start()
    try:
        for _ in range((8 << 20) // len(chunk)):
            connection.receive(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20


def test_a_request_line_is_shown_with_care() -> None:
    """Nothing of a stranger reaches a log unseen."""
    line = parse_request_line(b"5 \x1b]0;x\x07 a b")
    assert (5, "?") == (line.seq, line.keyword)
    assert b"-5 put 400 a b\n" == Reply(5, "put", 400, "a\r\n\x1b b").to_bytes().replace(
        b"  ", b" "
    )
    assert len(Reply(5, "put", 400, "é" * 9000).to_bytes()) < MAX_LINE
