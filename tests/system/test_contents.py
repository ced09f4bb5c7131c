"""Contents over HTTP: rights, ranges, digests, uploads, and a client that believes nothing."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import urllib3

from mdirclient import Header, connect, make_folder
from mdirclient.errors import (
    ContentMismatchError,
    SettingsError,
    StoreError,
    TransportError,
    UnknownContentError,
)
from mdirclient.fetch import Fetcher
from mdirclient.mstore import DirectoryMstore
from mdirclient.mstore.bases import BasesMstore
from mdirclient.mstore.remote import RemoteMstore
from mdirclient.protocol.address import Address
from mdirclient.server.server import Limits
from tests.ports import free_port
from tests.served import Served, serving

CONTENT = bytes(range(256)) * 4096  # 1 MiB, not text
MAIL = (
    b"Message-ID: <one@x.org>\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(CONTENT)
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server with one mail in the folder of a user."""
    with serving(tmp_path / "mdir") as server, connect(server.unix) as mdird:
        make_folder(mdird, "Mail")
        for header in mdird.store.add(MAIL).headers():
            mdird.put("Mail", header)
        yield server


class Browser:
    """Plain HTTP requests, as any program makes them."""

    def __init__(self, served: Served, user: str, token: str) -> None:
        self._pool = urllib3.HTTPSConnectionPool(
            "127.0.0.1", served.port, cert_reqs="CERT_NONE", assert_fingerprint=served.pin
        )
        self._headers = urllib3.util.make_headers(basic_auth=f"{user}:{token}") if user else {}

    def __call__(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        """One request; names of fields with `_` for `-`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.request(
            method, path, body=body, headers={**self._headers, **given}, redirect=False
        )

    def close(self) -> None:
        """End the connections."""
        self._pool.close()


@pytest.fixture
def browser(served: Served) -> Iterator[Browser]:
    """For a user who may read everything."""
    opened = Browser(served, "jo", served.user("jo", "read"))
    yield opened
    opened.close()


def test_get_and_head(browser: Browser) -> None:
    """The content with its digest as ETag, and nothing that a browser would run."""
    answer = browser("GET", "/one@x.org/1")
    assert (200, CONTENT) == (answer.status, answer.data)
    assert f'"{hashlib.sha256(CONTENT).hexdigest()}"' == answer.headers["ETag"]
    assert "application/octet-stream" == answer.headers["Content-Type"]
    assert "nosniff" == answer.headers["X-Content-Type-Options"]
    head = browser("HEAD", "/one@x.org/1")
    assert (200, b"", str(len(CONTENT))) == (head.status, head.data, head.headers["Content-Length"])
    assert MAIL == browser("GET", "/one%40x.org/0").data


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("bytes=0-9", CONTENT[:10]),
        ("bytes=1000000-", CONTENT[1000000:]),
        ("bytes=-7", CONTENT[-7:]),
        ("bytes=5-99999999", CONTENT[5:]),
    ],
)
def test_ranges(browser: Browser, field: str, expected: bytes) -> None:
    """206 with just these bytes."""
    answer = browser("GET", "/one@x.org/1", Range=field)
    assert (206, expected) == (answer.status, answer.data)
    first, _, last = answer.headers["Content-Range"].removeprefix("bytes ").partition("-")
    assert len(expected) == int(last.partition("/")[0]) - int(first) + 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": f"bytes={len(CONTENT)}-"}, 416),
        ({"Range": "bytes=nonsense"}, 200),
        ({"Range": "bytes=0-9", "If_Range": '"another"'}, 200),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": f'"{hashlib.sha256(CONTENT).hexdigest()}"'}, 304),
        ({"If_None_Match": '"another"'}, 200),
    ],
)
def test_conditions(browser: Browser, headers: dict[str, str], status: int) -> None:
    """RFC 9110 §13 and §14."""
    assert status == browser("GET", "/one@x.org/1", None, **headers).status


@pytest.mark.parametrize(
    "path",
    [
        "/one@x.org/7", "/two@x.org/1", "/../mdird.sqlite3", "/%2e%2e/1", "/one@x.org/recipe",
        "/one@x.org/01", "/one@x.org%2f1/1", "/one@x.org;0123456789abcdef/1", "/a/b/c", "/mstore",
    ],
)  # fmt: skip
def test_what_is_no_content(browser: Browser, path: str) -> None:
    """403 or 404, never another file."""
    assert browser("GET", path).status in (403, 404, 405)


def test_who_is_nobody_gets_nothing(served: Served) -> None:
    """401 without a user, with a wrong token and with nonsense; 403 without an entry."""
    for user, token in (("", ""), ("jo", "wrong")):
        browser = Browser(served, user, token)
        answer = browser("GET", "/one@x.org/1")
        assert 401 == answer.status
        assert "Basic" in answer.headers["WWW-Authenticate"]
        assert 401 == browser("POST", "/mail", body=MAIL).status
        assert 401 == browser("GET", "/authorize", X_Original_URI="/one@x.org/1").status
        browser.close()
    for field in ("Basic", "Basic !!!", "Basic " + base64.b64encode(b"x").decode(), "Bearer x"):
        browser = Browser(served, "", "")
        assert 401 == browser("GET", "/", Authorization=field).status
        browser.close()
    stranger = Browser(served, "anna", served.user("anna"))
    assert 403 == stranger("GET", "/one@x.org/1").status
    assert 403 == stranger("GET", "/nothing@x.org/1").status
    stranger.close()


def test_a_web_server_in_front_asks(served: Served, browser: Browser) -> None:
    """204, 401 and 403; its own login on a Unix socket says nothing about who asked it."""
    assert 204 == browser("GET", "/authorize", X_Original_URI="/one@x.org/1?x").status
    assert 403 == browser("GET", "/authorize", X_Original_URI="/nonsense").status
    with socket.socket(socket.AF_UNIX) as front:
        front.connect(f"{served.path}/socket")
        front.sendall(
            b"GET /authorize HTTP/1.1\r\nHost: x\r\nX-Original-URI: /one@x.org/1\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert b"401" in front.recv(1000)


def test_http_that_goes_no_further_is_cut(tmp_path: Path) -> None:
    """A request that is never complete, and one that was refused, hold no connection for long."""
    with serving(tmp_path / "mdir", Limits(patience=1.0)) as served:
        for sent in (b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(f"{served.path}/socket")
                peer.settimeout(20)
                peer.sendall(sent)
                while peer.recv(1000):
                    pass


@pytest.mark.parametrize(
    "line", [b"SET /x/0 HTTP/1.0", b"PRI * HTTP/2.0", b"get / http/1.1 HTTP/1.1", b"X HTTP/9"]
)
def test_what_looks_like_http_is_never_lines(served: Served, line: bytes) -> None:
    """On a socket that knows who is there, too."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"{served.path}/socket")
        peer.settimeout(20)
        peer.sendall(line + b"\r\nHost: x\r\n\r\nGET Mail\n\nQUIT\n")
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while data := peer.recv(1000):
            answer += data
    assert b"PATCH" not in answer
    assert b"quit" not in answer


def test_strange_questions_of_a_web_server(browser: Browser) -> None:
    """403, whatever it asks for."""
    for uri in ("//[/a/1", "/", "", "?", "/one@x.org/1/", "/a%2fb/1", "http://[/1"):
        assert 403 == browser("GET", "/authorize", None, X_Original_URI=uri).status, uri


def test_uploads(served: Served) -> None:
    """A mail and a file; who sent them may make entries of them, and read them."""
    url = served.tls("anna", served.user("anna", "write"))
    with connect(url) as mdird:
        mail = mdird.store.add(MAIL.replace(b"one@", b"two@"))
        file = mdird.store.add_file(CONTENT, media_type="image/png", suggested_name="été & co?.png")
        for message in (mail, file):
            (header,) = message.headers()
            mdird.put("Mail", header)
            with mdird.store.open(header["url"]) as content:
                assert CONTENT == content.read()
        assert "été & co?.png" == header["suggested-name"]
        with pytest.raises(UnknownContentError):
            mdird.store.open("mdir:one@x.org/1")
        assert (
            400
            == Browser(served, "anna", url.split(":")[2].split("@")[0])(
                "POST", "/mail", body=b""
            ).status
        )


def test_an_upload_that_breaks_off_leaves_nothing(served: Served) -> None:
    """Half a mail is none."""
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(f"{served.path}/socket")
        sender.sendall(
            b"PEER\nPOST /mail HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nSubject: x"
        )
    with connect(served.unix) as mdird:
        mdird.store.add(b"Message-ID: <later@x.org>\r\n\r\nx")
    names = {path.name for path in (served.path / "store" / "messages").iterdir()}
    assert {"one@x.org", "later@x.org"} == names


def test_the_base_of_a_url_can_be_https(tmp_path: Path) -> None:
    """Contents are served at the path of the base, and found at the server's own address."""
    base = "https://mail.example.org/mdir/"
    DirectoryMstore(tmp_path / "mdir" / "store", base=base)
    with serving(tmp_path / "mdir") as served, connect(served.unix) as mdird:
        message = mdird.store.add(MAIL)
        assert f"{base}one%40x.org/1" != str(message.anchor)
        assert f"{base}one@x.org/1" == str(message.anchor)
        browser = Browser(served, "jo", served.user("jo", "read"))
        mdird.put("", message.headers()[0])
        assert CONTENT == browser("GET", "/mdir/one@x.org/1").data
        browser.close()


def test_only_configured_bases_are_fetched_from(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A url in a header names no place by itself."""
    far = "https://far.example/a/one@x.org/1"
    with connect(served.unix) as mdird, pytest.raises(UnknownContentError):
        mdird.store.open(far)
    other = DirectoryMstore(tmp_path / "far", base="https://far.example/a/")
    other.add(MAIL)
    monkeypatch.setenv("MDIR_BASES", f"https://far.example/a/=file://{tmp_path}/far")
    with connect(served.unix) as mdird:
        with mdird.store.open(far) as file:
            assert CONTENT == file.read()
        assert far in mdird.store
        assert "mdir:one@x.org/1" in mdird.store
        assert "https://far.example/b/one@x.org/1" not in mdird.store
    monkeypatch.setenv("MDIR_BASES", "nonsense")
    with connect(served.unix) as mdird, pytest.raises(SettingsError):
        mdird.store.open(far)


# -- a server that is broken, or lies


class Liar:
    """Answers each connection with the next of some bytes, and closes it."""

    def __init__(self, answers: list[bytes]) -> None:
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._answers = answers
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        address = Address(host="127.0.0.1", port=self._socket.getsockname()[1], is_plain=True)
        self.fetcher = Fetcher(address, timeout=5)

    def _run(self) -> None:
        for answer in self._answers:
            connection, _ = self._socket.accept()
            with connection:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += connection.recv(65536)
                self.requests.append(data)
                connection.sendall(answer)

    def close(self) -> None:
        """Let it end."""
        self.fetcher.close()
        for _ in range(len(self._answers) - len(self.requests)):
            with socket.create_connection(self._socket.getsockname()) as last:
                last.sendall(b"\r\n\r\n")
        self._thread.join()
        self._socket.close()


@pytest.fixture
def liar() -> Iterator[Callable[..., Liar]]:
    """Makes one, and ends it."""
    made: list[Liar] = []

    def make(*answers: bytes) -> Liar:
        made.append(Liar(list(answers)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def answer(status: str, body: bytes, *fields: str, length: int | None = None) -> bytes:
    """An answer, with a length that may be wrong."""
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *fields, "", ""]
    return "\r\n".join(head).encode() + body


TAG = f'ETag: "{hashlib.sha256(CONTENT).hexdigest()}"'


def test_a_broken_transfer_goes_on(liar: Callable[..., Liar]) -> None:
    """Where it was, as often as it gets further."""
    size = len(CONTENT)
    cuts = [0, 1, 1000, 600_000, size]
    answers = [answer("200 OK", CONTENT[:1], TAG, length=size)]
    for begin, end in pairwise(cuts[1:]):
        span = f"Content-Range: bytes {begin}-{size - 1}/{size}"
        answers.append(
            answer("206 Partial Content", CONTENT[begin:end], TAG, span, length=size - begin)
        )
    one = liar(*answers)
    with one.fetcher.open("one@x.org/1", url="mdir:one@x.org/1") as file:
        assert CONTENT == file.read()
    assert b"Range: bytes=600000-\r\n" in one.requests[-1]
    assert b"If-Range" in one.requests[-1]


def test_a_transfer_that_never_gets_further_ends(liar: Callable[..., Liar]) -> None:
    """As an error of the transport."""
    one = liar(*[answer("200 OK", b"", TAG, length=99)] * 4)
    with pytest.raises(TransportError):
        one.fetcher.open("one@x.org/1", url="mdir:one@x.org/1")


@pytest.mark.parametrize(
    "first",
    [
        answer("200 OK", CONTENT[:-1] + b"x", TAG),
        answer("206 Partial Content", CONTENT[5:], TAG, "Content-Range: bytes 5-9/10"),
        answer("206 Partial Content", CONTENT, TAG),
    ],
)
def test_other_bytes_are_refused(liar: Callable[..., Liar], first: bytes) -> None:
    """Nothing that the digest does not confirm is handed out."""
    with pytest.raises(ContentMismatchError):
        liar(first).fetcher.open("one@x.org/1", url="mdir:one@x.org/1")


def test_redirects_are_not_followed(liar: Callable[..., Liar], tmp_path: Path) -> None:
    """Not even to the same server."""
    one = liar(answer("302 Found", b"", "Location: /elsewhere"))
    with pytest.raises(UnknownContentError):
        one.fetcher.open("one@x.org/1", url="mdir:one@x.org/1")
    assert 1 == len(one.requests)


@pytest.mark.parametrize(
    "reply",
    [
        answer("200 OK", b"nonsense"),
        answer("200 OK", b"mstore: 2\n"),
        answer("200 OK", b"\xff"),
        answer("404 Not Found", b""),
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_store(liar: Callable[..., Liar], reply: bytes) -> None:
    """An error of ours, whatever comes."""
    store = RemoteMstore(liar(reply).fetcher)
    with pytest.raises((StoreError, TransportError, ValueError)):
        store.open("mdir:one@x.org/1")


def test_a_far_place_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """Its contents are unknown for now, and it is not asked again at once."""
    gone = RemoteMstore(
        Fetcher(Address(host="127.0.0.1", port=free_port(), is_plain=True), timeout=5)
    )
    now = 0.0
    store = BasesMstore(
        DirectoryMstore(tmp_path), {"https://far.example/": gone}, clock=lambda: now
    )
    with pytest.raises(UnknownContentError, match=r"refused|connect"):
        store.open("https://far.example/one@x.org/1")
    with pytest.raises(UnknownContentError, match="a moment ago"):
        store.open("https://far.example/one@x.org/1")
    now = 60.0
    with pytest.raises(UnknownContentError, match=r"refused|connect"):
        store.open("https://far.example/one@x.org/1")


def test_headers_of_a_remote_message(served: Served) -> None:
    """Are those of the store itself."""
    with connect(served.unix) as mdird:
        here = DirectoryMstore(served.path / "store").add(MAIL).headers(envelope_to="jo@x.org")
        assert here == mdird.store.add(MAIL).headers(envelope_to="jo@x.org")
        assert all(isinstance(header, Header) for header in here)
