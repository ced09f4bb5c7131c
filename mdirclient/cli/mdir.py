"""The command line `mdir`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, add_config, run, settings_of

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
    _add_sync(commands)
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


def _add_sync(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "sync",
        help="bring a local folder up to date",
        description="Bring a local folder to the state of a folder of the mdir. The directory is"
        " made if it is missing.",
    )
    command.add_argument("name", metavar="NAME", help="the folder of the mdir")
    _add_directory(command)
    command.add_argument("--dry-run", action="store_true", help="print what would be done")
    command.add_argument(
        "--allow-mass-removal",
        action="store_true",
        help="remove more than half of the folder if it is no longer listed",
    )
    command.add_argument("--json", action="store_true", help="print the result as one object")
    add_config(command)
    command.set_defaults(command=_sync)


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


def _sync(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import (
        print_json,
        progress_bar,
        report_line,
        report_object,
        step_line,
    )
    from mdirclient.connect import connect
    from mdirclient.folder import Folder
    from mdirclient.sync import sync

    settings = settings_of(arguments)
    with (
        connect(create=False, settings=settings) as mdird,
        Folder(arguments.directory) as folder,
        progress_bar(arguments.directory) as progress,
    ):
        report = sync(
            folder,
            mdird,
            arguments.name,
            dry_run=arguments.dry_run,
            allow_mass_removal=arguments.allow_mass_removal,
            progress=progress,
        )
    if arguments.json:
        print_json(report_object(report))
        return exits.OK
    if arguments.dry_run:
        for step in report.steps:
            print(step_line(step))
    print(report_line(report, dry_run=arguments.dry_run))
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
