"""Paths: the addresses of MAIL and RCPT. Pure.

Sources: RFC 5321 §4.1.2 (grammar), RFC 6531 §3.3 (with Unicode).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import attrs

from mdirclient.errors import FormatError

#: Octets of a path. RFC 5321 §4.5.3.1.3 allows 256; senders that write their own data into the
#: local part exceed that.
MAX_PATH: Final = 512
_DOMAIN_OCTETS: Final = 255
_LABEL_OCTETS: Final = 63

_ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
#: Deviation: dots stand anywhere. RFC 5321 forbids them at the ends and twice; real senders do it.
_DOT_STRING: Final = rf"[{_ATEXT}.\u0080-\U0010ffff]+"
_QUOTED: Final = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"'
_DOMAIN: Final = r"[A-Za-z0-9_\-.\u0080-\U0010ffff]+|\[[\x21-\x5a\x5e-\x7e]+\]"
#: A source route is read and ignored (RFC 5321 §4.1.1.3, appendix C).
_ROUTE: Final = r"(?:@[A-Za-z0-9_\-.\[\]:]+(?:,@[A-Za-z0-9_\-.\[\]:]+)*:)?"
_PATH = re.compile(rf" *<{_ROUTE}({_DOT_STRING}|{_QUOTED})(?:@({_DOMAIN}))?>(?: +(.*))?", re.DOTALL)
_NULL = re.compile(r" *<>(?: +(.*))?", re.DOTALL)
_ATOM = re.compile(_DOT_STRING)
_SPECIAL = re.compile(r'[\\"]')


class PathError(FormatError, ValueError):
    """What stands in the place of a path is none."""


@attrs.frozen
class Path:
    """A path without its source route.

    Attributes:
        local: the local part without quotes; empty in the null path.
        domain: as it was written; empty in the null path and in `<postmaster>`.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        """The address; `<>` is the null path."""
        if not self.local and not self.domain:
            return "<>"
        is_plain = _ATOM.fullmatch(self.local)
        local = self.local if is_plain else '"' + _SPECIAL.sub(r"\\\g<0>", self.local) + '"'
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def is_ascii(self) -> bool:
        """Whether it can be sent without SMTPUTF8."""
        return self.local.isascii() and self.domain.isascii()


NULL_PATH: Final = Path("", "")


def parse_path(text: str, *, is_reverse: bool) -> tuple[Path, str]:
    """Read what follows `FROM:` or `TO:`.

    Args:
        text: of the command.
        is_reverse: the path of a sender, which may be null.

    Returns:
        The path, and the parameters behind it.

    Raises:
        PathError: it is none.
    """
    if is_reverse and (null := _NULL.fullmatch(text)):
        return NULL_PATH, null[1] or ""
    match = _PATH.fullmatch(text)
    if not match:
        raise PathError("expected <local@domain>")
    local, domain, parameters = match[1], match[2] or "", match[3] or ""
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    path = Path(local, domain)
    # Only <postmaster> may be without a domain (RFC 5321 §4.1.1.3).
    if not local or (not domain and (is_reverse or local.lower() != "postmaster")):
        raise PathError("expected <local@domain>")
    if any(unicodedata.category(char) in _UNWANTED for char in local + domain):
        raise PathError("a character cannot stand in an address")
    if len(str(path).encode()) > MAX_PATH or not _is_domain(domain):
        raise PathError("the domain or the whole is too long")
    return path, parameters


#: Control characters, those that change direction, surrogates, separators of lines.
_UNWANTED: Final = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


def _is_domain(domain: str) -> bool:
    if domain.startswith("[") or not domain:
        return True
    labels = domain.removesuffix(".").split(".")
    return len(domain.encode()) <= _DOMAIN_OCTETS and all(
        0 < len(label.encode()) <= _LABEL_OCTETS for label in labels
    )
