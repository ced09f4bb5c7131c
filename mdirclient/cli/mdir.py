"""The command line `mdir`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, run
from mdirclient.cli.rules import add_rules
from mdirclient.cli.sync import add_mv, add_sync
from mdirclient.errors import VersionFormatError

PROGRAM: Final = "mdir"


def main(words: Sequence[str] | None = None) -> int:
    """Run `mdir`; returns the exit code."""
    return run(parser(), words)


def parser() -> Parser:
    """The parser of `mdir`."""
    top = Parser(prog=PROGRAM, description="Folders of the mdir as plain files.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_ls(commands)
    _add_resolve(commands)
    add_sync(commands)
    add_mv(commands)
    _add_status(commands)
    _add_check(commands)
    _add_version(commands)
    add_rules(commands)
    return top


def _add_ls(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "ls",
        help="list the entries of a local folder",
        description="List the entries of a local folder: name, size and url. What the user put"
        " there without a header is not listed.",
    )
    _add_directory(command)
    command.add_argument("--json", action="store_true", help="one object a line")
    command.set_defaults(command=_ls)


def _add_resolve(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "resolve",
        help="print the file of a url",
        description="Print the path of the physical file of a url in a local folder.",
    )
    _add_directory(command)
    command.add_argument("url", metavar="URL", help="of the entry")
    command.set_defaults(command=_resolve)


def _add_status(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "status",
        help="show what was changed by hand",
        description="Show what was changed by hand in a local folder: files that are new, missing,"
        " renamed or modified, and entries whose content could not be had. Changes nothing.",
    )
    _add_directory(command)
    command.add_argument("--json", action="store_true", help="print the result as one object")
    command.set_defaults(command=_status)


def _add_check(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "check",
        help="find what is broken, and repair it",
        description="Find what is broken in a local folder, each finding with its remedy, and show"
        " what its file system can do. Exits 65 while something is broken.",
    )
    _add_directory(command)
    command.add_argument(
        "--repair",
        action="store_true",
        help="repair it; what has no place goes to .meta/.lost+found, nothing is deleted",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="with --repair, only print what would be done"
    )
    command.add_argument(
        "--allow-mass-removal",
        action="store_true",
        help="with --repair, take entries for removed though more than half of the files are gone",
    )
    command.add_argument("--json", action="store_true", help="print the result as one object")
    command.set_defaults(command=_check)


def _add_version(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "version",
        help="show or set the counter",
        description="Show the counter of a local folder, or set it, whatever .version holds. A"
        " lower one replays history and removes nothing that is there.",
    )
    _add_directory(command)
    command.add_argument("version", metavar="N", nargs="?", type=_version, help="the new counter")
    command.set_defaults(command=_show_version)


def _version(word: str) -> int:
    from mdirclient.folder.version import parse_version

    try:
        return parse_version(os.fsencode(word), path=word)
    except VersionFormatError as error:
        raise argparse.ArgumentTypeError(f"{word!a}: {error.reason}") from None


def _add_directory(command: argparse.ArgumentParser) -> None:
    command.add_argument("directory", metavar="DIR", help="the local folder")


def _ls(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import entry_line, entry_object, print_json
    from mdirclient.folder import Folder

    with Folder(arguments.directory) as folder:
        folder.require()
        for entry in folder:
            if arguments.json:
                print_json(entry_object(entry))
            else:
                print(entry_line(entry))
    return exits.OK


def _resolve(arguments: argparse.Namespace) -> int:
    from mdirclient.folder import Folder

    with Folder(arguments.directory) as folder:
        folder.require()
        print(folder.resolve(arguments.url))
    return exits.OK


def _status(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import print_json, progress_bar, status_lines, status_object
    from mdirclient.folder import Folder

    with Folder(arguments.directory) as folder, progress_bar(arguments.directory) as progress:
        status = folder.status(progress=progress)
    if arguments.json:
        print_json(status_object(status))
        return exits.OK
    for line in status_lines(status):
        print(line)
    return exits.OK


def _check(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import check_lines, check_object, print_json, progress_bar
    from mdirclient.folder import Finding, Folder

    with Folder(arguments.directory) as folder, progress_bar(arguments.directory) as progress:
        system = folder.file_system()
        repaired: tuple[Finding, ...] = ()
        if arguments.repair:
            repaired = folder.repair(
                dry_run=arguments.dry_run,
                allow_mass_removal=arguments.allow_mass_removal,
                progress=progress,
            )
        left = folder.check(progress=progress)
    if arguments.json:
        print_json(check_object(system, repaired, left))
    else:
        for line in check_lines(system, repaired, left, is_dry=arguments.dry_run):
            print(line)
    return exits.BROKEN if left else exits.OK


def _show_version(arguments: argparse.Namespace) -> int:
    from mdirclient.folder import Folder

    with Folder(arguments.directory) as folder:
        folder.require()
        if arguments.version is not None:
            folder.version = arguments.version
        print(folder.version)
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
