"""`mdir sync` and `mdir mv`: local folders and the mdir."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, say, settings_of, shown
from mdirclient.errors import MdirError

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird
    from mdirclient.sync import SyncReport, TreeReport
    from mdirclient.sync.pull import Progress


def add_sync(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands."""
    command = commands.add_parser(
        "sync",
        help="bring a local folder up to date",
        description="Bring a local folder to the state of a folder of the mdir. The directory is"
        " made if it is missing. With --push, what was done in it by hand goes to the mdir:"
        " files that are new, changed, renamed or removed. Where both sides changed a file, both"
        " are kept.",
    )
    command.add_argument("name", metavar="NAME", help="the folder of the mdir")
    command.add_argument("directory", metavar="DIR", help="the local folder")
    command.add_argument("--push", action="store_true", help="both ways")
    command.add_argument(
        "--recursive", action="store_true", help="with all folders below, each in a directory"
    )
    command.add_argument(
        "--watch",
        action="store_true",
        help="stay, and sync again whenever something changes; breaks are mended",
    )
    command.add_argument("--dry-run", action="store_true", help="print what would be done")
    command.add_argument(
        "--allow-mass-removal",
        action="store_true",
        help="remove more than half of the folder if it is no longer listed, or with --push no"
        " longer here",
    )
    command.add_argument(
        "--json", action="store_true", help="print the result as one object a folder"
    )
    add_config(command)
    command.set_defaults(command=_sync)


def add_mv(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "mv",
        help="move files between folders, here and in the mdir",
        description="Move files from the local folders that they are in to another one, here and"
        " in the mdir. They keep their urls. Both must mirror folders of one mdir.",
    )
    command.add_argument("files", metavar="FILE", nargs="+", help="of entries")
    command.add_argument("directory", metavar="DIR", help="the local folder that they go to")
    add_config(command)
    command.set_defaults(command=_mv)


def _sync(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import progress_bar
    from mdirclient.connect import connect

    if arguments.watch and arguments.dry_run:
        raise UsageError("--watch does what --dry-run would not")
    settings = settings_of(arguments)
    opened = partial(connect, create=False, settings=settings)
    if arguments.watch:
        return _watch(arguments, opened)
    with opened() as mdird, progress_bar(arguments.directory) as progress:
        report = _once(arguments, mdird, progress)
    _print(report, arguments)
    return exits.code_for(report.errors[0][1]) if report.errors else exits.OK


def _once(
    arguments: argparse.Namespace, mdird: Mdird, progress: Progress | None = None
) -> TreeReport:
    from mdirclient.folder import Folder
    from mdirclient.sync import TreeReport, sync, sync_tree

    options = {
        "push": arguments.push,
        "dry_run": arguments.dry_run,
        "allow_mass_removal": arguments.allow_mass_removal,
    }
    if arguments.recursive:
        return sync_tree(arguments.directory, mdird, arguments.name, progress=progress, **options)
    with Folder(arguments.directory) as folder:
        report = sync(folder, mdird, arguments.name, progress=progress, **options)
    return TreeReport(((Path(arguments.directory), arguments.name, report),), (), ())


def _watch(arguments: argparse.Namespace, opened: partial[Mdird]) -> int:
    from mdirclient.sync.follow import follow

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def trouble(error: MdirError, seconds: float) -> None:
        say(f"{error}; trying again in {seconds:.0f} s")

    reports = follow(
        opened, partial(_once, arguments), push=arguments.push, trouble=trouble, stop=stop
    )
    for report in reports:
        _print(report, arguments)
    return exits.OK


def _print(report: TreeReport, arguments: argparse.Namespace) -> None:
    from mdirclient.cli.output import print_json, report_object

    for path, name, one in report.folders:
        if arguments.json:
            place = {"directory": os.fspath(path), "folder": name} if arguments.recursive else {}
            print_json({**place, **report_object(one)})
        else:
            _print_one(one, path, arguments)
    for skipped_in, _, one in report.folders:
        for skipped in one.skipped:
            say(f"not sent: {skipped_in / skipped.name}: {skipped.reason}")
    verb = "would make" if arguments.dry_run else "made"
    for name in report.made:
        say(f"{verb} the folder {name}")
    for path in report.gone:
        say(f"{path}: left alone: its folder is not in the mdir, or has another mirror here")
    for path, error in report.errors:
        say(f"{path}: {error}")


def _print_one(one: SyncReport, path: Path, arguments: argparse.Namespace) -> None:
    from mdirclient.cli.output import report_line, step_line

    prefix = f"{shown(os.fspath(path))}: " if arguments.recursive else ""
    if prefix and not one.steps and not one.pending:
        return  # of many folders only those are told in which something happened
    if arguments.dry_run:
        for step in one.steps:
            print(f"{prefix}{step_line(step)}")
    print(f"{prefix}{report_line(one, dry_run=arguments.dry_run)}", flush=True)


def _mv(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.sync.mv import move_files

    with connect(create=False, settings=settings_of(arguments)) as mdird:
        for old, new in move_files(mdird, _paths(arguments.files), arguments.directory):
            print(f"{shown(os.fspath(old))} -> {shown(os.fspath(new))}")
    return exits.OK


def _paths(words: Iterable[str]) -> list[Path]:
    return [Path(word) for word in words]
