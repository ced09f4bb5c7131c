"""The fuzz target of the SMTP engine: any bytes have documented answers, and never an exception."""

from __future__ import annotations

import re
from typing import Final

from mdirclient.smtp.engine import (
    Authenticate,
    Begin,
    Chunk,
    Connection,
    End,
    MailFrom,
    Profile,
    RcptTo,
    StartTLS,
)
from mdirclient.smtp.engine import reply as replies

PROFILES: Final = (
    Profile("mx.test", max_size=200, has_tls=True),
    Profile("mx.test", is_lmtp=True, max_size=200),
    Profile("mx.test", is_submission=True, has_tls=True, max_recipients=2),
)
_REPLY = re.compile(r"[2-5][0-9]{2}[ -](?:[245]\.[0-9]\.[0-9]{1,2} )?[\x20-\x7e]*")


def smtp_target(data: bytes) -> None:
    """The first byte says which listener and how the rest is cut."""
    first, stream = (data[0] if data else 0), data[1:]
    profile = PROFILES[first % 3]
    is_trusted = profile.is_lmtp and first % 2 == 0
    engine = Connection(profile, is_secured=first % 2 == 1, is_trusted=is_trusted)
    step = (first // 6) % 20 + 1
    wanted, received = 0, 0
    for at in range(0, len(stream), step):
        engine.receive(stream[at : at + step])
        while event := engine.next_event():
            match event:
                case MailFrom() | RcptTo():
                    engine.answer(replies.OK)
                case Begin():
                    engine.answer(replies.START_MAIL)
                case Chunk(content):
                    received += len(content)
                case End(transaction, size):
                    assert size <= profile.max_size
                    count = len(transaction.forward_paths) if profile.is_lmtp else 1
                    engine.answer(*[replies.TAKEN] * count)
                    wanted += count
                case StartTLS():
                    engine.secured()
                case Authenticate(credentials):
                    engine.user = credentials.user or "somebody"
                    engine.answer(replies.AUTHENTICATED)
        assert engine.buffered <= 13_000
    text = engine.take_output().decode("ascii")
    lines = text.split("\r\n")
    assert "" == lines.pop()
    for line in lines:
        assert _REPLY.fullmatch(line), line
    assert wanted == text.count("Ok, stored")
    assert received <= len(stream)
