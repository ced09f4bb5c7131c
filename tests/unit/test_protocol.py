"""The protocol of mdird: one table drives reading and writing; whole, byte by byte, in a row."""

from __future__ import annotations

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
from mdirclient.protocol.client import Event as ClientEvent
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


def taken(
    connection: ServerConnection | ClientConnection, *chunks: bytes
) -> list[ServerEvent | ClientEvent]:
    """All events of what comes."""
    events: list[ServerEvent | ClientEvent] = []
    for chunk in chunks:
        connection.receive(chunk)
        while event := connection.next_event():
            events.append(event)
    return events


def bytes_of(data: bytes) -> list[bytes]:
    """Byte by byte."""
    return [bytes([byte]) for byte in data]


def asked(data: bytes) -> list[ServerEvent | ClientEvent]:
    """What a server reads; the same byte by byte."""
    events = taken(server(), data)
    if len(data) < 10_000:
        assert events == taken(server(), *bytes_of(data))
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
        (b"FLY away\n", "fly", 400, "no such keyword"),
        (b"UNSUB a\x1bb\n", "unsub", 400, "control character"),
        (b"SUB \xff 1\n", "sub", 400, "utf-8"),
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


@pytest.mark.parametrize(
    ("data", "keyword", "status", "text"),
    [
        (b"7\n", "?", 400, "expected a keyword"),
        (b"\xff\n", "?", 400, "expected a keyword"),
        (b"\x1b[2J\n", "?", 400, "expected a keyword"),
        ("\u017fub N 0\n".encode(), "?", 400, "expected a keyword"),
        (b"9 BATCH 0\n", "batch", 413, "1 to"),
        (b"BATCH 999999999\n", "batch", 413, "1 to"),
        (b"BATCH x\n", "batch", 400, "number"),
        (b"BATCH 2\nBATCH 2\n", "batch", 400, "within a batch"),
        (b"SUB " + b"x" * MAX_LINE + b"\n", "?", 413, "8192"),
        (b"9 BATCH 2\nPUT " + b"x" * MAX_LINE + b"\nurl: a\n\n", "?", 413, "8192"),
    ],
)
def test_where_it_cannot_be_told_what_follows(
    data: bytes, keyword: str, status: int, text: str
) -> None:
    """The connection ends: what was part of a request is not taken for another one."""
    (refused,) = asked(data + b"REM Notes\nurl: z\n\n")
    assert isinstance(refused, Refused)
    assert (keyword, status, True) == (refused.reply.keyword, refused.reply.status, refused.is_last)
    assert text in refused.reply.text


@pytest.mark.parametrize("keyword", sorted(set(KEYWORDS) | {"FLY", "?"}))
def test_before_auth(keyword: str) -> None:
    """AUTH and QUIT; anything else ends the connection."""
    connection = ServerConnection()
    arguments = {"AUTH": " jo secret", "QUIT": ""}.get(keyword, " Notes 1")
    event = taken(connection, f"3 {keyword}{arguments}\nGET Notes\n\n".encode())[0]
    if keyword in BEFORE_AUTH:
        assert isinstance(event, Request)
    else:
        assert Refused(Reply(3, keyword.lower(), 401, "AUTH first"), is_last=True) == event
        assert connection.is_closed
        assert [] == taken(connection, b"AUTH jo secret\n")
    with pytest.raises(LocalProtocolError):
        connection.push(Now("Notes", 1))


def test_after_auth() -> None:
    """What was pipelined behind it waits for the answer, and is read as it is allowed then."""
    data = b"1 AUTH jo s%20e\n2 AUTH jo t\n3 UNSUB Notes\n"
    for chunks in ([data], bytes_of(data)):
        connection = ServerConnection()
        assert [Request(1, "AUTH", ("jo", "s e"))] == taken(connection, *chunks)
        connection.rejected()
        assert Request(2, "AUTH", ("jo", "t")) == connection.next_event()
        assert connection.next_event() is None
        connection.authenticated()
        assert b"NOW Notes 1\n" == connection.push(Now("Notes", 1))
        assert Request(3, "UNSUB", ("Notes",)) == connection.next_event()
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
        (b"SUB Notes 0\n", "changes only"),
        (b"PUT Notes\nno field\n\n", "put"),
        (b"FLY\n", "no such keyword"),
        (b"PUT Notes\n\x1b\n\n", "control character"),
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


def test_a_batch_that_is_too_large() -> None:
    """413, after all of it; what it holds is bounded by what it takes in memory."""
    connection = server()
    assert [] == taken(connection, b"9 BATCH 70\n")
    change = b"PUT Notes\nx: " + "\U0001f407".encode() * 250_000 + b"\n\n"
    refused, following = taken(connection, *[change] * 70, b"GET Notes\n\n")
    assert isinstance(refused, Refused)
    assert (9, 413, False) == (refused.reply.seq, refused.reply.status, refused.is_last)
    assert isinstance(following, Request)
    large = Request(0, "PUT", ("N",), Header([("x", "\U0001f407" * 250_000)]))
    for requests in ((large,) * 70, (), (Request(0, "QUIT"),), CHANGES * 25_001):
        with pytest.raises(LocalProtocolError, match="batch"):
            ClientConnection().batch(requests)


def test_the_end_in_the_middle() -> None:
    """Of a line, a header, a batch: it is told."""
    for data in (b"GET N", b"GET N\nurl: a", b"GET N\nurl: a\n", b"BATCH 2\n"):
        connection = server()
        assert [] == taken(connection, data)
        with pytest.raises(RemoteProtocolError, match="middle"):
            connection.ended()
    quiet = server()
    taken(quiet, b"UNSUB N\n")
    quiet.ended()
    assert quiet.is_closed


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
    assert [push] * 2 == taken(ClientConnection(), data * 2)
    bytewise = ClientConnection()
    assert [push] == taken(bytewise, *bytes_of(data))
    bytewise.ended()


def test_client_and_server_understand_each_other() -> None:
    """Requests are numbered; replies come with their numbers, in any order."""
    client, peer = ClientConnection(), server()
    first, data = client.request("PUT", "Notes", header=HEADER)
    second, more = client.request("SUB", "Notes", "0")
    third, batch = client.batch(CHANGES)
    assert [1, 2, 3] == [first, second, third]
    requests = taken(peer, data + more + batch)
    answers = [peer.reply(request, 200, "done\r\n\x1b") for request in requests]  # type: ignore[arg-type]
    assert [
        Reply(3, "batch", 200, "done "),
        Reply(2, "sub", 200, "done "),
        Reply(1, "put", 200, "done "),
    ] == taken(client, b"".join(reversed(answers)))
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
        b"x" * 100_000,
        b"END Notes 999 x\n",
        b"PATCH Notes 1 2 +\n" + b"x: y\n" * 300_000,
    ],
)
def test_a_server_that_is_none(data: bytes) -> None:
    """It is told that the other side is to blame."""
    client = ClientConnection()
    client.receive(b"NOW Notes 3\n" + data + b"NOW Notes 4\n")
    assert Now("Notes", 3) == client.next_event()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="other side"):
            while client.next_event():
                pass


def test_a_connection_that_ends_in_the_middle() -> None:
    """Of a patch, or before a reply."""
    for data in (b"PATCH Notes 1 2 +\nurl: mdir:a@x/1\n", b"NOW Notes"):
        client = ClientConnection()
        assert [] == taken(client, data)
        with pytest.raises(RemoteProtocolError, match="push"):
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
        ("UNSUB", ("\udc80",), None),
        ("AUTH", ("jo", ""), None),
        ("SUB", ("Notes", "1", ""), None),
        ("BATCH", ("2",), None),
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
    assert [requests[2]] == taken(ServerConnection(), requests[2].to_bytes())
    for push in (Patch(folder, 0, number, "+", header), Now(folder, number)):
        assert [push] == taken(ClientConnection(), push_to_bytes(push))


PIECES = [
    *(b"-0 put 200 done\n", b"-0 put 200\r\n", b"NOW N 3 \n", b"END N 403 \x1b[2J\n", b"\n"),
    *(b"PATCH N 1 2 +\n", b"url: mdir:a@x/1\n", b"-1 put 200 x\n", b"junk\n", b"\xff", b" "),
]
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
    events = taken(whole, data)
    assert events == taken(pieces, *bytes_of(data))
    for event in events:
        if isinstance(event, Refused):
            assert event.reply.status in (400, 401, 413)
            reply = Reply(0, event.reply.keyword, event.reply.status, event.reply.text)
            assert [reply] == taken(ClientConnection(), reply.to_bytes())
        elif is_authenticated and isinstance(event, Request | Batch):
            assert [event] == taken(server(), event.to_bytes())
    if not is_authenticated:
        keywords = {event.keyword for event in events if isinstance(event, Request)}
        assert keywords <= BEFORE_AUTH
        assert not any(isinstance(event, Batch) for event in events)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join) | st.binary(max_size=200))
def test_any_bytes_are_events_or_an_error(data: bytes) -> None:
    """The same before the error, however they come; then the error for good."""
    found = []
    for chunks in ([data], bytes_of(data)):
        client = ClientConnection()
        events: list[object] = []
        try:
            for chunk in chunks:
                client.receive(chunk)
                while event := client.next_event():
                    events.append(event)
        except RemoteProtocolError:
            events.append("error")
        found.append(events)
    assert found[0] == found[1]


@pytest.mark.untraced
@pytest.mark.parametrize(
    "unit",
    [b"x", b"PUT Notes\n", b"x: y\n", b"BATCH 90000\n" + b"PUT N\nx: " + b"y" * 9000 + b"\n\n"],
)
def test_memory_of_a_server_is_bounded(unit: bytes) -> None:
    """Whatever a client sends."""
    connection = server()
    taken(connection, b"PUT Notes\n" if unit == b"x: y\n" else b"")
    chunk = unit * max(60_000 // len(unit), 1)
    tracemalloc.start()
    try:
        for _ in range((8 << 20) // len(chunk)):
            taken(connection, chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20


def test_a_request_line_is_shown_with_care() -> None:
    """Nothing of a stranger reaches a log unseen."""
    line = parse_request_line(b"5 \x1b]0;x\x07 a b")
    assert (5, "?", False) == (line.seq, line.keyword, line.is_readable)
    for text in ("\x1b]0;x\x07\u2028\x9b", "x" * 20_000, "\udcff"):
        (end,) = taken(ClientConnection(), server().push(End("N", 403, text)))
        assert isinstance(end, End)
        assert end.text.isprintable()
        (raw,) = taken(ClientConnection(), f"-0 put 400 {text[:9000]}\n".encode("utf-8", "replace"))
        assert isinstance(raw, Reply)
        assert raw.text.isprintable()
    assert b"-5 put 400 a b\n" == Reply(5, "put", 400, "a\r\n\x1b b").to_bytes().replace(
        b"  ", b" "
    )
    assert len(Reply(5, "put", 400, "é" * 9000).to_bytes()) < MAX_LINE


@pytest.mark.parametrize(
    "push",
    [
        Now("N", 10**18),
        Now("N", -1),
        End("N", 204, "x"),
        Patch("N", -1, 2, "+", HEADER),
        Patch("N", 1, 2, "+\nQUIT", HEADER),  # type: ignore[arg-type]
    ],
)
def test_what_the_other_side_could_not_read_is_not_sent(push: Push) -> None:
    """This side is to blame."""
    with pytest.raises(LocalProtocolError):
        server().push(push)
    for status in (204, 20):
        with pytest.raises(LocalProtocolError):
            server().reply(Request(0, "QUIT"), status, "x")
    for seq in (-1, 10**18):
        with pytest.raises(LocalProtocolError):
            Request(seq, "QUIT").to_bytes()
