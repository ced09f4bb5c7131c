"""Who owns an address: by an ASN database in MaxMind's format, else nobody knows more than it.

Reads one file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mdirclient.errors import SettingsError

if TYPE_CHECKING:
    from mdirclient.settings import Settings

_NAME = "MDIR_SMTP_ASN_DB"
_MAX_OWNER = 80


def owners(settings: Settings) -> tuple[Callable[[str], str], str]:
    """What tells the owner of a network, and where that is from.

    Raises:
        SettingsError: the database cannot be read, or the package maxminddb is missing.
    """
    path = settings.find(_NAME)
    if path is None:
        return (lambda network: network), "network"
    try:
        import maxminddb
    except ModuleNotFoundError:
        text = "it takes the package maxminddb: pip install 'mdirclient[stats]'"
        raise SettingsError(_NAME, path, text) from None
    try:
        database = maxminddb.open_database(path)
    except OSError as error:
        raise SettingsError(_NAME, path, f"cannot be read: {error.strerror}") from None
    except maxminddb.InvalidDatabaseError:
        raise SettingsError(_NAME, path, "it is no database in MaxMind's format") from None

    def owner(network: str) -> str:
        try:
            found: Any = database.get(network.partition("/")[0])
        except (ValueError, maxminddb.InvalidDatabaseError):
            return network
        return _owner(found) or network

    return owner, os.path.basename(path)


def _owner(found: object) -> str:
    """Number and organization, such as `AS64500 Example`, of what the database says."""
    if not isinstance(found, dict):
        return ""
    number = found.get("autonomous_system_number")
    organization = str(found.get("autonomous_system_organization") or "")
    words = [f"AS{number}" if isinstance(number, int) else "", organization]
    return " ".join(word for word in words if word)[:_MAX_OWNER]
