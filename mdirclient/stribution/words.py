"""What the commands and tests of a script may have: tables, and the check against them. Pure.

Sources: RFC 5228 §3 to §5, RFC 3894 (copy), RFC 5229 (variables), RFC 5231 (relational),
RFC 5233 (subaddress), RFC 5260 (date), RFC 5490 (mailbox).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import attrs

from mdirclient.errors import ScriptError
from mdirclient.stribution.grammar import Argument, Node, Strings, Tag
from mdirclient.stribution.matching import COMPARATORS, RELATIONS
from mdirclient.stribution.variables import MODIFIERS

#: What `require` may name.
CAPABILITIES: Final = frozenset(
    "fileinto copy mailbox envelope subaddress variables relational date encoded-character".split()
) | {f"comparator-{name}" for name in COMPARATORS}
#: Comparators that have to be required.
_TO_REQUIRE: Final = frozenset(["i;ascii-numeric"])


@attrs.frozen
class TagWord:
    """A tagged argument.

    Attributes:
        group: of these a command has one at the most.
        takes: what follows it.
        needs: the capability that has to be required, or nothing.
    """

    group: str
    takes: Literal["", "string", "number"] = ""
    needs: str = ""


@attrs.frozen
class Word:
    """A command or a test.

    Attributes:
        groups: of the tags that it may have.
        takes: what follows the tags.
        tests: that follow these.
        has_block: whether commands in braces end it.
        needs: the capability that has to be required, or nothing.
    """

    groups: frozenset[str] = frozenset()
    takes: tuple[Literal["string", "strings"], ...] = ()
    tests: Literal["", "one", "list"] = ""
    has_block: bool = False
    needs: str = ""


def _word(groups: str = "", *takes: Literal["string", "strings"], needs: str = "") -> Word:
    return Word(frozenset(groups.split()), takes, needs=needs)


TAGS: Final[dict[str, TagWord]] = {
    "is": TagWord("match"),
    "contains": TagWord("match"),
    "matches": TagWord("match"),
    "count": TagWord("match", "string", "relational"),
    "value": TagWord("match", "string", "relational"),
    "comparator": TagWord("comparator", "string"),
    "all": TagWord("part"),
    "localpart": TagWord("part"),
    "domain": TagWord("part"),
    "user": TagWord("part", needs="subaddress"),
    "detail": TagWord("part", needs="subaddress"),
    "over": TagWord("limit", "number"),
    "under": TagWord("limit", "number"),
    "zone": TagWord("zone", "string"),
    "originalzone": TagWord("zone"),
    "copy": TagWord("copy", needs="copy"),
    "create": TagWord("create", needs="mailbox"),
    **{name: TagWord(f"set-{order}") for name, (order, _) in MODIFIERS.items()},
}
_MODIFIERS: Final = frozenset(f"set-{order}" for order, _ in MODIFIERS.values())

COMMANDS: Final[dict[str, Word]] = {
    "require": Word(takes=("strings",)),
    "if": Word(tests="one", has_block=True),
    "elsif": Word(tests="one", has_block=True),
    "else": Word(has_block=True),
    "stop": Word(),
    "keep": Word(),
    "discard": Word(),
    "fileinto": _word("copy create", "string", needs="fileinto"),
    "set": Word(_MODIFIERS, ("string", "string"), needs="variables"),
}

TESTS: Final[dict[str, Word]] = {
    "true": Word(),
    "false": Word(),
    "not": Word(tests="one"),
    "allof": Word(tests="list"),
    "anyof": Word(tests="list"),
    "exists": _word("", "strings"),
    "size": _word("limit"),
    "header": _word("match comparator", "strings", "strings"),
    "address": _word("match comparator part", "strings", "strings"),
    "envelope": _word("match comparator part", "strings", "strings", needs="envelope"),
    "string": _word("match comparator", "strings", "strings", needs="variables"),
    "date": _word("match comparator zone", "string", "string", "strings", needs="date"),
    "currentdate": _word("match comparator zone", "string", "strings", needs="date"),
    "mailboxexists": _word("", "strings", needs="mailbox"),
}
#: Commands that others have and this one has not, with what to do.
_ABSENT: Final = {
    "redirect": "rules send nothing; file a copy into a folder with `fileinto :copy`",
    "reject": "a message that is filed was accepted already; use `discard`, or `fileinto`",
}


@attrs.frozen
class Call:
    """A command or test whose arguments are in order.

    Attributes:
        node: as it was parsed.
        tags: by group: the name, and what it takes.
        values: the strings that follow.
    """

    node: Node
    tags: dict[str, tuple[str, str | int | None]]
    values: tuple[tuple[str, ...], ...]

    def tag(self, group: str, default: str = "") -> str:
        """The name of the tag of a group, or `default`."""
        return self.tags[group][0] if group in self.tags else default

    def fail(self, reason: str) -> ScriptError:
        """An error at its place."""
        return ScriptError(f"{self.node.name}: {reason}", self.node.line)


def call_of(node: Node, required: frozenset[str], *, is_test: bool) -> Call:
    """Check a command or a test.

    Raises:
        ScriptError: it is not known, or its arguments are not what it takes.
    """
    kind = "test" if is_test else "command"
    word = (TESTS if is_test else COMMANDS).get(node.name)
    if not word:
        hint = _ABSENT.get(node.name, "")
        raise ScriptError(f"there is no {kind} {node.name!r}{hint and f': {hint}'}", node.line)
    _check_required(node, word.needs, node.name, required)
    call = Call(node, *_arguments(node, word, required))
    if "comparator" in call.tags:
        _check_comparator(call, required)
    if call.tag("match") in ("count", "value") and call.tags["match"][1] not in RELATIONS:
        raise call.fail(f":{call.tag('match')} takes one of {', '.join(RELATIONS)}")
    _check_shape(node, word, kind)
    return call


def _check_required(node: Node, needs: str, what: str, required: frozenset[str]) -> None:
    if needs and needs not in required:
        raise ScriptError(f'{what} needs `require "{needs}";` at the beginning', node.line)


def _arguments(
    node: Node, word: Word, required: frozenset[str]
) -> tuple[dict[str, tuple[str, str | int | None]], tuple[tuple[str, ...], ...]]:
    tags: dict[str, tuple[str, str | int | None]] = {}
    arguments = iter(node.arguments)
    rest: list[Argument] = []
    for argument in arguments:
        if not isinstance(argument, Tag):
            rest = [argument, *arguments]
            break
        tag = TAGS.get(argument.name)
        if not tag or tag.group not in word.groups:
            raise ScriptError(f"{node.name} has no tag :{argument.name}", node.line)
        _check_required(node, tag.needs, f":{argument.name}", required)
        if tag.group in tags:
            both = f":{tags[tag.group][0]} and :{argument.name}"
            raise ScriptError(f"{node.name}: {both} exclude each other", node.line)
        tags[tag.group] = (argument.name, _taken(node, argument, tag, arguments))
    return tags, _strings(node, word, rest)


def _taken(node: Node, tag: Tag, word: TagWord, arguments: Iterator[Argument]) -> str | int | None:
    if not word.takes:
        return None
    given = next(arguments, None)
    if word.takes == "number" and isinstance(given, int):
        return given
    if word.takes == "string" and isinstance(given, Strings) and not given.is_list:
        return given.values[0]
    raise ScriptError(f"{node.name}: a {word.takes} must follow :{tag.name}", node.line)


def _strings(node: Node, word: Word, rest: list[Argument]) -> tuple[tuple[str, ...], ...]:
    if len(rest) != len(word.takes):
        takes = " and ".join(f"a {kind}" for kind in word.takes) or "nothing"
        raise ScriptError(
            f"{node.name} takes {takes} after its tags, not {len(rest)} arguments", node.line
        )
    found = []
    for argument, kind in zip(rest, word.takes, strict=True):
        if not isinstance(argument, Strings):
            raise ScriptError(f"{node.name} takes strings; tags stand before these", node.line)
        if kind == "string" and argument.is_list:
            raise ScriptError(f"{node.name} takes one string, not a list", node.line)
        found.append(argument.values)
    return tuple(found)


def _check_comparator(call: Call, required: frozenset[str]) -> None:
    name = str(call.tags["comparator"][1])
    if name not in COMPARATORS:
        raise call.fail(f"there is no comparator {name[:40]!a}; there are {', '.join(COMPARATORS)}")
    if name in _TO_REQUIRE:
        _check_required(call.node, f"comparator-{name}", name, required)
    if name == "i;ascii-numeric" and call.tag("match") in ("contains", "matches"):
        raise call.fail(f"{name} compares whole numbers; :{call.tag('match')} looks for parts")


def _check_shape(node: Node, word: Word, kind: str) -> None:
    """Whether tests and block are there where they belong."""
    if word.tests == "list" and not node.has_list:
        raise ScriptError(f"{node.name} takes tests in parentheses", node.line)
    if word.tests == "one" and (len(node.tests) != 1 or node.has_list):
        raise ScriptError(f"{node.name} takes one test", node.line)
    if not word.tests and node.tests:
        raise ScriptError(f"{node.name} takes no test", node.line)
    if kind == "command" and word.has_block != (node.block is not None):
        ending = "a block in braces" if word.has_block else "`;`"
        raise ScriptError(f"{node.name} must end with {ending}", node.line)
