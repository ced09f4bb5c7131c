"""The command line `mdird`."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import (
    Command,
    Parser,
    UsageError,
    add_config,
    run,
    settings_of,
    shown,
)

if TYPE_CHECKING:
    from mdirclient.mdird import EmbeddedMdird
    from mdirclient.mstore import DirectoryMstore

PROGRAM: Final = "mdird"
_SIZE = re.compile(r"([0-9]{1,12})([KMGT]?)")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def main(words: Sequence[str] | None = None) -> int:
    """Run `mdird`; returns the exit code."""
    return run(parser(), words)


def parser() -> Parser:
    """The parser of `mdird`."""
    top = Parser(prog=PROGRAM, description="The service that holds the mdir, and its upkeep.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_user(commands)
    _add_rights(commands)
    _add_gc(commands)
    _add_check(commands)
    _add_backup(commands)
    _add_restore(commands)
    return top


def _add_serve(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "serve",
        help="serve the mdir to connectors and clients",
        description="Serve the mdir of this machine, its contents too, on a Unix socket and on TCP"
        " with TLS. Without a certificate it makes its own and tells the fingerprint. SIGTERM and"
        " SIGINT end it when what was asked is answered.",
    )
    command.add_argument(
        "--listen",
        metavar="ADDRESSES",
        help="`unix:/path`, `tcp://host:port`, by commas; default: $MDIRD_LISTEN",
    )
    command.add_argument("--certificate", metavar="FILE", help="chain of certificates, in PEM")
    command.add_argument("--key", metavar="FILE", help="its private key; default: the same file")
    command.add_argument(
        "--no-tls", action="store_true", help="serve TCP without TLS, on loopback addresses only"
    )
    _add_history(command)
    command.add_argument(
        "--reserve",
        metavar="SIZE",
        type=_size,
        default=64 << 20,
        help="free disk below which nothing is added, such as 512M or 2G (default: 64M)",
    )
    command.add_argument("--json", action="store_true", help="log one object a line")
    add_config(command)
    command.set_defaults(command=_serve)


def _add_user(commands: argparse._SubParsersAction[Parser]) -> None:
    user = commands.add_parser("user", help="users, their tokens and passwords")
    actions = user.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser(
        "add",
        help="make a user",
        description="Make a user and print the token. It is shown once: only a hash is kept.",
    )
    add.add_argument(
        "--right",
        metavar="RIGHT",
        action="append",
        default=[],
        help="read, write, admin or connector, where folders say nothing else; may be repeated",
    )
    token = actions.add_parser(
        "token",
        help="give a user a new token",
        description="Give a user a new token and print it. The old one ends.",
    )
    password = actions.add_parser(
        "password",
        help="give a user a password",
        description="Give a user a password, which is read from standard input.",
    )
    remove = actions.add_parser(
        "rm", help="remove a user", description="Remove a user. Their folders stay."
    )
    commands_of: list[tuple[Parser, Command]] = [
        (add, _user_add),
        (token, _user_token),
        (password, _user_password),
        (remove, _user_rm),
    ]
    for one, function in commands_of:
        one.add_argument("name", metavar="NAME", help="of the user")
        add_config(one)
        one.set_defaults(command=function)
    ls = actions.add_parser("ls", help="list the users", description="List the users.")
    ls.add_argument("--json", action="store_true", help="one object a line")
    add_config(ls)
    ls.set_defaults(command=_user_ls)


def _add_rights(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "rights",
        help="show or set who may do what in a folder",
        description="Show the owner and the rights of a folder, or set them. The first right that"
        " fits decides; where none does, those of the folder above count.",
    )
    command.add_argument("folder", metavar="FOLDER", help="of the mdir")
    command.add_argument("--owner", metavar="NAME", help="the user who may do everything in it")
    command.add_argument(
        "--right",
        metavar="RULE",
        action="append",
        help="like `read,write anna`, `none bob` or `read *`; all are replaced; may be repeated",
    )
    add_config(command)
    command.set_defaults(command=_rights)


def _add_gc(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "gc",
        help="remove contents that nobody names",
        description="Remove contents that no entry names, live or in the history, and that are"
        " older than 30 days; before that, forget the history beyond --history. Deliveries can go"
        " on.",
    )
    command.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    _add_history(command)
    command.add_argument(
        "--days",
        metavar="N",
        type=_count,
        default=30,
        help="how old contents must be (default: %(default)s)",
    )
    command.add_argument("--json", action="store_true", help="one object a line")
    add_config(command)
    command.set_defaults(command=_gc)


def _add_check(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "check",
        help="hold entries and contents against each other",
        description="Find entries without their content, contents that are damaged, and a damaged"
        " database. Changes nothing. Exits 65 if something is broken.",
    )
    command.add_argument("--full", action="store_true", help="make every original again")
    command.add_argument("--json", action="store_true", help="one object a line")
    add_config(command)
    command.set_defaults(command=_check)


def _add_backup(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "backup",
        help="copy the mdir and its contents",
        description="Copy the mdir and its contents into a directory while they are used. Into the"
        " same directory again only what is new is copied.",
    )
    command.add_argument("directory", metavar="DIR", help="of the backup")
    add_config(command)
    command.set_defaults(command=_backup)


def _add_restore(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "restore",
        help="make an mdir of a backup",
        description="Make the mdir of this machine from a backup. It begins a new epoch: every"
        " client lists its folders anew. There must be none yet.",
    )
    command.add_argument("directory", metavar="DIR", help="of the backup")
    add_config(command)
    command.set_defaults(command=_restore)


def _add_history(command: Parser) -> None:
    command.add_argument(
        "--history",
        metavar="N",
        type=_count,
        default=10_000,
        help="removals of each folder to remember (default: %(default)s)",
    )


def _count(word: str) -> int:
    if not word.isascii() or not word.isdecimal() or len(word) > 9:
        raise argparse.ArgumentTypeError(f"{word!a}: expected a number of at most nine digits")
    return int(word)


def _size(word: str) -> int:
    match = _SIZE.fullmatch(word.upper().removesuffix("B"))
    if not match:
        raise argparse.ArgumentTypeError(f"{word!a}: expected a size such as 512M")
    return int(match[1]) * _UNITS[match[2]]


# -- commands


def _serve(arguments: argparse.Namespace) -> int:
    try:
        from mdirclient.server.serve import Options, serve
    except ImportError as error:
        raise UsageError(
            f"{error.name} is missing; install it with: pip install 'mdirclient[server]'"
        ) from None

    options = Options(
        listen=arguments.listen,
        certificate=arguments.certificate,
        key=arguments.key,
        is_plain=arguments.no_tls,
        history=arguments.history,
        reserve=arguments.reserve,
        as_json=arguments.json,
    )
    serve(settings_of(arguments), options)
    return exits.OK


def _user_add(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.mdird.users import add_user

    settings = settings_of(arguments)
    with connect(settings=settings) as mdird:
        users = settings.folder("MDIR_USERS")
        print(add_user(mdird, users, arguments.name, rights=tuple(arguments.right)))
    return exits.OK


def _user_token(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.mdird.users import renew_token

    settings = settings_of(arguments)
    with connect(create=False, settings=settings) as mdird:
        print(renew_token(mdird, settings.folder("MDIR_USERS"), arguments.name))
    return exits.OK


def _user_password(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.mdird.users import set_password

    if sys.stdin.isatty():
        from getpass import getpass

        password = getpass("password: ")
        if getpass("again: ") != password:
            raise UsageError("the two are not the same; nothing was changed")
    else:
        password = sys.stdin.readline().removesuffix("\n")
    if not password:
        raise UsageError("the password is empty; nothing was changed")
    settings = settings_of(arguments)
    with connect(create=False, settings=settings) as mdird:
        set_password(mdird, settings.folder("MDIR_USERS"), arguments.name, password)
    return exits.OK


def _user_rm(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.mdird.users import remove_user

    settings = settings_of(arguments)
    with connect(create=False, settings=settings) as mdird:
        remove_user(mdird, settings.folder("MDIR_USERS"), arguments.name)
    return exits.OK


def _user_ls(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import print_json
    from mdirclient.connect import connect
    from mdirclient.mdird.users import list_users

    settings = settings_of(arguments)
    with connect(create=False, settings=settings) as mdird:
        for header in list_users(mdird, settings.folder("MDIR_USERS")):
            addresses, rights = header.get_all("address"), header.get_all("right")
            name = header.get("name") or ""
            if arguments.json:
                print_json({"name": name, "addresses": addresses, "rights": rights})
            else:
                print(shown("  ".join([name, ",".join(rights) or "-", *addresses])))
    return exits.OK


def _rights(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.mdird.users import read_rights, set_rights

    with connect(create=False, settings=settings_of(arguments)) as mdird:
        if arguments.owner is not None or arguments.right is not None:
            rights = None if arguments.right is None else tuple(arguments.right)
            set_rights(mdird, arguments.folder, owner=arguments.owner, rights=rights)
        owner, found = read_rights(mdird, arguments.folder)
    if owner:
        print(shown(f"owner: {owner}"))
    for right in found:
        print(shown(f"right: {right}"))
    return exits.OK


def _gc(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import print_json
    from mdirclient.server.upkeep import collect_garbage

    count = size = 0
    with _own(arguments) as (mdird, store):
        for found in collect_garbage(
            mdird,
            store,
            now=time.time(),
            history=arguments.history,
            kept=arguments.days * 24 * 3600,
            dry_run=arguments.dry_run,
        ):
            count += 1
            size += found.size
            if arguments.json:
                print_json({"anchor": str(found.anchor), "size": found.size})
            elif arguments.dry_run:
                print(shown(str(found.anchor)))
    if not arguments.json:
        words = "would be removed" if arguments.dry_run else "removed"
        print(f"{count} messages of {size} bytes {words}")
    return exits.OK


def _check(arguments: argparse.Namespace) -> int:
    import attrs

    from mdirclient.cli.output import print_json
    from mdirclient.mdird.check import check

    count = 0
    with _own(arguments) as (mdird, store):
        for defect in check(mdird, store, full=arguments.full):
            count += 1
            if arguments.json:
                print_json({**attrs.asdict(defect), "remedy": defect.remedy})
            else:
                detail = f" ({defect.detail})" if defect.detail else ""
                print(shown(f"{defect.problem}: {defect.url}{detail}; {defect.remedy}"))
    if not (count or arguments.json):
        print("nothing is broken")
    return exits.BROKEN if count else exits.OK


def _backup(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import progress_bar
    from mdirclient.server.backup import back_up

    with _own(arguments) as (mdird, store), progress_bar(arguments.directory) as progress:
        copied = back_up(mdird, store, os.path.abspath(arguments.directory), progress=progress)
    print(f"{copied.messages} messages copied, {copied.kept} were there")
    return exits.OK


def _restore(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import progress_bar
    from mdirclient.server.backup import restore
    from mdirclient.settings import file_path

    settings = settings_of(arguments)
    target = file_path(settings.mdird(), "MDIRD")
    given = settings.find("MDIR_STORE")
    store = file_path(given, "MDIR_STORE") if given else None
    source = os.path.abspath(arguments.directory)
    with progress_bar(target) as progress:
        copied = restore(source, target, store=store, progress=progress)
    print(f"{copied.messages} messages copied, {copied.kept} were there")
    return exits.OK


@contextlib.contextmanager
def _own(arguments: argparse.Namespace) -> Iterator[tuple[EmbeddedMdird, DirectoryMstore]]:
    """The mdird of this machine, and the directory of its store."""
    from mdirclient.connect import open_own

    mdird, store = open_own(settings_of(arguments), create=False)
    with mdird:
        yield mdird, store


if __name__ == "__main__":
    sys.exit(main())
