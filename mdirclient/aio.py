"""The same for asyncio: `await mdirclient.aio.connect(url)`.

Folders and stores stay blocking; `asyncio.to_thread` runs them beside the loop.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING

from mdirclient.connect import connect as connect_blocking
from mdirclient.settings import Settings

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird

__all__ = ["connect"]


async def connect(
    url: str | None = None,
    *,
    create: bool = True,
    timeout: float = 30.0,
    settings: Settings | None = None,
) -> AsyncMdird:
    """Open an mdird for asyncio. See `mdirclient.connect`."""
    from mdirclient.mdird.aio import AsyncRemoteMdird, ThreadedMdird

    found = settings or Settings(os.environ)
    given = url or found.mdird()
    if given.startswith("file:"):
        opened = partial(connect_blocking, given, create=create, timeout=timeout, settings=found)
        return ThreadedMdird(await asyncio.to_thread(opened))
    from mdirclient.connect import store_of
    from mdirclient.protocol.address import parse_address

    address = parse_address(given)
    return await AsyncRemoteMdird.open(
        address, timeout=timeout, store=partial(store_of, address, found, timeout)
    )
