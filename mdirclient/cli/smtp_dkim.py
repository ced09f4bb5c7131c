"""`mdir-smtp dkim`: the keys that mails are signed with, and their records of DNS."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, say, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdirclient.smtp.relay.keys import Key

#: Seconds that DNS may take for one record.
_LIFETIME: Final = 10.0


def add_dkim(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "dkim",
        help="keys that mails are signed with",
        description="Print the DNS records of the keys that a domain's mails are signed with (DKIM)"
        " on their way to the smarthost. The first time it makes a key of RSA and one of Ed25519."
        " Whoever sends must be able to read them: run it as the same user.",
    )
    command.add_argument("domain", metavar="DOMAIN", help="what follows the @ of the addresses")
    tools = command.add_mutually_exclusive_group()
    tools.add_argument(
        "--renew",
        action="store_true",
        help="make two further keys; mails are signed with the old ones too, until you remove them",
    )
    tools.add_argument(
        "--check", action="store_true", help="ask DNS whether the records are there; 66 if not"
    )
    command.add_argument(
        "--selector",
        metavar="NAME",
        help="how the names of new keys begin; default: mdir and the date",
    )
    command.add_argument("--json", action="store_true", help="one object a line")
    add_config(command)
    command.set_defaults(command=_dkim)


def _dkim(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from mdirclient.smtp.relay.keys import (
        default_selector,
        find_keys,
        is_domain,
        is_selector,
        make_keys,
    )

    domain = _ascii(arguments.domain)
    selector = arguments.selector or default_selector(datetime.now(UTC).date())
    if not is_domain(domain):
        raise UsageError(f"{arguments.domain!a}: expected a domain, such as example.org")
    if not is_selector(selector):
        raise UsageError(f"--selector: expected letters, digits and hyphens, not {selector!a}")
    directory = settings_of(arguments).smtp_dkim()
    keys = find_keys(directory, domain)
    if arguments.check:
        return _check(domain, keys, as_json=arguments.json)
    if arguments.renew or not keys:
        made = make_keys(directory, domain, selector)
        keys += made
        if not arguments.json:
            print(f"; made {len(made)} keys in {directory}/{domain}")
    for key in keys:
        _print(key, None, as_json=arguments.json)
    return exits.OK


def _ascii(domain: str) -> str:
    import idna

    text = domain.lower().rstrip(".")
    if text.isascii():
        return text
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise UsageError(f"{domain!a}: {error}") from None


def _check(domain: str, keys: Sequence[Key], *, as_json: bool) -> int:
    if not keys:
        say(f"mdir-smtp: there is no key of {domain}; make one: mdir-smtp dkim {domain}")
        return exits.NOT_FOUND
    found = [(key, _in_dns(key)) for key in keys]
    for key, state in found:
        _print(key, state, as_json=as_json)
    return exits.OK if all(state == "right" for _, state in found) else exits.NOT_FOUND


def _in_dns(key: Key) -> str:
    """Whether the record of a key is there: `right`, `other`, `missing`, `unknown` (no answer)."""
    import dns.exception
    import dns.resolver

    try:
        answer = dns.resolver.resolve(key.name, "TXT", lifetime=_LIFETIME)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return "missing"
    except dns.exception.DNSException:
        return "unknown"
    texts = [b"".join(one.strings).decode("ascii", "replace") for one in answer]
    return "right" if [_tags(key.record)] == [_tags(text) for text in texts] else "other"


def _tags(record: str) -> dict[str, str]:
    """The tags of a record that make the key (RFC 6376 §3.6.1)."""
    pairs = (tag.partition("=") for tag in record.split(";"))
    tags = {name.strip(): "".join(value.split()) for name, _, value in pairs}
    return {"k": tags.get("k", "rsa"), "p": tags.get("p", "")}


def _print(key: Key, state: str | None, *, as_json: bool) -> None:
    from mdirclient.cli.output import print_json

    if as_json:
        fields = {"name": key.name, "type": "TXT", "value": key.record}
        print_json(fields | ({"dns": state} if state else {}))
    elif state:
        print(f"{key.name}  {state}")
    else:
        print(key.zone_line)
