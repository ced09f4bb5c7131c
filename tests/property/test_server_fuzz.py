"""Any bytes to a real server: documented answers or a clean end, and nothing else happens."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdirclient import Header, connect, make_folder
from mdirclient.protocol.messages import KEYWORDS, STATUSES
from tests.served import Served, serving

_REPLY = re.compile(rb"-([0-9]{1,18}) ([a-z?]{1,20}) ([0-9]{3}) [^\x00-\x1f\x7f]*")
_PUSH = re.compile(rb"(?:PATCH \S+ [0-9]+ [0-9]+ [+-]|NOW \S+ [0-9]+|END \S+ [0-9]{3} .*)")
_HTTP = re.compile(rb"HTTP/1\.[01] [1-5][0-9]{2} ")

WORDS = [
    *(word.encode() for word in KEYWORDS), b"put", b"/", b"A", b"A/B", b"%2f", b"%zz", b"0", b"1",
    b"-1", b"999999999999999999", b"9999999999999999999", b"\xff", b"\x00", b"jo", b"token", b"3",
]  # fmt: skip
LINES = [
    b"url: mdir:1@x.org/1", b"url: https://e.example/2@x.org/1", b"url: nonsense", b"type: dir",
    b"type: user", b"type: rights", b"type: stribution", b"name: B", b"name: ..", b"id: 0",
    b"owner: jo", b"right: read *", b"right: connector jo", b" folded", b"no colon", b"\xff: x",
    b"x: \\n\\u0000",
    b"size: 1", b"", b"", b"", b"GET / HTTP/1.1", b"Host: x", b"POST /mail HTTP/1.1",
    b"Content-Length: 5", b"Authorization: Basic eDp5", b"Transfer-Encoding: chunked",
]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all examples: what one of them does must not hurt the next."""
    with serving(tmp_path_factory.mktemp("fuzz") / "mdir") as server:
        with connect(server.unix) as mdird:
            make_folder(mdird, "A/B")
            mdird.put("A", Header([("url", "https://e.example/0@x.org/1")]))
        yield server


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Lines that are nearly right, cut anywhere."""
    words = st.lists(st.sampled_from(WORDS), max_size=4).map(b" ".join)
    line = st.one_of(words, st.sampled_from(LINES), st.sampled_from(LINES), st.binary(max_size=40))
    lines = draw(st.lists(line, max_size=25))
    ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b""])
    data = b"".join(line + draw(ends) for line in lines)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def talk(peer: socket.socket, pieces: list[bytes]) -> bytes:
    """Send all, say that it is all, and read to the end."""
    peer.settimeout(20)
    answer = b""
    try:
        for piece in pieces:
            peer.sendall(piece)
        peer.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it has heard enough
    try:
        while data := peer.recv(65536):
            answer += data
            if _is_following(answer):
                break  # a subscription lasts
    except ConnectionResetError:
        pass
    return answer


def _is_following(answer: bytes) -> bool:
    return b"\nNOW " in answer or answer.startswith(b"NOW ")


def check(answer: bytes) -> set[int]:
    """The statuses of an answer in which everything is documented."""
    statuses: set[int] = set()
    if _HTTP.match(answer):
        return statuses
    is_header = False
    for line in answer.split(b"\n")[:-1]:
        if is_header:
            is_header = bool(line)
            continue
        if found := _REPLY.fullmatch(line):
            statuses.add(int(found[3]))
        else:
            assert _PUSH.fullmatch(line), line
            is_header = line.startswith(b"PATCH")
    return statuses


@settings(max_examples=400)
@given(conversations())
def test_any_bytes_from_who_is_known(served: Served, pieces: list[bytes]) -> None:
    """Replies and pushes as documented, never a defect (500), and the connection ends."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"{served.path}/socket")
        statuses = check(talk(peer, pieces))
    assert statuses <= set(STATUSES) - {500}


def test_the_server_is_none_the_worse(served: Served) -> None:
    """What it has it gives, and nothing was logged as a defect."""
    with connect(served.unix) as mdird:
        make_folder(mdird, "After")
        mdird.put("After", Header([("url", "https://e.example/9@x.org/1")]))
        assert 1 == len(list(mdird.lookup("After")))
    assert not [line for line in served.log if "defect" in line]


@settings(max_examples=150)
@given(conversations())
def test_any_bytes_from_who_is_not_known(served: Served, pieces: list[bytes]) -> None:
    """Nothing but AUTH and QUIT is done: 401 or 400, and the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", served.port))
    with context.wrap_socket(plain) as peer:
        peer.settimeout(20)
        try:
            for piece in pieces:
                peer.sendall(piece)
            peer.sendall(b"\nQUIT\n")
            answer = b""
            while data := peer.recv(65536):
                answer += data
                if b"quit" in answer or answer.startswith(b"HTTP"):
                    break
        except OSError:
            return
    assert b"PATCH" not in answer
    statuses = check(answer)
    done = [line for line in answer.split(b"\n") if b" 200 " in line or b" 205 " in line]
    assert statuses <= {200, 400, 401, 413}
    assert all(b" quit 200 " in line for line in done if not answer.startswith(b"HTTP"))
