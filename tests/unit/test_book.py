"""Who gets the mail to an address; the tables of it for MTAs."""

from __future__ import annotations

import sys

import pytest

from mdirclient import Header, connect
from mdirclient.smtp.accounts import NoIDNAError, add_account, find_account, read_book
from mdirclient.smtp.book import Book
from tests.places import PLACES

NAMES = (
    "jo@ours.test",
    "jo+lists@ours.test",
    "li@bücher.test",
    "ann@xn--mller-kva.test",
    "@rest.test",
)


def book(separators: str = "+", *aliases: str) -> Book:
    """One with these accounts, the first of a user with aliases."""
    accounts = [
        Header([("type", "dir"), ("name", name), ("address", name), ("user", "jo")])
        for name in NAMES
    ]
    fields = [("alias", alias) for alias in aliases]
    user = Header([("type", "user"), ("name", "jo"), ("address", NAMES[0]), *fields])
    return Book(accounts, [user], separators=separators)


@pytest.mark.parametrize(
    ("separators", "address", "expected"),
    [
        ("+", "jo@ours.test", NAMES[0]),
        ("+", "JO@OURS.TEST.", NAMES[0]),
        ("+", "jo+x@ours.test", NAMES[0]),
        ("+", "jo+lists@ours.test", NAMES[1]),
        ("+", "jo+lists+deep@ours.test", NAMES[1]),
        ("+", "jo-x@ours.test", None),
        ("+", "+x@ours.test", None),
        ("-", "jo-x@ours.test", NAMES[0]),
        ("-", "jo+x@ours.test", None),
        ("+-", "jo-x+y@ours.test", NAMES[0]),
        ("", "jo+x@ours.test", None),
        ("+", "li@bücher.test", NAMES[2]),
        ("+", "li@xn--bcher-kva.test", NAMES[2]),
        ("+", "LI@BÜCHER.TEST", NAMES[2]),
        ("+", "ann@müller.test", NAMES[3]),
        ("+", "ann@xn--mller-kva.test", NAMES[3]),
        ("+", "anybody@rest.test", NAMES[4]),
        ("+", "postmaster@rest.test", NAMES[0]),
        ("+", "nobody@ours.test", None),
        ("+", "jo@elsewhere.test", None),
    ],
)
def test_find(separators: str, address: str, expected: str | None) -> None:
    """Accounts, then details, postmaster, and the rest of a domain; IDN both ways."""
    local, _, domain = address.rpartition("@")
    found = book(separators).find(local, domain)
    assert expected == (found.name if found else None)


def test_many_separators_take_linear_time() -> None:
    """A stranger's local part of separators only."""
    assert book().find("+" * 400, "ours.test") is None


def test_a_table_of_addresses() -> None:
    """Aliases and both forms of domains too; postmaster of each."""
    received = list(book("+", "jojo@ours.test", '"odd one"@ours.test').received())
    assert {*NAMES, "jojo@ours.test", "li@xn--bcher-kva.test", "ann@müller.test"} <= {*received}
    assert {"postmaster@ours.test", "abuse@rest.test"} <= {*received}
    assert not any(" " in address for address in received)


def test_the_rest_of_a_domain(tmp_path: object) -> None:
    """An account `@domain` is made, and found by who delivers."""
    with connect(f"file://{tmp_path}/mdir") as mdird:
        add_account(mdird, PLACES, "@Rest.test")
        assert "SMTP/Accounts/@rest.test" == find_account(mdird, PLACES, ("any@rest.test",))
        assert ["@rest.test"] == [one.name for one in read_book(mdird, PLACES).accounts]


@pytest.mark.parametrize("address", ["nobody@ours.test", "nobody@bücher.test", "n@xn--a.test"])
def test_without_idna_nothing_is_certain(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Where a domain in Unicode may be the same as one in ASCII, nobody is told that it is not."""
    with connect(f"file://{tmp_path}/mdir") as mdird:
        add_account(mdird, PLACES, "jo@ours.test")
        monkeypatch.setitem(sys.modules, "idna", None)
        if address.endswith("@ours.test"):
            assert find_account(mdird, PLACES, (address,)) is None
            return
        with pytest.raises(NoIDNAError, match="pip install"):
            find_account(mdird, PLACES, (address,))
