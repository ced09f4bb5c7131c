"""The folders agreed on where no setting says otherwise."""

from __future__ import annotations

import os
from typing import Final

from mdirclient.settings import Settings
from mdirclient.smtp.accounts import Places

PLACES: Final = Places.from_settings(Settings({}, os.devnull))
