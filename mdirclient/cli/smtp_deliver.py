"""`mdir-smtp deliver`: one mail from standard input, as an MTA hands it over.

Runs once for each mail. Nothing is imported before a hand-over to a resident server but what it
needs; argparse, attrs and the package come after that, for a direct delivery.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` imports a third of a hand-over
import os
import sys

from mdirclient.cli.exits import NO_USER, OK, TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType
    from typing import Final, NoReturn

    from mdirclient.cli.arguments import Parser
    from mdirclient.smtp.envelope import Envelope

PROGRAM: Final = "mdir-smtp deliver"
SOCKET: Final = "MDIR_SMTP_SOCKET"
HOSTNAME: Final = "MDIR_SMTP_HOSTNAME"
#: Seconds. OpenSMTPD gives up after 300 s, Postfix after 1,000 s, and both bounce then.
DEADLINE: Final = 240.0
#: Seconds after the deadline in which the process ends, whatever it is busy with.
_GRACE: Final = 5.0
#: Bytes of memory that a delivery may have of its own: some times what the largest mail takes,
#: since none is in memory as a whole.
_MEMORY: Final = 768 << 20
_CHUNK: Final = 1 << 16
#: Options, each with one value, as they are read before there is a parser.
_OPTIONS: Final = frozenset(
    ["--recipient", "--sender", "--client-address", "--client-name", "--helo", "--socket"]
)
_OTHERS: Final = frozenset(["--config", "--deadline"])
_AGAIN: Final = "from mdirclient.cli.smtp import script; script()"
#: The signal that ended this delivery.
_SIGNALS: Final[list[int]] = []


def deliver_and_exit(words: Sequence[str]) -> NoReturn:
    """Deliver, as a process that ends without tidying up (docs: decisions/0004)."""
    try:
        # Exim bounces a mail whose program a signal ended.
        _on_signals(_terminate)
        _set_deadline(DEADLINE)
        status = hand_over_at_once(words)
        if status is None and sys.flags.no_site:
            # What is installed is not known to this process, which was started for a hand-over.
            os.execv(sys.executable, [sys.executable, "-I", "-c", _AGAIN, "deliver", *words])  # noqa: S606
        if status is None:
            # Measured: collecting garbage and tearing down modules take a fifth of a delivery.
            import gc

            gc.disable()
            status = deliver_safely(words)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the MTA keeps the mail
        _on_signals(_signal.SIG_IGN)
        status = _not_taken(error)
    # Everything is durable, closed and flushed; modules need no farewell.
    os._exit(status)


# -- to a resident server


def hand_over_at_once(words: Sequence[str]) -> int | None:
    """Hand over where options and environment say it all; None: this takes a parser."""
    given = _read(words)
    if given is None:
        return None
    path = (given["--socket"] or [os.environ.get(SOCKET, "")])[-1]
    if not path:
        return None
    if given["--deadline"]:
        _set_deadline(float(given["--deadline"][-1]))
    from mdirclient.smtp.envelope import read_envelope

    client = {
        name[2:].replace("-", "_"): given[name][-1]
        for name in ("--client-address", "--client-name", "--helo")
        if given[name]
    }
    sender = given["--sender"][-1] if given["--sender"] else None
    envelope = read_envelope(
        os.environ, sender=sender, recipients=given["--recipient"], client=client
    )
    return hand_over(envelope, path, os.environ.get(HOSTNAME))


def hand_over(envelope: Envelope, path: str, host: str | None) -> int | None:
    """Hand the mail over, if a server is there; the exit code.

    Raises:
        HandoverError, OSError: the mail may not have been taken.
    """
    from mdirclient.smtp.handover import hand_over, is_plain

    if not is_plain(envelope):
        return None
    unknown = hand_over(_standard_input(envelope), envelope, path, host=host or os.uname().nodename)
    return None if unknown is None else _status(unknown, len(envelope.recipients))


def _read(words: Sequence[str]) -> dict[str, list[str]] | None:
    """The options, if all are written out; None: it takes a parser to understand them."""
    given: dict[str, list[str]] = {name: [] for name in _OPTIONS | _OTHERS}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in given:
            return None
        if not equals:
            following = next(rest, None)
            if following is None:
                return None
            value = following
        given[name].append(value)
    return given


# -- by this process


def add_deliver(command: Parser) -> None:
    """Fill the parser of the command."""
    from mdirclient.cli.arguments import add_config

    command.description = (
        "Deliver one mail from standard input, as an MTA hands it over. Exits 0 when"
        " everything is stored durably, 67 when there is certainly no such account, and 75 (try"
        " again later) for anything else."
    )
    command.epilog = (
        "What the options do not say is taken from the environment that Postfix, Exim and"
        " OpenSMTPD set: SENDER, RECIPIENT, ORIGINAL_RECIPIENT, LOCAL, LOCAL_PART, DOMAIN,"
        " EXTENSION, CLIENT_ADDRESS, CLIENT_HOSTNAME, CLIENT_HELO. Without a recipient the mail is"
        " classified at the root."
    )
    command.add_argument(
        "--recipient",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="address of an account; one for each call: of several, one that is unknown is 75",
    )
    command.add_argument("--sender", metavar="ADDRESS", help="the sender; `<>` for none")
    command.add_argument(
        "--client-address", metavar="IP", help="address of the client that the MTA had it from"
    )
    command.add_argument("--client-name", metavar="NAME", help="its verified name")
    command.add_argument("--helo", metavar="NAME", help="what it called itself")
    command.add_argument(
        "--socket",
        metavar="PATH",
        help="hand over to the server that listens there, if one does; default: MDIR_SMTP_SOCKET",
    )
    command.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=float,
        default=DEADLINE,
        help="end with 75 after so long; default: 240",
    )
    add_config(command)
    command.set_defaults(command=_deliver)


def deliver_safely(words: Sequence[str]) -> int:
    """Deliver with the exit codes that every MTA understands: 0, 67 and 75, never a traceback."""
    _on_signals(_terminate)
    try:
        from mdirclient.cli.arguments import Parser

        # Only this command's parser: the others take time to build.
        command = Parser(prog=PROGRAM)
        add_deliver(command)
        return _deliver(command.parse_args(_joined(words)))
    except SystemExit:  # --help
        return OK
    except BaseException as error:  # noqa: BLE001 - whatever it is, the MTA keeps the mail
        _on_signals(_signal.SIG_IGN)
        return _not_taken(error)


def _deliver(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.arguments import settings_of
    from mdirclient.smtp.envelope import read_envelope

    _limit(arguments.deadline)
    settings = settings_of(arguments)
    client = {name: getattr(arguments, name) for name in ("client_address", "client_name", "helo")}
    envelope = read_envelope(
        os.environ, sender=arguments.sender, recipients=arguments.recipient, client=client
    )
    hostname = settings.find(HOSTNAME)
    if path := arguments.socket or settings.find(SOCKET):
        status = hand_over(envelope, path, hostname)
        if status is not None:
            return status
    from mdirclient.connect import connect
    from mdirclient.smtp.accounts import Places, UnknownRecipientError
    from mdirclient.smtp.deliver import Host, deliver

    authserv_ids = (settings.find("MDIR_SMTP_AUTHSERV") or "").replace(",", " ").split()
    host = Host(hostname or os.uname().nodename, tuple(authserv_ids), _date())
    places = Places.from_settings(settings)
    unknown: tuple[str, ...] = ()
    try:
        with connect(create=False, settings=settings) as mdird:
            deliver(_standard_input(envelope), mdird, envelope=envelope, places=places, host=host)
    except UnknownRecipientError as error:
        unknown = error.addresses
    return _status(unknown, len(envelope.recipients))


def _limit(deadline: float) -> None:
    """A mail must not wedge the MTA: bounds of time and memory."""
    import faulthandler
    import resource

    _set_deadline(deadline)
    # Where no signal is heard, as in one long call of C, this ends the process all the same. What
    # it would say goes where nothing can be written.
    faulthandler.dump_traceback_later(deadline + _GRACE, exit=True, file=open(os.devnull))  # noqa: SIM115
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    lowest = min((limit for limit in (soft, hard, _MEMORY) if limit >= 0), default=_MEMORY)
    resource.setrlimit(resource.RLIMIT_DATA, (lowest, hard))


def _set_deadline(seconds: float) -> None:
    if not 0 < seconds <= 86_400:
        raise ValueError(f"--deadline: expected 0 to 86,400 seconds, not {seconds:g}")
    _signal.setitimer(_signal.ITIMER_REAL, seconds)


class _TerminatedError(Exception):
    """A signal asked the process to end."""


def _terminate(number: int, _frame: FrameType | None) -> None:
    # One is enough, the answer is on its way. A second one between two lines must not raise again.
    if _SIGNALS:
        return
    _SIGNALS.append(number)
    is_late = number == _signal.SIGALRM
    raise _TerminatedError("not done before its deadline" if is_late else f"signal {number} came")


def _on_signals(handler: Callable[[int, FrameType | None], None] | int) -> None:
    for number in (_signal.SIGINT, _signal.SIGHUP, _signal.SIGTERM, _signal.SIGALRM):
        _signal.signal(number, handler)


def _joined(words: Sequence[str]) -> list[str]:
    """`--sender -x@y` as one word: an address may begin with a hyphen."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in _OPTIONS:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


# -- what both share


def _status(unknown: Sequence[str], recipients: int) -> int:
    """The exit code, when all who have an account have the mail."""
    if not unknown:
        return OK
    shown = ", ".join(ascii(address) for address in unknown)
    if recipients > 1:
        # The MTA knows one code for all of them: 67 would say of each that it does not exist.
        return _say(TEMPORARY, f"4.1.1 no account for {shown}; the others have the mail")
    return _say(NO_USER, f"5.1.1 no account for {shown}")


def _not_taken(error: BaseException) -> int:
    reason = str(error) or type(error).__name__
    return _say(TEMPORARY, f"4.3.0 the mail was not taken, try again later: {reason}")


def _say(status: int, text: str) -> int:
    """One line for the MTA's log, which begins with a status code (RFC 3463): Postfix reads it."""
    shown = "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
    try:  # noqa: SIM105 - contextlib is not imported
        os.write(2, shown.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass
    return status


def _standard_input(envelope: Envelope) -> Iterator[bytes]:
    from mdirclient.smtp.envelope import without_separator

    return without_separator(iter(lambda: os.read(0, _CHUNK), b""), envelope)


def _date() -> str:
    """Now, as in RFC 5322 §3.3. Python formats names in English unless a program asks otherwise."""
    import time

    return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
