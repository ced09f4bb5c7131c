"""`mdir-smtp account`: the mail addresses served."""

from __future__ import annotations

import argparse

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, add_config, settings_of, shown


def add_account(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    account = commands.add_parser("account", help="the mail addresses served")
    actions = account.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser(
        "add",
        help="make an account",
        description="Make an account: its folder, outbox and spam folders, and its user, where they"
        " are missing. Makes the mdird too, if there is none.",
    )
    add.add_argument(
        "address", metavar="ADDRESS", help="local@domain; @domain takes all the rest of a domain"
    )
    add.add_argument("--user", metavar="NAME", help="whom it belongs to; default: the address")
    add.add_argument(
        "--mount",
        metavar="FOLDER",
        help="a second name for the account's folder, such as Home/JojoLapin/Emails",
    )
    add_config(add)
    add.set_defaults(command=_add)
    listing = actions.add_parser(
        "list",
        help="list the accounts",
        description="List the accounts: address, user, aliases, how the user may log in, and any"
        " other field of the user's entry, such as SIP and other accounts.",
    )
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object a line")
    form.add_argument(
        "--postfix",
        action="store_true",
        help="a table for Postfix of all addresses that are received, aliases included",
    )
    add_config(listing)
    listing.set_defaults(command=_list)


def _add(arguments: argparse.Namespace) -> int:
    from mdirclient.connect import connect
    from mdirclient.smtp.accounts import Places, add_account

    settings = settings_of(arguments)
    with connect(settings=settings) as mdird:
        places = Places.from_settings(settings)
        account = add_account(
            mdird, places, arguments.address, user=arguments.user, mount=arguments.mount
        )
    print(account)
    return exits.OK


def _list(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import print_json
    from mdirclient.connect import connect
    from mdirclient.smtp.accounts import Places, read_book

    settings = settings_of(arguments)
    with connect(create=False, settings=settings) as mdird:
        book = read_book(mdird, Places.from_settings(settings))
    if arguments.postfix:
        for address in book.received():
            print(f"{shown(address)} OK")
        return exits.OK
    for account in book.described():
        if arguments.json:
            print_json(account)
            continue
        words = [account.pop("address"), f"user={account.pop('user') or 'none'}"]
        words += [f"{name}={one}" for name, values in account.items() for one in values]
        print(shown(" ".join(str(word) for word in words)))
    return exits.OK
