"""The SMTP engine: replies, order, ends of data; each at every split."""

from __future__ import annotations

import base64

import pytest

from mdirclient.smtp.engine import (
    NULL_PATH,
    Authenticate,
    Begin,
    Chunk,
    Connection,
    Dropped,
    End,
    MailFrom,
    Path,
    PathError,
    Profile,
    Quit,
    RcptTo,
    Reply,
    StartTLS,
    parse_path,
)
from mdirclient.smtp.engine import reply as replies
from mdirclient.smtp.engine.data import MAX_DATA_LINE, DataDecoder
from tests.smuggling import VECTORS

PROFILE = Profile("mx.test", max_size=1000, max_recipients=2, max_errors=5)
SUBMISSION = Profile("mx.test", is_submission=True, has_tls=True)
HELLO = b"EHLO client.test\r\n"
MAIL = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<jo@ours.test>\r\n"


class Driver:
    """Answers yes to everything, and notes what happened."""

    def __init__(self, profile: Profile = PROFILE, *, is_secured: bool = False) -> None:
        self.engine = Connection(profile, is_secured=is_secured)
        self.mails: list[bytes] = []
        self.events: list[object] = []
        self.data = b""
        self.final: tuple[Reply, ...] = (replies.TAKEN,)

    def feed(self, data: bytes, step: int = 0) -> str:
        """Send bytes, in pieces; what is answered."""
        for start in range(0, len(data), step or len(data) or 1):
            self.engine.receive(data[start : start + (step or len(data))])
            while event := self.engine.next_event():
                self.events.append(event)
                self.handle(event)
        return self.engine.take_output().decode()

    def handle(self, event: object) -> None:
        """What a server would do."""
        match event:
            case MailFrom():
                self.engine.answer(replies.SENDER_OK)
            case RcptTo():
                self.engine.answer(replies.RECIPIENT_OK)
            case Begin():
                self.data = b""
                self.engine.answer(replies.START_MAIL)
            case Chunk(data):
                self.data += data
            case End():
                self.mails.append(self.data)
                self.engine.answer(*self.final)
            case Authenticate(credentials):
                self.engine.user = credentials.user or "of the certificate"
                self.engine.answer(replies.AUTHENTICATED)


def codes(answers: str) -> list[str]:
    """The codes of the last lines of replies."""
    return [line[:3] for line in answers.splitlines() if line[3:4] != "-"]


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
def test_a_mail(step: int) -> None:
    """Comes as it was sent, without the added dots, however it is cut."""
    driver = Driver()
    driver.engine.greet()
    assert ["220"] + ["250"] * 3 + ["354"] == codes(driver.feed(HELLO + MAIL + b"DATA\r\n", step))
    answer = driver.feed(b"..a\r\n.b\r\n\xff\x00\n\r\r\n\r\n.\r\nQUIT\r\n", step)
    assert ["250", "221"] == codes(answer)
    assert [b".a\r\nb\r\n\xff\x00\n\r\r\n\r\n"] == driver.mails
    assert isinstance(driver.events[-1], Quit)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", b""),
        (b"a\r\n", b"a\r\n"),
        (b"..\r\n", b".\r\n"),
        (b"...\r\n", b"..\r\n"),
        (b"a.\r\n", b"a.\r\n"),
        (b".a\r\n..\r\n", b"a\r\n.\r\n"),
        (b"\r\n\r\n", b"\r\n\r\n"),
        (b".\rb\r\n", b"\rb\r\n"),
        (b"\r.\r\r\n", b"\r.\r\r\n"),
        (b".\n.\n\r\n", b"\n.\n\r\n"),
    ],
)
def test_dots(sent: bytes, expected: bytes) -> None:
    """RFC 5321 §4.5.2, at every two splits; what follows the end is left alone."""
    stream = sent + b".\r\nNOOP\r\n"
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            decoder = DataDecoder()
            found, rest = b"", None
            for piece in (stream[:first], stream[first:second], stream[second:]):
                if rest is None:
                    content, rest = decoder.feed(piece)
                    found += content
                else:
                    rest += piece
            assert (expected, b"NOOP\r\n") == (found, rest)
            assert len(expected) == decoder.size


@pytest.mark.parametrize("name", VECTORS)
def test_smuggling_at_every_split(name: str) -> None:
    """Nothing but CRLF.CRLF ends a mail, wherever the stream is cut in two."""
    inner = b"MAIL FROM:<evil@b.test>\r\nRCPT TO:<jo@ours.test>\r\nDATA\r\nsmuggled\r\n"
    content = b"Subject: x\r\n\r\nbody" + VECTORS[name] + inner
    for split in range(len(content) + 6):
        driver = Driver()
        driver.feed(HELLO + MAIL + b"DATA\r\n")
        stream = content + b".\r\n"
        driver.feed(stream[:split])
        driver.feed(stream[split:])
        # A dot after CRLF is one that a client added.
        assert [content.replace(b"\r\n.", b"\r\n")] == driver.mails


def test_lines_up_to_a_mebibyte() -> None:
    """Are taken; a longer one is refused at the end of its mail."""
    for length, code in ((MAX_DATA_LINE, "250"), (MAX_DATA_LINE + 1, "554")):
        driver = Driver(Profile("mx.test"))
        driver.feed(HELLO + MAIL + b"DATA\r\n")
        assert [code] == codes(driver.feed(b"x" * length + b"\r\n.\r\n", 60_000))


def test_too_large() -> None:
    """Refused at MAIL by what it says, else at its end, and the next mail is taken."""
    driver = Driver()
    driver.feed(HELLO)
    assert ["552"] == codes(driver.feed(b"MAIL FROM:<a@b.test> SIZE=1001\r\n"))
    driver.feed(MAIL + b"DATA\r\n")
    assert "" == driver.feed(b"x\r\n" * 400, 100)
    assert Dropped(replies.TOO_LARGE) == driver.events[-1]
    assert ["552"] == codes(driver.feed(b".\r\n"))
    driver.feed(MAIL + b"DATA\r\n")
    assert ["250"] == codes(driver.feed(b"small\r\n.\r\n"))
    assert [b"small\r\n"] == driver.mails


def test_a_dropped_mail_leaves_nothing() -> None:
    """The server may drop it while it comes; the state is as after a reset."""
    driver = Driver()
    driver.feed(HELLO + MAIL + b"DATA\r\n")
    driver.feed(b"x\r\n")
    driver.engine.drop(replies.TOO_MANY_RECIPIENTS)
    assert ["452", "503"] == codes(driver.feed(b"y\r\n.\r\nRCPT TO:<a@b.test>\r\n"))
    assert [] == driver.mails


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"MAIL FROM:<a@b>\r\n", ["503"]),
        (b"RCPT TO:<a@b>\r\nDATA\r\n", ["503", "503"]),
        (HELLO + b"DATA\r\n", ["250", "503"]),
        (HELLO + b"RCPT TO:<a@b>\r\n", ["250", "503"]),
        (HELLO + b"MAIL FROM:<a@b>\r\nDATA\r\n", ["250", "250", "554"]),
        (HELLO + b"MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n", ["250", "250", "503"]),
        (HELLO + b"MAIL FROM:<a@b>\r\nRSET\r\nRCPT TO:<a@b>\r\n", ["250", "250", "250", "503"]),
        (HELLO + b"MAIL FROM:<a@b>\r\n" + HELLO + b"RCPT TO:<a@b>\r\n", ["250"] * 3 + ["503"]),
        (b"HELO x\r\nMAIL FROM:<>\r\n", ["250", "250"]),
        (b"EHLO\r\nHELO\r\nEHLO " + b"x" * 256 + b"\r\n", ["501"] * 3),
        (b"LHLO x\r\n", ["500"]),
        (
            b"VRFY jo\r\nEXPN all\r\nBDAT 10 LAST\r\nFOO\r\n\r\n",
            ["252", "502", "502", "500", "500"],
        ),
        (b"noop\r\nNoOp x\r\nHELP\r\nrset\r\n", ["250", "250", "214", "250"]),
        (b"RSET x\r\nSTARTTLS\r\nAUTH PLAIN\r\n", ["501", "503", "503"]),
        (HELLO + b"STARTTLS\r\nAUTH PLAIN\r\n", ["250", "502", "503"]),
        (HELLO + b"MAIL FROM:<a@b> SIZE=x\r\n", ["250", "555"]),
        (HELLO + b"MAIL FROM:<a@b> BODY=8BITMIME SIZE=10\r\n", ["250", "250"]),
        (HELLO + b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n", ["250", "555"]),
        (HELLO + b"MAIL FROM:<a@b> SIZE=1 size=2\r\n", ["250", "555"]),
        (HELLO + b"MAIL FROM:<a@b> AUTH=<>\r\n", ["250", "555"]),
        (HELLO + b"MAIL FROM:<a@b> RET=FULL\r\n", ["250", "555"]),
        (HELLO + b"MAIL FROM:<\xc3\xa9@b>\r\n", ["250", "553"]),
        (HELLO + b"MAIL FROM:<\xc3\xa9@b> SMTPUTF8\r\n", ["250", "250"]),
        (HELLO + b"MAIL FROM:<\xc3@b> SMTPUTF8\r\n", ["250", "501"]),
        (HELLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<\xc3\xa9@b>\r\n", ["250", "250", "553"]),
        (HELLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b> NOTIFY=NEVER\r\n", ["250", "250", "555"]),
        (HELLO + MAIL + b"RCPT TO:<b@b>\r\nRCPT TO:<c@b>\r\n", ["250"] * 4 + ["452"]),
        (b"QUIT\r\nNOOP\r\n", ["221"]),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_order_and_arguments(lines: bytes, expected: list[str], step: int) -> None:
    """Each reply is the one of its RFC, sent together or byte by byte."""
    assert expected == codes(Driver().feed(lines, step))


@pytest.mark.parametrize(
    "lines",
    [
        b"NOOP\nNOOP\r\n",
        b"NOOP\rNOOP\r\n",
        b"\n",
        b"x" * 5000,
        b"NOOP " + b"x" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        HELLO + MAIL + b"DATA\r\nbody\r\n.\r\n",
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_who_does_not_speak_smtp_is_left(lines: bytes, step: int) -> None:
    """Bare CR and LF, endless lines, HTTP: one refusal, and nothing after it is read."""
    if step and b"body" in lines:
        pytest.skip("byte by byte it is no pipelining")
    driver = Driver()
    answers = codes(driver.feed(lines, step))
    assert answers[-1] in ("500", "554")
    assert isinstance(driver.events[-1], Quit)
    assert "" == driver.feed(b"NOOP\r\n")


def test_too_many_errors_and_idle_commands() -> None:
    """End the connection, with 421; what is temporary does not count."""
    assert ["500"] * 5 + ["500", "421"] == codes(Driver().feed(b"FOO\r\n" * 10))
    assert ["250"] * 100 + ["421"] == codes(Driver().feed(b"NOOP\r\n" * 200))
    driver = Driver()
    answers = codes(driver.feed(HELLO + MAIL + b"RCPT TO:<a@b>\r\n" * 50))
    assert ["452"] * 49 == answers[4:]


def test_lmtp_answers_for_each_recipient() -> None:
    """RFC 2033 §4.2: also where the mail is too large."""
    driver = Driver(Profile("mx.test", is_lmtp=True, max_size=10))
    driver.final = (replies.TAKEN, replies.TOO_LARGE)
    assert ["500", "503"] == codes(driver.feed(b"EHLO x\r\nMAIL FROM:<a@b>\r\n"))
    driver.feed(b"LHLO x\r\n")
    two = MAIL + b"RCPT TO:<li@ours.test>\r\nDATA\r\n"
    driver.feed(two)
    assert ["250", "552"] == codes(driver.feed(b"x\r\n.\r\n"))
    driver.feed(two)
    assert ["552", "552"] == codes(driver.feed(b"x" * 20 + b"\r\n.\r\n"))


def test_starttls_forgets_what_was_said() -> None:
    """CVE-2011-0411: what came with the command is dropped; nothing said before it counts."""
    driver = Driver(Profile("mx.test", has_tls=True))
    answers = driver.feed(HELLO + b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@b.test>\r\n")
    assert "STARTTLS" in answers
    assert ["250", "220"] == codes(answers)
    assert StartTLS() == driver.events[-1]
    driver.engine.secured()
    assert ["503"] == codes(driver.feed(b"MAIL FROM:<a@b>\r\n"))
    answers = driver.feed(HELLO)
    assert "STARTTLS" not in answers
    assert ["503"] == codes(driver.feed(b"STARTTLS\r\n"))


PLAIN = base64.b64encode(b"\0jo\0secret").decode()


@pytest.mark.parametrize(
    ("lines", "expected", "user"),
    [
        (f"AUTH PLAIN {PLAIN}", ["235"], "jo"),
        (f"auth plain\r\n{PLAIN}", ["334", "235"], "jo"),
        ("AUTH LOGIN\r\nam8=\r\nc2VjcmV0", ["334", "334", "235"], "jo"),
        ("AUTH LOGIN am8=\r\nc2VjcmV0", ["334", "235"], "jo"),
        ("AUTH PLAIN\r\n*", ["334", "501"], None),
        ("AUTH PLAIN ****", ["501"], None),
        ("AUTH PLAIN am8=", ["501"], None),
        ("AUTH PLAIN =", ["501"], None),
        (
            f"AUTH PLAIN {base64.b64encode(chr(0).join(['li', 'jo', 'x']).encode()).decode()}",
            ["501"],
            None,
        ),
        ("AUTH EXTERNAL =", ["504"], None),
        ("AUTH CRAM-MD5", ["504"], None),
        (f"AUTH PLAIN {PLAIN}\r\nAUTH PLAIN {PLAIN}", ["235", "503"], "jo"),
        ("AUTH PLAIN\r\n" + "x" * 13000, ["334", "500"], None),
    ],
)
def test_authentication(lines: str, expected: list[str], user: str | None) -> None:
    """PLAIN and LOGIN, with and without an initial response; on TLS only."""
    driver = Driver(SUBMISSION, is_secured=True)
    assert "AUTH PLAIN LOGIN\r\n" in driver.feed(HELLO)
    assert expected == codes(driver.feed(lines.encode() + b"\r\n", 100))
    assert user == driver.engine.user
    plain = Driver(SUBMISSION)
    assert "AUTH" not in plain.feed(HELLO)
    assert ["538", "530"] == codes(
        plain.feed(f"AUTH PLAIN {PLAIN}\r\nMAIL FROM:<a@b>\r\n".encode())
    )


def test_submission_needs_a_user() -> None:
    """MAIL is refused before AUTH, and what a certificate says is asked for."""
    driver = Driver(SUBMISSION, is_secured=True)
    driver.engine.fingerprint = "00"
    assert "AUTH PLAIN LOGIN EXTERNAL" in driver.feed(HELLO)
    assert ["530"] == codes(driver.feed(b"MAIL FROM:<a@b>\r\n"))
    assert ["235", "250"] == codes(driver.feed(b"AUTH EXTERNAL =\r\nMAIL FROM:<a@b>\r\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<a@b>", Path("a", "b")),
        (" <a@b>", Path("a", "b")),
        ("<@x.test,@y.test:a@b>", Path("a", "b")),
        ("<@x:a@b>", Path("a", "b")),
        ('<"a b"@c>', Path("a b", "c")),
        ('<"a\\"\\\\@b"@c>', Path('a"\\@b', "c")),
        ("<a@[192.0.2.1]>", Path("a", "[192.0.2.1]")),
        ("<a%b@c>", Path("a%b", "c")),
        ("<a..b.@c.>", Path("a..b.", "c.")),
        ("<Postmaster>", Path("Postmaster", "")),
        ("<jö@exämple.test>", Path("jö", "exämple.test")),
    ],
)
def test_paths(text: str, expected: Path) -> None:
    """RFC 5321 §4.1.2; a source route counts for nothing. What is written is read again."""
    path, parameters = parse_path(f"{text} X=1", is_reverse=False)
    assert (expected, "X=1") == (path, parameters)
    assert expected == parse_path(f"<{path}>", is_reverse=False)[0]


@pytest.mark.parametrize(
    "text",
    [
        "a@b",
        "<a@b",
        "<a b@c>",
        "<a@b@c>",
        "<@b>",
        "<a@>",
        "<a@b..c>",
        "<a@-\x00>",
        '<"a@b>',
        "<a>",
        "<>",
        "<a@b>x",
        "<a@b>X=1",
        "<a@" + "b" * 64 + ".test>",
        "<" + "a" * 600 + "@b>",
        "<a\u202e@b>",
        "<a\x7f@b>",
        "<@x,a@b>",
        "<a@[1\r2]>",
    ],
)
def test_no_paths(text: str) -> None:
    """What is no path is refused."""
    with pytest.raises(PathError):
        parse_path(text, is_reverse=False)


def test_null_path() -> None:
    """Only a sender may be nobody."""
    assert (NULL_PATH, "") == parse_path("<>", is_reverse=True)
    assert "<>" == str(NULL_PATH)
    with pytest.raises(PathError):
        parse_path("<postmaster>", is_reverse=True)
