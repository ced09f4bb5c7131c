"""`mdir-smtp spam`: what users call spam."""

from __future__ import annotations

import argparse
import contextlib
from typing import Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, settings_of, shown

_KEPT: Final = 3_600.0


def add_spam(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "spam",
        help="learn from what users move to the spam box",
        description="Record the mails that users move to the folders of MDIR_SMTP_SPAM, and empty"
        " these, until a signal comes; `mdir-smtp serve` does so too. With --list it lists what was"
        " recorded, and ends.",
    )
    command.add_argument("--list", action="store_true", help="list what users called spam")
    command.add_argument(
        "--kept",
        metavar="SECONDS",
        type=float,
        default=_KEPT,
        help=f"that a mail stays in the box, and a vote can be taken back; default: {_KEPT:.0f}",
    )
    command.add_argument(
        "--json", action="store_true", help="with --list one object a line; else log lines as JSON"
    )
    add_config(command)
    command.set_defaults(command=_spam)


def _spam(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.kept <= 10**9:
        raise UsageError(f"--kept: expected 0 to {10**9:,} seconds, not {arguments.kept:g}")
    if arguments.list:
        return _list(arguments)
    from mdirclient.smtp.spam.process import Options, run

    run(settings_of(arguments), Options(arguments.json, arguments.kept))
    return exits.OK


def _list(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from mdirclient.cli.output import print_json
    from mdirclient.smtp.spam.votes import Votes

    path = settings_of(arguments).smtp_state()
    with contextlib.closing(Votes(path, read_only=True)) as votes:
        for vote in votes.listed():
            at = datetime.fromtimestamp(vote.at, UTC).isoformat(timespec="seconds")
            if arguments.json:
                print_json(
                    {
                        "at": at,
                        "account": vote.account,
                        "sender": vote.sender or None,
                        "client": vote.client or None,
                        "anchor": vote.anchor,
                    }
                )
            else:
                who = shown(vote.sender) if vote.is_known else "no record of it"
                print(f"{at}  {who}  {vote.client or '-'}  by {shown(vote.account)}")
    return exits.OK
