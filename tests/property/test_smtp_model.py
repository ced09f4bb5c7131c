"""Random sequences of commands: the engine does what a small reference model does."""

from __future__ import annotations

import random
from typing import Final

import pytest

from mdirclient.smtp.engine import Begin, Connection, End, MailFrom, Profile, RcptTo
from mdirclient.smtp.engine import reply as replies

#: What a client may say → the code of the answer in each state: nobody said EHLO, no mail on its
#: way, a sender, a sender and recipients (RFC 5321 §4.1.4), and the state that a yes leads to.
_LINES: Final = {
    b"EHLO x": ((250, 250, 250, 250), 1),
    b"HELO x": ((250, 250, 250, 250), 1),
    b"EHLO": ((501, 501, 501, 501), None),
    b"MAIL FROM:<a@b.test>": ((503, 250, 503, 503), 2),
    b"MAIL FROM:<>": ((503, 250, 503, 503), 2),
    b"MAIL FROM:<no@b.test>": ((503, 550, 503, 503), None),
    b"MAIL TO:<a@b>": ((503, 501, 503, 503), None),
    b"RCPT TO:<jo@ours.test>": ((503, 503, 250, 250), 3),
    b"RCPT TO:<no@ours.test>": ((503, 503, 550, 550), None),
    b"RCPT TO:<>": ((503, 503, 501, 501), None),
    b"DATA": ((503, 503, 554, 354), None),
    b"DATA x": ((501, 501, 501, 501), None),
    b"RSET": ((250, 250, 250, 250), 1),
    b"NOOP": ((250, 250, 250, 250), None),
    b"VRFY jo": ((252, 252, 252, 252), None),
    b"FOO": ((500, 500, 500, 500), None),
    b"STARTTLS": ((503, 502, 503, 503), None),
    b"QUIT": ((221, 221, 221, 221), None),
}
_MAX_RECIPIENTS: Final = 3


class Model:
    """The table, and what has to be counted."""

    def __init__(self) -> None:
        self.state = self.recipients = self.mails = self.errors = 0

    def say(self, line: bytes) -> int:
        """The code of the answer."""
        codes, following = _LINES[line]
        code = codes[self.state]
        if line.startswith(b"RCPT") and b"@" in line and self.recipients == _MAX_RECIPIENTS:
            return 452
        self.errors += code >= 500
        self.recipients += code == 250 and following == 3
        if code == 250 and following and (self.state or line != b"RSET"):
            self.state = following
            self.recipients = self.recipients if following == 3 else 0
        return code

    def end(self, code: int) -> None:
        """A mail has ended with a code."""
        self.state, self.recipients = 1, 0
        self.mails += code == 250
        # The server's own refusal at the end is no error of the client's.
        self.errors = 0 if code == 250 else self.errors + (code == 552)


def play(chance: random.Random) -> None:
    """One connection."""
    profile = Profile("mx.test", max_recipients=_MAX_RECIPIENTS, max_errors=8, max_size=100)
    engine, model = Connection(profile), Model()
    mails: list[int] = []
    outcome = 250
    words = list(_LINES)
    for _ in range(chance.randrange(3, 25)):
        line = chance.choice(words)
        step = chance.choice((1, 3, 100))
        answer = _sent(engine, line + b"\r\n", step, mails, outcome)
        assert str(model.say(line)) == answer[0], line
        if answer[0] == "354":
            size = chance.choice((0, 5, 99, 101, 300))
            outcome = chance.choice((250, 451, 554))
            content = b"x" * max(0, size - 2) + b"\r\n" * (size > 0)
            answer = _sent(engine, content + b".\r\n", step, mails, outcome)
            code = 552 if size > 100 else outcome
            assert str(code) == answer[0]
            model.end(code)
            assert model.mails == mails.count(250)
        if model.errors > 8 or line == b"QUIT":
            assert "421" == answer[-1] or line == b"QUIT"
            assert [] == _sent(engine, b"NOOP\r\n", 1, mails, 250)
            return


def _sent(engine: Connection, data: bytes, step: int, mails: list[int], outcome: int) -> list[str]:
    for start in range(0, len(data), step):
        engine.receive(data[start : start + step])
        while event := engine.next_event():
            match event:
                case MailFrom(transaction):
                    is_wanted = transaction.reverse_path.local != "no"
                    engine.answer(replies.SENDER_OK if is_wanted else _NO)
                case RcptTo(path):
                    engine.answer(_NO if path.local == "no" else replies.RECIPIENT_OK)
                case Begin():
                    engine.answer(replies.START_MAIL)
                case End():
                    mails.append(outcome)
                    engine.answer(replies.Reply(outcome, "", ("x",)))
    text = engine.take_output().decode()
    return [line[:3] for line in text.splitlines() if line[3:4] != "-"]


_NO = replies.Reply(550, "5.1.1", ("no",))


@pytest.mark.parametrize("seed", range(4))
def test_sequences(seed: int) -> None:
    """Each reply is that of the model, so every error leaves a clean state."""
    chance = random.Random(seed)
    for _ in range(2_500):
        play(chance)


@pytest.mark.long
def test_a_hundred_thousand_sequences() -> None:
    """The same, 10⁵ of them."""
    chance = random.Random()
    for _ in range(100_000):
        play(chance)
