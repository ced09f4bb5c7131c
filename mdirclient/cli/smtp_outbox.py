"""`mdir-smtp outbox`: sends what is in the outbox, and shows the queue."""

from __future__ import annotations

import argparse
from typing import Final

import attrs

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, settings_of, shown

#: Option → its field, default and meaning; seconds.
_TIMES: Final = (
    ("first-retry", "first", "before the second try; twice as long before each further one"),
    ("most-retry", "most", "between two tries, at most"),
    ("give-up", "give_up", "after which a mail has failed, and its sender is told"),
)


def add_outbox(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "outbox",
        help="send what is in the outbox; show the queue",
        description="Send the mails in the folders of the outbox, until a signal comes, by the"
        " smarthost that MDIR_SMTP_RELAY names, or the program of MDIR_SMTP_SENDMAIL. Several"
        " may run: one at a time sends. With one of"
        " --list, --retry and --hold it does just that, and ends.",
    )
    tools = command.add_mutually_exclusive_group()
    tools.add_argument("--list", action="store_true", help="list the queue")
    tools.add_argument("--retry", metavar="URL", help="try a mail now, also one that failed")
    tools.add_argument("--hold", metavar="URL", help="do not try a mail before --retry")
    command.add_argument(
        "--json", action="store_true", help="with --list one object a line; else log lines as JSON"
    )
    command.add_argument(
        "--jobs", metavar="N", type=int, default=4, help="mails that are sent at once; default: 4"
    )
    command.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=float,
        default=300.0,
        help="that the program may take for one mail; default: 300",
    )
    for name, field, meaning in _TIMES:
        default = _defaults()[field]
        command.add_argument(
            f"--{name}",
            metavar="SECONDS",
            type=float,
            default=default,
            help=f"{meaning}; default: {default:g}",
        )
    add_config(command)
    command.set_defaults(command=_outbox)


def _defaults() -> dict[str, float]:
    from mdirclient.smtp.outbox.item import Retries

    return attrs.asdict(Retries())


def _outbox(arguments: argparse.Namespace) -> int:
    if arguments.list:
        return _list(arguments)
    if arguments.retry or arguments.hold:
        return _change(arguments)
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        from mdirclient.smtp.outbox.process import Options, run
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is missing; install it with: pip install 'mdirclient[smtp]'"
        ) from None
    from mdirclient.smtp.outbox.item import Retries
    from mdirclient.smtp.outbox.sender import FOREIGN
    from mdirclient.smtp.outbox.sender import Options as Sending

    times = {field: getattr(arguments, name.replace("-", "_")) for name, field, _ in _TIMES}
    if not 1 <= arguments.jobs <= 100:
        raise UsageError(f"--jobs: expected 1 to 100, not {arguments.jobs}")
    for name, value in (("deadline", arguments.deadline), *times.items()):
        if not 0 < value <= 10**9:
            raise UsageError(f"--{name.replace('_', '-')}: expected more than 0, not {value:g}")
    # Another sender's mail is taken over when its program surely is not running any more.
    sending = Sending(arguments.jobs, Retries(**times), max(FOREIGN, 3 * arguments.deadline))
    run(settings_of(arguments), Options(arguments.json, arguments.deadline, sending))
    return exits.OK


def _list(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from mdirclient.cli.output import print_json
    from mdirclient.connect import connect
    from mdirclient.smtp.accounts import Places
    from mdirclient.smtp.outbox.queue import described, list_queue

    settings = settings_of(arguments)
    now = datetime.now(UTC)
    with connect(create=False, settings=settings) as mdird:
        for item in list_queue(mdird, Places.from_settings(settings)):
            found = described(item, now)
            if arguments.json:
                print_json(found)
                continue
            print(f"{found['status']:<10}  {shown(found['url'])}  {shown(found['address'])}")
            details = [
                ("to", ", ".join(found["recipients"])),
                ("subject", found["subject"]),
                ("size", f"{found['size']} bytes in {found['parts']} parts"),
                ("tried", found["attempts"] and f"{found['attempts']} times"),
                ("next", found["next-attempt"]),
                ("reason", found["reason"]),
            ]
            for name, value in details:
                if value:
                    print(f"    {name:<8}{shown(str(value))}")
    return exits.OK


def _change(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.smtp.accounts import Places
    from mdirclient.smtp.outbox.queue import hold, retry

    settings = settings_of(arguments)
    change = retry if arguments.retry else hold
    with connect(create=False, settings=settings) as mdird:
        item = change(mdird, Places.from_settings(settings), arguments.retry or arguments.hold)
    print(f"{'queued' if arguments.retry else 'held'}  {shown(item.anchor)}")
    return exits.OK
