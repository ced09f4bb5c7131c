"""A smarthost of another make, aiosmtpd, on loopback, and an outbox that leaves by one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.outboxed import Outboxed, outboxed
from tests.ports import free_port


@attrs.define
class Host:
    """A smarthost of another make, which says what a test wants.

    Attributes:
        says: recipient → replies to RCPT, the last one again and again.
        end: replies at the end of the mail; None cuts the connection.
        is_rude: whether it hangs up after it refused a mail.
        taken: reverse path, forward paths and bytes of each mail.
    """

    says: Mapping[str, list[str]] = attrs.field(factory=dict)
    end: list[str | None] = attrs.field(factory=lambda: ["250 2.0.0 Ok"])
    taken: list[tuple[str, list[str], bytes]] = attrs.field(factory=list)
    logins: list[str] = attrs.field(factory=list)
    tried: int = 0
    is_rude: bool = False

    async def handle_RCPT(  # noqa: N802 - the name is that of aiosmtpd
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """One recipient."""
        replies = self.says.get(address, ["250 2.1.5 Ok"])
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        """The whole mail."""
        self.tried += 1
        reply = self.end.pop(0) if len(self.end) > 1 else self.end[0]
        if reply is None or reply.startswith("250"):
            self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        if reply is None:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "250 nobody hears this"
        if self.is_rude and not reply.startswith("250"):
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.write(f"{reply}\r\n".encode())
            server.transport.close()
        return reply

    def login(self, server: Any, session: Any, envelope: Any, how: str, given: Any) -> AuthResult:
        """One user, by a password."""
        assert isinstance(given, LoginPassword)
        self.logins.append(given.login.decode())
        return AuthResult(success=given.password == b"se:cret")


@contextmanager
def smarthost(host: Host, port: int, context: ssl.SSLContext | None = None) -> Iterator[None]:
    """Run it on a port until the context ends."""
    options: dict[str, Any] = {
        "enable_SMTPUTF8": False, "decode_data": False, "ready_timeout": 30
    }  # fmt: skip
    if context:
        options |= {
            "tls_context": context, "require_starttls": True, "auth_required": True,
            "authenticator": host.login,
        }  # fmt: skip
    controller = Controller(host, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


@contextmanager
def relaying(
    path: Path, url: str = "smtp://127.0.0.1:{port}?tls=no", port: int | None = None
) -> Iterator[tuple[Outboxed, int]]:
    """An mdir whose outbox leaves by a smarthost on a port, which need not be there yet."""
    port = port or free_port()
    with outboxed(path) as world:
        world.environ["MDIR_SMTP_RELAY"] = url.format(port=port)
        yield world, port


def recipients(*names: str) -> list[tuple[str, str]]:
    """Fields of a mail in the outbox."""
    return [("envelope-to", f"{name}@there.test") for name in names]
