"""Contents over HTTP: those of the store, for who may read an entry with their url.

Sources: RFC 9110 (HEAD, conditional and range requests), RFC 7617 (user and token).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
from typing import IO, TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakSet

from aiohttp import ETag, web

from mdirclient.errors import (
    DamagedMessageError,
    EmptyMessageError,
    FormatError,
    MdirError,
    PartURLError,
    TemporaryReplyError,
    UnknownContentError,
)
from mdirclient.mdird.embedded import EmbeddedMdird
from mdirclient.mdird.rights import ADMINISTRATOR, Actor, Rights
from mdirclient.mdird.tables import Tables
from mdirclient.mstore.wire import to_json
from mdirclient.server.users import Users
from mdirclient.url import DEFAULT_BASE, PartURL

if TYPE_CHECKING:
    from mdirclient.mail.rebuild import EndRecord
    from mdirclient.mail.stored import StoredMessage
    from mdirclient.mstore import DirectoryMstore
    from mdirclient.mstore.receiver import DirectoryReceiver

_CHUNK: Final = 256 << 10
#: Seconds that a transfer may go on when the server stops.
_DRAIN: Final = 5.0
#: Seconds that a connection may wait for its next request.
_KEEPALIVE: Final = 75.0
_REALM: Final = {"WWW-Authenticate": 'Basic realm="mdird", charset="UTF-8"'}
#: A content is a stranger's: no browser is to run it, or guess what it is.
_HEADERS: Final = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}
_STATUSES: Final = (
    (UnknownContentError, 404),
    (PartURLError, 404),
    (EmptyMessageError, 400),
    (FormatError, 400),
    (TemporaryReplyError, 503),
    (DamagedMessageError, 500),
)


class Client(Protocol):
    """The session of a connection."""

    is_known: bool


class Host(Protocol):
    """What contents need of the server."""

    tables: Tables
    rights: Rights
    users: Users

    def log(self, event: str, **fields: object) -> None:
        """One line of the log."""


class Content:
    """The HTTP side of a server.

    Args:
        mdird: where uploads are noted.
        store: of the contents.
        host: the server.
    """

    def __init__(self, mdird: EmbeddedMdird, store: DirectoryMstore, host: Host) -> None:
        self._mdird = mdird
        self._store = store
        self._host = host
        self._peers: WeakSet[asyncio.Transport] = WeakSet()
        self._clients: WeakKeyDictionary[asyncio.Transport, Client] = WeakKeyDictionary()
        self._prefix = "/" if store.base == DEFAULT_BASE else urlsplit(store.base).path
        application = web.Application(middlewares=[self._answered])
        application.router.add_get("/authorize", self._authorize)
        # Clients of mdird know its address only; the path of the base is for all others.
        for prefix in sorted({"/", self._prefix}):
            application.router.add_get(prefix, self._describe)
            application.router.add_post(f"{prefix}mail", self._add_mail)
            application.router.add_post(f"{prefix}file", self._add_file)
            get = functools.partial(self._get, prefix)
            application.router.add_get(f"{prefix}{{message}}/{{part}}", get)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=_DRAIN,
            keepalive_timeout=_KEEPALIVE,
        )

    async def start(self) -> None:
        """To be called in the loop."""
        await self._runner.setup()

    async def stop(self) -> None:
        """Finish what is being sent, for some seconds at most."""
        await self._runner.cleanup()

    def protocol(
        self, client: Client, transport: asyncio.Transport, *, is_peer: bool
    ) -> asyncio.Protocol:
        """For one connection; whether its login on a Unix socket says who asks."""
        assert self._runner.server
        self._clients[transport] = client
        if is_peer:
            self._peers.add(transport)
        return self._runner.server()

    # -- who

    @web.middleware
    async def _answered(self, request: web.Request, handler: object) -> web.StreamResponse:
        """Errors as statuses, with a line of text."""
        try:
            return await handler(request)  # type: ignore[operator,no-any-return]
        except web.HTTPException as error:
            error.headers["X-Content-Type-Options"] = "nosniff"
            raise
        except MdirError as error:
            status = next((code for kind, code in _STATUSES if isinstance(error, kind)), 503)
            if status < 500:
                return web.Response(status=status, text=f"{error}\n")
            self._host.log("content-failed", path=request.path, reason=error)
        except OSError as error:
            status = 503
            self._host.log("content-failed", path=request.path, reason=error)
        # Where the store is on the disk is nobody's business.
        return web.Response(status=status, text="the store cannot do this now\n")

    async def _actor(self, request: web.Request) -> Actor:
        """Who asks: by user and token, else by the Unix socket if they asked for that.

        Raises:
            HTTPUnauthorized: nobody that is known.
        """
        actor: Actor | None = None
        given = request.headers.get("Authorization")
        if given is not None:
            name, secret = _basic(given)
            found = await self._host.users.authenticate(name, secret, self._address(request))
            actor = found[0] if found else None
        elif request.transport and request.transport in self._peers:
            actor = self._host.users.peer(request.transport.get_extra_info("socket"))
        if actor is None:
            raise web.HTTPUnauthorized(headers=_REALM, text="give a user and a token\n")
        client = self._clients.get(request.transport) if request.transport else None
        if client:
            client.is_known = True
        return actor

    def _address(self, request: web.Request) -> str:
        """What wrong tokens are counted for; a web server on this machine says for whom it asks."""
        address = self._host.users.address(request.transport)
        return request.headers.get("X-Real-IP", address) if " " in address else address

    # -- what

    async def _describe(self, request: web.Request) -> web.Response:
        await self._actor(request)
        return web.Response(text=f"mstore: 2\nbase: {self._store.base}\n")

    async def _authorize(self, request: web.Request) -> web.Response:
        """For a web server in front: may this user have what it was asked for?"""
        actor = await self._actor(request)
        path = request.headers.get("X-Original-URI", "").partition("?")[0].partition("#")[0]
        try:
            # Wherever the web server has put the contents, a url ends with message and part.
            url = PartURL.parse(self._store.base + "/".join(path.split("/")[-2:]))
            await self._check(actor, url)
        except (PartURLError, UnknownContentError):
            raise web.HTTPForbidden(text="no content\n") from None
        return web.Response(status=204)

    async def _get(self, prefix: str, request: web.Request) -> web.StreamResponse:
        actor = await self._actor(request)
        raw = request.rel_url.raw_path[len(prefix) :]
        url = PartURL.parse(self._store.base + raw)
        await self._check(actor, url)
        found = (await self._contents(url))[url.part]
        return await self._sent(request, url, found)

    async def _check(self, actor: Actor, url: PartURL) -> None:
        """Raises HTTPForbidden, also where there is no such content."""
        self._host.tables.look()
        rights = self._host.rights
        if rights.may_open(actor, url):
            if url.part >= len(await self._contents(url)):
                raise UnknownContentError(str(url))
            return
        # Whether the store has it shows to nobody who may not read at least the anchor.
        if not url.part and rights.may_open(actor, url.anchor):
            parts = len(await self._contents(url)) - 1
            if rights.may_open(actor, url, parts):
                return
        raise web.HTTPForbidden(text="no entry with this url that you may read\n")

    async def _contents(self, url: PartURL) -> tuple[EndRecord, ...]:
        """Sizes and digests of a message and its parts."""
        return await asyncio.to_thread(self._store.contents, url)

    async def _sent(
        self, request: web.Request, url: PartURL, found: EndRecord
    ) -> web.StreamResponse:
        tag = ETag(found.sha256)
        headers = {**_HEADERS, "ETag": f'"{found.sha256}"'}
        if request.if_none_match and any(one in (tag, _ANY) for one in request.if_none_match):
            return web.Response(status=304, headers=headers)
        try:
            wanted = request.http_range
        except ValueError:
            wanted = slice(None)  # RFC 9110 §14.2: what cannot be read is ignored
        if_range = request.headers.get("If-Range")
        is_whole = wanted.start is None or (if_range and if_range != f'"{found.sha256}"')
        start, stop = (0, found.size) if is_whole else _bounds(wanted, found.size)
        if not is_whole:
            if start >= stop:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{found.size}"})
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
        response = web.StreamResponse(status=200 if is_whole else 206, headers=headers)
        response.content_length = stop - start
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        file = await asyncio.to_thread(self._store.open, url)
        try:
            await asyncio.to_thread(file.seek, start)
            await response.prepare(request)
            await _copy(file, response, stop - start)
        finally:
            file.close()
        await response.write_eof()
        return response

    # -- uploads

    async def _add_mail(self, request: web.Request) -> web.Response:
        actor = await self._actor(request)
        with self._store.receive() as receiver:
            await _fill(request, receiver)
            message = await asyncio.to_thread(receiver.commit)
        return await self._added(actor, message)

    async def _add_file(self, request: web.Request) -> web.Response:
        actor = await self._actor(request)
        from mdirclient import _fs  # what is uploaded waits on the disk, not in memory

        with _fs.spool(self._store.path) as spooled:
            async for chunk in request.content.iter_chunked(_CHUNK):
                self._store.check_reserve()
                await asyncio.to_thread(spooled.write, chunk)
            await asyncio.to_thread(spooled.seek, 0)
            add = functools.partial(
                self._store.add_file,
                spooled,
                media_type=request.headers.get("Content-Type", "application/octet-stream")[:255],
                suggested_name=request.query.get("name"),
                message_id=request.query.get("id"),
            )
            try:
                message = await asyncio.to_thread(add)
            except PartURLError as error:
                raise web.HTTPBadRequest(text=str(error)) from error
        return await self._added(actor, message)

    async def _added(self, actor: Actor, message: StoredMessage) -> web.Response:
        if actor != ADMINISTRATOR:
            await asyncio.to_thread(self._mdird.note_upload, actor, message.anchor)
        return web.Response(status=201, text=to_json(message), content_type="application/json")


_ANY: Final = ETag("*")


def _basic(given: str) -> tuple[str, str]:
    """User and token of an Authorization field (RFC 7617)."""
    kind, _, encoded = given.partition(" ")
    try:
        if kind.lower() != "basic":
            raise ValueError(kind)
        name, colon, secret = (
            base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        )
    except (ValueError, binascii.Error):
        name = colon = secret = ""
    if not colon:
        raise web.HTTPUnauthorized(headers=_REALM, text="give a user and a token\n")
    return name, secret


def _bounds(wanted: slice, size: int) -> tuple[int, int]:
    """First byte and end of a range (RFC 9110 §14.1.2)."""
    start = wanted.start
    if start < 0:
        return max(0, size + start), size
    return start, size if wanted.stop is None else min(wanted.stop, size)


async def _fill(request: web.Request, receiver: DirectoryReceiver) -> None:
    async for chunk in request.content.iter_chunked(_CHUNK):
        await asyncio.to_thread(receiver.write, chunk)


async def _copy(file: IO[bytes], response: web.StreamResponse, left: int) -> None:
    while left and (chunk := await asyncio.to_thread(file.read, min(left, _CHUNK))):
        await response.write(chunk)
        left -= len(chunk)
