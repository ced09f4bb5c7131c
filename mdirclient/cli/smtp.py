"""The command line `mdir-smtp`.

A delivery is one short process for each mail, so nothing is imported here that it does not need.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from mdirclient.cli.arguments import Parser

PROGRAM: Final = "mdir-smtp"


def main(words: Sequence[str] | None = None) -> int:
    """Run `mdir-smtp`; returns the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    if given[:1] == ["deliver"]:
        from mdirclient.cli.smtp_deliver import deliver_safely

        return deliver_safely(given[1:])
    from mdirclient.cli.arguments import run

    return run(parser(), given)


def script() -> int:
    """What the command calls. A process that delivers one mail ends without tidying up."""
    if sys.argv[1:2] == ["deliver"]:
        from mdirclient.cli.smtp_deliver import deliver_and_exit

        deliver_and_exit(sys.argv[2:])
    return main()


def parser() -> Parser:
    """The parser of `mdir-smtp`."""
    from mdirclient.cli.arguments import Parser
    from mdirclient.cli.smtp_account import add_account
    from mdirclient.cli.smtp_block import add_block
    from mdirclient.cli.smtp_delayed import add_delayed
    from mdirclient.cli.smtp_deliver import add_deliver
    from mdirclient.cli.smtp_dkim import add_dkim
    from mdirclient.cli.smtp_outbox import add_outbox
    from mdirclient.cli.smtp_serve import add_lmtp, add_serve
    from mdirclient.cli.smtp_spam import add_spam
    from mdirclient.cli.smtp_stats import add_stats

    top = Parser(prog=PROGRAM, description="Mail between SMTP and the mdir.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    add_deliver(commands.add_parser("deliver", help="deliver one mail from standard input"))
    add_lmtp(commands)
    add_outbox(commands)
    add_serve(commands)
    add_account(commands)
    add_block(commands)
    add_delayed(commands)
    add_dkim(commands)
    add_spam(commands)
    add_stats(commands)
    return top


if __name__ == "__main__":
    sys.exit(script())
