"""Addresses of an mdird: what they say, and what is never shown of them."""

from __future__ import annotations

import pytest

from mdirclient.errors import SettingsError
from mdirclient.protocol.address import Address, is_loopback, parse_address, parse_place

PIN = "ab" * 32


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///run/a%20b", Address(path="/run/a b")),
        ("mdird://host", Address(host="host")),
        (
            "mdird://jo%40x:to%2Fken@host:1",
            Address(host="host", port=1, user="jo@x", token="to/ken"),
        ),
        ("mdird://[::1]:2?tls=off", Address(host="::1", port=2, is_plain=True)),
        (f"mdird://h?fingerprint=sha256:{PIN}&ca=/a", Address(host="h", fingerprint=PIN, ca="/a")),
        ("mdird://h?fingerprint=" + ":".join(["AB"] * 32), Address(host="h", fingerprint=PIN)),
    ],
)
def test_what_they_say(url: str, expected: Address) -> None:
    """Each of its pieces."""
    assert expected == parse_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "host", "http://host", "mdird://", "mdird:///path", "mdird://host/path",
        "unix://host/path", "unix:relative", "mdird://host:x", "mdird://host?tls=off", "mdird://host?tls=maybe",
        "mdird://host?fingerprint=12", "mdird://host?colour=red", "mdird://[::1", "mdird://h:99999",
    ],
)  # fmt: skip
def test_what_is_none(url: str) -> None:
    """An error of the setting."""
    with pytest.raises(SettingsError):
        parse_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "mdird://jo@x.org:SECRET@host?colour=red", "mdird://jo:SECRET/PASS@host",
        "mdird://:SECRET@", "mdird://jo:a@SECRET@host?colour=red", "http://jo:SECRET@host",
        "mdird://jo:SECRET@[::1",
        "mdird://jo:SECRET@host:port", "mdird://jo:x\nSECRET@host?tls=x",
    ],
)  # fmt: skip
def test_a_token_is_never_shown(url: str) -> None:
    """However the address is broken."""
    for parse in (parse_address, lambda text: parse_place(text, "MDIR_STORE")):
        with pytest.raises(SettingsError) as caught:
            parse(url)
        assert "SECRET" not in str(caught.value)
        assert "PASS" not in str(caught.value)
    assert "SECRET" not in repr(Address(host="h", user="jo", token="SECRET"))
    assert "SECRET" not in str(Address(host="h", user="jo", token="SECRET"))


def test_places() -> None:
    """Where contents are."""
    address, prefix = parse_place("https://jo:t@host/a/b", "MDIR_STORE")
    assert (443, "/a/b/") == (address.port, prefix)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_own_addresses(host: str) -> None:
    """This machine's, which nobody else reaches."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org", ""])
def test_other_addresses(host: str) -> None:
    """Nobody else's counts."""
    assert not is_loopback(host)
