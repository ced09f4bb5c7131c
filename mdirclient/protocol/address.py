"""Where a remote mdird is, or a store: `mdird://host`, `unix:///path`, `https://host/`. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from mdirclient.errors import SettingsError

#: "MDIR" on a telephone.
DEFAULT_PORT: Final = 6347
_EXPECTED: Final = (
    "expected file:///path, mdird://host or unix:///path; of a store https://host/path/"
)
_OPTIONS: Final = frozenset(["fingerprint", "ca", "tls"])
_FINGERPRINT = re.compile(r"(?:sha256:)?((?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2})")


@attrs.frozen
class Address:
    """Where an mdird is, and who asks.

    Attributes:
        path: of a Unix socket, or None.
        host: name or IP address.
        port: of TCP.
        user: or None: a Unix socket tells who it is.
        token: or password; never shown.
        fingerprint: SHA-256 of the only certificate that is right, 64 hexadecimal digits.
        ca: file with the certificates of those who may sign it; None: the system's.
        is_plain: without TLS, which only this machine's own addresses may be.
    """

    path: str | None = None
    host: str = ""
    port: int = DEFAULT_PORT
    user: str | None = None
    token: str = attrs.field(default="", repr=False)
    fingerprint: str | None = None
    ca: str | None = None
    is_plain: bool = False

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"mdird://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port as in a url."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(url: str, name: str = "MDIRD") -> Address:
    """Read `mdird://[user:token@]host[:port][?option=value]` or `unix:///path`.

    Options: `fingerprint=` SHA-256 of the certificate; `ca=` file of certificates; `tls=off`,
    for this machine's own addresses only.

    Raises:
        SettingsError: another url; `name` is that of the setting. A token is not shown.
    """
    address, path = _parse(url, name, {"mdird": DEFAULT_PORT, "unix": 0})
    if address.path is None and path != "/":
        raise SettingsError(name, _without_token(url), _EXPECTED)
    return address


def parse_place(url: str, name: str) -> tuple[Address, str]:
    """Read `https://[user:token@]host[:port]/path/[?option=value]`: where contents are.

    Options are those of `parse_address`.

    Raises:
        SettingsError: another url.
    """
    address, path = _parse(url, name, {"https": 443})
    return address, path


def _parse(url: str, name: str, ports: dict[str, int]) -> tuple[Address, str]:
    try:
        parts = urlsplit(url)
        port = parts.port or ports.get(parts.scheme, 0)
    except ValueError:
        raise SettingsError(name, _without_token(url), "it cannot be read as a url") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    user = None if parts.username is None else unquote(parts.username)
    token = unquote(parts.password or "")
    reason = _EXPECTED if parts.scheme not in ports else None
    reason = reason or _fault(parts.scheme, parts.hostname, parts.path, options)
    if reason:
        raise SettingsError(name, _without_token(url), reason)
    if parts.scheme == "unix":
        return Address(path=unquote(parts.path), user=user, token=token), "/"
    found = _FINGERPRINT.fullmatch(options.get("fingerprint", ""))
    address = Address(
        host=parts.hostname or "",
        port=port,
        user=user,
        token=token,
        fingerprint=found[1].replace(":", "").lower() if found else None,
        ca=options.get("ca"),
        is_plain=options.get("tls") == "off",
    )
    return address, parts.path if parts.path.endswith("/") else f"{parts.path}/"


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own and no other's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fault(scheme: str, host: str | None, path: str, options: dict[str, str]) -> str | None:
    if scheme == "unix":
        return None if path.startswith("/") and not host else "expected unix:///path"
    if not host:
        return _EXPECTED
    unknown = sorted(set(options) - _OPTIONS)
    wrong = {
        f"there is no option {unknown[:1]}; there are {', '.join(sorted(_OPTIONS))}": bool(unknown),
        "the fingerprint must be a SHA-256: 64 hexadecimal digits": "fingerprint" in options
        and not _FINGERPRINT.fullmatch(options["fingerprint"]),
        "tls must be on or off": options.get("tls", "on") not in ("on", "off"),
        "without TLS only this machine's own addresses can be used": options.get("tls") == "off"
        and not is_loopback(host),
    }
    return next((reason for reason, is_wrong in wrong.items() if is_wrong), None)


def _without_token(url: str) -> str:
    """A url without user and token, however it is broken."""
    return re.sub(r"//.*@", "//…@", url, flags=re.DOTALL).partition("?")[0]
