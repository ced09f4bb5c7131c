"""Contents over HTTP: fetched whole and checked, or not at all. Needs the extra `http`.

Nothing is fetched from anywhere but the place that a fetcher was made for: redirects are not
followed. Sources: RFC 9110 §13, §14 (ETag, If-Range, Range).
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from typing import IO, TYPE_CHECKING, Any, Final

from mdirclient import _fs
from mdirclient.errors import (
    ContentMismatchError,
    SettingsError,
    StoreError,
    TransportError,
    UnknownContentError,
)
from mdirclient.protocol.address import Address
from mdirclient.protocol.messages import PEER

if TYPE_CHECKING:
    import urllib3

_CHUNK: Final = 256 << 10
#: How often a broken transfer goes on without having got any further.
_ATTEMPTS: Final = 4
_DIGEST = re.compile(r'"([0-9a-f]{64})"')
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_MAX_ANSWER: Final = 64 << 20


class Fetcher:
    """Fetches from one place, and sends to it. May be shared by threads.

    Args:
        address: of the server.
        prefix: path of what it serves, with `/` at both ends.
        timeout: seconds to wait for it, each time.
    """

    def __init__(self, address: Address, prefix: str = "/", *, timeout: float = 30.0) -> None:
        self._address = address
        self._prefix = prefix
        self._timeout = timeout
        self._lock = threading.Lock()
        self._made: urllib3.HTTPConnectionPool | None = None

    def open(self, path: str, *, url: str) -> IO[bytes]:
        """A content, as a file of this machine: whole, and what the server's ETag says.

        A transfer that breaks goes on where it was.

        Args:
            path: below the prefix, percent-encoded.
            url: of the content, for errors.

        Raises:
            UnknownContentError: there is none, or it may not be read.
            ContentMismatchError: the bytes are others than the server's digest says.
            TransportError: the server cannot be reached.
        """
        transfer = _Transfer(url, _fs.spool())
        failures = 0
        while True:
            before = transfer.size
            try:
                answer = self._request("GET", path, headers=transfer.headers())
                try:
                    self._check(answer, url, (200, 206))
                    transfer.take(answer)
                finally:
                    answer.release_conn()
                    answer.close()
                return transfer.finished()
            except TransportError:
                failures = 1 if transfer.size > before else failures + 1
                if failures >= _ATTEMPTS or not transfer.is_begun:
                    transfer.file.close()
                    raise
            except BaseException:
                transfer.file.close()
                raise

    def has(self, path: str, *, url: str) -> bool:
        """Whether there is a content, and it may be read."""
        answer = self._request("HEAD", path)
        answer.close()
        if answer.status in (403, 404):
            return False
        self._check(answer, url, (200,))
        return True

    def get(self, path: str) -> bytes:
        """A short answer.

        Raises:
            StoreError: it was refused.
            TransportError: the server cannot be reached.
        """
        return self._answer(self._request("GET", path), 200)

    def send(self, path: str, body: IO[bytes], size: int, media_type: str) -> bytes:
        """Send a file; the answer.

        Raises:
            StoreError: it was refused.
            TransportError: the server cannot be reached.
        """
        headers = {"Content-Type": media_type, "Content-Length": str(size)}
        return self._answer(self._request("POST", path, headers=headers, body=body), 201)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            made, self._made = self._made, None
        if made:
            made.close()

    def _answer(self, answer: urllib3.BaseHTTPResponse, expected: int) -> bytes:
        try:
            data = b"".join(_stream(self._name, answer, _MAX_ANSWER))
        finally:
            answer.release_conn()
            answer.close()
        if answer.status == expected:
            return data
        text = data[:200].decode(errors="replace").strip()
        if answer.status == 503:
            raise TransportError(self._name, text or "try again")
        raise StoreError(f"{self._name} refused it: {text!a} ({answer.status})")

    def _check(self, answer: urllib3.BaseHTTPResponse, url: str, expected: tuple[int, ...]) -> None:
        status = answer.status
        if status in expected:
            return
        if status >= 500 and status != 501:
            raise TransportError(self._name, f"it answers {status}; try again")
        reasons = {401: "the user or token is not accepted", 403: "it may not be read"}
        reason = reasons.get(status, f"the server answers {status}")
        raise UnknownContentError(url, reason if status != 404 else "the store does not have it")

    @property
    def _name(self) -> str:
        return str(self._address)

    def _request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: Any = None
    ) -> urllib3.BaseHTTPResponse:
        import urllib3

        try:
            return self._pool().request(
                method,
                self._prefix + path,
                body=body,
                headers={**self._credentials(), **(headers or {})},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise TransportError(self._name, str(error)) from error

    def _credentials(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self._address.user is not None:
            from urllib3.util import make_headers

            both = f"{self._address.user}:{self._address.token}".encode()
            headers |= make_headers(basic_auth=both.decode("latin-1"))
        return headers

    def _pool(self) -> urllib3.HTTPConnectionPool:
        with self._lock:
            if self._made is None:
                self._made = _pool(self._address, self._timeout)
            return self._made


class _Transfer:
    """One content on its way."""

    def __init__(self, url: str, file: IO[bytes]) -> None:
        self.file = file
        self.size = 0
        self._url = url
        self._digest = hashlib.sha256()
        self._tag: str | None = None
        self._expected: int | None = None

    @property
    def is_begun(self) -> bool:
        """Whether it is known what is coming, so that it can go on."""
        return self._tag is not None

    def headers(self) -> dict[str, str]:
        """What to ask for."""
        if not (self.size and self._tag):
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._tag}

    def take(self, answer: urllib3.BaseHTTPResponse) -> None:
        """Take what an answer brings.

        Raises:
            TransportError: it broke off.
            ContentMismatchError: it is another content than before.
        """
        tag = answer.headers.get("ETag")
        if answer.status == 200:
            self._begin_again(answer)
        else:
            match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if not match or int(match[1]) != self.size or tag != self._tag:
                raise ContentMismatchError(self._url, "the rest of it", "something else")
        self._tag = tag
        for chunk in _stream(self._url, answer, None):
            self.file.write(chunk)
            self._digest.update(chunk)
            self.size += len(chunk)
            if self._expected is not None and self.size > self._expected:
                raise ContentMismatchError(self._url, f"{self._expected} bytes", "more")

    def finished(self) -> IO[bytes]:
        """The file, at its beginning.

        Raises:
            ContentMismatchError: size or digest are not what the server said.
        """
        if self._expected is not None and self.size != self._expected:
            raise ContentMismatchError(self._url, f"{self._expected} bytes", f"{self.size} bytes")
        match = _DIGEST.fullmatch(self._tag or "")
        if match and self._digest.hexdigest() != match[1]:
            raise ContentMismatchError(self._url, match[1], self._digest.hexdigest())
        self.file.seek(0)
        return self.file

    def _begin_again(self, answer: urllib3.BaseHTTPResponse) -> None:
        length = answer.headers.get("Content-Length", "")
        self._expected = int(length) if length.isdecimal() and len(length) < 19 else None
        self.file.seek(0)
        self.file.truncate()
        self.size = 0
        self._digest = hashlib.sha256()


def _stream(name: str, answer: urllib3.BaseHTTPResponse, limit: int | None) -> Any:
    """The bytes of an answer; broken connections as TransportError."""
    import urllib3

    size = 0
    try:
        for chunk in answer.stream(_CHUNK, decode_content=False):
            size += len(chunk)
            if limit is not None and size > limit:
                raise StoreError(f"{name}: an answer of more than {limit} bytes")
            yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransportError(name, str(error)) from error


def _pool(address: Address, timeout: float) -> urllib3.HTTPConnectionPool:
    try:
        import urllib3
    except ImportError:
        raise SettingsError(
            "MDIR_STORE", str(address), "urllib3 is missing; pip install 'mdirclient[http]'"
        ) from None

    if address.path:
        return _unix_pool(address.path, timeout)
    options: dict[str, Any] = {"timeout": timeout, "maxsize": 8}
    if address.is_plain:
        return urllib3.HTTPConnectionPool(address.host, address.port, **options)
    if address.fingerprint:
        options |= {"assert_fingerprint": address.fingerprint, "cert_reqs": "CERT_NONE"}
    elif address.ca:
        options |= {"ca_certs": address.ca}
    return urllib3.HTTPSConnectionPool(address.host, address.port, **options)


def _unix_pool(path: str, timeout: float) -> urllib3.HTTPConnectionPool:
    """A pool whose connections go to a Unix socket."""
    import urllib3

    class UnixConnection(urllib3.connection.HTTPConnection):
        # With a user it is the token that counts all the same.
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.sock.settimeout(timeout)
                self.sock.connect(path)
                self.sock.sendall(PEER)
            except OSError as error:
                self.sock.close()
                raise urllib3.exceptions.NewConnectionError(self, str(error)) from error

    class UnixPool(urllib3.HTTPConnectionPool):
        ConnectionCls = UnixConnection

    return UnixPool("localhost", timeout=timeout, maxsize=8)
