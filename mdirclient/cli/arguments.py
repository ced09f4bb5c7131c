"""What the command lines share: parsers, printing, errors."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from mdirclient.cli import exits
from mdirclient.errors import MdirError
from mdirclient.settings import Settings

Command = Callable[[argparse.Namespace], int]


class UsageError(Exception):
    """The words of a command line are off. Its text has the usage."""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """A wrong word: `UsageError`."""
        raise UsageError(f"{message}; see `{self.prog} --help`")


def add_config(parser: argparse.ArgumentParser) -> None:
    """The option that all commands have which open an mdird."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a TOML file with settings, instead of the user's and the system's",
    )


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings of this run."""
    return Settings(os.environ, arguments.config)


def shown(text: str) -> str:
    """A stranger's text for a terminal: nothing that moves the cursor or changes direction."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def say(text: str) -> None:
    """Print one line for a person, on standard error; a closed one is not an error."""
    try:
        print(shown(text), file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        return


def run(parser: Parser, words: Sequence[str] | None) -> int:
    """Parse, run the chosen command and turn errors into a line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot show must not end the listing.
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = parser.parse_args(words)
        command: Command = arguments.command
        status = command(arguments)
        if sys.stdout:  # None where the caller closed it
            sys.stdout.flush()
        return status
    except UsageError as error:
        say(f"{parser.prog}: {error}")
        return exits.USAGE
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except (MdirError, OSError) as error:
        say(f"{parser.prog}: {error}")
        return exits.code_for(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
