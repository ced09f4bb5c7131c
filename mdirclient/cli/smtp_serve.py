"""`mdir-smtp serve` and `mdir-smtp lmtp`: the servers."""

from __future__ import annotations

import argparse
from typing import Any, Final

import attrs

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, settings_of

#: Option → what it says; each is a field of `Limits`, of the type of its default.
_LIMITS: Final = (
    ("size", "BYTES", "of a mail"),
    ("recipients", "N", "of a mail"),
    ("errors", "N", "commands of a connection that are refused before it is closed"),
    ("connections", "N", "at once"),
    ("per-address", "N", "of these from one address; of IPv6 from one /64"),
    ("idle", "SECONDS", "for a command, and between two pieces of a mail"),
    ("rate", "BYTES", "a second that a mail must come with, after --idle seconds"),
    ("early", "SECONDS", "before the greeting in which a client must say nothing; 0: none"),
    ("commit", "SECONDS", "after the end of a mail, within which it is answered"),
    ("drain", "SECONDS", "that mails on their way have when the server stops"),
    ("per-hour", "N", "recipients of a user's mails in an hour"),
    ("keep", "DAYS", "that what happened to a mail is remembered"),
    (
        "block-for",
        "SECONDS",
        "that who asks for many unknown recipients is blocked at first; 0: not at all",
    ),
    (
        "grey-for",
        "SECONDS",
        "after which a sender that greylisting told to come again is let in; 0: none is told",
    ),
    ("spam-kept", "SECONDS", "that a mail stays in the spam box, and a vote can be taken back"),
)

#: The same of networks.
_NETWORKS: Final = (
    ("allow", "exempt from --per-address, --early, --block-for and --grey-for"),
    ("trust", "whose LMTP clients may say whose mail they bring (XFORWARD)"),
)


def add_serve(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command `serve`."""
    command = commands.add_parser(
        "serve",
        help="receive mail: a real SMTP server",
        description="Receive mail for the accounts of the mdir, until a signal comes. SIGTERM lets"
        " the mails on their way end; SIGHUP reads the certificate again, which is noticed by"
        " itself within a minute.",
    )
    command.add_argument(
        "--listen",
        metavar="ADDRESSES",
        help="such as smtp://:25,submissions://:465,unix:/run/mdir-smtp/lmtp; default:"
        " MDIR_SMTP_LISTEN",
    )
    command.add_argument(
        "--no-tls", action="store_true", help="offer no TLS; then there is no submission"
    )
    _add_common(command)
    command.set_defaults(command=_serve)


def add_lmtp(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command `lmtp`."""
    command = commands.add_parser(
        "lmtp",
        help="receive mail from an MTA of this machine, by LMTP",
        description="Receive mail for the accounts of the mdir by LMTP (RFC 2033), until a signal"
        " comes: one resident process in place of one for each mail. SIGTERM lets the mails on"
        " their way end. `mdir-smtp deliver` hands over to it.",
    )
    command.add_argument(
        "--listen",
        metavar="ADDRESSES",
        help="such as unix:/run/mdir-smtp/lmtp,lmtp://127.0.0.1:24; default: MDIR_SMTP_SOCKET",
    )
    _add_common(command)
    command.set_defaults(command=_lmtp)


def _add_common(command: Parser) -> None:
    command.add_argument("--json", action="store_true", help="log lines as JSON")
    limits = command.add_argument_group("limits")
    for name, metavar, meaning in _LIMITS:
        limits.add_argument(f"--{name}", metavar=metavar, help=meaning)
    for name, meaning in _NETWORKS:
        limits.add_argument(
            f"--{name}",
            metavar="NETWORK",
            action="append",
            help=f"{meaning}; may be repeated; default: loopback",
        )
    add_config(command)


def _serve(arguments: argparse.Namespace) -> int:
    return _run(arguments, arguments.listen, has_tls=not arguments.no_tls)


def _lmtp(arguments: argparse.Namespace) -> int:
    listen = arguments.listen or f"unix:{settings_of(arguments).smtp_socket()}"
    return _run(arguments, listen, has_tls=False)


def _run(arguments: argparse.Namespace, listen: str | None, *, has_tls: bool) -> int:
    try:
        from mdirclient.smtp.serve.limits import Limits, parse_networks
        from mdirclient.smtp.serve.process import Options, serve
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is missing; install it with: pip install 'mdirclient[smtp]'"
        ) from None
    limits = Limits()
    given: dict[str, Any] = {
        name: parse_networks(f"--{name}", words)
        for name, _ in _NETWORKS
        if (words := getattr(arguments, name))
    }
    for name, _, _ in _LIMITS:
        field = name.replace("-", "_")
        if (text := getattr(arguments, field)) is not None:
            given[field] = _number(name, text, type(getattr(limits, field)))
    limits = attrs.evolve(limits, **given)
    serve(settings_of(arguments), Options(listen, has_tls, arguments.json, limits))
    return exits.OK


def _number(name: str, text: str, kind: type[int | float]) -> int | float:
    least = 0 if name in ("early", "block-for", "grey-for", "spam-kept") else 1
    try:
        number = kind(text)
    except ValueError:
        number = -1
    if not least <= number < 10**12:
        raise UsageError(f"--{name}: expected a number of at least {least}, not {text!a}")
    return number
