"""`mdir-smtp delayed`: senders that greylisting told to come again."""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import TYPE_CHECKING, Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, say, settings_of, shown

if TYPE_CHECKING:
    from mdirclient.smtp.antispam.greys import Greys

_DAY: Final = 86_400.0


def add_delayed(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "delayed",
        help="senders that were told to come again",
        description="List or release senders that `mdir-smtp serve` told to come again, because"
        " they came for the first time (greylisting). Who is released is let in when it comes"
        " again. A running server follows at once.",
    )
    tools = command.add_mutually_exclusive_group(required=True)
    tools.add_argument(
        "--list", action="store_true", help="list those that have not come again, the oldest first"
    )
    tools.add_argument("--release", metavar="SENDER", help="let this address in")
    command.add_argument(
        "--to", metavar="ADDRESS", help="only what is for this account; default: all accounts"
    )
    command.add_argument(
        "--since",
        metavar="SECONDS",
        type=float,
        default=_DAY,
        help=f"with --list, those that came first within this time; default: {_DAY:.0f}",
    )
    command.add_argument("--json", action="store_true", help="with --list one object a line")
    add_config(command)
    command.set_defaults(command=_delayed)


def _delayed(arguments: argparse.Namespace) -> int:
    from mdirclient.smtp.antispam.greys import Greys

    if not 0 < arguments.since <= 10**9:
        raise UsageError(f"--since: expected more than 0, not {arguments.since:g}")
    now = time.time()
    account = arguments.to.lower() if arguments.to else None
    with contextlib.closing(Greys(settings_of(arguments).smtp_state())) as greys:
        if arguments.list:
            return _list(greys, now - arguments.since, account, as_json=arguments.json)
        sender = arguments.release.strip()
        sender = sender if sender == "<>" else sender.strip("<>")
        count = greys.release_sender(sender, account, now)
    if not count:
        say(f"mdir-smtp: {shown(sender)} was not told to come again")
        return exits.NOT_FOUND
    print(f"released  {shown(sender)}")
    return exits.OK


def _list(greys: Greys, since: float, account: str | None, *, as_json: bool) -> int:
    from datetime import UTC, datetime

    from mdirclient.cli.output import print_json

    for key, grey in greys.waiting(since):
        if account not in (None, key.recipient):
            continue
        first, last = (
            datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
            for at in (grey.first, grey.last)
        )
        if as_json:
            print_json(
                {
                    "sender": key.sender,
                    "recipient": key.recipient,
                    "network": key.source,
                    "domain": grey.domain or None,
                    "first": first,
                    "last": last,
                }
            )
        else:
            print(f"{first}  {shown(key.sender)}  to {shown(key.recipient)}  from {key.source}")
    return exits.OK
