"""How reports show things, as the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdirclient.errors import SettingsError
from mdirclient.smtp.daemon import host_of
from mdirclient.smtp.statistics.archive import View
from mdirclient.smtp.statistics.owner import owners
from mdirclient.smtp.statistics.privacy import WAYS

if TYPE_CHECKING:
    from mdirclient.settings import Settings

_PRIVACY = "MDIR_SMTP_STATISTICS_PRIVACY"


def view_of(settings: Settings) -> View:
    """How reports of this server show things.

    Raises:
        SettingsError: the ASN database cannot be used, or the way of hiding is none.
    """
    privacy = settings.get(_PRIVACY).lower()
    if privacy not in WAYS:
        raise SettingsError(_PRIVACY, privacy, f"expected one of {', '.join(WAYS)}")
    owner, source = owners(settings)
    return View(host_of(settings).name, owner, source, privacy)
