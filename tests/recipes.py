"""The recipes of the documentation, as they are run: only their paths and domains are ours."""

from __future__ import annotations

import re
from pathlib import Path

from tests.mounted import CHECKOUT

_BLOCK = re.compile(r"```\{code-block\} text\n:name: ([\w-]+)\n\n?(.*?)\n```", re.DOTALL)
_PAGES = sorted((CHECKOUT / "docs" / "howto").glob("mta-*.md"))
RECIPES = {
    name: text for page in _PAGES for name, text in _BLOCK.findall(page.read_text(encoding="utf-8"))
}


def recipe(name: str, places: dict[str, str | Path]) -> str:
    """The recipe of a name, with other texts in the place of some.

    Each of them has to be there: a recipe that is not what it was is noticed.
    """
    text: str = RECIPES[name]
    for old, new in places.items():
        assert old in text, (name, old)
        text = text.replace(old, str(new))
    return text


def settings(text: str) -> dict[str, str]:
    """The lines `name = value` of a recipe for main.cf."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
