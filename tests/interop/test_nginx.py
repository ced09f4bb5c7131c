"""Debian's nginx serves the store's contents; mdird says who may have them."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from mdirclient import connect, make_folder
from tests.ports import free_port, is_listening
from tests.served import Served, serving

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "nginx.md"
MAIL = (
    b"Message-ID: <a+b@x.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\nfirst\r\n--b\r\n\r\nsecond\r\n--b--\r\n"
)

pytestmark = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """mdird with one mail in a folder."""
    with serving(tmp_path / "mdir") as server, connect(server.unix) as mdird:
        make_folder(mdird, "Mail")
        for header in mdird.store.add(MAIL).headers():
            mdird.put("Mail", header)
        yield server


@pytest.fixture
def front(served: Served, tmp_path: Path) -> Iterator[str]:
    """The url of nginx with the configuration of the how-to, without TLS."""
    match = re.search(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert match
    port = free_port()
    server = match[1]
    for written, meant in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("/run/mdird/mdird.socket", f"{served.path}/socket"),
        ("/var/lib/mdir/store", f"{served.path}/store"),
    ):
        assert written in server
        server = server.replace(written, meant)
    server = re.sub(r"\s+ssl_certificate\S* [^\n]*", "", server)
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off;\nuser root;\npid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\n"
        "events {}\n"
        f"http {{\naccess_log off;\n{temporary}{server}}}\n"
    )
    process = subprocess.Popen([NGINX, "-p", tmp_path, "-c", config], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not is_listening(port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("method", ["SET", "AUTH", "SUB", "PUT", "QUIT", "BATCH"])
@pytest.mark.parametrize("path", ["/mdir/x/0", "/mdir/a+b@x.org/0", "/mdir/a+b@x.org/1"])
def test_what_nginx_forwards_is_never_lines_of_mdird(front: str, method: str, path: str) -> None:
    """Whatever the method, and whatever stands in the body: nginx's own login opens nothing."""
    body = b"\n\nGET Mail\n\nGET Users\n\nPUT Mail\nurl: https://e.example/1@x/1\n\nQUIT\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(front.rpartition(":")[2])), 20) as peer:
        peer.sendall(head.encode() + body)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while data := peer.recv(65536):
            answer += data
    assert b"PATCH" not in answer
    assert b" 200 " not in answer


def test_nginx_serves_what_mdird_allows(served: Served, front: str) -> None:
    """Parts from the files, the original from mdird; 401 and 403 as mdird says."""
    may = urllib3.util.make_headers(basic_auth=f"jo:{served.user('jo', 'read')}")
    stranger = urllib3.util.make_headers(basic_auth=f"anna:{served.user('anna')}")
    wrong = urllib3.util.make_headers(basic_auth="jo:wrong")
    with urllib3.PoolManager() as pool:

        def get(path: str, headers: dict[str, str], **more: str) -> urllib3.BaseHTTPResponse:
            return pool.request("GET", front + path, headers={**headers, **more}, retries=False)

        assert b"first" == get("/mdir/a+b@x.org/1", may).data
        assert b"second" == get("/mdir/a%2Bb@x.org/2", may).data
        assert MAIL == get("/mdir/a%2Bb@x.org/0", may).data
        ranged = get("/mdir/a%2Bb@x.org/1", may, Range="bytes=1-2")
        assert (206, b"ir") == (ranged.status, ranged.data)
        answer = get("/mdir/a%2Bb@x.org/1", may)
        assert "application/octet-stream" == answer.headers["Content-Type"]
        for headers, status in (({}, 401), (wrong, 401), (stranger, 403)):
            for part in (0, 1):
                assert status == get(f"/mdir/a%2Bb@x.org/{part}", headers).status
        for path in (
            "/mdir/a%2Bb@x.org/recipe",
            "/mdir/../mdird.sqlite3",
            "/mdir/a%2Bb@x.org/3",
            "/mdir/none@x.org/1",
            "/mdir/a%2Bb@x.org%2f1",
            "/mdir/x@x.org/..%2fa%2Bb@x.org/1",
        ):
            assert get(path, may).status >= 400, path
