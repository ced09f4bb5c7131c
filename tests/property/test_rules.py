"""Rules: whatever is in scripts and headers, there is an answer, and it costs what it must."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdirclient import Header
from mdirclient.errors import ScriptError
from mdirclient.naming import check_name
from mdirclient.stribution import Item, compile_script
from mdirclient.stribution.addresses import addresses_in
from mdirclient.stribution.grammar import MAX_BYTES
from mdirclient.stribution.matching import Pattern
from mdirclient.stribution.script import MAX_WORK
from tests.ruled import rules

NOW = datetime(2026, 11, 23, tzinfo=UTC)
WORDS = sorted(
    {word.encode() for script in rules().values() for word in re.findall(r'"[^"]*"|\w+|\S', script)}
)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def run(script: bytes, header: Header) -> None:
    """Compile and evaluate; only the documented error, and only usable places."""
    try:
        compiled = compile_script(script)
        actions, left = compiled.evaluate(Item(header), now=NOW, exists=lambda target: False)
    except ScriptError:
        return
    assert 0 <= left <= MAX_WORK
    for action in actions:
        for name in action.target.names:
            check_name(name)


@given(st.binary(max_size=200))
def test_any_bytes(script: bytes) -> None:
    """A script, or the documented error."""
    run(script, Header([("subject", "x")]))


@given(st.lists(st.sampled_from(WORDS), max_size=30), st.lists(VALUES, min_size=4, max_size=4))
def test_any_words(words: list[bytes], values: list[str]) -> None:
    """The words of the language in any order."""
    fields = zip(("subject", "from", "date", "list-id"), values, strict=True)
    run(b" ".join(words), Header(fields))


@given(st.sampled_from(sorted(rules())), st.data())
def test_any_message(name: str, data: st.DataObject) -> None:
    """Good scripts and strangers' headers."""
    names = ("subject", "from", "to", "date", "list-id", "x-tag", "envelope-from", "received")
    fields = [(field, data.draw(VALUES)) for field in names]
    run(rules()[name].encode(), Header(fields))


@given(st.text("ab*?\\", max_size=12), st.text("ab*?\\", max_size=12))
def test_wildcards_are_those_of_a_regular_expression(key: str, text: str) -> None:
    """The same match, and the same captures."""
    pattern, place = "", 0
    while place < len(key):
        char = key[place]
        if char == "\\" and place + 1 < len(key):
            place += 1
            pattern += re.escape(key[place])
        else:
            pattern += {"*": "(.*?)", "?": "(.)"}.get(char) or re.escape(char)
        place += 1
    expected = re.fullmatch(pattern, text)
    found = Pattern.parse(key).match(text)
    assert bool(expected) == (found is not None)
    if expected and found is not None:
        assert expected.groups() == tuple(text[start:end] for start, end in found)


@given(VALUES)
def test_any_addresses(value: str) -> None:
    """At least the text, if there is any."""
    assert bool(value.strip()) == bool(addresses_in(value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("*" * 100_000, "a" * 8192),
        ("*a" * 50_000, "a" * 8192),
        ("*a" * 4000 + "b", "a" * 8192),
        ("*?" * 50_000, "a" * 8192),
        ("*" + "?a" * 4000 + "b*", "a" * 8192),
        ("*?" + "a" * 4000 + "*", "a" * 8192),
        ("*?" + "a" * 100_000 + "b*", "a"),
        ("a" * 100_000, "a" * 8192),
        ("*" + "a" * 4000 + "b*", "a" * 8192),
    ],
)
def test_hostile_patterns_end(key: str, value: str) -> None:
    """The bound of the test run is far above what they take, and far below what `re` takes."""
    script = f'if header :matches "subject" "{key}" {{ discard; }}'.encode()
    assert len(script) < MAX_BYTES
    run(script, Header([("subject", value)]))


@pytest.mark.parametrize(
    "script",
    [
        # Each `set` doubles the value.
        b'require "variables"; set "a" "xxxxxxxxxx";' + b'set "a" "${a}${a}";' * 4000,
        # A string of many variables of many characters.
        b'require "variables"; if header :matches "subject" "*" { set "b" "'
        + b"${1}" * 20_000
        + b'"; }',
        # Many keys for many fields.
        b"if header :contains [" + b",".join(b'"k%d"' % n for n in range(10_000)) + b'] "x" {}',
        # Names and values multiply.
        b"if address [" + b",".join([b'"to"'] * 10_000) + b'] "x" {}',
        b"if header [" + b",".join(b'"subject"' for _ in range(10_000)) + b'] "x" {}',
        b'require "variables"; set "f" "subject"; if header ['
        + b",".join(b'"${f}%s"' % (b"${x}" * (n % 9)) for n in range(5000))
        + b'] "x" {}',
        b'require "date";' + b'if date "subject" "day" "x" {}' * 3000,
        b'if header :contains ["subject","x"] ['
        + b",".join(b'"k%d"' % n for n in range(10_000))
        + b"] {}",
    ],
)
def test_hostile_scripts_end(script: bytes) -> None:
    """They are too much work, or little."""
    assert len(script) < MAX_BYTES
    many = ("to", ", ".join(f"{n}@x.org" for n in range(5000)))
    run(script, Header([("subject", "y" * 8192)] * 100 + [("subject", "y")] * 800 + [many]))


def test_a_million_stars_are_one() -> None:
    """The pattern is as small as what can be told apart."""
    assert len(Pattern.parse("*" * 1_000_000).pieces) < 50


def test_too_much_work_is_an_error() -> None:
    """The message is kept by who called."""
    script = b'if header :contains "subject" ["a", "b"] { discard; }' * 2000
    header = Header([("subject", "y" * 8000)] * 120)
    with pytest.raises(ScriptError, match="take too long"):
        compile_script(script).evaluate(Item(header), now=NOW, exists=lambda target: False)
