"""`mdir-smtp block`: networks that the server does not let in for a time."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import time
from typing import TYPE_CHECKING, Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, say, settings_of, shown

if TYPE_CHECKING:
    from mdirclient.smtp.antispam.blocks import Blocks

_WEEK: Final = 604_800.0


def add_block(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "block",
        help="networks that are blocked for a time",
        description="List, add or remove networks that `mdir-smtp serve` blocks for a time. It"
        " blocks by itself who asks for many recipients that there are not. A running server"
        " follows at once.",
    )
    tools = command.add_mutually_exclusive_group(required=True)
    tools.add_argument("--list", action="store_true", help="list those that are blocked now")
    tools.add_argument(
        "--add", metavar="NETWORK", help="block one: an IPv4 address, an IPv6 address or its /64"
    )
    tools.add_argument(
        "--remove",
        metavar="NETWORK",
        help="let one in again; the unknown recipients that it asked for are forgotten",
    )
    command.add_argument(
        "--for",
        dest="seconds",
        metavar="SECONDS",
        type=float,
        default=_WEEK,
        help=f"with --add; default: {_WEEK:.0f}",
    )
    command.add_argument("--json", action="store_true", help="with --list one object a line")
    add_config(command)
    command.set_defaults(command=_block)


def parse_network(text: str) -> str:
    """Read an IPv4 address, an IPv6 address or an IPv6 /64, as blocks are kept by.

    Raises:
        UsageError: it is none.
    """
    from mdirclient.service.throttle import network

    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(f"{text!a}: {error}") from None
    if found.num_addresses == 1 or (found.version == 6 and found.prefixlen == 64):
        return network(str(found.network_address))
    raise UsageError(f"{text!a}: expected an IPv4 address, or an IPv6 address or its /64")


def _block(arguments: argparse.Namespace) -> int:
    from mdirclient.smtp.antispam.blocks import Blocks

    given = arguments.remove if arguments.add is None else arguments.add
    network = "" if given is None else parse_network(given)
    if not 0 < arguments.seconds <= 10**9:
        raise UsageError(f"--for: expected more than 0, not {arguments.seconds:g}")
    now = time.time()
    with contextlib.closing(Blocks(settings_of(arguments).smtp_state())) as blocks:
        if arguments.list:
            return _list(blocks, now, as_json=arguments.json)
        if arguments.add:
            return _add(blocks, network, now, arguments.seconds)
        if blocks.remove(network, now):
            print(f"removed  {network}")
            return exits.OK
    say(f"mdir-smtp: {network} is not blocked")
    return exits.NOT_FOUND


def _add(blocks: Blocks, network: str, now: float, seconds: float) -> int:
    from mdirclient.smtp.antispam.blocks import Block

    with blocks.writing() as writing:
        writing.add(Block(network, now + seconds, 0, now, "by hand"))
    print(f"blocked  {network}  until {_date(now + seconds)}")
    return exits.OK


def _list(blocks: Blocks, now: float, *, as_json: bool) -> int:
    from mdirclient.cli.output import print_json

    for block in blocks.listed(now):
        if as_json:
            print_json(
                {
                    "network": block.network,
                    "until": _date(block.until),
                    "count": block.count,
                    "since": _date(block.last),
                    "reason": block.reason,
                }
            )
        else:
            print(f"{block.network}  until {_date(block.until)}  {shown(block.reason)}")
    return exits.OK


def _date(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
