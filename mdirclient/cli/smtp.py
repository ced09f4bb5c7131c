"""The command line `mdir-smtp`.

`deliver` imports only what a delivery needs: it runs once for each mail.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, add_config, run, say, settings_of, shown

PROGRAM: Final = "mdir-smtp"
_CHUNK: Final = 1 << 16
#: The signal that ended this delivery.
_SIGNALS: Final[list[int]] = []


def main(words: Sequence[str] | None = None) -> int:
    """Run `mdir-smtp`; returns the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    if given[:1] == ["deliver"]:
        return _deliver_safely(given[1:])
    return run(parser(), given)


def script() -> int:
    """What the command calls. A process that delivers one mail ends without tidying up."""
    if sys.argv[1:2] != ["deliver"]:
        return main()
    # Measured: collecting garbage and tearing down modules take a fifth of a small delivery.
    gc.disable()
    try:
        status = main()
    except BaseException:  # noqa: BLE001 - a signal between two lines
        status = exits.TEMPORARY
    _on_signals(signal.SIG_IGN)
    # Everything is durable, closed and flushed; modules need no farewell.
    os._exit(status)


def parser() -> Parser:
    """The parser of `mdir-smtp`."""
    top = Parser(prog=PROGRAM, description="Mail between SMTP and the mdir.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_deliver(commands.add_parser("deliver", help="deliver one mail from standard input"))
    _add_account(commands)
    from mdirclient.cli.smtp_serve import add_serve  # who delivers needs it not

    add_serve(commands)
    return top


def _add_deliver(command: Parser) -> None:
    command.description = (
        "Deliver one mail from standard input, as an MTA hands it over. Exits 0 when"
        " everything is stored durably, 67 when there is certainly no such account, and 75 (try"
        " again later) for anything else."
    )
    command.epilog = (
        "What the options do not say is taken from the environment that Postfix, Exim and"
        " OpenSMTPD set: SENDER, RECIPIENT, ORIGINAL_RECIPIENT, LOCAL, LOCAL_PART, DOMAIN,"
        " CLIENT_ADDRESS, CLIENT_HOSTNAME, CLIENT_HELO. Without a recipient the mail is classified"
        " at the root."
    )
    command.add_argument(
        "--recipient",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="address of an account; may be repeated, one for each call is better",
    )
    command.add_argument("--sender", metavar="ADDRESS", help="the sender; `<>` for none")
    add_config(command)
    command.set_defaults(command=_deliver)


def _add_account(commands: argparse._SubParsersAction[Parser]) -> None:
    account = commands.add_parser("account", help="the mail addresses served")
    actions = account.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser(
        "add",
        help="make an account",
        description="Make an account: its folder, outbox and spam folders, and its user, where they"
        " are missing. Makes the mdird too, if there is none.",
    )
    add.add_argument("address", metavar="ADDRESS", help="local@domain")
    add.add_argument("--user", metavar="NAME", help="whom it belongs to; default: the address")
    add.add_argument(
        "--mount",
        metavar="FOLDER",
        help="a second name for the account's folder, such as Home/JojoLapin/Emails",
    )
    add_config(add)
    add.set_defaults(command=_account_add)
    listing = actions.add_parser(
        "list",
        help="list the accounts",
        description="List the accounts: address, user, aliases, how the user may log in, and any"
        " other field of the user's entry, such as SIP and other accounts.",
    )
    listing.add_argument("--json", action="store_true", help="one object a line")
    add_config(listing)
    listing.set_defaults(command=_account_list)


def _account_add(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.smtp.accounts import Places, add_account

    settings = settings_of(arguments)
    with connect(settings=settings) as mdird:
        places = Places.from_settings(settings)
        account = add_account(
            mdird, places, arguments.address, user=arguments.user, mount=arguments.mount
        )
    print(account)
    return exits.OK


def _account_list(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import print_json
    from mdirclient.connect import connect
    from mdirclient.smtp.accounts import Places, read_book

    settings = settings_of(arguments)
    with connect(create=False, settings=settings) as mdird:
        for account in read_book(mdird, Places.from_settings(settings)).described():
            if arguments.json:
                print_json(account)
                continue
            words = [account.pop("address"), f"user={account.pop('user') or 'none'}"]
            words += [f"{name}={one}" for name, values in account.items() for one in values]
            print(shown(" ".join(str(word) for word in words)))
    return exits.OK


def _deliver(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.smtp.accounts import Places, UnknownRecipientError
    from mdirclient.smtp.deliver import Host, deliver
    from mdirclient.smtp.envelope import read_envelope

    settings = settings_of(arguments)
    envelope = read_envelope(os.environ, sender=arguments.sender, recipients=arguments.recipient)
    authserv_ids = (settings.find("MDIR_SMTP_AUTHSERV") or "").replace(",", " ").split()
    host = Host(
        settings.find("MDIR_SMTP_HOSTNAME") or os.uname().nodename, tuple(authserv_ids), _date()
    )
    places = Places.from_settings(settings)
    try:
        with connect(create=False, settings=settings) as mdird:
            deliver(_standard_input(), mdird, envelope=envelope, places=places, host=host)
    except UnknownRecipientError as error:
        say(f"{PROGRAM} deliver: {error}")
        return exits.NO_USER
    return exits.OK


class _TerminatedError(Exception):
    """A signal asked the process to end."""


def _terminate(number: int, _frame: FrameType | None) -> None:
    # One is enough, the answer is on its way. A second one between two lines must not raise again.
    if _SIGNALS:
        return
    _SIGNALS.append(number)
    raise _TerminatedError(f"ended by signal {number}")


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, handler)


def _deliver_safely(words: list[str]) -> int:
    """Deliver with the exit codes that every MTA understands: 0, 67 and 75, never a traceback."""
    # Exim bounces a mail whose program a signal ended.
    _on_signals(_terminate)
    try:
        # Only this command's parser: the others take time to build.
        command = Parser(prog=f"{PROGRAM} deliver")
        _add_deliver(command)
        return _deliver(command.parse_args(_joined(words)))
    except SystemExit:  # --help
        return exits.OK
    except BaseException as error:  # noqa: BLE001 - whatever it is, the MTA keeps the mail
        _on_signals(signal.SIG_IGN)
        reason = str(error) or type(error).__name__
    # One line, and never one that begins with a status code: Postfix would believe it.
    say(f"{PROGRAM} deliver: {' '.join(reason.split())}; the mail was not taken, try again later")
    return exits.TEMPORARY


def _joined(words: list[str]) -> list[str]:
    """`--sender -x@y` as one word: an address may begin with a hyphen."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--sender", "--recipient"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _standard_input() -> Iterator[bytes]:
    while chunk := os.read(0, _CHUNK):
        yield chunk


def _date() -> str:
    """Now, as in RFC 5322 §3.3. Python formats names in English unless a program asks otherwise."""
    return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())


if __name__ == "__main__":
    sys.exit(script())
