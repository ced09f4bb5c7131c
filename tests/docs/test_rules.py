"""The recipes of the page about rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from mdirclient import Header
from mdirclient.stribution import Item, compile_script
from mdirclient.stribution.words import CAPABILITIES, COMMANDS, TAGS, TESTS
from tests.docs.test_examples import DOCS

PAGE = DOCS / "reference" / "rules.md"
RECIPES = re.findall(
    r"^### (.*?)$.*?^```sieve\n(.*?)^```$.*?^```text\n(.*?)^```$",
    PAGE.read_text(),
    re.DOTALL | re.MULTILINE,
)


def filed(script: str, fields: str) -> str:
    """Where a script files a message: `.` is its own folder."""
    pairs = [field.partition(":") for field in fields.split(" | ")]
    header = Header([(name, value.strip()) for name, _, value in pairs])
    actions, _ = compile_script(script.encode()).evaluate(
        Item(header), now=datetime(2026, 11, 23, tzinfo=UTC), exists=lambda target: False
    )
    places = [
        "/" * action.target.is_absolute + "/".join(action.target.names) or "." for action in actions
    ]
    return " ".join(places) or "nowhere"


@pytest.mark.parametrize(("name", "script", "messages"), RECIPES, ids=[r[0] for r in RECIPES])
def test_recipe(name: str, script: str, messages: str) -> None:
    """Each message goes where the page says."""
    lines = messages.splitlines()
    assert lines, name
    for line in lines:
        fields, _, expected = line.rpartition(" -> ")
        assert expected == filed(script, fields), line


def test_there_are_ten() -> None:
    """As the page says."""
    assert 10 == len(RECIPES)


def test_the_page_names_every_word() -> None:
    """What is supported is what the tables of the code say."""
    text = PAGE.read_text()
    missing = [word for word in (*COMMANDS, *TESTS) if f"`{word}" not in text]
    missing += [f":{tag}" for tag in TAGS if f"`:{tag}`" not in text]
    missing += [word for word in CAPABILITIES if word not in text]
    # Comparators that need no `require` are named without it.
    assert {"comparator-i;octet", "comparator-i;ascii-casemap"} >= set(missing)
