"""`mdir rules`: the rules of a folder, shown, installed and tried."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, say, settings_of, shown
from mdirclient.errors import ScriptError
from mdirclient.header import Header
from mdirclient.interfaces import Mdird


def add_rules(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "rules",
        help="show, install or try the rules of a folder",
        description="Show the rules of a folder of the mdir, or with FILE install others (Sieve,"
        " RFC 5228). Rules that have an error are not installed. What went wrong with those"
        " that are is said on standard error.",
    )
    command.add_argument("folder", metavar="FOLDER", help="the folder of the mdir")
    command.add_argument("file", metavar="FILE", nargs="?", help="the new rules; - is stdin")
    command.add_argument("--remove", action="store_true", help="take the rules away")
    command.add_argument(
        "--try",
        dest="mail",
        metavar="MAIL",
        help="install nothing: print where the rules (of FILE, if it is given) would file this"
        " mail, and why; nothing, if they drop it",
    )
    command.add_argument(
        "--envelope-from", metavar="ADDRESS", help="with --try, the sender of the envelope"
    )
    command.add_argument(
        "--envelope-to", metavar="ADDRESS", help="with --try, the recipient of the envelope"
    )
    command.add_argument("--json", action="store_true", help="with --try, one object a destination")
    add_config(command)
    command.set_defaults(command=_rules)


def _rules(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.mdird.rules import install_rules, remove_rules

    if arguments.remove and (arguments.file or arguments.mail):
        raise UsageError("--remove goes with neither FILE nor --try")
    with connect(create=False, settings=settings_of(arguments)) as mdird:
        if arguments.remove:
            remove_rules(mdird, arguments.folder)
            return exits.OK
        script = _read(arguments.file) if arguments.file else None
        try:
            if arguments.mail:
                return _try(mdird, arguments, script)
            if script is not None:
                install_rules(mdird, arguments.folder, script)
                return exits.OK
        except ScriptError as error:
            raise ScriptError(error.reason, error.line, arguments.file) from error
        return _show(mdird, arguments.folder)


def _read(path: str) -> bytes:
    from mdirclient.stribution.grammar import MAX_BYTES

    if path == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _show(mdird: Mdird, folder: str) -> int:
    from mdirclient.mdird.rules import read_reports, read_rules

    script = read_rules(mdird, folder)
    if script is None:
        say(f"{folder} has no rules: what comes stays there")
        return exits.OK
    if sys.stdout.isatty():
        for line in script.decode("utf-8", "replace").splitlines():
            print(shown(line))
    else:
        sys.stdout.buffer.write(script)
    for report in read_reports(mdird, folder):
        line = f"line {report['line']}: " if "line" in report else ""
        say(f"went wrong: {line}{report.get('reason')}; first with {report.get('message')}")
    return exits.OK


def _try(mdird: Mdird, arguments: argparse.Namespace, script: bytes | None) -> int:
    from mdirclient.cli.output import print_json
    from mdirclient.mdird.rules import try_rules

    header = _header(arguments)
    trial = try_rules(mdird, arguments.folder, header, now=datetime.now(UTC), script=script)
    for found in trial.destinations:
        if arguments.json:
            print_json({"folder": found.folder, "because": list(found.because)})
            continue
        print(shown(found.folder or "/"))
        for line in found.because:
            print(f"    {shown(line)}")
    for problem in trial.problems:
        say(f"would go wrong: {problem}")
    return exits.OK


def _header(arguments: argparse.Namespace) -> Header:
    """The header of the first part of a mail, as a delivery would make it."""
    from mdirclient.mail.memory import take_apart
    from mdirclient.mail.stored import StoredMessage
    from mdirclient.url import PartURL

    with sys.stdin.buffer if arguments.mail == "-" else open(arguments.mail, "rb") as file:
        message = file.read()
    mail = take_apart(message)
    anchor = PartURL.parse("mdir:tried@mail.invalid/1")
    stored = StoredMessage(
        anchor, mail.parts, mail.fields, len(message), mail.sha256, mail.kept_whole
    )
    return stored.headers(envelope_from=arguments.envelope_from, envelope_to=arguments.envelope_to)[
        0
    ]
