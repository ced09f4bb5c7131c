"""A world for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.commands import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Without an mdir yet."""
    return World(tmp_path)


@pytest.fixture
def served(world: World) -> World:
    """With the account jo@machin.com."""
    world.account("jo@machin.com")
    return world
